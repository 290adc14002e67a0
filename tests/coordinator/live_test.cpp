/// Lives: what is in memory, and how much.
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/live.hpp>

using dtm::BytesOf;
using dtm::Definition;
using dtm::Live;
using dtm::Lives;
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

TEST_CASE("lives: count and bytes follow what is added and removed") {
  Lives lives;
  CHECK(lives.Find("a") == nullptr);
  Live& a = lives.Add(NewTransaction("a", 1000));
  const std::size_t one = lives.Bytes();
  CHECK(one >= 1000);
  CHECK(one == BytesOf(*a.transaction.definition));
  std::vector<std::string> gids;
  for (int i = 0; i < 1000; ++i) gids.push_back("gid" + std::to_string(i));
  for (const std::string& gid : gids) lives.Add(NewTransaction(gid, 10));
  CHECK(lives.Find("a") == &a);  // a Live stays where it is
  CHECK(lives.Count() == 1001);
  std::size_t visited = 0;
  lives.ForEach([&visited](Live&) { ++visited; });
  CHECK(visited == 1001);
  for (const std::string& gid : gids) lives.Remove(*lives.Find(gid));
  CHECK(lives.Count() == 1);
  CHECK(lives.Bytes() == one);
  lives.Remove(a);
  CHECK(lives.Bytes() == 0);
  CHECK(lives.Find("a") == nullptr);
}

TEST_CASE("lives: a new one is fresh until it is stored, and knows what is out") {
  Lives lives;
  Live& live = lives.Add(NewTransaction("a", 1));
  CHECK(live.Fresh());
  CHECK(!live.CallsOut());
  live.transaction.branches[1].in_flight = true;
  CHECK(live.CallsOut());
  live.transaction.version = 1;
  CHECK(!live.Fresh());
  Transaction stored = NewTransaction("b", 1);
  stored.due = dtm::Time(std::chrono::seconds(7));
  CHECK(lives.Add(stored).stored_due == stored.due);
}

TEST_CASE("lives: all that strangers can make large counts for the bytes") {
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

TEST_CASE("lives: another definition of the same gid; it stays where it is, the bytes follow") {
  Lives lives;
  // Long gids: their text is in the definition, which goes.
  const std::string gid(100, 'g');
  Live& live = lives.Add(NewTransaction(gid, 1000));
  Live& other = lives.Add(NewTransaction("other", 10));
  const std::size_t rest = BytesOf(*other.transaction.definition);
  CHECK(!live.redefined);
  for (const std::size_t bytes : {5000u, 0u, 70u}) {
    Definition definition = *live.transaction.definition;
    definition.steps.push_back({"http://h/a2", "", std::string(bytes, 'y')});
    const std::weak_ptr<const Definition> before = live.transaction.definition;
    lives.Redefine(live, definition);
    CHECK(before.expired());
    CHECK(live.redefined);
    CHECK(lives.Find(gid) == &live);
    CHECK(live.transaction.definition->steps.back().payload.size() == bytes);
    CHECK(lives.Count() == 2);
    CHECK(lives.Bytes() == rest + BytesOf(*live.transaction.definition));
  }
  for (int i = 0; i < 1000; ++i) {  // the table grows around it
    lives.Add(NewTransaction("gid" + std::to_string(i), 1));
  }
  CHECK(lives.Find(gid) == &live);
  lives.Remove(live);
  CHECK(lives.Find(gid) == nullptr);
  CHECK(lives.Count() == 1001);
}

TEST_CASE("lives: a step is added in place, unless somebody else holds the definition") {
  Lives lives;
  Live& live = lives.Add(NewTransaction("a", 1));
  const std::size_t steps = live.transaction.definition->steps.size();
  const Definition* const first = live.transaction.definition.get();
  lives.AddStep(live, {"http://h/a", "http://h/c", "one"});
  CHECK(live.transaction.definition.get() == first);
  const std::shared_ptr<const Definition> held = live.transaction.definition;
  lives.AddStep(live, {"http://h/a", "http://h/c", "two"});
  CHECK(live.transaction.definition.get() != first);
  CHECK(held->steps.size() == steps + 1);
  REQUIRE(live.transaction.definition->steps.size() == steps + 2);
  CHECK(live.transaction.definition->steps[steps + 1].payload == "two");
  CHECK(live.new_steps == 2);
  CHECK_FALSE(live.redefined);
  CHECK(lives.Find("a") == &live);
  CHECK(lives.Bytes() == BytesOf(*live.transaction.definition));
  lives.Remove(live);
  CHECK(lives.Bytes() == 0);
}

TEST_CASE(
    "lives: a visit of many comes to each once, in their order, and does not mind what has left") {
  Lives lives;
  std::vector<Live*> list;
  for (int i = 0; i < 20; ++i)
    list.push_back(&lives.Add(NewTransaction("g" + std::to_string(i), 10)));
  const std::vector<Live*> expected = list;
  std::vector<Live*> visited;
  dtm::ForEachLive(list, [&](Live& live) {
    visited.push_back(&live);
    lives.Remove(live);
  });
  CHECK(visited == expected);
  CHECK(lives.Count() == 0);
  std::size_t looked_at = 0;
  const auto look = [&looked_at](const Live&) { ++looked_at; };
  lives.PrefetchAt(list[3]->place, look);
  lives.PrefetchAt(20, look);  // none was ever there
  CHECK(looked_at == 1);
}
