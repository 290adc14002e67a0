/// What is asked at a coordinator about transactions that another one on the store drives, without a database.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/shared_table.hpp"
#include "tests/support/transactions.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using dtm::Op;
using dtm::Result;
using dtm::testing::ScriptedAnswer;
using dtm_test::SharedStore;
using dtm_test::SharedTable;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using turns::Turns;
using Kind = dtm::Command::Kind;

namespace {

dtm::Definition Saga(const std::string& gid) { return world::NewDefinition(gid, 2); }
dtm::Definition Tcc(const std::string& gid) {
  dtm::Definition definition;
  definition.gid = gid;
  definition.type = dtm::TransType::kTcc;
  definition.options.timeout_to_fail = hours(1);
  return definition;
}
std::string Url(const std::string& gid, std::size_t step, Op op) {
  return "http://" + world::Key(gid, step, op);
}

/// One coordinator of several, with a time and branches of its own.
struct Node {
  Node(const std::shared_ptr<SharedTable>& table, const std::string& name)
      : store(std::make_shared<SharedStore>(table)), turns(store) {
    store->Introduce({name, "", ""});
  }
  void Pass(dtm::Duration duration) {
    const dtm::Time end = turns.time->Now() + duration;
    turns.Settle();
    while (turns.time->Now() < end) {
      turns.time->MoveTowards(
          (std::min)(end, (std::max)(turns.loop.NextTurn(), turns.time->Now() + milliseconds(1))));
      turns.Settle();
    }
  }
  /// As by its next beat.
  void Hear() {
    ++store->asked_times;
    turns.Settle();
  }
  std::string Answer(std::size_t place) const { return turns.answers[place]; }
  std::size_t InMemory() const { return turns.loop.Measured().in_memory; }

  const std::shared_ptr<SharedStore> store;
  Turns turns;
};

/// A saga whose first call gets no reply until the test says so.
struct Two {
  Two() {
    one.turns.branches.On(Url("g", 0, Op::kAction), {{Result::Success(), minutes(1), false}});
  }
  void Begin() {
    (void)one.turns.Submit(Saga("g"));
    one.turns.Settle();
  }
  std::shared_ptr<SharedTable> table = std::make_shared<SharedTable>();
  Node one{table, "one"};
  Node two{table, "two"};
};

}  // namespace

TEST_CASE(
    "elsewhere: who waits here for what another drives is told its end, or the status in time") {
  Two nodes;
  nodes.Begin();
  const std::size_t wait = nodes.two.turns.Ask(Kind::kWait, "g");
  auto waiting = Saga("g");
  waiting.options.wait_result = true;
  const std::size_t attached = nodes.two.turns.Submit(waiting);
  nodes.two.Pass(seconds(1));
  CHECK(nodes.two.Answer(wait).empty());
  CHECK(nodes.two.Answer(attached).empty());
  CHECK(nodes.two.store->looks == 10);
  nodes.one.Pass(hours(1));
  REQUIRE(nodes.one.turns.Status("g") == "succeed");
  nodes.two.Pass(milliseconds(100));
  CHECK(nodes.two.Answer(wait) == "succeed");
  CHECK(nodes.two.Answer(attached) == "succeed");
  nodes.two.Pass(seconds(1));
  CHECK(nodes.two.store->looks == 11);  // nobody waits any more
}

TEST_CASE("elsewhere: who waited when another took over goes on waiting, also if that one dies") {
  Two nodes;
  nodes.Begin();
  const std::size_t wait = nodes.one.turns.Ask(Kind::kWait, "g");
  nodes.one.turns.Settle();
  SECTION("fenced") { nodes.table->Inherit(nodes.one.store->Owner(), nodes.two.store->Owner()); }
  SECTION("only this one was written") {
    dtm::Transaction taken = nodes.one.store->Load("g").value();
    REQUIRE(dtm_test::Put(*nodes.two.store, taken));
  }
  nodes.one.Pass(minutes(2));
  CHECK(nodes.one.Answer(wait).empty());
  nodes.two.Pass(minutes(2));
  REQUIRE(nodes.two.turns.Status("g") == "succeed");
  nodes.one.Pass(milliseconds(200));
  CHECK(nodes.one.Answer(wait) == "succeed");
}

