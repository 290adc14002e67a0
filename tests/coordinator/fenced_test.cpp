/// Several coordinators on one store: what the loop does when the others have taken over what it drove (Fenced), and with what
/// another one drives.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/shared_table.hpp"
#include "tests/support/transactions.hpp"
#include <tests/coordinator/turns.hpp>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm_test::SharedStore;
using dtm_test::SharedTable;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using turns::Turns;
using Kind = dtm::Command::Kind;

namespace {

dtm::Definition Saga(const std::string& gid, std::size_t steps = 2) {
  return world::NewDefinition(gid, steps);
}
dtm::Definition Message(const std::string& gid) {
  dtm::Definition definition;
  definition.gid = gid;
  definition.type = dtm::TransType::kMsg;
  definition.steps.push_back({"http://" + gid, "", "{}"});
  definition.query_prepared = "http://ask-" + gid;
  return definition;
}
std::string Url(const std::string& gid, std::size_t step, Op op) {
  return "http://" + world::Key(gid, step, op);
}

/// One coordinator of several, with a time and branches of its own.
struct Node {
  explicit Node(const std::shared_ptr<SharedTable>& table)
      : store(std::make_shared<SharedStore>(table)), turns(store) {}

  /// Lets time pass, with what happens in it.
  void Pass(dtm::Duration duration) {
    const dtm::Time end = turns.time->Now() + duration;
    turns.Settle();
    while (turns.time->Now() < end) {
      turns.time->MoveTowards(
          (std::min)(end, (std::max)(turns.loop.NextTurn(), turns.time->Now() + milliseconds(1))));
      turns.Settle();
    }
  }
  std::size_t Calls() const { return turns.branches.Calls().size(); }

  const std::shared_ptr<SharedStore> store;
  Turns turns;
};

/// All kinds of things in progress at the first of two coordinators, until its n-th commit finds it fenced; the second one is
/// its heir.
struct Takeover {
  explicit Takeover(std::uint64_t fenced_at) {
    heir.store->Recover();  // it is there before
    node.store->before_commit = [this, fenced_at, commit = std::uint64_t{0}]() mutable {
      if (++commit != fenced_at) return;
      table->Inherit(node.store->Owner(), heir.store->Owner());
      calls_before = node.Calls();
      fenced = true;
    };
    for (Node* one : {&node, &heir}) {
      one->turns.branches.On(Url("fails", 1, Op::kAction), Result::Failure("no"));
      one->turns.branches.On(Url("retries", 0, Op::kAction), Result::Error("later"));
      one->turns.branches.On(Url("slow", 0, Op::kAction),
                             {{Result::Success(), milliseconds(900), false}});
    }
  }

  void Submit(const dtm::Definition& definition) {
    gid_of[node.turns.Submit(definition)] = definition.gid;
  }

  void Run() {
    auto waiting = Saga("waited-for");
    waiting.options.wait_result = true;
    node.turns.branches.On(Url("waited-for", 1, Op::kAction),
                           {{Result::Success(), milliseconds(700), false}});
    Submit(Saga("good"));
    Submit(Saga("fails"));
    Submit(waiting);
    gid_of[node.turns.Prepare(Message("message"))] = "message";
    node.turns.loop.Turn();
    Submit(Saga("retries"));
    Submit(Saga("slow"));
    Submit(Saga("good"));  // again
    node.turns.Settle();
    Submit(Message("message"));
    asked.push_back(node.turns.Ask(Kind::kWait, "slow"));
    asked.push_back(node.turns.Ask(Kind::kCancel, "retries"));
    node.turns.Settle();
    asked.push_back(node.turns.Ask(Kind::kForceStop, "slow"));
    Submit(Saga("last"));
    node.Pass(minutes(1));
  }

  std::shared_ptr<SharedTable> table = std::make_shared<SharedTable>();
  Node node{table};
  Node heir{table};
  bool fenced = false;
  std::size_t calls_before = 0;
  std::map<std::size_t, std::string> gid_of;  ///< by the place of the answer
  std::vector<std::size_t> asked;
};

}  // namespace

