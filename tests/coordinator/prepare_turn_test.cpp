/// Prepares and submits of one gid in the same turn, before anything is known of what is stored:
/// each is answered as if it had come alone.
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::testing::StoreFault;
using std::chrono::seconds;
using turns::Turns;
using world::NewDefinition;
using Texts = std::vector<std::string>;

namespace {

Definition Bare(const std::string& gid = "a") {
  Definition definition;
  definition.gid = gid;
  return definition;
}
Definition Other() {
  Definition definition = NewDefinition("a", 2);
  definition.steps[0].payload = "{\"other\":1}";
  return definition;
}
Definition Waiting(Definition definition) {
  definition.options.wait_result = true;
  return definition;
}

/// A store that can be broken for reading, and counts as a place where others write too.
class Shared : public dtm::MemoryStore {
 public:
  std::optional<dtm::Transaction> Load(const std::string& gid) override {
    if (broken) throw dtm::StoreError("the test's disk cannot be read");
    return MemoryStore::Load(gid);
  }
  bool broken = false;
};

/// What a previous run left in the store: a prepared one, or what became of a submitted one.
std::shared_ptr<Shared> Left(const std::string& status) {
  auto store = std::make_shared<Shared>();
  Turns former(store);
  if (status == "submitted") former.branches.On("http://a/01/action", Result::Ongoing());
  status == "prepared" ? former.Prepare(NewDefinition("a", 2))
                       : former.Submit(NewDefinition("a", 2));
  former.Settle();
  REQUIRE(former.Status("a") == status);
  return store;
}

}  // namespace

TEST_CASE("same turn: prepare and submit are one transaction, stored once, which runs once") {
  Turns turns;
  Definition submit = Bare();
  submit.options.retry_interval = seconds(7);
  const auto prepared = turns.Prepare(NewDefinition("a", 2));
  const auto submitted = turns.Submit(submit);
  const auto again = turns.Submit(Other());
  const auto waiting = turns.Submit(Waiting(Bare()));
  turns.Settle();
  CHECK(turns.answers[prepared] == "prepared");
  CHECK(turns.answers[submitted] == "submitted");
  CHECK(turns.answers[again] == "submitted");
  CHECK(turns.answers[waiting] == "succeed");
  CHECK(turns.branches.Urls() == Texts{"http://a/01/action", "http://a/02/action"});
  CHECK(turns.store.Load("a")->definition->options.retry_interval == seconds(7));
  CHECK(turns.store.Load("a")->definition->prepared_first);
}

TEST_CASE("same turn: what comes after a submit, or with other content, is refused") {
  Turns turns;
  SECTION("submit, then prepare") {
    turns.Submit(NewDefinition("a", 2));
    turns.Prepare(NewDefinition("a", 2));
    turns.Settle();
    CHECK(turns.answers[0] == "submitted");
    CHECK_THAT(turns.answers[1], ContainsSubstring("RejectedError: gid 'a': current status") &&
                                     ContainsSubstring("cannot prepare"));
  }
  SECTION("prepare, then the same, then another") {
    turns.Prepare(NewDefinition("a", 2));
    turns.Prepare(NewDefinition("a", 2));
    turns.Prepare(Other());
    turns.Settle();
    CHECK(turns.answers[0] == "prepared");
    CHECK(turns.answers[1] == "prepared");
    CHECK_THAT(turns.answers[2], ContainsSubstring("RejectedError: gid 'a' exists with other"));
    CHECK(turns.branches.Calls().empty());
  }
  SECTION("prepare, a submit with an order that does not fit, and one that does") {
    Definition wrong = NewDefinition("a", 5);
    wrong.orders = {{4, {3}}};
    turns.Prepare(NewDefinition("a", 2));
    turns.Submit(wrong);
    turns.Settle();
    CHECK(turns.answers[0] == "prepared");
    CHECK_THAT(turns.answers[1],
               ContainsSubstring("RejectedError") && ContainsSubstring("does not exist"));
    turns.Submit(Bare());
    turns.Settle();
    CHECK(turns.Status("a") == "succeed");
  }
}

