/// Conflicts: a stored record that is not the one a change was made from takes its place in memory.
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <tests/coordinator/turns.hpp>

using turns::Turns;
using world::NewDefinition;

TEST_CASE("conflicts: a repeat brings its stored record into memory, and reads nothing else") {
  auto inner = std::make_shared<dtm::MemoryStore>();
  {
    Turns before(inner);
    before.Submit(NewDefinition("a", 1));
    before.loop.Turn();  // stored, and no answer has come
  }
  dtm::Options options = world::World::Quiet({});
  dtm::Board board(*inner, options);
  dtm::Conflicts conflicts(board);
  dtm::Transaction fresh;
  fresh.definition = std::make_shared<const dtm::Definition>(NewDefinition("a", 1));
  dtm::Live& live = board.lives.Add(std::move(fresh));
  conflicts.OnGidExists(live);
  CHECK(board.lives.Count() == 1);
  REQUIRE(board.lives.Find("a") != nullptr);
  CHECK(!board.lives.Find("a")->Fresh());
  CHECK(board.again.size() == 1);
  CHECK(board.returned.size() == 1);
}
