/// ActiveTable: what is in memory, and how much.
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/state/active_table.hpp>

using dtm::ActiveTable;
using dtm::ActiveTransaction;
using dtm::BytesOf;
using dtm::Definition;
using dtm::Transaction;

namespace {

Transaction NewTransaction(const std::string& gid, std::size_t payload_bytes) {
  auto definition = std::make_shared<Definition>();
  definition->gid = gid;
  definition->steps.push_back({"http://h/a", "http://h/c", std::string(payload_bytes, 'x')});
  Transaction transaction;
  transaction.definition = definition;
  transaction.branches.resize(2);
  return transaction;
}

}  // namespace

TEST_CASE("active table: count and bytes follow what is added and removed") {
  ActiveTable table;
  CHECK(table.Find("a") == nullptr);
  ActiveTransaction& a = table.Add(NewTransaction("a", 1000));
  const std::size_t one = table.Bytes();
  CHECK(one >= 1000);
  CHECK(one == BytesOf(*a.transaction.definition));
  std::vector<std::string> gids;
  for (int i = 0; i < 1000; ++i) gids.push_back("gid" + std::to_string(i));
  for (const std::string& gid : gids) table.Add(NewTransaction(gid, 10));
  CHECK(table.Find("a") == &a);  // it stays where it is
  CHECK(table.Count() == 1001);
  std::size_t visited = 0;
  table.ForEach([&visited](ActiveTransaction&) { ++visited; });
  CHECK(visited == 1001);
  for (const std::string& gid : gids) table.Remove(*table.Find(gid));
  CHECK(table.Count() == 1);
  CHECK(table.Bytes() == one);
  table.Remove(a);
  CHECK(table.Bytes() == 0);
  CHECK(table.Find("a") == nullptr);
}

TEST_CASE("active table: a new one is fresh until it is stored, and knows what is out") {
  ActiveTable table;
  ActiveTransaction& active = table.Add(NewTransaction("a", 1));
  CHECK(active.Fresh());
  CHECK(!active.CallsOut());
  active.transaction.branches[1].in_flight = true;
  CHECK(active.CallsOut());
  active.transaction.version = 1;
  CHECK(!active.Fresh());
  Transaction stored = NewTransaction("b", 1);
  stored.due = dtm::Time(std::chrono::seconds(7));
  CHECK(table.Add(stored).stored_due == stored.due);
}

TEST_CASE("active table: all that strangers can make large counts for the bytes") {
  const Definition small = *NewTransaction("g", 10).definition;
  const auto more = [&small](auto change) {
    Definition large = small;
    change(large);
    return BytesOf(large) - BytesOf(small);
  };
  CHECK(more([](Definition& d) { d.gid += std::string(100, 'x'); }) == 100);
  CHECK(more([](Definition& d) { d.data = std::string(1000, 'x'); }) == 1000);
  CHECK(more([](Definition& d) { d.query_prepared = std::string(1000, 'x'); }) == 1000);
  CHECK(more([](Definition& d) { d.workflow = std::string(1000, 'x'); }) == 1000);
  CHECK(more([](Definition& d) { d.steps[0].compensate += std::string(1000, 'x'); }) == 1000);
  CHECK(more([](Definition& d) { d.steps[0].branch_id += std::string(1000, 'x'); }) == 1000);
  CHECK(more([](Definition& d) { d.steps[0].topic = std::string(1000, 'x'); }) == 1000);
  CHECK(more([](Definition& d) { d.options.branch_headers["name"] = std::string(1000, 'x'); }) >
        1004);
  CHECK(more([](Definition& d) { d.orders[1].assign(1000, 0); }) > 4000);
}

TEST_CASE(
    "active table: another definition of the same gid; it stays where it is, the bytes follow") {
  ActiveTable table;
  // Long gids: their text is in the definition, which goes.
  const std::string gid(100, 'g');
  ActiveTransaction& active = table.Add(NewTransaction(gid, 1000));
  ActiveTransaction& other = table.Add(NewTransaction("other", 10));
  const std::size_t rest = BytesOf(*other.transaction.definition);
  CHECK(!active.redefined);
  for (const std::size_t bytes : {5000u, 0u, 70u}) {
    Definition definition = *active.transaction.definition;
    definition.steps.push_back({"http://h/a2", "", std::string(bytes, 'y')});
    const std::weak_ptr<const Definition> before = active.transaction.definition;
    table.Redefine(active, definition);
    CHECK(before.expired());
    CHECK(active.redefined);
    CHECK(table.Find(gid) == &active);
    CHECK(active.transaction.definition->steps.back().payload.size() == bytes);
    CHECK(table.Count() == 2);
    CHECK(table.Bytes() == rest + BytesOf(*active.transaction.definition));
  }
  for (int i = 0; i < 1000; ++i) {  // the table grows around it
    table.Add(NewTransaction("gid" + std::to_string(i), 1));
  }
  CHECK(table.Find(gid) == &active);
  table.Remove(active);
  CHECK(table.Find(gid) == nullptr);
  CHECK(table.Count() == 1001);
}

TEST_CASE("active table: a step is added in place, unless somebody else holds the definition") {
  ActiveTable table;
  ActiveTransaction& active = table.Add(NewTransaction("a", 1));
  const std::size_t steps = active.transaction.definition->steps.size();
  const Definition* const first = active.transaction.definition.get();
  table.AddStep(active, {"http://h/a", "http://h/c", "one"});
  CHECK(active.transaction.definition.get() == first);
  const std::shared_ptr<const Definition> held = active.transaction.definition;
  table.AddStep(active, {"http://h/a", "http://h/c", "two"});
  CHECK(active.transaction.definition.get() != first);
  CHECK(held->steps.size() == steps + 1);
  REQUIRE(active.transaction.definition->steps.size() == steps + 2);
  CHECK(active.transaction.definition->steps[steps + 1].payload == "two");
  CHECK(active.new_steps == 2);
  CHECK_FALSE(active.redefined);
  CHECK(table.Find("a") == &active);
  CHECK(table.Bytes() == BytesOf(*active.transaction.definition));
  table.Remove(active);
  CHECK(table.Bytes() == 0);
}

TEST_CASE(
    "active table: a visit of many comes to each once, in their order, and does not mind what has "
    "left") {
  ActiveTable table;
  std::vector<ActiveTransaction*> list;
  for (int i = 0; i < 20; ++i)
    list.push_back(&table.Add(NewTransaction("g" + std::to_string(i), 10)));
  const std::vector<ActiveTransaction*> expected = list;
  std::vector<ActiveTransaction*> visited;
  dtm::ForEachActive(list, [&](ActiveTransaction& active) {
    visited.push_back(&active);
    table.Remove(active);
  });
  CHECK(visited == expected);
  CHECK(table.Count() == 0);
  std::size_t looked_at = 0;
  const auto look = [&looked_at](const ActiveTransaction&) { ++looked_at; };
  table.PrefetchAt(list[3]->slot, look);
  table.PrefetchAt(20, look);  // none was ever there
  CHECK(looked_at == 1);
}
