/// The store on one SQLite file (WAL): what a program uses by default.
/// Needs: SQLite through sql/sqlite_connection.hpp. Threads: see store.hpp; the owner's calls use the writing
/// connection, Load and Scan a reading one under a lock.
/// Document: docs/store_format.md. Source: sqlite.org/wal.html; one connection writes and
/// checkpoints, since SQLite before 3.51.3 can lose pages when two do.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/base/prefetch.hpp>
#include <dtm/core/result.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/codec.hpp>
#include <dtm/store/durability.hpp>
#include <dtm/store/sqlite/connections.hpp>
#include <dtm/store/sqlite/expiry.hpp>
#include <dtm/store/sqlite/reader.hpp>
#include <dtm/store/sqlite/reads.hpp>
#include <dtm/store/sqlite/schema.hpp>
#include <dtm/store/sqlite/writer.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// One file of SQLite, for one coordinator.
class SqliteStore : public Store {
 public:
  /// Makes the tables of the program; called whenever the file is opened.
  using OnOpen = std::function<void(sqlite3*)>;

  /// Opens or creates the file (0600), locks it against a second coordinator, and migrates an older
  /// schema. The lock is a separate file beside it, `<path>-lock`. A relative path is resolved now.
  /// `on_open` is called with the connection that writes, whenever it was opened: a place to create the program's own
  /// tables (CREATE TABLE IF NOT EXISTS) and to migrate them, for Transact and RegisterInTransaction.
  /// `cache_bytes`: pages of the file that are kept in memory.
  /// @throws StoreError  in use by another coordinator, unreadable, read-only, damaged, or of a newer schema.
  /// @throws what `on_open` throws.
  explicit SqliteStore(const std::string& path, Durability durability = Durability::kPower,
                       OnOpen on_open = {}, std::size_t cache_bytes = sqlite_schema::kCacheBytes)
      : connections_(path, durability, std::move(on_open), cache_bytes) {}

  const char* Kind() const override { return "sqlite"; }

  void Begin() override { connections_.Begin(); }

  Result Run(const Work& work) override {
    sqlite_store::Writer& writer = Writing();
    writer.savepoint.Step();
    Result result;
    {
      const sql::UserSqlRules::On guarded(writer.user_sql);
      result = CatchAsResult([&] { return work(WorkContext(writer.db.Handle())); });
      writer.user_sql.ResetStatements();  // without a transaction that would commit what they wrote
    }
    if (!writer.db.InTransaction()) {
      throw BatchLost(
          "a statement of the work rolled the whole transaction back (ON CONFLICT "
          "ROLLBACK, a full disk or memory)");
    }
    if (result.kind == Result::Kind::kSuccess && writer.user_sql.ForeignKeysPending()) {
      result = Result::Error("the work leaves a deferred foreign key violated");
    }
    if (result.kind != Result::Kind::kSuccess) writer.roll_back.Step();
    writer.release.Step();
    return result;
  }

  bool Has(const std::string& gid) override {
    sql::Statement& has = Writing().has;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    const Finally reset{has};
    return has.BindText(1, gid).Step();
  }

  std::optional<KeyValue> GetValue(const std::string& category, const std::string& key) override {
    sql::Statement& get = Writing().get_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    const Finally reset{get};
    if (!get.BindText(1, category).BindText(2, key).Step()) return std::nullopt;
    return sqlite_store::ReadValue(get);
  }

  void PutValue(const KeyValue& value) override {
    sql::Statement& put = Writing().put_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    put.BindText(1, value.category).BindText(2, value.key).BindText(3, value.value);
    put.Bind(4, sqlite_store::Stored(value.updated)).Step();
  }

  bool RemoveValue(const std::string& category, const std::string& key) override {
    sql::Statement& remove = Writing().remove_value;
    const sql::UserSqlRules::Off ours(Writing().user_sql);
    remove.BindText(1, category).BindText(2, key).Step();
    return Writing().db.Changes() > 0;
  }

