/// How much room is left in memory: by number, and by bytes.
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/coordinator/state/room.hpp>

namespace {

void Add(dtm::ActiveTable& table, int number, std::size_t bytes = 1) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g" + std::to_string(number);
  definition->data = std::string(bytes, 'x');
  dtm::Transaction transaction;
  transaction.definition = std::move(definition);
  table.Add(std::move(transaction));
}

}  // namespace

TEST_CASE("room: by number, what waits for a time has half of it") {
  dtm::Options options;
  options.max_in_memory = 4;
  dtm::ActiveTable table;
  const dtm::Room room(table, options);
  CHECK(room.Count() == 4);
  Add(table, 1);
  CHECK_FALSE(room.HalfFull());
  Add(table, 2);
  CHECK(room.HalfFull());
  CHECK(room.Count() == 2);
  Add(table, 3);
  CHECK_FALSE(room.Full());
  Add(table, 4);
  CHECK(room.Full());
  CHECK_FALSE(room.Overfull());
  CHECK(room.Count() == 0);
  CHECK(room.Bytes() == 0);
  Add(table, 5);
  CHECK(room.Overfull());
  CHECK(room.Count() == 0);
}

TEST_CASE("room: by bytes") {
  dtm::Options options;
  options.max_memory_bytes = std::size_t{1} << 20;
  dtm::ActiveTable table;
  const dtm::Room room(table, options);
  const std::size_t before = room.Bytes();
  CHECK(before == dtm::ActiveBytes(options));
  Add(table, 1, before / 2);
  CHECK(room.HalfFull());
  CHECK(room.Bytes() < before / 2);
  CHECK_FALSE(room.Full());
  Add(table, 2, before);
  CHECK(room.Overfull());
  CHECK(room.Count() == 0);
}
