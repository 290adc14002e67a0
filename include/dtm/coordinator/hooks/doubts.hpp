/// What could not be told since its commit was in doubt: it is told once the store says that the commit was stored.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <dtm/core/transaction.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// Tells the record that a change makes from those that others have made with the same gid and version: an earlier run, another
/// coordinator on the store, or this one, of an earlier submission.
struct RecordMark {
  /// `changed`: as it will be stored.
  explicit RecordMark(const Transaction& changed)
      : version(changed.version + 1),
        created(changed.created),
        driver(changed.driver),
        status(changed.status) {}

  bool IsOf(const Transaction& stored) const {
    return stored.version == version && stored.created == created && stored.driver == driver &&
           stored.status == status && !stored.expired;
  }

  std::uint64_t version = 0;
  Time created{};
  std::uint64_t driver = 0;
  Status status{};
};

class Doubts {
 public:
  /// Gets the record as it is stored. If it throws, it has told nothing, and is called again.
  using Tell = std::function<void(const Transaction& stored)>;

  /// A change of a commit in doubt, and what is told if it was stored.
  void Add(const Transaction& changed, Tell tell) {
    const std::string& gid = changed.definition->gid;
    const RecordMark mark(changed);
    const auto stored = stored_.find(gid);
    if (stored != stored_.end() && stored->second == mark.version) return;
    doubts_.push_back({gid, mark, std::move(tell)});
  }

  /// The store can be asked again what it has.
  /// @throws StoreError  then it is asked again for the rest.
  void Settle(Store& store) {
    while (!doubts_.empty()) {
      const Doubt& next = doubts_.front();
      const std::optional<Transaction> stored = store.Load(next.gid);
      if (stored && next.mark.IsOf(*stored)) {
        stored_[next.gid] = next.mark.version;
        next.tell(*stored);
      }
      doubts_.pop_front();
    }
  }

  /// A commit worked: no commit is in doubt any more.
  void Committed() noexcept { stored_.clear(); }

 private:
  struct Doubt {
    std::string gid;
    RecordMark mark;
    Tell tell;
  };

  std::deque<Doubt> doubts_;
  /// Versions of records that an earlier commit in doubt has stored: a later one cannot have stored them again.
  std::map<std::string, std::uint64_t> stored_;
};

}  // namespace v1
}  // namespace dtm