TEST_CASE(
    "fenced at any commit: nothing new is stored, nothing leaves, everybody is told, the heir goes "
    "on") {
  std::uint64_t n = 1;
  for (;; ++n) {
    CAPTURE(n);
    Takeover takeover(n);
    takeover.Run();
    if (!takeover.fenced) break;
    Turns& turns = takeover.node.turns;
    // Who came before it was fenced is told the truth; who came later has found a coordinator that works.
    for (std::size_t place = 0; place < turns.answers.size(); ++place) {
      const std::string answer = turns.answers[place];
      const auto gid = takeover.gid_of.find(place);
      CAPTURE(answer, gid == takeover.gid_of.end() ? "asked" : gid->second);
      if (gid == takeover.gid_of.end() || answer.empty()) continue;
      const std::string status = turns.Status(gid->second);
      const bool refused = answer.rfind("StoreError", 0) == 0;
      const bool in_doubt = answer.rfind("InDoubtError", 0) == 0;
      if (!refused && !in_doubt) CHECK(status != "");
      // Nobody repeats what was refused, but for those that were submitted twice.
      if (refused && gid->second != "good" && gid->second != "message") CHECK(status == "");
    }
    // What it drove before is called by its heir only; what was submitted after it came back is its own.
    const auto& calls = turns.branches.Calls();
    for (std::size_t i = takeover.calls_before; i < calls.size(); ++i) {
      const auto stored = takeover.node.store->Load(calls[i].info.gid);
      CAPTURE(calls[i].url);
      REQUIRE(stored.has_value());
      CHECK(stored->owner == takeover.node.store->Owner());
    }
    takeover.heir.Pass(hours(2));
    takeover.node.Pass(hours(2));
    for (const std::string& answer : turns.answers) CHECK_FALSE(answer.empty());
    std::set<std::uint64_t> owners;
    for (const dtm::Transaction& stored : dtm_test::All(*takeover.node.store)) {
      CAPTURE(stored.definition->gid, stored.last_error, stored.owner);
      CHECK(dtm::IsFinal(stored.status));
      owners.insert(stored.owner);
    }
    CHECK(owners.count(0) == 0);
    CHECK(turns.loop.Measured().in_memory == 0);
    CHECK_FALSE(turns.loop.Measured().store_fails);
  }
  CHECK(n > 10);
}

TEST_CASE("fenced while it reads what is due: it comes back with nothing, and works") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node heir(table);
  node.turns.branches.On(Url("g", 0, Op::kAction), dtm::testing::ScriptedAnswer::Silence().result);
  table->Inherit(node.store->Owner(), heir.store->Owner());
  const std::size_t refused = node.turns.Submit(Saga("g"));
  node.turns.Settle();
  CHECK_THAT(node.turns.answers[refused],
             StartsWith("StoreError") && ContainsSubstring("'g' was not stored"));
  CHECK(node.Calls() == 0);
  node.Pass(milliseconds(100));
  const std::size_t again = node.turns.Submit(Saga("g"));
  node.turns.Settle();
  CHECK(node.turns.answers[again] == "submitted");
  CHECK(node.turns.Status("g") == "succeed");
}

TEST_CASE("a transaction that another has taken over leaves memory, and the others go on") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  for (const char* gid : {"theirs", "mine"}) {
    node.turns.branches.On(Url(gid, 0, Op::kAction),
                           {{Result::Success(), milliseconds(500), false}});
  }
  (void)node.turns.Submit(Saga("theirs"));
  (void)node.turns.Submit(Saga("mine"));
  node.turns.Settle();
  const std::size_t waits = node.turns.Ask(Kind::kWait, "theirs");
  node.turns.Settle();
  CHECK(node.Calls() == 2);
  Node other(table);
  dtm::Transaction taken = node.store->Load("theirs").value();
  REQUIRE(dtm_test::Put(*other.store, taken));
  node.Pass(minutes(1));
  CHECK(node.turns.Status("mine") == "succeed");
  CHECK(node.turns.Status("theirs") == "submitted");
  CHECK(node.Calls() == 3);  // the second step of one of them
  CHECK(node.turns.answers[waits].empty());
  CHECK(node.turns.loop.Measured().in_memory == 0);
  other.Pass(minutes(1));
  CHECK(node.turns.Status("theirs") == "succeed");
  node.Pass(milliseconds(100));
  CHECK(node.turns.answers[waits] == "succeed");
}

