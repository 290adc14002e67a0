/// Threads of a pool, which may leave one by one and are all joined in the end.
/// Needs: std. Threads: the owner's mutex is held for each call, but for JoinAll.
#pragma once

#include <algorithm>
#include <cstddef>
#include <list>
#include <thread>
#include <utility>

namespace dtm {
inline namespace v1 {

class ThreadList {
 public:
  /// @throws std::exception  there is no thread or no memory for it now; nothing was changed.
  template <typename Main>
  void Add(Main main) {
    running_.emplace_back();
    try {
      running_.back() = std::thread(std::move(main));
    } catch (...) {
      running_.pop_back();
      throw;
    }
  }

  /// The last thing that a thread does which returns before its pool stops. The next one to leave joins it, or JoinAll.
  void Leave() {
    const auto self = std::find_if(running_.begin(), running_.end(), [](const auto& thread) {
      return thread.get_id() == std::this_thread::get_id();
    });
    if (self == running_.end()) return;  // TakeAll has it
    for (auto& thread : left_) thread.join();
    left_.clear();
    left_.splice(left_.end(), running_, self);
  }

  std::size_t Count() const { return running_.size(); }

  /// All of them, to be joined by JoinAll without the mutex; none is left here.
  ThreadList TakeAll() {
    ThreadList all;
    all.running_.swap(running_);
    all.left_.swap(left_);
    return all;
  }
  void JoinAll() {
    for (auto& thread : left_) thread.join();
    for (auto& thread : running_) thread.join();
    left_.clear();
    running_.clear();
  }

 private:
  std::list<std::thread> running_;
  std::list<std::thread> left_;
};

}  // namespace v1
}  // namespace dtm
