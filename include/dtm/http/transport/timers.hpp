/// Deadlines of many things, the earliest first.
/// Needs: std. Threads: one at a time. No clock: time is passed in.
#pragma once

#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

using SteadyTime = std::chrono::steady_clock::time_point;

namespace transport {

class Timers;

/// Something with a deadline. One that is moved to a later time costs nothing until its old time comes.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  SteadyTime Deadline() const { return deadline_; }

 protected:
  ~Timer();

 private:
  friend class Timers;
  static constexpr SteadyTime kNever = (SteadyTime::max)();

  /// It may set and destroy timers, also this one.
  virtual void OnDeadline() = 0;

  Timers* timers_ = nullptr;  ///< while it is in the heap
  std::size_t place_ = 0;
  SteadyTime key_ = kNever;  ///< in the heap; never later than the deadline
  SteadyTime deadline_ = kNever;
};

/// A binary heap.
class Timers {
 public:
  Timers() = default;
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  ~Timers() {
    for (Timer* timer : heap_) timer->timers_ = nullptr;
  }

  /// @throws std::bad_alloc  it is not set.
  void Set(Timer& timer, SteadyTime deadline) {
    if (timer.timers_ == nullptr) {
      heap_.push_back(&timer);
      timer.timers_ = this;
      timer.place_ = heap_.size() - 1;
      timer.key_ = deadline;
      Up(timer.place_);
    } else if (deadline < timer.key_) {
      timer.key_ = deadline;
      Up(timer.place_);
    }
    timer.deadline_ = deadline;
  }

  void Cancel(Timer& timer) { timer.deadline_ = Timer::kNever; }
  /// The same, and now another thread may destroy it.
  void Forget(Timer& timer) {
    if (timer.timers_ != nullptr) Remove(timer);
    timer.deadline_ = Timer::kNever;
  }

  /// When to come again; max() if there is nothing to wait for.
  SteadyTime Next() const { return heap_.empty() ? Timer::kNever : heap_.front()->key_; }

  /// Calls what is due.
  void Run(SteadyTime now) {
    while (!heap_.empty() && heap_.front()->key_ <= now) {
      Timer& timer = *heap_.front();
      if (timer.deadline_ == Timer::kNever) {
        Remove(timer);
      } else if (timer.deadline_ > timer.key_) {
        timer.key_ = timer.deadline_;
        Down(0);
      } else {
        Remove(timer);
        timer.deadline_ = Timer::kNever;
        timer.OnDeadline();
      }
    }
  }

 private:
  friend class Timer;

  void Remove(Timer& timer) {
    const std::size_t place = timer.place_;
    timer.timers_ = nullptr;
    Timer* const last = heap_.back();
    heap_.pop_back();
    if (last == &timer) return;
    Put(place, last);
    Up(place);
    Down(last->place_);
  }

  void Put(std::size_t place, Timer* timer) {
    heap_[place] = timer;
    timer->place_ = place;
  }

  void Up(std::size_t place) {
    Timer* const timer = heap_[place];
    while (place > 0 && timer->key_ < heap_[(place - 1) / 2]->key_) {
      Put(place, heap_[(place - 1) / 2]);
      place = (place - 1) / 2;
    }
    Put(place, timer);
  }

  void Down(std::size_t place) {
    Timer* const timer = heap_[place];
    for (std::size_t child = 2 * place + 1; child < heap_.size(); child = 2 * place + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1]->key_ < heap_[child]->key_) ++child;
      if (timer->key_ <= heap_[child]->key_) break;
      Put(place, heap_[child]);
      place = child;
    }
    Put(place, timer);
  }

  std::vector<Timer*> heap_;
};

inline Timer::~Timer() {
  if (timers_ != nullptr) timers_->Remove(*this);
}

}  // namespace transport
}  // namespace v1
}  // namespace dtm
