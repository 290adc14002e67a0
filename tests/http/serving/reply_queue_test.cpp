/// Replies from many threads to the loop: each comes, none after the end.
#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/http/serving/reply_queue.hpp>

using dtm::ApiReply;
using dtm::serving::ReplyQueue;
using dtm::transport::IoLoop;
using Seconds = std::chrono::seconds;

namespace {

ApiReply Status(int status) {
  ApiReply reply;
  reply.status = status;
  return reply;
}

}  // namespace

TEST_CASE("reply_queue: replies come in their order, and wake the loop") {
  IoLoop loop;
  ReplyQueue queue(loop);
  std::vector<ReplyQueue::Arrived> taken;
  CHECK_FALSE(queue.Take(taken));
  for (int i = 0; i < 3; ++i) queue.Expect();
  queue.Add({7, 1}, Status(200));
  queue.Add({8, 2}, Status(400));
  const auto start = std::chrono::steady_clock::now();
  loop.Poll(Seconds(20));
  CHECK(std::chrono::steady_clock::now() - start < Seconds(10));
  REQUIRE(queue.Take(taken));
  REQUIRE(taken.size() == 2);
  CHECK(
      (taken[0].ticket.place == 7 && taken[0].ticket.number == 1 && taken[0].reply.status == 200));
  CHECK(
      (taken[1].ticket.place == 8 && taken[1].ticket.number == 2 && taken[1].reply.status == 400));
  taken.clear();
  CHECK_FALSE(queue.Take(taken));
  queue.Add({9, 3}, Status(500));
  CHECK((queue.Take(taken) && taken.at(0).reply.status == 500));
}

TEST_CASE("reply_queue: many threads, and a loop that sleeps in between") {
  constexpr std::size_t kThreads = 4, kEach = 500;
  struct Taker final : dtm::transport::TurnEnd {
    explicit Taker(ReplyQueue& from) : queue(from) {}
    void OnTurnEnd() override {
      if (!queue.Take(taken)) return;
      for (const auto& one : taken) numbers.insert(one.ticket.number);
      taken.clear();
    }
    ReplyQueue& queue;
    std::vector<ReplyQueue::Arrived> taken;
    std::set<std::uint64_t> numbers;
  };
  IoLoop loop;
  const auto queue = std::make_shared<ReplyQueue>(loop);
  Taker taker(*queue);
  loop.AtTurnEnds(taker);
  for (std::size_t i = 0; i < kThreads * kEach; ++i) queue->Expect();
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([queue, t] {
      for (std::size_t i = 0; i < kEach; ++i) queue->Add({0, t * kEach + i}, Status(200));
    });
  }
  // A wake-up that was lost would let one Poll wait for all of its time.
  const auto start = std::chrono::steady_clock::now();
  while (taker.numbers.size() < kThreads * kEach &&
         std::chrono::steady_clock::now() - start < Seconds(30)) {
    loop.Poll(Seconds(60));
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(taker.numbers.size() == kThreads * kEach);
  CHECK(std::chrono::steady_clock::now() - start < Seconds(30));
}

TEST_CASE("reply_queue: what comes when the loop is gone is dropped") {
  auto loop = std::make_unique<IoLoop>();
  ReplyQueue queue(*loop);
  queue.Expect();
  queue.Expect();
  queue.Add({1, 1}, Status(200));
  queue.Close();
  loop.reset();
  queue.Add({1, 1}, Status(200));
  std::vector<ReplyQueue::Arrived> taken;
  CHECK_FALSE(queue.Take(taken));
}