TEST_CASE("what another coordinator drives is not driven here, whatever is asked") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node other(table);
  node.turns.branches.On(Url("g", 0, Op::kAction), {dtm::testing::ScriptedAnswer::Silence()});
  (void)node.turns.Submit(Saga("g"));
  (void)node.turns.Prepare(Message("message"));
  node.turns.Settle();
  auto another = Saga("g");
  another.steps[0].payload = "9";
  const std::size_t same = other.turns.Submit(Saga("g"));
  const std::size_t different = other.turns.Submit(another);
  other.turns.Settle();
  const std::size_t cancel = other.turns.Ask(Kind::kCancel, "g");
  const std::size_t wait = other.turns.Ask(Kind::kWait, "g");
  other.turns.Settle();
  CHECK(other.turns.answers[same] == "submitted");
  CHECK_THAT(other.turns.answers[different], StartsWith("RejectedError"));
  CHECK(other.turns.answers[cancel].empty());  // asked of the other one, which is silent
  CHECK(other.turns.answers[wait].empty());
  CHECK(other.Calls() == 0);
  CHECK(other.turns.loop.Measured().in_memory == 0);
  CHECK(node.store->Load("g")->owner == node.store->Owner());

  // Nothing of what is prepared is out, and nothing of what is stopped goes on: who writes it has it.
  const std::size_t submitted = other.turns.Submit(Message("message"));
  const std::size_t stopped = other.turns.Ask(Kind::kForceStop, "g");
  other.turns.Settle();
  CHECK(other.turns.answers[submitted] == "submitted");
  CHECK(other.turns.Status("message") == "succeed");
  CHECK(other.turns.answers[stopped] == "failed");
  CHECK(other.turns.branches.Urls() == std::vector<std::string>{"http://message"});
  node.Pass(hours(1));
  CHECK(node.turns.Status("message") == "succeed");
  CHECK(node.turns.Status("g") == "failed");
  CHECK(node.Calls() == 1);
  CHECK(node.turns.loop.Measured().in_memory == 0);
}

TEST_CASE("a ForceStop that cannot be written does not bring in what another coordinator drives") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node other(table);
  node.turns.branches.On(Url("g", 0, Op::kAction),
                         {{Result::Success(), dtm::Duration(minutes(10)), false}});
  node.turns.Submit(Saga("g"));
  node.Pass(milliseconds(100));
  other.turns.store.FailAlways(dtm::testing::StoreFault::kDefinite);
  other.turns.Submit(Saga("refused"));
  other.turns.loop.Turn();
  const std::size_t stopped = other.turns.Ask(Kind::kForceStop, "g");
  other.turns.loop.Turn();
  CHECK_THAT(other.turns.answers[stopped], StartsWith("StoreError"));
  CHECK(other.turns.loop.Measured().in_memory == 0);
  other.turns.store.FailAlways(dtm::testing::StoreFault::kNone);
  other.Pass(minutes(1));
  CHECK(other.Calls() == 0);
  CHECK(node.store->Load("g")->owner == node.store->Owner());
}

TEST_CASE("without a lease that holds, nothing is called; what is stored and answered goes on") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  node.store->lease->holds = false;
  const std::size_t place = node.turns.Submit(Saga("g"));
  node.turns.Settle();
  CHECK(node.turns.answers[place] == "submitted");
  CHECK(node.Calls() == 0);
  CHECK(node.turns.loop.NextTurn() > node.turns.time->Now());
  node.Pass(minutes(1));
  CHECK(node.Calls() == 0);
  CHECK(node.turns.Status("g") == "submitted");
  node.store->lease->holds = true;
  node.Pass(milliseconds(50));
  CHECK(node.turns.Status("g") == "succeed");
}

TEST_CASE(
    "a call that the lease stops on its way is made again when it holds, as the same attempt") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  node.store->lease->asks_left = 2;  // the release stage, then the one that makes the call
  const std::size_t place = node.turns.Submit(Saga("g"));
  node.turns.Settle();
  CHECK(node.turns.answers[place] == "submitted");
  CHECK(node.Calls() == 0);
  const dtm::Transaction stored = node.store->Load("g").value();
  CHECK(stored.branches[1].tries == 1);
  CHECK(stored.branches[1].errors == 0);
  std::size_t commits = 0;
  node.store->before_commit = [&commits] { ++commits; };
  for (int i = 0; i < 3; ++i) {  // again and again: a store that is slow gets no more to do
    node.store->lease->asks_left = 2;
    node.store->lease->holds = true;
    node.Pass(milliseconds(20));
    REQUIRE_FALSE(node.store->lease->holds);
  }
  CHECK(node.Calls() == 0);
  CHECK(commits == 0);
  node.store->lease->holds = true;
  node.Pass(milliseconds(50));
  CHECK(node.turns.Status("g") == "succeed");
  CHECK(node.store->Load("g")->branches[1].tries == 1);
  CHECK(node.Calls() == 2);
}