  void Apply(std::vector<Change>& changes) override {
    sqlite_store::Writer& writer = Writing();
    for (std::size_t i = 0; i < changes.size(); ++i) {
      if (i + 2 < changes.size())
        Prefetch<LinesOf(sizeof(Transaction))>(changes[i + 2].transaction);
      if (i + 1 < changes.size()) {
        Prefetch<LinesOf(4 * sizeof(Branch))>(changes[i + 1].transaction->branches.data());
      }
      Change& change = changes[i];
      codec::EncodeState(*change.transaction, state_);
      change.applied = change.transaction->id == 0 ? writer.Insert(change, state_)
                                                   : writer.Update(change, state_);
    }
  }

  void Commit() override {
    try {
      Writing().commit.Step();
    } catch (const sql::SqliteError& error) {
      Rollback();
      // Both may come after the commit's frame has reached the log.
      const bool in_doubt = error.Primary() == SQLITE_IOERR || error.Primary() == SQLITE_NOMEM;
      if (!in_doubt) throw;
      throw CommitInDoubt(std::string(error.what()) + "; it may or may not be stored");
    }
    connections_.AfterCommit();
  }

  void Rollback() noexcept override { connections_.Rollback(); }
  void Recover() override { connections_.Recover(); }

  std::string Check(const std::atomic<bool>& stop) override {
    try {
      sql::Database db(connections_.Path(), SQLITE_OPEN_READWRITE);
      connections_.ConfigureReader(db);
      const auto stopped = [](void* flag) {
        return static_cast<const std::atomic<bool>*>(flag)->load() ? 1 : 0;
      };
      sqlite3_progress_handler(db.Handle(), 10000, stopped, const_cast<std::atomic<bool>*>(&stop));
      return connections_.QuickCheck(db);
    } catch (const sql::SqliteError& error) {
      return error.Primary() == SQLITE_INTERRUPT ? "" : error.what();
    }
  }

  std::optional<Transaction> Load(const std::string& gid) override { return reads_.Load(gid); }
  std::vector<JournalEntry> ReadJournal(const std::string& gid) override {
    return reads_.ReadJournal(gid);
  }
  ScanPage Scan(const ScanFilter& filter, std::int64_t position, std::size_t limit) override {
    return reads_.Scan(filter, position, limit);
  }
  KeyValuePage ScanValues(const std::string& category, const std::string& key,
                          std::int64_t position, std::size_t limit) override {
    return reads_.ScanValues(category, key, position, limit);
  }
  Backlog CountUnfinished(Time now) override { return reads_.CountUnfinished(now); }

  void Due(Time now, DuePosition after, const DueVisitor& visit) override {
    sql::Statement& due = Writing().due;
    const Finally reset{due};
    due.Bind(1, sqlite_store::Stored(after.due)).Bind(2, after.id);
    due.Bind(3, sqlite_store::Stored(now));
    while (due.Step()) {
      if (!visit(sqlite_store::ReadTransaction(due, Writing().steps))) return;
    }
  }

  Time NextDue(Time now) override {
    sql::Statement& next = Writing().next_due;
    const Finally reset{next};
    next.Bind(1, sqlite_store::Stored(now));
    return next.Step() && !next.IsNull(0) ? sqlite_store::FromStored(next.Int(0)) : kNever;
  }

  std::int64_t Expire(Time before, std::int64_t after, std::size_t limit, bool keep_gids) override {
    return sqlite_store::Expiry(Writing()).RemoveSome(sqlite_store::Stored(before), after, limit,
                                                      keep_gids);
  }

  std::string ForgetGids(Time before, const std::string& after, std::size_t limit) override {
    std::vector<std::string> forgotten;
    std::string last;
    std::size_t seen = 0;
    {
      sql::Statement& look = Writing().look_kept;
      const Finally reset{look};
      look.BindText(1, after).Bind(2, static_cast<std::int64_t>(limit));
      for (; look.Step(); ++seen) {
        last = look.Text(0);
        if (sqlite_store::FromKept(look.Int(1)) < before) forgotten.push_back(last);
      }
    }
    sqlite_store::Expiry(Writing()).Forget(forgotten);
    return seen == limit ? last : std::string();
  }

 private:
  using Connections = sqlite_store::Connections;
  using Finally = sqlite_store::Finally;

  sqlite_store::Writer& Writing() { return connections_.Writing(); }

  sqlite_store::Connections connections_;
  sqlite_store::Reads<sqlite_store::Connections> reads_{connections_};
  std::string state_;  // reused, the encoded state of the change at hand
};

}  // namespace v1
}  // namespace dtm
