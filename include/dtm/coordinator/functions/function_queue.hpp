/// Decides which call of a function begins next: each function has a queue, they take turns, and none takes all threads.
/// Needs: std. Threads: none inside; the caller holds its own lock.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/coordinator/functions/branch_function.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>

namespace dtm {
inline namespace v1 {

/// Functions that block delay no others. A function of which no call runs may always begin one, even beyond the maximum;
/// beyond that first call it takes at most half of the threads that the others leave. So at most the maximum, and one more
/// of each function, run at a time.
class FunctionQueue {
 public:
  /// A function and its calls. It is never removed.
  class Entry {
   public:
    const BranchFunction& Function() const { return function_; }
    std::size_t Running() const { return running_; }

   private:
    friend class FunctionQueue;
    BranchFunction function_;
    std::deque<BranchCall> waiting_;
    std::size_t running_ = 0;
    Entry* next_ = nullptr;  // in the ring; null: it is not in the ring
  };

  FunctionQueue(std::size_t max_threads, std::size_t max_per_function)
      : max_threads_(max_threads), max_per_function_(max_per_function) {}

  /// False: the name is taken.
  bool Add(const std::string& name, BranchFunction function) {
    auto entry = std::make_unique<Entry>();
    entry->function_ = std::move(function);
    return entries_.emplace(name, std::move(entry)).second;
  }

  /// Null: there is none of this name.
  Entry* Find(std::string_view name) {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : found->second.get();
  }

  /// @throws std::bad_alloc  nothing was changed, also not `call`.
  void Push(Entry& entry, BranchCall&& call) {
    entry.waiting_.push_back(std::move(call));
    ++waiting_;
    if (entry.next_ != nullptr) return;
    entry.next_ = last_ == nullptr ? &entry : last_->next_;
    if (last_ != nullptr) last_->next_ = &entry;
    last_ = &entry;
    ++in_ring_;
  }

  /// The function whose turn it is; null: nothing may begin.
  Entry* Next() {
    for (std::size_t left = in_ring_; left > 0; --left) {
      if (MayBegin(*last_->next_)) return last_->next_;
      held_back_ = true;
      last_ = last_->next_;
    }
    return nullptr;
  }

  /// Takes a call of the function that Next has just returned; Ended must follow.
  BranchCall Take() {
    Entry& entry = *last_->next_;
    BranchCall call = std::move(entry.waiting_.front());
    entry.waiting_.pop_front();
    if (entry.waiting_.empty()) {
      LeaveRing(entry);
    } else {
      last_ = &entry;
    }
    --waiting_;
    ++running_;
    ++entry.running_;
    return call;
  }

  /// True: other calls, which had to wait for this one, may begin now.
  bool Ended(Entry& entry) {
    --running_;
    --entry.running_;
    return std::exchange(held_back_, false);
  }

  /// @throws std::bad_alloc  nothing was changed.
  std::vector<BranchCall> TakeAllWaiting() {
    std::vector<BranchCall> calls;
    calls.reserve(waiting_);
    while (last_ != nullptr) {
      Entry& entry = *last_->next_;
      for (BranchCall& call : entry.waiting_) calls.push_back(std::move(call));
      entry.waiting_.clear();
      LeaveRing(entry);
    }
    waiting_ = 0;
    return calls;
  }

  std::size_t Waiting() const { return waiting_; }  ///< calls
  std::size_t Running() const { return running_; }  ///< calls

 private:
  /// The first one.
  void LeaveRing(Entry& entry) {
    last_->next_ = entry.next_;
    if (last_ == &entry) last_ = nullptr;
    entry.next_ = nullptr;
    --in_ring_;
  }

  bool MayBegin(const Entry& entry) const {
    if (entry.running_ == 0) return true;
    if (entry.running_ >= max_per_function_) return false;
    const std::size_t others = running_ - entry.running_;
    return others < max_threads_ && entry.running_ < (max_threads_ - others) / 2;
  }

  const std::size_t max_threads_;
  const std::size_t max_per_function_;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_;
  // The ring of functions with calls that wait, in turn; the last one leads to the first. Nothing is allocated for it.
  Entry* last_ = nullptr;
  std::size_t in_ring_ = 0;
  std::size_t waiting_ = 0;
  std::size_t running_ = 0;
  bool held_back_ = false;  // one had to wait for others since the last end
};

}  // namespace v1
}  // namespace dtm
