/// One step of retention in the SQLite store: removes expired records without harm to the rest of the batch.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: the owner's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/writer.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace sqlite_store {

class Expiry {
 public:
  explicit Expiry(Writer& writer) : writer_(writer) {}

  /// See Store::Expire.
  std::int64_t RemoveSome(std::int64_t before, std::int64_t after, std::size_t limit,
                          bool keep_gids) {
    std::vector<std::int64_t> expired;
    const std::int64_t next = Find(before, after, limit, expired);
    if (expired.empty()) return next;
    std::int64_t reached = next;
    const bool all = IfAllowed([&] {
      std::size_t bytes = 0;
      for (const std::int64_t row : expired) {
        bytes += Remove(row, keep_gids);
        if (bytes > kMostBytes) return void(reached = row);
      }
    });
    if (all) return reached;
    std::size_t kept = 0;
    for (const std::int64_t row : expired) {
      if (!IfAllowed([&] { (void)Remove(row, keep_gids); })) ++kept;
    }
    throw NotAllExpired(std::to_string(kept) +
                            " finished transactions have expired and cannot be removed: " + why_ +
                            "; let no foreign key or trigger of yours hold rows of dtm_trans",
                        next);
  }

  /// Removes kept gids. Those that tables of the user refer to stay, which does no harm.
  void Forget(const std::vector<std::string>& gids) {
    const auto forget = [this](const std::string& gid) { writer_.forget.BindText(1, gid).Step(); };
    const auto forget_all = [&] { std::for_each(gids.begin(), gids.end(), forget); };
    if (gids.empty() || IfAllowed(forget_all)) return;
    for (const std::string& gid : gids) (void)IfAllowed([&] { forget(gid); });
  }

 private:
  // What is read for the hash of its content holds up the loop.
  static constexpr std::size_t kMostBytes = std::size_t{1} << 20;

  std::int64_t Find(std::int64_t before, std::int64_t after, std::size_t limit,
                    std::vector<std::int64_t>& expired) {
    sql::Statement& look = writer_.look;
    const Finally reset{look};
    const std::int64_t newest = Newest();
    look.Bind(1, after).Bind(2, static_cast<std::int64_t>(limit));
    std::int64_t last = 0;
    std::size_t seen = 0;
    for (; look.Step(); ++seen) {
      const std::int64_t created = look.Int(1);
      // Rows are in order of creation: the rest is younger, but behind one that was made with a clock ahead.
      if (created >= before && created <= newest) return 0;
      last = look.Int(0);
      const std::int64_t finished = look.Int(2);
      if (finished != 0 && finished < before) expired.push_back(last);
    }
    return seen == limit ? last : 0;
  }

  /// When the last row was made.
  std::int64_t Newest() {
    const Finally reset{writer_.newest};
    return writer_.newest.Step() ? writer_.newest.Int(0) : 0;
  }

  /// Returns the bytes that had to be read for it.
  std::size_t Remove(std::int64_t row, bool keep_gid) {
    if (keep_gid) return writer_.ReplaceByGid(row);
    writer_.Remove(row);
    return 0;
  }

  /// In a savepoint of its own; false, and nothing was changed, if a constraint of the user's tables forbids it.
  template <typename Change>
  bool IfAllowed(const Change& change) {
    writer_.savepoint.Step();
    bool allowed = true;
    try {
      change();
      allowed = !writer_.user_sql.ForeignKeysPending();
      if (!allowed) why_ = "a foreign key refers to one";
    } catch (const sql::SqliteError& error) {
      if (error.Primary() != SQLITE_CONSTRAINT) throw;
      allowed = false;
      why_ = error.what();
    }
    if (!writer_.db.InTransaction()) throw BatchLost("removing what has expired: " + why_);
    if (!allowed) writer_.roll_back.Step();
    writer_.release.Step();
    return allowed;
  }

  Writer& writer_;
  std::string why_;
};

}  // namespace sqlite_store
}  // namespace v1
}  // namespace dtm
