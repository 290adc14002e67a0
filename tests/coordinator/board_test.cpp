/// The board: stepping, room, logs and answers that harm nobody.
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/coordinator/board.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Board;
using dtm::Live;
using dtm::MemoryStore;
using dtm::Options;
using dtm::Status;
using dtm::Transaction;
using dtm::Waiter;
using dtm::engine::EventKind;

namespace {

Transaction NewTransaction(const std::string& gid, dtm::TransType type = dtm::TransType::kSaga) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = gid;
  definition->type = type;
  definition->steps = {{"http://h/a", "http://h/c", std::string(1000, 'x')}};
  Transaction transaction;
  transaction.definition = definition;
  return transaction;
}

}  // namespace

TEST_CASE("board: what a step wants is held back until it is released") {
  MemoryStore store;
  Options options;
  Board board(store, options);
  Live& live = board.lives.Add(NewTransaction("a"));
  CHECK(board.Step(live, {EventKind::kSubmitted, 0, {}}).empty());
  CHECK(live.dirty);
  CHECK(live.touched);
  REQUIRE(live.held_calls.size() == 1);
  CHECK(dtm::OpOf(dtm::TransType::kSaga, live.held_calls[0]) == dtm::Op::kAction);
  CHECK(board.Step(live, {EventKind::kResult, live.held_calls[0], dtm::Result::Success()}).empty());
  CHECK(live.transaction.status == Status::kSucceed);
  CHECK(board.dirty.size() == 1);
  CHECK(board.touched.size() == 1);
  CHECK_THAT(board.Step(live, {EventKind::kCancel, 0, {}}), ContainsSubstring("already ended"));
}

TEST_CASE(
    "board: the definition of what leaves is kept to be freed elsewhere, unless it is large") {
  MemoryStore store;
  Options options;
  Board board(store, options);
  board.Remove(board.lives.Add(NewTransaction("small")));
  REQUIRE(board.ended.size() == 1);
  CHECK(board.ended[0]->gid == "small");
  Transaction large = NewTransaction("large");
  auto definition = std::make_shared<dtm::Definition>(*large.definition);
  definition->steps[0].payload.assign(dtm::kSmallBytes, 'x');
  large.definition = definition;
  definition.reset();
  const std::weak_ptr<const dtm::Definition> watched = large.definition;
  board.Remove(board.lives.Add(std::move(large)));
  CHECK(watched.expired());
  for (std::size_t i = 0; i < dtm::MostEnded(Options()); ++i) {
    board.Remove(board.lives.Add(NewTransaction("g")));
  }
  CHECK(board.ended.size() == dtm::MostEnded(Options()));
}

TEST_CASE("board: a type that does not exist is stuck and logged, not fatal") {
  MemoryStore store;
  std::string log;
  Options options;
  options.log = [&log](dtm::LogLevel level, const std::string& text) {
    CHECK(level == dtm::LogLevel::kError);
    log += text;
  };
  Board board(store, options);
  Live& live = board.lives.Add(NewTransaction("a", static_cast<dtm::TransType>(9)));
  board.Step(live, {EventKind::kTimer, 0, {}});
  CHECK(live.transaction.stuck);
  CHECK_THAT(log, ContainsSubstring("'a'") && ContainsSubstring("does not exist"));
}

TEST_CASE("board: an unreadable record is brought in for who asks for it, and left alone") {
  MemoryStore store;
  Options options;
  Board board(store, options);
  Transaction damaged = NewTransaction("a");
  damaged.unreadable = true;
  damaged.last_error = "bad bytes";
  Live& live = board.Bring(std::move(damaged));
  CHECK_THAT(board.Step(live, {EventKind::kRetryNow, 0, {}}), ContainsSubstring("damaged"));
  CHECK(!live.dirty);
}

TEST_CASE("board: room by count and by bytes") {
  MemoryStore store;
  Options options;
  options.max_in_memory = 4;
  SECTION("count") {
    Board board(store, options);
    CHECK(board.Room() == 4);
    board.lives.Add(NewTransaction("a"));
    CHECK(!board.HalfFull());
    board.lives.Add(NewTransaction("b"));
    CHECK(board.HalfFull());
    CHECK(!board.Full());
    CHECK(board.Room() == 2);
    board.lives.Add(NewTransaction("c"));
    board.lives.Add(NewTransaction("d"));
    CHECK(board.Full());
    board.lives.Add(NewTransaction("e"));
    CHECK(board.Room() == 0);
  }
  SECTION("bytes") {
    options.max_memory_bytes = 2000;
    Board board(store, options);
    board.lives.Add(NewTransaction("a"));
    CHECK(board.HalfFull());
    board.lives.Add(NewTransaction("b"));
    CHECK(board.Full());
    CHECK(board.Room() == 0);
  }
}

TEST_CASE("board: logs and callbacks that throw, or are not there") {
  MemoryStore store;
  Options options;
  options.log = [](dtm::LogLevel, const std::string&) { throw std::runtime_error("log"); };
  {
    Board board(store, options);
    board.Log(dtm::LogLevel::kError, "text");
  }
  options.log = nullptr;
  Board board(store, options);
  board.Log(dtm::LogLevel::kError, "text");
  Live& live = board.lives.Add(NewTransaction("a"));
  board.AddWaiter(live, Waiter());  // nobody to tell
  CHECK(live.waiters.empty());
}
