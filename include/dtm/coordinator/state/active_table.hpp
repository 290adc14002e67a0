/// A transaction in memory: its record, and what is held back until the record is durable.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dtm/base/prefetch.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {

/// An event, and what came of it.
struct AppliedEvent : engine::Event {
  std::shared_ptr<const Alert>
      alert;  ///< what people are to be told once it is durable; null: nothing
  Time at{};
  bool changed = false;      ///< the record; the others are only true if this is
  bool taken_up = false;     ///< the first change by this run of the coordinator
  bool from_outbox = false;  ///< the first change by any: the program itself has stored it
  bool rolled_back = false;  ///< that was decided
  bool stuck = false;        ///< it got stuck
  bool ended = false;
  std::uint32_t errors = 0;  ///< in a row of its branch, if it is one of them
  bool refused = false;      ///< what was asked for; what changed is due to the time
  std::uint64_t ask = 0;     ///< of the waiter who asked for it, see Waiter
};

struct ActiveTransaction {
  Transaction transaction;              ///< as advanced; durable unless `dirty`
  std::size_t slot = 0;                 ///< see ActiveTable
  std::uint64_t generation = 0;         ///< a new one whenever it comes into memory; 0: it has left
  bool dirty = false;                   ///< changed since the last commit
  bool redefined = false;               ///< its definition too
  std::size_t new_steps = 0;            ///< or only these last steps of it
  bool surely_new = false;              ///< not stored yet, and its gid was found to be free
  bool touched = false;                 ///< something of it waits for release
  bool rolled_back = false;             ///< that was decided; to be told once it is durable
  Time stored_due{};                    ///< the due time in the store's record
  Time timer = kNever;                  ///< when the machine wants to look again
  Time armed = kNever;                  ///< its time in Timers
  std::vector<std::size_t> held_calls;  ///< to be started once the record is durable
  std::vector<Waiter> waiters;
  /// Carried out before it was stored; repeated if a stored record takes its place.
  std::vector<Command> commands;
  std::vector<AppliedEvent> events;  ///< applied since the last commit
  std::size_t doubtful_events = 0;   ///< of them, those in a commit that may have become durable
  std::size_t journaled_events = 0;  ///< of them, those whose commit has told the journal of them
  std::size_t journaled_calls = 0;   ///< the same of `held_calls`
  std::size_t bytes = 0;             ///< of the definition, for the memory limit

  /// Empty again, but for its slot and the memory of vectors of ordinary size.
  void Clear() {
    const auto emptied = [](auto& vector) {
      if (vector.capacity() > kKeptCapacity) vector.shrink_to_fit();
      return std::move(vector);
    };
    ActiveTransaction empty;
    empty.slot = slot;
    transaction.branches.clear();
    held_calls.clear();
    waiters.clear();
    commands.clear();
    events.clear();
    empty.transaction.branches = emptied(transaction.branches);
    empty.held_calls = emptied(held_calls);
    empty.waiters = emptied(waiters);
    empty.commands = emptied(commands);
    empty.events = emptied(events);
    *this = std::move(empty);
  }

  static constexpr std::size_t kKeptCapacity = 64;

  bool Fresh() const { return transaction.version == 0; }
  bool CallsOut() const {
    return std::any_of(transaction.branches.begin(), transaction.branches.end(),
                       [](const Branch& branch) { return branch.in_flight; });
  }
};

/// It does not go on until somebody submits it, retries it or repairs its record; so it takes no room.
inline bool WaitsForPeople(const ActiveTransaction& active) {
  const Transaction& transaction = active.transaction;
  return transaction.stuck || transaction.unreadable ||
         (transaction.status == Status::kPrepared && active.timer == kNever && !active.CallsOut());
}

inline std::shared_ptr<const Alert> AlertOf(const Transaction& transaction, std::size_t row,
                                            const std::string& error) {
  const Definition& definition = *transaction.definition;
  return std::make_shared<const Alert>(Alert{definition.gid, transaction.status,
                                             ShownUrl(UrlOf(definition, row)), error,
                                             transaction.branches[row].errors});
}

inline constexpr Duration kLongestWaitForStore = std::chrono::seconds(3);

/// A branch whose function runs inside a commit.
struct BranchWork {
  std::size_t slot = 0;  ///< see ActiveTable
  std::uint64_t generation = 0;
  std::size_t row = 0;
};

inline std::uint32_t ErrorsOf(const Transaction& transaction, std::size_t row) {
  return row < transaction.branches.size() ? transaction.branches[row].errors : 0;
}

inline bool BeganToFail(Status before, Status now) {
  return now != before &&
         (now == Status::kAborting || (now == Status::kFailed && before != Status::kAborting));
}

/// So that the next push_back cannot fail.
template <typename T>
inline void MakeRoom(std::vector<T>& vector) {
  if (vector.size() == vector.capacity()) vector.reserve(2 * vector.size() + 4);
}

/// What is looked at soon: first the transaction itself, then what it points to.
inline void PrefetchActive(const ActiveTransaction& active) {
  Prefetch<LinesOf(sizeof(ActiveTransaction))>(&active);
}
inline void PrefetchParts(const ActiveTransaction& active) {
  Prefetch<LinesOf(4 * sizeof(Branch))>(active.transaction.branches.data());
  const Definition* definition = active.transaction.definition.get();
  if (definition == nullptr) return;  // it has left
  Prefetch<2>(definition);
  Prefetch<1>(&definition->options);
}