TEST_CASE("elsewhere: Cancel and RetryNow are obeyed by the one that drives it, who replies") {
  Two nodes;
  nodes.one.turns.branches.On(Url("r", 0, Op::kAction),
                              {{Result::Error("no"), {}, false}, {Result::Success(), {}, false}});
  nodes.Begin();
  (void)nodes.one.turns.Submit(Saga("r"));
  nodes.one.turns.Settle();
  const std::size_t cancel = nodes.two.turns.Ask(Kind::kCancel, "g");
  const std::size_t retry = nodes.two.turns.Ask(Kind::kRetryNow, "r");
  nodes.two.Pass(seconds(1));
  CHECK(nodes.two.Answer(cancel).empty());
  CHECK(nodes.one.turns.Status("g") == "submitted");
  nodes.one.Hear();
  CHECK(nodes.one.turns.Status("g") == "aborting");
  CHECK(nodes.one.turns.Status("r") == "succeed");
  nodes.two.Pass(milliseconds(100));
  CHECK(nodes.two.Answer(cancel) == "aborting");
  CHECK(nodes.two.Answer(retry) == "succeed");
  // What the other one refuses is refused here, as the same kind of error.
  nodes.one.turns.branches.On(Url("late", 0, Op::kAction),
                              {{Result::Success(), minutes(1), false}});
  (void)nodes.one.turns.Submit(Saga("late"));
  nodes.one.turns.Settle();
  const std::size_t ended = nodes.two.turns.Ask(Kind::kCancel, "late");
  nodes.two.turns.Settle();
  nodes.one.Pass(minutes(2));
  REQUIRE(nodes.one.turns.Status("late") == "succeed");
  nodes.one.Hear();
  nodes.two.Pass(milliseconds(100));
  CHECK_THAT(nodes.two.Answer(ended),
             StartsWith("RejectedError") && ContainsSubstring("already ended as succeed"));
}

namespace {

/// Asks `node` to skip branch 01 action; the place of the answer.
std::size_t Skip(Node& node, const std::string& gid) {
  dtm::Command command;
  command.kind = Kind::kSkip;
  command.gid = gid;
  command.reason = "by hand";
  command.step.branch_id = "01";
  command.step.op = Op::kAction;
  return node.turns.Ask(std::move(command));
}

}  // namespace

TEST_CASE("elsewhere: a branch is skipped by the one that drives it, if it knows how") {
  Two nodes;
  for (const char* gid : {"r", "s"}) {
    nodes.one.turns.branches.On(Url(gid, 0, Op::kAction),
                                {{Result::Error("no"), {}, false}, {Result::Success(), {}, false}});
    (void)nodes.one.turns.Submit(Saga(gid));
  }
  nodes.one.turns.Settle();
  const std::size_t skip = Skip(nodes.two, "r");
  nodes.two.turns.Settle();
  nodes.one.Hear();
  CHECK(nodes.one.turns.Status("r") == "succeed");
  CHECK(nodes.table->asked.at(1).reply == std::optional<std::string>("+skipped"));
  nodes.two.Pass(milliseconds(100));
  CHECK(nodes.two.Answer(skip) == "succeed");
  // An earlier version takes what it does not know for a look, and replies that all is well.
  const std::size_t old = Skip(nodes.two, "s");
  nodes.two.turns.Settle();
  REQUIRE(nodes.one.store->TakeUp(2));
  nodes.one.store->Reply(2, "+");
  nodes.two.Pass(milliseconds(100));
  CHECK_THAT(nodes.two.Answer(old), StartsWith("RejectedError: gid 's' was not changed") &&
                                        ContainsSubstring("an earlier version"));
  // What a later version asks is refused, and not taken for done.
  dtm::Request request;
  request.kind = static_cast<dtm::Request::Kind>(5);
  request.gid = "s";
  const std::int64_t later = nodes.two.store->Ask(request);
  nodes.one.Hear();
  CHECK_THAT(nodes.table->asked.at(later).reply.value_or(""),
             StartsWith("rgid 's' was not changed") && ContainsSubstring("an earlier version"));
  CHECK(nodes.one.turns.Status("s") == "submitted");
}

TEST_CASE(
    "elsewhere: a skip that finds the coordinator fenced is in doubt; asked again, the heir does "
    "it") {
  Two nodes;
  Node heir{nodes.table, "heir"};
  nodes.one.turns.branches.On(Url("r", 0, Op::kAction), {{Result::Error("no"), {}, false}});
  (void)nodes.one.turns.Submit(Saga("r"));
  nodes.one.turns.Settle();
  const std::size_t fenced = Skip(nodes.one, "r");
  nodes.one.store->before_commit = [&] {
    if (!nodes.table->IsMember(nodes.one.store->Owner())) return;
    nodes.table->Inherit(nodes.one.store->Owner(), heir.store->Owner());
  };
  nodes.one.turns.Settle();
  CHECK_THAT(nodes.one.Answer(fenced), StartsWith("InDoubtError"));
  heir.turns.Settle();
  CHECK(heir.store->Load("r")->branches[1].status == dtm::BranchStatus::kPrepared);
  nodes.one.store->before_commit = nullptr;
  const std::size_t again = Skip(nodes.one, "r");
  nodes.one.turns.Settle();
  heir.Hear();
  nodes.one.Pass(milliseconds(200));
  CHECK(nodes.one.Answer(again) == "succeed");
  CHECK(heir.turns.Status("r") == "succeed");
  for (const std::string& url : heir.turns.branches.Urls()) CHECK(url != Url("r", 0, Op::kAction));
}

