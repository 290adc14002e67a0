/// Threads for work that blocks: how many, which jobs wait, what Stop waits for.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/base/thread_pool.hpp>

using dtm::ThreadPool;

namespace {

/// Jobs that tell when they have begun, and wait until they may end.
class Blocking {
 public:
  std::function<void()> Job() {
    begun_.emplace_back();
    std::promise<std::thread::id>& begun = begun_.back();
    ids_.push_back(begun.get_future());
    return [this, &begun] {
      begun.set_value(std::this_thread::get_id());
      gate_.wait();
      ++ended;
    };
  }
  /// Waits until the n-th has begun; its thread.
  std::thread::id Begun(std::size_t n) {
    if (ids_[n].wait_for(std::chrono::seconds(10)) != std::future_status::ready) return {};
    return ids_[n].get();
  }
  void Open() { open_.set_value(); }

  std::atomic<int> ended{0};

 private:
  std::promise<void> open_;
  std::shared_future<void> gate_ = open_.get_future().share();
  std::deque<std::promise<std::thread::id>> begun_;
  std::vector<std::future<std::thread::id>> ids_;
};

/// Runs it as soon as there is room.
void RunAtLast(ThreadPool& pool, const std::function<void()>& job) {
  while (!pool.Run(job)) std::this_thread::yield();
}

}  // namespace

TEST_CASE("thread_pool: each blocking job has a thread, as long as there are some") {
  Blocking jobs;
  std::atomic<int> above{0};
  ThreadPool pool(3);
  std::set<std::thread::id> ids{std::this_thread::get_id()};
  for (std::size_t i = 0; i < 3; ++i) CHECK(pool.Run(jobs.Job()));
  for (std::size_t i = 0; i < 3; ++i) ids.insert(jobs.Begun(i));  // all at a time
  CHECK(ids.count(std::thread::id()) == 0);
  CHECK(ids.size() == 4);
  for (int i = 0; i < 2; ++i) CHECK_FALSE(pool.Run([&above] { ++above; }));
  jobs.Open();
  pool.Stop();
  CHECK(jobs.ended == 3);
  CHECK(above == 0);
}

TEST_CASE("thread_pool: without room for a single thread nothing is taken") {
  ThreadPool pool(0);
  CHECK_FALSE(pool.Run([] {}));
  ThreadPool waiting(0, 5);
  CHECK_FALSE(waiting.Run([] {}));
}

TEST_CASE("thread_pool: a thread that has no work is used again") {
  ThreadPool pool(1);
  std::set<std::thread::id> ids;
  for (int i = 0; i < 100; ++i) {
    std::promise<std::thread::id> done;
    RunAtLast(pool, [&done] { done.set_value(std::this_thread::get_id()); });
    ids.insert(done.get_future().get());
  }
  CHECK(ids.size() == 1);
}

TEST_CASE("thread_pool: no thread is added while one has no work") {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
  };
  const auto before = threads();
  ThreadPool pool(300);
  for (int i = 0; i < 300; ++i) {
    std::promise<void> done;
    CHECK(pool.Run([&done] { done.set_value(); }));
    done.get_future().wait();  // and soon its thread has none
  }
  CHECK(threads() - before < 100);
}

TEST_CASE("thread_pool: as many as may wait do, in their order") {
  Blocking jobs;
  std::vector<int> order;
  ThreadPool pool(1, 2);
  CHECK(pool.Run(jobs.Job()));
  for (int i = 0; i < 2; ++i) CHECK(pool.Run([&order, i] { order.push_back(i); }));
  CHECK_FALSE(pool.Run([&order] { order.push_back(-1); }));
  (void)jobs.Begun(0);
  CHECK_FALSE(pool.Run([&order] { order.push_back(-1); }));
  CHECK(order.empty());
  jobs.Open();
  RunAtLast(pool, [&order] { order.push_back(2); });
  pool.Stop();
  CHECK(order == std::vector<int>{0, 1, 2});
}

TEST_CASE("thread_pool: a job that waits does not keep others from a thread of their own") {
  Blocking jobs;
  ThreadPool pool(2, 1);
  for (std::size_t i = 0; i < 3; ++i) CHECK(pool.Run(jobs.Job()));
  CHECK_FALSE(pool.Run([] {}));
  CHECK(jobs.Begun(0) != jobs.Begun(1));
  CHECK_FALSE(pool.Run([] {}));
  jobs.Open();
  CHECK(jobs.Begun(2) != std::thread::id());
  pool.Stop();
  CHECK(jobs.ended == 3);
}

TEST_CASE("thread_pool: stop waits for everything that was taken, and takes nothing more") {
  Blocking jobs;
  std::atomic<int> done{0};
  ThreadPool pool(2, 100);
  for (int i = 0; i < 2; ++i) CHECK(pool.Run(jobs.Job()));
  for (int i = 0; i < 100; ++i) CHECK(pool.Run([&done] { ++done; }));
  std::promise<int> stopped;
  std::thread stopper([&] {
    pool.Stop();
    stopped.set_value(done);
  });
  CHECK_FALSE(pool.Run([&done] { done += 1000; }));  // full, or stopping
  CHECK(jobs.ended == 0);
  jobs.Open();
  CHECK(stopped.get_future().get() == 100);
  stopper.join();
  CHECK(jobs.ended == 2);
  CHECK_FALSE(pool.Run([&done] { ++done; }));
  pool.Stop();
  CHECK(done == 100);
}

TEST_CASE("thread_pool: the destructor waits too") {
  std::atomic<int> done{0};
  {
    ThreadPool pool(3, 50);
    for (int i = 0; i < 50; ++i) CHECK(pool.Run([&done] { ++done; }));
  }
  CHECK(done == 50);
}

TEST_CASE("thread_pool: a job may ask for another, also while it stops") {
  std::atomic<int> done{0};
  std::atomic<bool> taken{false};
  ThreadPool pool(2, 100);
  std::promise<void> stopping;
  CHECK(pool.Run([&] {
    taken = pool.Run([&done] { ++done; });
    stopping.get_future().wait();
    while (pool.Run([&done] { ++done; })) std::this_thread::yield();  // until it is refused
  }));
  std::thread stopper([&] { pool.Stop(); });
  stopping.set_value();
  stopper.join();
  CHECK(taken == (done > 0));
}

TEST_CASE("thread_pool: from many threads, what is taken is done once") {
  std::atomic<int> taken{0}, done{0}, now{0}, most{0};
  {
    ThreadPool pool(4, 8);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int n = 0; n < 2000; ++n) {
          const bool ok = pool.Run([&] {
            const int at_a_time = ++now;
            for (int seen = most;
                 at_a_time > seen && !most.compare_exchange_weak(seen, at_a_time);) {
            }
            ++done;
            --now;
          });
          if (ok) ++taken;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(taken > 0);
  CHECK(done == taken);
  CHECK(most <= 4);
}

TEST_CASE("thread_pool: what a job holds is released where the pool can be used") {
  ThreadPool pool(2, 10);
  std::promise<bool> usable;
  std::thread user;
  // A deleter is the user's code, as the job is.
  std::shared_ptr<int> held(new int(0), [&](const int* number) {
    delete number;
    std::promise<void> ran;
    auto returned = ran.get_future();
    user = std::thread([&pool, ran = std::move(ran)]() mutable {
      (void)pool.Run([] {});
      ran.set_value();
    });
    usable.set_value(returned.wait_for(std::chrono::seconds(1)) == std::future_status::ready);
  });
  CHECK(pool.Run([held = std::exchange(held, nullptr)] {}));
  CHECK(usable.get_future().get());
  pool.Stop();
  user.join();
}