TEST_CASE("a call that the lease stops on its way is dropped if the coordinator is fenced") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node heir(table);
  node.turns.branches.On(Url("g", 0, Op::kAction), {{Result::Success(), milliseconds(500), false}});
  (void)node.turns.Submit(Saga("g"));
  node.turns.Settle();
  REQUIRE(node.Calls() == 1);
  node.turns.time->MoveTowards(node.turns.time->Now() + milliseconds(500));
  node.store->lease->asks_left = 2;  // the release stage, then the one that makes the call
  node.turns.loop.Turn();
  REQUIRE_FALSE(node.store->lease->holds);
  CHECK(node.Calls() == 1);
  table->Inherit(node.store->Owner(), heir.store->Owner());
  (void)node.turns.Submit(Saga("another"));
  node.Pass(minutes(1));
  CHECK(node.store->lease->holds);
  CHECK(node.turns.Status("g") == "submitted");
  heir.Pass(minutes(1));
  CHECK(node.turns.Status("g") == "succeed");
  CHECK(node.Calls() == 1);
}

TEST_CASE(
    "a call that was held back for long is stored anew, with the time until which it may run") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  node.store->lease->holds = false;
  node.turns.branches.On(Url("g", 0, Op::kAction), {dtm::testing::ScriptedAnswer::Silence()});
  (void)node.turns.Submit(Saga("g"));
  node.turns.Settle();
  const dtm::Time before = node.store->Load("g")->branches[1].deadline;
  CHECK(before > node.turns.time->Now());
  SECTION("not long") {
    node.Pass(milliseconds(500));
    node.store->lease->holds = true;
    node.Pass(milliseconds(20));
    CHECK(node.Calls() == 1);
    CHECK(node.store->Load("g")->branches[1].deadline == before);
  }
  SECTION("longer than its timeout") {
    node.Pass(minutes(1));
    node.store->lease->holds = true;
    node.Pass(milliseconds(20));
    CHECK(node.Calls() == 1);
    CHECK(node.store->Load("g")->branches[1].deadline > node.turns.time->Now());
    CHECK(node.store->Load("g")->branches[1].tries == 1);
  }
}

TEST_CASE("what another one registered meanwhile stays, also when its transaction comes back") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node other(table);
  dtm::Definition tcc;
  tcc.gid = "t";
  tcc.type = dtm::TransType::kTcc;
  (void)node.turns.Prepare(tcc);
  node.turns.Settle();
  REQUIRE(node.turns.loop.Measured().in_memory == 0);  // nobody's yet
  const std::size_t theirs = other.turns.Register("t", "01");
  other.turns.Settle();
  REQUIRE(other.turns.answers[theirs] == "prepared");
  table->Inherit(other.store->Owner(), node.store->Owner());
  const std::size_t mine = node.turns.Register("t", "02");
  node.turns.Settle();
  CHECK(node.turns.answers[mine] == "prepared");
  CHECK(node.store->Load("t")->definition->steps.size() == 2);
  const std::size_t submitted = node.turns.Submit(tcc);
  node.turns.Settle();
  CHECK(node.turns.answers[submitted] == "submitted");
  CHECK(node.turns.Status("t") == "succeed");
  CHECK(node.turns.branches.Urls() ==
        std::vector<std::string>{"http://02/confirm", "http://01/confirm"});
}

TEST_CASE("fenced while its commit is in doubt: nothing leaves that was decided before") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node heir(table);
  node.store->lease->holds = false;
  (void)node.turns.Submit(Saga("g"));
  node.turns.Settle();
  REQUIRE(node.Calls() == 0);  // it is stored, and its call is held back
  bool once = true;
  node.store->before_commit = [&] {
    if (!std::exchange(once, false)) return;
    table->Inherit(node.store->Owner(), heir.store->Owner());
    node.store->lease->holds = true;
    throw dtm::CommitInDoubt("no answer");
  };
  (void)node.turns.Submit(Saga("another"));
  node.Pass(minutes(1));
  CHECK_FALSE(once);
  CHECK(node.Calls() == 0);
  const std::size_t again = node.turns.Submit(Saga("new"));
  node.turns.Settle();
  CHECK(node.turns.answers[again] == "submitted");
  CHECK(node.turns.Status("new") == "succeed");
  CHECK(node.turns.Status("g") == "submitted");
  heir.Pass(minutes(1));
  CHECK(node.turns.Status("g") == "succeed");
}