TEST_CASE("elsewhere: the heir obeys what the dead one was asked") {
  Two nodes;
  Node heir{nodes.table, "heir"};
  nodes.Begin();
  const std::size_t cancel = nodes.two.turns.Ask(Kind::kCancel, "g");
  nodes.two.turns.Settle();
  const bool heard = GENERATE(false, true);
  if (heard) (void)nodes.one.store->Asked();  // and then it dies
  nodes.table->Inherit(nodes.one.store->Owner(), heir.store->Owner());
  heir.turns.loop.Turn();
  heir.Hear();
  nodes.two.Pass(milliseconds(200));
  CHECK(nodes.two.Answer(cancel) == "aborting");
}

TEST_CASE("elsewhere: without a reply nothing was changed, or it may have been") {
  Two nodes;
  nodes.Begin();
  const std::size_t cancel = nodes.two.turns.Ask(Kind::kCancel, "g");
  nodes.two.Pass(seconds(1));
  SECTION("nobody has read it") {
    nodes.two.Pass(seconds(5));
    CHECK_THAT(nodes.two.Answer(cancel),
               StartsWith("StoreError") && ContainsSubstring("'g' was not changed"));
    nodes.one.Hear();  // too late
    CHECK(nodes.one.turns.Status("g") == "submitted");
  }
  SECTION("the store cannot be read") {
    nodes.two.store->reading_fails = true;
    nodes.two.Pass(seconds(11));
    CHECK_THAT(nodes.two.Answer(cancel), StartsWith("InDoubtError"));
  }
  SECTION("it is being obeyed") {
    REQUIRE(nodes.one.store->TakeUp(1));
    nodes.two.Pass(seconds(5));
    CHECK(nodes.two.Answer(cancel).empty());
    nodes.two.Pass(seconds(6));
    CHECK_THAT(nodes.two.Answer(cancel), StartsWith("InDoubtError"));
  }
}

TEST_CASE(
    "elsewhere: what is prepared is nobody's, so it is in no memory, and any command counts here") {
  Two nodes;
  (void)nodes.one.turns.Prepare(Tcc("t"));
  nodes.one.turns.Settle();
  CHECK(nodes.one.InMemory() == 0);
  const std::size_t wait = nodes.one.turns.Ask(Kind::kWait, "t");
  const std::size_t first = nodes.two.turns.Register("t", "01");
  nodes.two.turns.Settle();
  const std::size_t second = nodes.one.turns.Register("t", "02");
  nodes.one.turns.Settle();
  CHECK(nodes.two.Answer(first) == "prepared");
  CHECK(nodes.one.Answer(second) == "prepared");
  CHECK(nodes.one.InMemory() + nodes.two.InMemory() == 0);
  CHECK(nodes.one.store->Load("t")->definition->steps.size() == 2);
  const std::size_t submitted = nodes.two.turns.Submit(Tcc("t"));
  nodes.two.turns.Settle();
  CHECK(nodes.two.Answer(submitted) == "submitted");
  CHECK(nodes.two.turns.Status("t") == "succeed");
  nodes.one.Pass(milliseconds(100));
  CHECK(nodes.one.Answer(wait) == "succeed");
  CHECK(nodes.one.turns.branches.Calls().empty());
  // The time of one that nobody submits comes where it was written last.
  (void)nodes.one.turns.Prepare(Tcc("late"));
  nodes.one.turns.Settle();
  nodes.one.Pass(hours(2));
  CHECK(nodes.one.turns.Status("late") == "failed");
}

