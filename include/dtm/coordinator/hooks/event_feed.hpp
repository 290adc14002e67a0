/// Which events are durable: those of a batch are told once its commit is known to be stored.
/// Needs: std, store. Threads: the thread that drives the loop.
///
/// An event is told once, whatever becomes of its commit: those of a batch that was rolled back come again with the next
/// one. After a commit in doubt the store is asked. If another coordinator has gone on with the transaction by then, the
/// events of that commit are not told, since it cannot be known any more whether it was stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/observe/event.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// Tells the record that a change makes from those that others have made with the same gid and version: an earlier run, another
/// coordinator on the store, or this one, of an earlier submission.
struct RecordMark {
  RecordMark() = default;
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

class EventFeed {
 public:
  using Events = std::vector<std::shared_ptr<const Event>>;

  /// `durable`: gets the events of what is stored, and outlives it. `spans`: see TraceIdOf.
  EventFeed(Events& durable, bool spans) : durable_(durable), spans_(spans) {}

  /// A batch begins; what the one before has not stored is forgotten.
  void Begin() {
    changes_.clear();
    events_.clear();
  }

  /// The next change of the batch, as it will be stored.
  void Add(const Transaction& transaction, const std::vector<JournalEntry>& entries) {
    for (const JournalEntry& entry : entries) {
      events_.push_back(std::make_shared<const Event>(EventOf(transaction, entry, spans_)));
    }
    changes_.push_back({transaction.definition->gid, RecordMark(transaction), events_.size()});
    durable_.reserve(durable_.size() + events_.size());
  }

  /// A commit worked: no commit is in doubt any more.
  void Committed() noexcept { settled_.clear(); }

  /// The commit took the n-th change of the batch. Throws nothing.
  void Stored(std::size_t n) noexcept {
    if (n >= changes_.size()) return;
    Take(n, events_, durable_);
  }

  /// The commit of the batch is in doubt.
  void InDoubt() {
    doubtful_.clear();
    for (std::size_t n = 0; n < changes_.size(); ++n) {
      const auto settled = settled_.find(changes_[n].gid);
      if (settled != settled_.end() && settled->second == changes_[n].mark.version) continue;
      doubtful_.push_back({std::move(changes_[n].gid), changes_[n].mark, {}});
      doubtful_.back().events.reserve(changes_[n].end - BeginOf(n));
      Take(n, events_, doubtful_.back().events);
    }
    Begin();
  }

  /// The store can be asked again what it has.
  /// @throws StoreError  then it is asked again.
  void Recovered(Store& store) {
    while (!doubtful_.empty()) {
      const Doubtful& next = doubtful_.front();
      const std::optional<Transaction> stored = store.Load(next.gid);
      if (stored && next.mark.IsOf(*stored)) {
        settled_[next.gid] = next.mark.version;
        durable_.insert(durable_.end(), next.events.begin(), next.events.end());
      }
      doubtful_.pop_front();
    }
  }

 private:
  struct Change {
    std::string gid;
    RecordMark mark;
    std::size_t end = 0;  ///< of its events
  };
  struct Doubtful {
    std::string gid;
    RecordMark mark;
    Events events;
  };

  std::size_t BeginOf(std::size_t n) const { return n == 0 ? 0 : changes_[n - 1].end; }

  void Take(std::size_t n, Events& from, Events& to) const {
    for (std::size_t i = BeginOf(n); i < changes_[n].end; ++i) to.push_back(std::move(from[i]));
  }

  std::vector<Change> changes_;
  Events events_;  // of all of them
  Events& durable_;
  const bool spans_;
  std::deque<Doubtful> doubtful_;
  /// Versions of records that an earlier commit in doubt has stored: a later one cannot have stored them again.
  std::map<std::string, std::uint64_t> settled_;
};

}  // namespace v1
}  // namespace dtm