TEST_CASE("what another one has submitted and left goes on where it was prepared") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node other(table);
  dtm::Definition tcc;
  tcc.gid = "t";
  tcc.type = dtm::TransType::kTcc;
  tcc.options.timeout_to_fail = hours(1);
  (void)node.turns.Prepare(tcc);
  node.turns.Settle();
  REQUIRE(node.turns.loop.Measured().in_memory == 0);  // nobody's yet
  other.turns.branches.On("http://01/confirm", {dtm::testing::ScriptedAnswer::Silence()});
  (void)other.turns.Register("t", "01");
  other.turns.Settle();
  (void)other.turns.Submit(tcc);
  other.turns.Settle();
  REQUIRE(other.Calls() == 1);
  table->Inherit(other.store->Owner(), node.store->Owner());
  ++node.store->takeovers;
  node.Pass(minutes(1));
  CHECK(node.turns.Status("t") == "succeed");
  CHECK(node.turns.branches.Urls() == std::vector<std::string>{"http://01/confirm"});
}

TEST_CASE("a submit that came too late is not answered with the rollback as if it were its own") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node other(table);
  dtm::Definition tcc;
  tcc.gid = "t";
  tcc.type = dtm::TransType::kTcc;
  tcc.options.timeout_to_fail = hours(1);
  (void)node.turns.Prepare(tcc);
  (void)node.turns.Register("t", "01");
  node.turns.Settle();
  other.turns.branches.On("http://01/cancel", Result::Error("later"));
  int commits = 0;  // the first finds that the gid is stored
  node.store->before_commit = [&] {
    if (++commits != 2) return;
    (void)other.turns.Ask(Kind::kCancel, "t");
    other.turns.Settle();
    table->Inherit(node.store->Owner(), other.store->Owner());
  };
  tcc.options.wait_result = true;
  const std::size_t late = node.turns.Submit(tcc);
  node.Pass(minutes(1));
  CHECK(commits >= 2);
  CHECK(node.turns.Status("t") == "aborting");
  CHECK_THAT(node.turns.answers[late], StartsWith("InDoubtError"));
  const std::size_t again = node.turns.Submit(tcc);
  node.turns.Settle();
  CHECK_THAT(node.turns.answers[again], StartsWith("RejectedError"));
}

TEST_CASE("asked after it was fenced and before it has recovered, it brings nothing back") {
  for (const Kind kind : {Kind::kWait, Kind::kRetryNow, Kind::kCancel}) {
    const auto table = std::make_shared<SharedTable>();
    Node node(table);
    Node heir(table);
    node.turns.branches.On(Url("g", 0, Op::kAction), {dtm::testing::ScriptedAnswer::Silence()});
    (void)node.turns.Submit(Saga("g"));
    node.turns.Settle();
    REQUIRE(node.Calls() == 1);
    const std::uint64_t owner = node.store->Owner();
    table->Fence(owner);
    const std::size_t refused = node.turns.Submit(Saga("another"));
    node.turns.Settle();
    REQUIRE_THAT(node.turns.answers[refused], StartsWith("StoreError"));
    REQUIRE(node.store->Owner() == owner);
    (void)node.turns.Ask(kind, "g");
    node.Pass(minutes(1));
    REQUIRE(node.store->Owner() != owner);
    CHECK(node.Calls() == 1);
    CHECK(node.store->Load("g")->owner == owner);
    CHECK(node.turns.loop.Measured().in_memory == 0);
    table->Inherit(owner, heir.store->Owner());
    ++heir.store->takeovers;
    heir.Pass(minutes(1));
    CHECK(node.turns.Status("g") == "succeed");
  }
}

TEST_CASE("a takeover is not taken for a commit in doubt: what that commit had is done again") {
  const auto table = std::make_shared<SharedTable>();
  Node node(table);
  Node other(table);
  dtm::Definition tcc;
  tcc.gid = "t";
  tcc.type = dtm::TransType::kTcc;
  (void)node.turns.Prepare(tcc);
  node.turns.Settle();
  bool once = true;
  other.store->before_commit = [&] {
    if (!std::exchange(once, false)) return;
    table->Inherit(node.store->Owner(), other.store->Owner());
    throw dtm::CommitInDoubt("no answer");
  };
  const std::size_t registered = other.turns.Register("t", "01");
  other.Pass(minutes(1));
  CHECK_FALSE(once);
  CHECK(other.store->Load("t")->owner == other.store->Owner());
  CHECK(other.store->Load("t")->definition->steps.size() == 1);
  CHECK(other.turns.answers[registered] == "prepared");
}