TEST_CASE("elsewhere: a command that another's write came before is repeated for what is stored") {
  Two nodes;
  (void)nodes.one.turns.Prepare(Tcc("t"));
  nodes.one.turns.Settle();
  // Between the load and the commit of one, the other writes.
  bool once = true;
  std::size_t theirs = 0;
  const auto before = [&](auto command) {
    nodes.one.store->before_commit = [&, command] {
      if (!std::exchange(once, false)) return;
      theirs = command();
      nodes.two.turns.Settle();
    };
  };
  SECTION("both register") {
    before([&] { return nodes.two.turns.Register("t", "01"); });
    const std::size_t mine = nodes.one.turns.Register("t", "02");
    nodes.one.turns.Settle();
    CHECK(nodes.one.Answer(mine) == "prepared");
    CHECK(nodes.two.Answer(theirs) == "prepared");
    CHECK(nodes.one.store->Load("t")->definition->steps.size() == 2);
  }
  SECTION("both submit") {
    before([&] { return nodes.two.turns.Submit(Tcc("t")); });
    const std::size_t mine = nodes.one.turns.Submit(Tcc("t"));
    nodes.one.turns.Settle();
    CHECK(nodes.one.Answer(mine) == "succeed");
    CHECK(nodes.two.Answer(theirs) == "succeed");
  }
  SECTION("one registers what is submitted") {
    before([&] { return nodes.two.turns.Submit(Tcc("t")); });
    const std::size_t mine = nodes.one.turns.Register("t", "02");
    nodes.one.turns.Settle();
    CHECK_THAT(nodes.one.Answer(mine),
               StartsWith("RejectedError: no trans with gid: t status: prepared found"));
  }
  SECTION("one aborts what is submitted, one submits what is aborted") {
    nodes.two.turns.branches.On("http://01/confirm", {{Result::Success(), minutes(1), false}});
    (void)nodes.two.turns.Register("t", "01");
    nodes.two.turns.Settle();
    const bool aborts = GENERATE(true, false);
    before([&] {
      return aborts ? nodes.two.turns.Submit(Tcc("t")) : nodes.two.turns.Ask(Kind::kCancel, "t");
    });
    const std::size_t mine =
        aborts ? nodes.one.turns.Ask(Kind::kCancel, "t") : nodes.one.turns.Submit(Tcc("t"));
    nodes.one.turns.Settle();
    nodes.two.Hear();  // the abort of a running one is asked of the one that drives it
    nodes.one.Pass(milliseconds(200));
    CHECK_THAT(nodes.one.Answer(mine), StartsWith("RejectedError") || StartsWith("FailureError"));
  }
  CHECK_FALSE(once);
}

TEST_CASE("elsewhere: ForceStop counts at any coordinator, and the one that drives it is told") {
  Two nodes;
  nodes.Begin();
  const std::size_t wait = nodes.one.turns.Ask(Kind::kWait, "g");
  nodes.one.turns.Settle();
  const std::size_t stopped = nodes.two.turns.Ask(Kind::kForceStop, "g");
  nodes.two.turns.Settle();
  CHECK(nodes.two.Answer(stopped) == "failed");
  CHECK(nodes.two.turns.branches.Calls().empty());
  nodes.one.Hear();
  CHECK(nodes.one.InMemory() == 0);
  nodes.one.Pass(milliseconds(100));
  CHECK(nodes.one.Answer(wait) == "failed");
}

TEST_CASE("elsewhere: Explain says who drives it, and the waiting ones of all are listed") {
  Two nodes;
  nodes.one.turns.branches.On(Url("r", 0, Op::kAction), Result::Error("no"));
  (void)nodes.one.turns.Submit(Saga("r"));
  nodes.one.turns.Settle();
  const auto explain = [](Node& node, const std::string& gid) {
    dtm::Command command;
    command.kind = Kind::kExplain;
    command.gid = gid;
    command.explained = std::make_shared<std::string>();
    const auto text = command.explained;
    CHECK(node.turns.Push(std::move(command)));
    node.turns.Settle();
    return *text;
  };
  CHECK_THAT(explain(nodes.two, "r"), ContainsSubstring("\ndriven by node one, seen 0.2 s ago"));
  CHECK_THAT(explain(nodes.one, "r"), ContainsSubstring("\ndriven by this node, one"));
  nodes.table->Fence(nodes.one.store->Owner());
  CHECK_THAT(explain(nodes.two, "r"), ContainsSubstring("\nnode one drove it and is gone"));
  dtm::Command list;
  list.kind = Kind::kListWaiting;
  list.after = nodes.two.turns.time->Now();
  list.limit = 10;
  list.listed = std::make_shared<std::vector<std::string>>();
  const auto gids = list.listed;
  CHECK(nodes.two.turns.Push(std::move(list)));
  nodes.two.turns.Settle();
  CHECK(*gids == std::vector<std::string>{"r"});
}
