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

#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/options.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/prefetch.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {

/// An event, and what people are to be told of once it is durable; null: nothing.
struct Stepped : engine::Event {
  std::shared_ptr<const Alert> alert;
};

struct Live {
  Transaction transaction;    ///< as stepped; durable unless `dirty`
  std::size_t place = 0;      ///< see Lives
  std::uint64_t life = 0;     ///< a new one whenever it comes into memory; 0: it has left
  bool dirty = false;         ///< changed since the last commit
  bool redefined = false;     ///< its definition too
  std::size_t new_steps = 0;  ///< or only these last steps of it
  bool surely_new = false;    ///< not stored yet, and it was made sure that its gid is not taken
  bool touched = false;       ///< something of it waits for release
  bool rolled_back = false;   ///< that was decided; to be told once it is durable
  Time stored_due{};          ///< the due time in the store's record
  Time timer = kNever;        ///< when the machine wants to look again
  Time armed = kNever;        ///< its place in Timers
  std::vector<std::size_t> held_calls;  ///< to be started once the record is durable
  std::vector<Waiter> waiters;
  std::vector<Command> commands;    ///< obeyed before it was stored: again, if another one is
  std::vector<Stepped> events;      ///< stepped since the last commit
  std::size_t doubtful_events = 0;  ///< of them, those in a commit that may have become durable
  std::size_t bytes = 0;            ///< of the definition, for the memory limit

  /// Empty again, but for its place and the memory of vectors of ordinary size.
  void Clear() {
    const auto emptied = [](auto& vector) {
      if (vector.capacity() > kKeptCapacity) vector.shrink_to_fit();
      return std::move(vector);
    };
    Live empty;
    empty.place = place;
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

/// Nothing goes on with it until somebody submits it, retries it or repairs its record: it takes no room.
inline bool WaitsForPeople(const Live& live) {
  const Transaction& transaction = live.transaction;
  return transaction.stuck || transaction.unreadable ||
         (transaction.status == Status::kPrepared && live.timer == kNever && !live.CallsOut());
}

inline std::shared_ptr<const Alert> AlertOf(const Transaction& transaction, std::size_t branch) {
  const Definition& definition = *transaction.definition;
  return std::make_shared<const Alert>(
      Alert{definition.gid, transaction.status, ShownUrl(UrlOf(definition, branch)),
            transaction.last_error, transaction.branches[branch].errors});
}

inline constexpr Duration kLongestWaitForStore = std::chrono::seconds(3);

/// A branch whose function runs inside a commit.
struct BranchWork {
  std::size_t place = 0;  ///< see Lives
  std::uint64_t life = 0;
  std::size_t branch = 0;
};

inline std::uint32_t ErrorsOf(const Transaction& transaction, std::size_t branch) {
  return branch < transaction.branches.size() ? transaction.branches[branch].errors : 0;
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

/// What is looked at soon: first the Live itself, then what it points to.
inline void PrefetchLive(const Live& live) { Prefetch<LinesOf(sizeof(Live))>(&live); }
inline void PrefetchParts(const Live& live) {
  Prefetch<LinesOf(4 * sizeof(Branch))>(live.transaction.branches.data());
  const Definition* definition = live.transaction.definition.get();
  if (definition == nullptr) return;  // it has left
  Prefetch<2>(definition);
  Prefetch<1>(&definition->options);
}
inline constexpr std::size_t kLiveAhead = 8;
inline constexpr std::size_t kPartsAhead = 4;

/// Visits them in their order, with the next ones on their way from memory.
template <typename Visit>
void ForEachLive(const std::vector<Live*>& lives, Visit visit) {
  const std::size_t count = lives.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kLiveAhead < count) PrefetchLive(*lives[i + kLiveAhead]);
    if (i + kPartsAhead < count) PrefetchParts(*lives[i + kPartsAhead]);
    visit(*lives[i]);
  }
}

/// The transactions in memory, by gid. A Live stays where it is until it is removed; its place is then used again,
/// with the memory its vectors have, since allocating them anew for each transaction costs as much as driving it.
class Lives {
 public:
  Live* Find(const std::string& gid) {
    const auto found = index_.find(gid);
    return found == index_.end() ? nullptr : found->second;
  }
  /// The one that got this place and life; null if it has left.
  Live* At(std::size_t place, std::uint64_t life) {
    return place < places_.size() && places_[place].life == life ? &places_[place] : nullptr;
  }
  /// Calls one of the above with what is at this place, if it was ever used.
  template <typename PrefetchOne>
  void PrefetchAt(std::size_t place, PrefetchOne prefetch) const {
    if (place < places_.size()) prefetch(places_[place]);
  }
  Live& Add(Transaction transaction) {
    const std::size_t bytes = BytesOf(*transaction.definition);
    return Add(std::move(transaction), bytes);
  }
  Live& Add(Transaction transaction, std::size_t bytes) {
    Live& live = TakePlace();
    live.life = ++last_life_;
    live.bytes = bytes;
    live.stored_due = transaction.due;
    if (transaction.branches.empty()) transaction.branches.swap(live.transaction.branches);
    live.transaction = std::move(transaction);
    Enter(live);
    bytes_ += live.bytes;
    return live;
  }
  /// Gives it another definition, of the same gid.
  void Redefine(Live& live, Definition definition) {
    Exchange(live, std::move(definition));
    live.redefined = true;
  }
  /// Adds a step to its definition, in place if nobody else holds it: the n-th costs as much as the first.
  void AddStep(Live& live, const Step& step) {
    std::shared_ptr<const Definition>& definition = live.transaction.definition;
    if (IsSoleOwner(definition)) {
      std::const_pointer_cast<Definition>(definition)->steps.push_back(step);
      live.bytes += BytesOf(step);
      bytes_ += BytesOf(step);
    } else {
      Definition larger = *definition;
      larger.steps.push_back(step);
      Exchange(live, std::move(larger));
    }
    ++live.new_steps;
  }
  /// Returns its definition, for whoever frees it.
  std::shared_ptr<const Definition> Remove(Live& live) {
    bytes_ -= live.bytes;
    spare_nodes_.push_back(index_.extract(live.transaction.definition->gid));
    std::shared_ptr<const Definition> definition = std::move(live.transaction.definition);
    live.Clear();
    free_.push_back(&live);
    return definition;
  }
  std::size_t Count() const { return index_.size(); }
  std::size_t Bytes() const { return bytes_; }
  template <typename Visit>
  void ForEach(Visit visit) {
    for (auto& entry : index_) visit(*entry.second);
  }

