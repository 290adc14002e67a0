/// Whose turn it is, and how many threads a function may take from the others.
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/functions/function_queue.hpp>

using dtm::BranchCall;
using dtm::FunctionQueue;
using Entry = FunctionQueue::Entry;

namespace {

Entry& Add(FunctionQueue& queue, const std::string& name, std::size_t calls) {
  REQUIRE(queue.Add(name, {}));
  Entry& entry = *queue.Find(name);
  for (std::size_t i = 0; i < calls; ++i) queue.Push(entry, {});
  return entry;
}

/// Begins all that may begin; nothing of it returns.
void BeginAll(FunctionQueue& queue) {
  while (queue.Next() != nullptr) (void)queue.Take();
}

}  // namespace

TEST_CASE("function queue: a name is found, and taken once") {
  FunctionQueue queue(8, 8);
  CHECK(queue.Add("A", {}));
  CHECK_FALSE(queue.Add("A", {}));
  CHECK(queue.Find("A") != nullptr);
  CHECK(queue.Find("B") == nullptr);
  CHECK(queue.Next() == nullptr);
}

TEST_CASE("function queue: the functions take turns, each in order") {
  FunctionQueue queue(100, 100);
  Entry& a = Add(queue, "A", 0);
  Entry& b = Add(queue, "B", 0);
  const auto push = [&](Entry& entry, std::size_t branch) {
    BranchCall call;
    call.row = branch;
    queue.Push(entry, std::move(call));
  };
  for (const auto branch : {1U, 2U, 3U}) push(a, branch);
  for (const auto branch : {11U, 12U}) push(b, branch);
  CHECK(queue.Waiting() == 5);
  std::vector<std::size_t> taken;
  while (queue.Next() != nullptr) taken.push_back(queue.Take().row);
  CHECK(taken == std::vector<std::size_t>{1, 11, 2, 12, 3});
  CHECK(queue.Waiting() == 0);
}

TEST_CASE("function queue: those that do not return keep at most half of what is free") {
  FunctionQueue queue(128, 64);
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < 10; ++i) {
    Entry& entry = Add(queue, "hangs" + std::to_string(i), 1000);
    BeginAll(queue);
    kept.push_back(entry.Running());
  }
  CHECK(kept == std::vector<std::size_t>{64, 32, 16, 8, 4, 2, 1, 1, 1, 1});
  Entry& other = Add(queue, "other", 5);
  CHECK(queue.Next() == &other);
}

TEST_CASE("function queue: each function begins, and they pass the maximum by one each at most") {
  const std::size_t functions = GENERATE(1u, 2u, 10u, 128u, 1000u);
  CAPTURE(functions);
  FunctionQueue queue(128, 64);
  std::vector<Entry*> entries;
  for (std::size_t i = 0; i < functions; ++i) {
    entries.push_back(&Add(queue, "f" + std::to_string(i), 0));
  }
  for (Entry* entry : entries) {  // one after the other begins to hang
    for (int i = 0; i < 100; ++i) queue.Push(*entry, {});
    BeginAll(queue);
    CHECK(entry->Running() >= 1);
  }
  CHECK(queue.Running() <= 128 + functions);
}

TEST_CASE("function queue: those of which nothing runs take no thread from the one that is used") {
  const std::size_t others = GENERATE(0u, 3u, 100u, 127u, 1000u);
  CAPTURE(others);
  FunctionQueue queue(128, 64);
  for (std::size_t i = 0; i < others; ++i) Add(queue, "f" + std::to_string(i), 0);
  const Entry& used = Add(queue, "used", 1000);
  BeginAll(queue);
  CHECK(used.Running() == 64);
}

TEST_CASE("function queue: small limits, where half of what is free is less than one") {
  const auto begun = [](std::size_t max_threads, std::size_t max_per_function) {
    FunctionQueue queue(max_threads, max_per_function);
    const Entry& entry = Add(queue, "A", 1000);
    BeginAll(queue);
    return entry.Running();
  };
  CHECK(begun(1, 64) == 1);
  CHECK(begun(2, 64) == 1);
  CHECK(begun(4, 64) == 2);
  CHECK(begun(7, 64) == 3);
  CHECK(begun(8, 64) == 4);
  CHECK(begun(8, 3) == 3);
  CHECK(begun(8, 1) == 1);
}

TEST_CASE("function queue: what had to wait for others begins when they end") {
  FunctionQueue queue(8, 8);
  Entry& first = Add(queue, "first", 4);
  BeginAll(queue);
  CHECK(first.Running() == 4);
  Entry& second = Add(queue, "second", 3);
  BeginAll(queue);
  CHECK(second.Running() == 2);
  CHECK(queue.Next() == nullptr);
  CHECK(queue.Ended(first));        // held back was noticed
  CHECK_FALSE(queue.Ended(first));  // and told
  CHECK(queue.Next() == &second);
}

TEST_CASE("function queue: all that waits can be taken away") {
  FunctionQueue queue(4, 4);
  Entry& a = Add(queue, "A", 5);
  BeginAll(queue);
  CHECK(queue.TakeAllWaiting().size() == 3);
  CHECK(queue.Waiting() == 0);
  CHECK(queue.Next() == nullptr);
  CHECK(a.Running() == 2);
  (void)queue.Ended(a);
  queue.Push(a, {});
  CHECK(queue.Next() == &a);
}