TEST_CASE("same turn: if the commit fails all of them are refused and nothing is stored") {
  Turns turns;
  turns.Settle();
  const auto fault = GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored);
  turns.store.FailOnce(3, fault);  // Begin, Apply, Commit
  turns.Prepare(NewDefinition("a", 2));
  turns.Submit(Bare());
  turns.loop.Turn();
  for (const std::string& answer : turns.answers) {
    CHECK_THAT(answer, ContainsSubstring(fault == StoreFault::kDefinite ? "StoreError: gid 'a'"
                                                                        : "InDoubtError: gid 'a'"));
  }
  CHECK(turns.branches.Calls().empty());
  turns.time->MoveTowards(turns.time->Now() + seconds(1));
  turns.Settle();
  CHECK(turns.Status("a").empty());
  turns.Prepare(NewDefinition("a", 2));
  turns.Submit(Bare());
  turns.Settle();
  CHECK(turns.Status("a") == "succeed");
}

TEST_CASE("same turn: several submits of a stored prepared one; the first counts, it runs once") {
  Turns turns(Left("prepared"));
  const bool loaded = GENERATE(false, true);  // it was in memory once, and left
  CAPTURE(loaded);
  if (loaded) turns.Settle();
  turns.branches.On("http://a/01/action", {{Result::Success(), seconds(1), false}});
  Definition first = Bare(), second = Bare();
  first.options.retry_interval = seconds(7);
  second.options.retry_interval = seconds(8);
  turns.Submit(first);
  turns.Submit(second);
  turns.Submit(Waiting(second));
  turns.Submit(Waiting(first));
  turns.Settle();
  CHECK(turns.answers == Texts{"submitted", "submitted", "", ""});
  turns.time->MoveTowards(turns.time->Now() + seconds(1));
  turns.Settle();
  CHECK(turns.answers == Texts{"submitted", "submitted", "succeed", "succeed"});
  CHECK(turns.branches.Urls() == Texts{"http://a/01/action", "http://a/02/action"});
  CHECK(turns.store.Load("a")->definition->options.retry_interval == seconds(7));
}

TEST_CASE("same turn: several submits of a stored prepared one need not bring the same steps") {
  Turns turns(Left("prepared"));
  turns.Submit(Bare());
  turns.Submit(NewDefinition("a", 2));
  turns.Submit(Other());
  turns.Settle();
  CHECK(turns.answers == Texts{"submitted", "submitted", "submitted"});
  CHECK(turns.branches.Urls() == Texts{"http://a/01/action", "http://a/02/action"});
}

TEST_CASE("same turn: several prepares of a stored prepared one") {
  Turns turns(Left("prepared"));
  turns.Prepare(NewDefinition("a", 2));
  turns.Prepare(NewDefinition("a", 2));
  turns.Prepare(Other());
  turns.Settle();
  CHECK(turns.answers[0] == "prepared");
  CHECK(turns.answers[1] == "prepared");
  CHECK_THAT(turns.answers[2], ContainsSubstring("exists with other content"));
  CHECK(turns.store.Load("a")->version == 1);
  CHECK(turns.branches.Calls().empty());
}

TEST_CASE("same turn: the right prepare after a wrong one of what is stored") {
  Turns turns(Left("prepared"));
  turns.Prepare(Other());
  turns.Prepare(NewDefinition("a", 2));
  turns.Settle();
  CHECK_THAT(turns.answers[0], ContainsSubstring("exists with other content"));
  CHECK(turns.answers[1] == "prepared");
}