/// Visits them in their order, with the next ones on their way from memory.
template <typename Visit>
void ForEachActive(const std::vector<ActiveTransaction*>& list, Visit visit) {
  using Active = const ActiveTransaction*;
  VisitAhead(
      list, [](Active active) { PrefetchActive(*active); },
      [](Active active) { PrefetchParts(*active); },
      [&visit](ActiveTransaction* active) { visit(*active); });
}

/// The transactions in memory, by gid. One of them stays where it is until it is removed; its slot is then used again,
/// with the memory its vectors have, since allocating them anew for each transaction costs as much as driving it.
class ActiveTable {
 public:
  ActiveTransaction* Find(const std::string& gid) {
    const auto found = index_.find(gid);
    return found == index_.end() ? nullptr : found->second;
  }
  /// The one that got this slot and generation; null if it has left.
  ActiveTransaction* At(std::size_t slot, std::uint64_t generation) {
    return slot < slots_.size() && slots_[slot].generation == generation ? &slots_[slot] : nullptr;
  }
  /// Calls one of the above with what is in this slot, if it was ever used.
  template <typename PrefetchOne>
  void PrefetchAt(std::size_t slot, PrefetchOne prefetch) const {
    if (slot < slots_.size()) prefetch(slots_[slot]);
  }
  ActiveTransaction& Add(Transaction transaction) {
    const std::size_t bytes = BytesOf(*transaction.definition);
    return Add(std::move(transaction), bytes);
  }
  ActiveTransaction& Add(Transaction transaction, std::size_t bytes) {
    ActiveTransaction& active = TakeSlot();
    active.generation = ++last_generation_;
    active.bytes = bytes;
    active.stored_due = transaction.due;
    if (transaction.branches.empty()) transaction.branches.swap(active.transaction.branches);
    active.transaction = std::move(transaction);
    Enter(active);
    bytes_ += active.bytes;
    return active;
  }
  /// Gives it another definition, of the same gid.
  void Redefine(ActiveTransaction& active, Definition definition) {
    Exchange(active, std::move(definition));
    active.redefined = true;
  }
  /// Adds a step to its definition, in place if nobody else holds it: the n-th costs as much as the first.
  void AddStep(ActiveTransaction& active, const Step& step) {
    std::shared_ptr<const Definition>& definition = active.transaction.definition;
    if (IsSoleOwner(definition)) {
      std::const_pointer_cast<Definition>(definition)->steps.push_back(step);
      active.bytes += BytesOf(step);
      bytes_ += BytesOf(step);
    } else {
      Definition larger = *definition;
      larger.steps.push_back(step);
      Exchange(active, std::move(larger));
    }
    ++active.new_steps;
  }
  /// Returns its definition, for whoever frees it.
  std::shared_ptr<const Definition> Remove(ActiveTransaction& active) {
    bytes_ -= active.bytes;
    spare_nodes_.push_back(index_.extract(active.transaction.definition->gid));
    std::shared_ptr<const Definition> definition = std::move(active.transaction.definition);
    active.Clear();
    free_.push_back(&active);
    return definition;
  }
  /// Any one of them; null: there is none.
  ActiveTransaction* Any() { return index_.empty() ? nullptr : index_.begin()->second; }
  std::size_t Count() const { return index_.size(); }
  std::size_t Bytes() const { return bytes_; }
  template <typename Visit>
  void ForEach(Visit visit) {
    for (auto& entry : index_) visit(*entry.second);
  }

 private:
  /// True: no other thread has it or will get it, and what others did with it has happened before. (Reading the count does
  /// not ensure that; counting up and down does, since it comes after the last count of the others.)
  static bool IsSoleOwner(const std::shared_ptr<const Definition>& definition) {
    if (definition.use_count() != 1) return false;
    std::shared_ptr<const Definition>(definition).reset();
    return true;
  }

  void Exchange(ActiveTransaction& active, Definition definition) {
    auto shared = std::make_shared<Definition>(std::move(definition));
    bytes_ -= active.bytes;
    auto node = index_.extract(active.transaction.definition->gid);  // its key is in there
    active.transaction.definition = std::move(shared);
    active.bytes = BytesOf(*active.transaction.definition);
    bytes_ += active.bytes;
    node.key() = active.transaction.definition->gid;
    index_.insert(std::move(node));
  }

  using Index = std::unordered_map<std::string_view,
                                   ActiveTransaction*>;  // keys are in the definitions, which stay

  ActiveTransaction& TakeSlot() {
    if (free_.empty()) {
      if (free_.capacity() <= slots_.size()) {  // what leaves memory needs none for that
        spare_nodes_.reserve(2 * slots_.size() + 4);
        free_.reserve(2 * slots_.size() + 4);
      }
      slots_.emplace_back();
      slots_.back().slot = slots_.size() - 1;
      return slots_.back();
    }
    ActiveTransaction& active = *free_.back();
    free_.pop_back();
    return active;
  }
  void Enter(ActiveTransaction& active) {
    if (spare_nodes_.empty()) {
      index_.emplace(active.transaction.definition->gid, &active);
      return;
    }
    Index::node_type node = std::move(spare_nodes_.back());
    spare_nodes_.pop_back();
    node.key() = active.transaction.definition->gid;
    node.mapped() = &active;
    index_.insert(std::move(node));
  }

  std::deque<ActiveTransaction> slots_;
  std::vector<ActiveTransaction*> free_;
  Index index_;
  std::vector<Index::node_type> spare_nodes_;
  std::size_t bytes_ = 0;
  std::uint64_t last_generation_ = 0;
};

}  // namespace v1
}  // namespace dtm
