/// Threads that leave one by one: each is joined once, by whoever leaves next or in the end.
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <thread>

#include "tests/catch.hpp"
#include <dtm/base/thread_list.hpp>

using dtm::ThreadList;

TEST_CASE("thread list: threads leave while others run, and the rest is joined in the end") {
  ThreadList threads;
  std::mutex mutex;
  std::atomic<int> ended{0};
  std::promise<void> stop;
  const std::shared_future<void> stopped = stop.get_future().share();
  {
    const std::lock_guard<std::mutex> lock(mutex);
    for (int i = 0; i < 3; ++i) {
      threads.Add([&] {
        const std::lock_guard<std::mutex> leaving(mutex);
        ++ended;
        threads.Leave();
      });
    }
    threads.Add([&ended, stopped] {
      stopped.wait();
      ++ended;
    });
    CHECK(threads.Count() == 4);
  }
  const auto running = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    return threads.Count();
  };
  while (running() > 1) std::this_thread::yield();
  CHECK(ended == 3);
  ThreadList rest;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    rest = threads.TakeAll();
    CHECK(threads.Count() == 0);
  }
  stop.set_value();
  rest.JoinAll();
  CHECK(ended == 4);
  CHECK(rest.Count() == 0);
}

TEST_CASE("thread list: a thread that leaves when all were taken is joined by whoever took them") {
  ThreadList threads;
  std::promise<void> taken;
  bool left = false;
  threads.Add([&] {
    taken.get_future().wait();
    threads.Leave();
    left = true;
  });
  ThreadList all = threads.TakeAll();
  taken.set_value();
  all.JoinAll();
  CHECK(left);
}