TEST_CASE("same turn: prepare and submit of what is stored are answered each for itself") {
  SECTION("prepared: the same prepare, and the submit") {
    Turns turns(Left("prepared"));
    turns.Prepare(NewDefinition("a", 2));
    turns.Submit(Bare());
    turns.Settle();
    CHECK(turns.answers == Texts{"submitted", "submitted"});
    CHECK(turns.branches.Calls().size() == 2);
  }
  SECTION("prepared: another prepare is refused, the submit sets the stored one going") {
    Turns turns(Left("prepared"));
    turns.Prepare(Other());
    turns.Submit(Bare());
    turns.Settle();
    CHECK_THAT(turns.answers[0], ContainsSubstring("exists with other content"));
    CHECK(turns.answers[1] == "submitted");
    CHECK(turns.store.Load("a")->definition->steps[0].payload == "{}");
    CHECK(turns.Status("a") == "succeed");
  }
  SECTION("submitted: the prepare is refused, the submit is the same again") {
    Turns turns(Left("submitted"));
    turns.Prepare(NewDefinition("a", 2));
    turns.Submit(NewDefinition("a", 2));
    turns.Settle();
    CHECK_THAT(turns.answers[0], ContainsSubstring("RejectedError") &&
                                     ContainsSubstring("status 'submitted', cannot prepare"));
    CHECK(turns.answers[1] == "submitted");
    CHECK(!turns.store.Load("a")->definition->prepared_first);
  }
  SECTION("submitted: a submit that brings other steps is refused") {
    Turns turns(Left("submitted"));
    turns.Prepare(NewDefinition("a", 2));
    turns.Submit(Other());
    turns.Settle();
    CHECK_THAT(turns.answers[0], ContainsSubstring("status 'submitted', cannot prepare"));
    CHECK_THAT(turns.answers[1], ContainsSubstring("exists with other content"));
  }
  SECTION("succeed: the prepare is refused, the submit is told") {
    Turns turns(Left("succeed"));
    turns.Prepare(NewDefinition("a", 2));
    turns.Submit(NewDefinition("a", 2));
    turns.Settle();
    CHECK_THAT(turns.answers[0], ContainsSubstring("status 'succeed', cannot prepare"));
    CHECK(turns.answers[1] == "succeed");
    CHECK(turns.branches.Calls().empty());
  }
}

TEST_CASE("same turn: a stored one that cannot be read at this moment is not touched") {
  auto store = Left("prepared");
  Turns turns(store);
  store->broken = true;
  turns.Submit(Bare());
  turns.Submit(Bare());
  turns.Settle();
  for (const std::string& answer : turns.answers) {
    CHECK_THAT(answer, ContainsSubstring("InDoubtError: gid 'a' may or may not be stored: the "
                                         "test's disk cannot be read"));
  }
  store->broken = false;
  CHECK(turns.Status("a") == "prepared");
  turns.Submit(Bare());
  turns.Settle();
  CHECK(turns.answers[2] == "submitted");
  CHECK(turns.Status("a") == "succeed");
}

TEST_CASE("same turn: one that cannot be checked, as the store cannot be read, is refused alone") {
  auto store = std::make_shared<Shared>();
  Turns turns(store);
  store->broken = true;
  Definition message;
  message.gid = "m";
  message.type = dtm::TransType::kMsg;
  message.steps.push_back({"topic://none", "", "{}"});
  Definition orders = Bare("o");
  orders.orders[1] = {0};
  turns.Submit(NewDefinition("a", 2));
  turns.Submit(message);
  turns.Submit(orders);
  turns.Submit(NewDefinition("b", 2));
  turns.Settle();
  CHECK(turns.answers[0] == "submitted");
  CHECK_THAT(turns.answers[1], ContainsSubstring("InDoubtError: gid 'm'"));
  CHECK_THAT(turns.answers[2], ContainsSubstring("InDoubtError: gid 'o'"));
  CHECK(turns.answers[3] == "submitted");
  store->broken = false;
  CHECK(turns.Status("a") == "succeed");
  CHECK(turns.Status("b") == "succeed");
}

TEST_CASE("same turn: a submit that met its prepared one as the coordinator stops") {
  Turns turns(Left("prepared"));
  turns.Settle();
  const bool one_more = GENERATE(false, true);
  CAPTURE(one_more);
  turns.Submit(Bare());
  turns.loop.Turn();
  CHECK(turns.answers == Texts{""});
  turns.loop.StartNothingNew();
  if (one_more) turns.loop.Turn();
  turns.loop.AnswerAll();
  CHECK(turns.branches.Calls().empty());
  if (one_more) {  // it is stored, and goes on with the next run
    CHECK(turns.answers == Texts{"submitted"});
    CHECK(turns.Status("a") == "submitted");
  } else {
    CHECK_THAT(turns.answers[0], ContainsSubstring("InDoubtError: gid 'a'"));
    CHECK(turns.Status("a") == "prepared");
  }
}
