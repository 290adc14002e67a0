/// Which events are durable: those of a batch are told once its commit is known to be stored.
/// Needs: std. Threads: the thread that drives the loop.
///
/// An event is told once, whatever becomes of its commit: those of a batch that was rolled back come again with the next
/// one, and those of a commit in doubt wait in Doubts. If another coordinator has gone on with the transaction by then, the
/// events of that commit are not told, since it cannot be known any more whether it was stored.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/observe/event.hpp>

namespace dtm {
inline namespace v1 {

class EventFeed {
 public:
  using Events = std::vector<std::shared_ptr<const Event>>;

  /// `durable`: gets the events of what is stored, and outlives it. `spans`: see TraceIdOf.
  EventFeed(Events& durable, bool spans) : durable_(durable), spans_(spans) {}

  /// A batch begins; what the one before has not stored is forgotten.
  void Begin() {
    ends_.clear();
    events_.clear();
  }

  /// The next change of the batch, as it will be stored.
  void Add(const Transaction& transaction, const std::vector<JournalEntry>& entries) {
    for (const JournalEntry& entry : entries) {
      events_.push_back(std::make_shared<const Event>(EventOf(transaction, entry, spans_)));
    }
    ends_.push_back(events_.size());
    durable_.reserve(durable_.size() + events_.size());
  }

  /// The commit took the n-th change of the batch. Throws nothing.
  void Stored(std::size_t n) noexcept { Take(n, durable_); }

  /// Of the n-th change of a batch whose commit is in doubt.
  Events OfDoubt(std::size_t n) {
    Events events;
    Take(n, events);
    return events;
  }

 private:
  void Take(std::size_t n, Events& to) {
    if (n >= ends_.size()) return;
    for (std::size_t i = n == 0 ? 0 : ends_[n - 1]; i < ends_[n]; ++i) {
      to.push_back(std::move(events_[i]));
    }
  }

  std::vector<std::size_t> ends_;  // of the events of each change
  Events events_;                  // of all of them
  Events& durable_;
  const bool spans_;
};

}  // namespace v1
}  // namespace dtm
