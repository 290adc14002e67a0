/// The loop: sockets that become ready, tasks from other threads, deadlines, its own thread or a host's.
#include <atomic>
#include <chrono>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/socket_pair.hpp"
#include <dtm/http/transport/io_loop.hpp>

using dtm::transport::IoLoop;
using dtm::transport::Readiness;
using dtm::transport::Timer;
using dtm::transport::Watcher;
using dtm_test::SocketPair;
using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

namespace {

struct Noting : Watcher {
  void OnReady(Readiness ready) override {
    text += ready.readable ? "r" : "";
    text += ready.writable ? "w" : "";
    text += ready.ended ? "e" : "";
    text += ";";
    if (then) then();
  }
  std::string text;
  std::function<void()> then;
};

bool IsReadable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, 0) == 1;
}

}  // namespace

TEST_CASE("io_loop: a socket is told how it is, then what changes") {
  SocketPair pair;
  IoLoop loop;
  Noting noting;
  REQUIRE(loop.Watch(pair.ours, noting));
  loop.Poll(Ms(0));
  CHECK(noting.text == "w;");
  loop.Poll(Ms(0));
  CHECK(noting.text == "w;");  // an edge is told once
  pair.Say("x");
  loop.Poll(Ms(1000));
  CHECK(noting.text == "w;rw;");
  pair.Say("y");  // also if nothing was read
  loop.Poll(Ms(1000));
  CHECK(noting.text == "w;rw;rw;");
  pair.ClosePeer();
  loop.Poll(Ms(1000));
  CHECK(noting.text.substr(8) == "rwe;");
  loop.Unwatch(pair.ours);
}

TEST_CASE("io_loop: what is disposed of during a turn lives until its end") {
  SocketPair first, second;
  struct Owned : Watcher {
    explicit Owned(int& count) : alive(count) { ++alive; }
    ~Owned() override { --alive; }
    void OnReady(Readiness) override { ++told; }
    int& alive;
    int told = 0;
  };
  int alive = 0;
  IoLoop loop;
  auto owned = std::make_unique<Owned>(alive);
  Owned* const seen = owned.get();
  Noting noting;
  noting.then = [&] {
    if (owned == nullptr) return;
    loop.Unwatch(second.ours);
    loop.Dispose(std::move(owned));
  };
  loop.Watch(first.ours, noting);
  loop.Watch(second.ours, *seen);
  bool alive_in_turn = false;
  loop.Post([&] { alive_in_turn = alive == 1 && seen->told <= 1; });
  loop.Poll(Ms(0));
  CHECK(alive_in_turn);
  CHECK(alive == 0);
}

TEST_CASE("io_loop: tasks run in their order, on the thread of the loop") {
  IoLoop loop;
  std::string text;
  loop.Post([&] {
    text += "a";
    loop.Post([&] { text += "c"; });
  });
  loop.Post([&] { text += "b"; });
  CHECK(IsReadable(loop.Fd()));
  loop.Poll(Ms(0));
  CHECK(text == "ab");
  CHECK(IsReadable(loop.Fd()));  // a host that waits for it is told of the third
  loop.Poll(Ms(0));
  CHECK(text == "abc");
  CHECK_FALSE(IsReadable(loop.Fd()));
}

TEST_CASE("io_loop: with a thread of its own, posts of many threads all arrive") {
  IoLoop loop;
  loop.Start();
  std::atomic<int> count{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const std::thread::id mine = std::this_thread::get_id();
      for (int i = 0; i < 2000; ++i) {
        loop.Post([&, mine] {
          wrong += std::this_thread::get_id() == mine ? 1 : 0;
          ++count;
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto end = Clock::now() + Ms(10000);
  while (count < 8000 && Clock::now() < end) std::this_thread::yield();
  CHECK(count == 8000);
  CHECK(wrong == 0);
  loop.Stop();
}

TEST_CASE("io_loop: a deadline ends the waiting") {
  struct Once final : Timer {
    void OnDeadline() override { ++count; }
    int count = 0;
  };
  IoLoop loop;
  Once once;
  const auto start = Clock::now();
  loop.Set(once, start + Ms(30));
  CHECK(loop.NextDeadline() == start + Ms(30));
  while (once.count == 0 && Clock::now() < start + Ms(5000)) loop.Poll(Ms(5000));
  CHECK(once.count == 1);
  CHECK(Clock::now() >= start + Ms(30));
  CHECK(Clock::now() < start + Ms(3000));
}

TEST_CASE("io_loop: Stop ends it at once, and drops what did not run") {
  auto held = std::make_shared<int>(1);
  {
    IoLoop loop;
    loop.Start();
    loop.Stop();
    loop.Post([held] { ++*held; });
  }
  CHECK(*held == 1);
  CHECK(held.use_count() == 1);
}