 private:
  /// True: no other thread has it, or will, and what they did with it is over. (Where the count alone is read, it may not
  /// be over; the last of them has counted it down, and that is what counting it up and down is ordered after.)
  static bool IsSoleOwner(const std::shared_ptr<const Definition>& definition) {
    if (definition.use_count() != 1) return false;
    std::shared_ptr<const Definition>(definition).reset();
    return true;
  }

  void Exchange(Live& live, Definition definition) {
    auto shared = std::make_shared<Definition>(std::move(definition));
    bytes_ -= live.bytes;
    auto node = index_.extract(live.transaction.definition->gid);  // its key is in there
    live.transaction.definition = std::move(shared);
    live.bytes = BytesOf(*live.transaction.definition);
    bytes_ += live.bytes;
    node.key() = live.transaction.definition->gid;
    index_.insert(std::move(node));
  }

  using Index =
      std::unordered_map<std::string_view, Live*>;  // keys are in the definitions, which stay

  Live& TakePlace() {
    if (free_.empty()) {
      if (free_.capacity() <= places_.size()) {  // what leaves memory needs none for that
        spare_nodes_.reserve(2 * places_.size() + 4);
        free_.reserve(2 * places_.size() + 4);
      }
      places_.emplace_back();
      places_.back().place = places_.size() - 1;
      return places_.back();
    }
    Live& live = *free_.back();
    free_.pop_back();
    return live;
  }
  void Enter(Live& live) {
    if (spare_nodes_.empty()) {
      index_.emplace(live.transaction.definition->gid, &live);
      return;
    }
    Index::node_type node = std::move(spare_nodes_.back());
    spare_nodes_.pop_back();
    node.key() = live.transaction.definition->gid;
    node.mapped() = &live;
    index_.insert(std::move(node));
  }

  std::deque<Live> places_;
  std::vector<Live*> free_;
  Index index_;
  std::vector<Index::node_type> spare_nodes_;
  std::size_t bytes_ = 0;
  std::uint64_t last_life_ = 0;
};

}  // namespace v1
}  // namespace dtm
