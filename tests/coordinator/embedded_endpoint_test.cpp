/// The coordinator in this process as an endpoint: messages that are prepared and asked about, topics,
/// workflows that are recorded and finished, and calls that the initiator makes itself.
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/coordinator/embedded_endpoint.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::TransType;
using dtm::WorkflowState;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

namespace {

Definition Message(const Texts& actions, const std::string& query = "http://b/query") {
  Definition message;
  message.gid = "g";
  message.type = TransType::kMsg;
  message.query_prepared = query;
  for (const std::string& action : actions) message.steps.push_back({action, "", "{}"});
  return message;
}
Definition Workflow(const std::string& resume = "http://b/resume") {
  Definition workflow;
  workflow.gid = "g";
  workflow.type = TransType::kWorkflow;
  workflow.workflow = "wf";
  workflow.data = "data";
  workflow.query_prepared = resume;
  return workflow;
}
dtm::Step Record(const std::string& id, Op op, const std::string& answer, bool failed = false) {
  dtm::Step step;
  step.branch_id = id;
  step.op = op;
  step.payload = answer;
  step.failed = failed;
  return step;
}
std::string Told(const WorkflowState& state) {
  std::string text = Name(state.status) + std::string(":");
  for (const dtm::Step& step : state.recorded) {
    text += " " + step.branch_id + "-" + Name(step.op) + "=" + step.payload;
    if (step.failed) text += "!";
  }
  return text;
}

struct House {
  explicit House(bool crashes = false, TestCoordinator::Setup setup = {})
      : kit(std::move(setup), dtm_test::Quiet()), crashes_(crashes) {}
  void MayCrash() {
    if (crashes_) kit.Crash();
  }
  std::string Seen() {
    const auto stored = kit->Query("g");
    return stored ? Name(stored->status) : "none";
  }
  TestCoordinator kit;

 private:
  const bool crashes_;
};

}  // namespace

// ---- messages ----

TEST_CASE("endpoint: a prepared message is delivered once it is submitted, and nobody is asked") {
  House house(GENERATE(false, true));
  CHECK(house.kit->Prepare(Message({"http://b/1", "http://b/2"})).status == Status::kPrepared);
  house.MayCrash();
  house.kit.Advance(seconds(30));
  CHECK(house.kit.Branches().Calls().empty());
  house.kit->Submit(Message({"http://b/1", "http://b/2"}));
  house.kit.Advance(seconds(100));
  CHECK(house.Seen() == "succeed");
  CHECK(house.kit.Branches().Urls() == Texts{"http://b/1", "http://b/2"});
}

TEST_CASE("endpoint: who prepared a message and went away is asked what is to happen") {
  House house(GENERATE(false, true));
  house.kit.Branches().On("http://b/query", {{Result::Ongoing()}, {Result::Error("boom")}});
  const std::string answer = GENERATE(as<std::string>{}, "yes", "no");
  house.kit.Branches().On("http://b/query",
                          answer == "yes" ? Result::Success() : Result::Failure("never was"));
  house.kit->Prepare(Message({"http://b/1"}));
  house.MayCrash();
  house.kit.Advance(seconds(34));
  CHECK(house.kit.Branches().Calls().empty());
  house.kit.Advance(seconds(2));
  REQUIRE(house.kit.Branches().Urls() == Texts{"http://b/query"});
  const dtm::BranchInfo asked = house.kit.Branches().Calls()[0].info;
  CHECK(asked.branch_id == "00");
  CHECK(asked.op == Op::kMsg);
  CHECK(asked.trans_type == TransType::kMsg);
  CHECK(house.Seen() == "prepared");
  house.MayCrash();
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == (answer == "yes" ? "succeed" : "failed"));
  Texts expected{"http://b/query", "http://b/query", "http://b/query"};
  if (answer == "yes") expected.push_back("http://b/1");
  CHECK(house.kit.Branches().Urls() == expected);
  if (answer == "no") CHECK_THAT(house.kit->Query("g")->reason, ContainsSubstring("never was"));
}

TEST_CASE("endpoint: a function of this process may be who is asked") {
  int asked = 0;
  House house(false, [&](dtm::Coordinator& tm) {
    tm.Register<nlohmann::json>("ask", [&](const nlohmann::json&) {
      ++asked;
      return Result::Failure("it was rolled back");
    });
  });
  Definition message = Message({"http://b/1"}, "local:ask");
  house.kit->Prepare(message);
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == "failed");
  CHECK(asked == 1);
  CHECK(house.kit.Branches().Calls().empty());
}

TEST_CASE("endpoint: the submit while the initiator is asked counts, whatever is answered later") {
  House house;
  house.kit.Branches().On("http://b/query", {{Result::Failure("too late to say so"), seconds(2)}});
  house.kit->Prepare(Message({"http://b/1"}));
  house.kit.Advance(seconds(36));
  CHECK(house.kit.Branches().Urls() == Texts{"http://b/query"});
  house.kit->Submit(Message({"http://b/1"}));
  house.kit.Advance(seconds(10));
  CHECK(house.Seen() == "succeed");
  CHECK(house.kit.Branches().Urls() == Texts{"http://b/query", "http://b/1"});
}

TEST_CASE("endpoint: a prepared message is aborted, a submitted one is not") {
  House house(GENERATE(false, true));
  house.kit->Prepare(Message({"http://b/1"}));
  house.MayCrash();
  house.kit->Abort("g", TransType::kMsg, "changed my mind");
  CHECK(house.Seen() == "failed");
  CHECK(house.kit->Query("g")->reason == "changed my mind");
  house.MayCrash();
  CHECK_THROWS_AS(house.kit->Abort("g", TransType::kMsg, "again"), dtm::RejectedError);
  CHECK_THROWS_AS(house.kit->Submit(Message({"http://b/1"})), dtm::FailureError);
  house.kit.Advance(hours(1));
  CHECK(house.kit.Branches().Calls().empty());

  Definition other = Message({"http://b/1"});
  other.gid = "other";
  house.kit.Branches().On("http://b/1", {{Result::Ongoing()}});
  house.kit->Submit(other);
  CHECK_THROWS_AS(house.kit->Abort("other", TransType::kMsg, "no"), dtm::RejectedError);
  house.kit.Advance(hours(1));
  CHECK(house.kit->Query("other")->status == Status::kSucceed);
}

TEST_CASE("endpoint: a message that is prepared needs somebody to ask") {
  House house;
  CHECK_THROWS_WITH(house.kit->Prepare(Message({"http://b/1"}, "")),
                    ContainsSubstring("query_prepared"));
  CHECK_THROWS_AS(house.kit->Prepare(Message({"http://b/1"}, "topic://t")), dtm::RejectedError);
  CHECK(house.Seen() == "none");
  house.kit->Submit(Message({"http://b/1"}, ""));
  house.kit.Advance(seconds(1));
  CHECK(house.Seen() == "succeed");
}

TEST_CASE(
    "endpoint: the delay of a message counts from its creation, also if the submit brings it") {
  House house(GENERATE(false, true));
  const bool prepared = GENERATE(false, true);
  Definition message = Message({"http://b/1"});
  if (prepared) {
    house.kit->Prepare(message);
    house.kit.Advance(seconds(5));
    house.MayCrash();
  }
  message.delay = seconds(20);
  house.kit->Submit(message);
  house.MayCrash();
  house.kit.Advance(seconds(prepared ? 14 : 19));
  CHECK(house.kit.Branches().Calls().empty());
  CHECK(house.Seen() == "submitted");
  house.kit.Advance(seconds(2));
  CHECK(house.Seen() == "succeed");
  message.delay = dtm::kMaxDelay + seconds(1);
  message.gid = "long";
  CHECK_THROWS_WITH(house.kit->Submit(message), ContainsSubstring("delay"));
}

TEST_CASE("endpoint: a message goes to those who subscribed when it was stored") {
  House house(GENERATE(false, true));
  const Definition message = Message({"topic://t"});
  CHECK_THROWS_WITH(house.kit->Prepare(message), ContainsSubstring("topic not found: t"));
  CHECK_THROWS_WITH(house.kit->Submit(message), ContainsSubstring("topic not found: t"));
  CHECK(house.Seen() == "none");
  house.kit->Subscribe("t", "http://b/1");
  const std::size_t count = GENERATE(std::size_t{1}, std::size_t{2});
  if (count == 2) house.kit->Subscribe("t", "http://b/2");
  house.kit->Prepare(message);
  house.kit->Subscribe("t", "http://b/3");    // too late
  house.kit->Unsubscribe("t", "http://b/1");  // too late as well
  house.MayCrash();
  house.kit->Submit(message);
  house.MayCrash();
  house.kit.Advance(seconds(10));
  CHECK(house.Seen() == "succeed");
  Texts ids;
  for (const auto& call : house.kit.Branches().Calls()) {
    ids.push_back(call.url.substr(9) + " " + call.info.branch_id);
  }
  if (ids.size() <= count) {  // else a call was out when it crashed
    CHECK(ids == (count == 1 ? Texts{"1 01"} : Texts{"1 01-01", "2 01-02"}));
  }
  house.kit->DeleteTopic("t");
  CHECK(house.kit->Submit(message).Succeeded());  // a repeat needs no topic
  Definition fresh = message;
  fresh.gid = "fresh";
  CHECK_THROWS_WITH(house.kit->Submit(fresh), ContainsSubstring("topic not found"));
}

TEST_CASE("endpoint: new subscribers bring the submit of a prepared message beyond no limit") {
  House house(GENERATE(false, true));
  Definition message = Message({"topic://t"});
  message.steps[0].payload = std::string(dtm::kMaxPayloadBytes, '1');
  house.kit->Subscribe("t", "http://b/1");
  house.kit->Prepare(message);
  for (int i = 2; i < 8; ++i) house.kit->Subscribe("t", "http://b/" + std::to_string(i));
  house.MayCrash();
  house.kit->Submit(message);  // the local transaction is committed by now
  house.kit.Advance(seconds(10));
  CHECK(house.Seen() == "succeed");
  CHECK(house.kit.Branches().Urls() == Texts{"http://b/1"});
  CHECK(house.kit->Submit(message).Succeeded());
  message.gid = "fresh";
  CHECK_THROWS_AS(house.kit->Submit(message), dtm::RejectedError);
}

TEST_CASE("endpoint: a repeat while the topic has other subscribers is the same message") {
  House house;
  house.kit.Branches().On("http://b/1", {{Result::Ongoing()}});
  house.kit->Subscribe("t", "http://b/1");
  house.kit->Submit(Message({"topic://t", "http://b/9"}));
  house.kit->Subscribe("t", "http://b/2");
  CHECK(house.kit->Submit(Message({"topic://t", "http://b/9"})).status == Status::kSubmitted);
  CHECK_THROWS_WITH(house.kit->Submit(Message({"topic://other", "http://b/9"})),
                    ContainsSubstring("other content"));
  house.kit.Advance(hours(1));
  CHECK(house.kit.Branches().Urls() == Texts{"http://b/1", "http://b/1", "http://b/9"});
}

TEST_CASE("endpoint: a subscriber fails as often as it likes, the message arrives in the end") {
  House house;
  house.kit->Subscribe("t", "http://b/1");
  house.kit->Subscribe("t", "http://b/2");
  house.kit.Branches().On("http://b/1", {{Result::Failure("no")}, {Result::Error("boom")}});
  house.kit->Submit(Message({"topic://t"}));
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == "succeed");
  CHECK(house.kit.Branches().Urls() ==
        Texts{"http://b/1", "http://b/1", "http://b/1", "http://b/2"});
}

// ---- workflows ----

TEST_CASE("endpoint: a workflow records its steps and is finished") {
  House house(GENERATE(false, true));
  Definition with_options = Workflow();
  with_options.options.request_timeout = std::chrono::seconds(8);
  with_options.options.branch_headers["k"] = "v";
  CHECK(Told(house.kit->PrepareWorkflow(with_options)) == "prepared:");
  house.MayCrash();
  house.kit->RegisterBranch("g", TransType::kWorkflow, Record("01", Op::kAction, "answer"));
  house.MayCrash();
  house.kit->RegisterBranch("g", TransType::kWorkflow, Record("02", Op::kAction, "poor", true));
  house.kit->RegisterBranch("g", TransType::kWorkflow, Record("01", Op::kRollback, ""));
  house.MayCrash();
  const char* recorded = " 01-action=answer 02-action=poor! 01-rollback=";
  CHECK(Told(house.kit->PrepareWorkflow(Workflow())) == std::string("prepared:") + recorded);
  house.kit->FinishWorkflow("g", Status::kFailed, "no money", "result");
  house.MayCrash();
  const WorkflowState state = house.kit->PrepareWorkflow(Workflow());
  CHECK(Told(state) == std::string("failed:") + recorded);
  CHECK(state.reason == "no money");
  CHECK(state.result == "result");
  CHECK(state.options.request_timeout == std::chrono::seconds(8));
  CHECK(state.options.branch_headers == with_options.options.branch_headers);
  house.kit.Advance(hours(1));
  CHECK(house.kit.Branches().Calls().empty());
}

TEST_CASE("endpoint: a step is recorded once; the same again is accepted, another answer is not") {
  House house(GENERATE(false, true));
  house.kit->PrepareWorkflow(Workflow());
  const auto record = [&](const dtm::Step& step) {
    house.kit->RegisterBranch("g", TransType::kWorkflow, step);
    house.MayCrash();
  };
  record(Record("01", Op::kAction, "answer"));
  record(Record("01", Op::kAction, "answer"));
  CHECK_THROWS_AS(record(Record("01", Op::kAction, "other")), dtm::RejectedError);
  CHECK_THROWS_AS(record(Record("01", Op::kAction, "answer", true)), dtm::RejectedError);
  record(Record("01", Op::kCommit, "other"));  // another operation is another step
  CHECK(Told(house.kit->PrepareWorkflow(Workflow())) ==
        "prepared: 01-action=answer 01-commit=other");
}

TEST_CASE("endpoint: a workflow that ended says so again, and nothing else") {
  House house(GENERATE(false, true));
  const Status status = GENERATE(Status::kSucceed, Status::kFailed);
  const Status other = status == Status::kSucceed ? Status::kFailed : Status::kSucceed;
  house.kit->PrepareWorkflow(Workflow());
  CHECK_THROWS_AS(house.kit->FinishWorkflow("g", Status::kAborting, "", ""), dtm::LogicError);
  house.kit->FinishWorkflow("g", status, "why", "result");
  house.MayCrash();
  house.kit->FinishWorkflow("g", status, "why else", "other");
  CHECK_THROWS_AS(house.kit->FinishWorkflow("g", other, "", ""), dtm::RejectedError);
  CHECK(house.kit->Query("g")->status == status);
  CHECK(house.kit->Query("g")->result == "result");
  CHECK(house.kit->Query("g")->reason == "why");
  CHECK_THROWS_AS(
      house.kit->RegisterBranch("g", TransType::kWorkflow, Record("01", Op::kAction, "late")),
      dtm::RejectedError);
  CHECK_THROWS_AS(house.kit->FinishWorkflow("none", status, "", ""), dtm::RejectedError);
}

TEST_CASE("endpoint: a workflow is neither submitted nor aborted, but it can be stopped") {
  House house;
  house.kit->PrepareWorkflow(Workflow());
  CHECK_THROWS_AS(house.kit->Submit(Workflow()), dtm::RejectedError);
  CHECK_THROWS_AS(house.kit->SubmitAndWait(Workflow(), seconds(1)), dtm::RejectedError);
  CHECK_THROWS_AS(house.kit->SubmitAsync(Workflow(), [](const dtm::Answer&) {}),
                  dtm::RejectedError);
  CHECK_THROWS_AS(house.kit->Abort("g", TransType::kWorkflow, "no"), dtm::RejectedError);
  CHECK(house.Seen() == "prepared");
  house.kit->ForceStop("g");
  CHECK(house.Seen() == "failed");
}

TEST_CASE("endpoint: a workflow that nobody finishes is resumed, with growing waits after errors") {
  House house(GENERATE(false, true));
  house.kit.Branches().On("http://b/resume", {{Result::Success()},
                                              {Result::Failure("no")},
                                              {Result::Error("boom")},
                                              {Result::Error("boom")}});
  house.kit->PrepareWorkflow(Workflow());
  house.MayCrash();
  house.kit.Advance(seconds(9));
  CHECK(house.kit.Branches().Calls().empty());
  house.kit.Advance(seconds(31));
  const auto& calls = house.kit.Branches().Calls();
  REQUIRE(calls.size() >= 3);
  CHECK(calls[0].info.op == Op::kResume);
  CHECK(calls[0].info.branch_id == "00");
  CHECK(calls[0].info.workflow == "wf");
  const auto steady = calls[2].at - calls[1].at;
  house.kit.Advance(seconds(100));
  REQUIRE(calls.size() >= 5);
  CHECK(calls[4].at - calls[3].at > steady);
  CHECK(house.Seen() == "prepared");
  house.kit->FinishWorkflow("g", Status::kSucceed, "", "");
  const std::size_t before = calls.size();
  house.kit.Advance(hours(1));
  CHECK(calls.size() == before);
}

TEST_CASE("endpoint: a workflow whose resume is out when it is finished stays finished") {
  House house;
  house.kit.Branches().On("http://b/resume", {{Result::Error("boom"), seconds(2)}});
  house.kit->PrepareWorkflow(Workflow());
  house.kit.Advance(seconds(11));
  REQUIRE(house.kit.Branches().Calls().size() == 1);
  house.kit->FinishWorkflow("g", Status::kSucceed, "", "r");
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == "succeed");
  CHECK(house.kit.Branches().Calls().size() == 1);
}

TEST_CASE("endpoint: the gid of another transaction is no workflow's") {
  House house(GENERATE(false, true));
  Definition tcc;
  tcc.gid = "g";
  tcc.type = TransType::kTcc;
  house.kit->Prepare(tcc);
  house.MayCrash();
  CHECK_THROWS_WITH(house.kit->PrepareWorkflow(Workflow()),
                    ContainsSubstring("tcc") && ContainsSubstring("'g'"));
  CHECK_THROWS_AS(house.kit->FinishWorkflow("g", Status::kSucceed, "", ""), dtm::RejectedError);
  CHECK_THROWS_AS(
      house.kit->RegisterBranch("g", TransType::kWorkflow, Record("01", Op::kAction, "")),
      dtm::RejectedError);
  CHECK(house.kit->Query("g")->definition->type == TransType::kTcc);
  CHECK(house.Seen() == "prepared");
}

TEST_CASE("endpoint: the gid of a workflow is no other workflow's, nor one with other data") {
  House house(GENERATE(false, true));
  const bool ended = GENERATE(false, true);
  house.kit->PrepareWorkflow(Workflow());
  if (ended) house.kit->FinishWorkflow("g", Status::kSucceed, "", "result");
  house.MayCrash();
  Definition other = Workflow();
  other.workflow = "other";
  CHECK_THROWS_WITH(house.kit->PrepareWorkflow(other),
                    ContainsSubstring("'wf'") && ContainsSubstring("'other'"));
  other = Workflow();
  other.data = "other data";
  CHECK_THROWS_AS(house.kit->PrepareWorkflow(other), dtm::RejectedError);
  other = Workflow("http://b/moved");  // where it is resumed may have changed
  CHECK(house.kit->PrepareWorkflow(other).data == "data");
  other.workflow.clear();  // what is not said is not compared
  other.data.clear();
  CHECK(house.kit->PrepareWorkflow(other).workflow == "wf");
  CHECK(house.kit->Query("g")->definition->query_prepared == "http://b/resume");
}

TEST_CASE("endpoint: a workflow on a store that fails at any operation loses nothing it told") {
  const auto fault =
      GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored);
  for (std::uint64_t operation = 1; operation <= 12; ++operation) {
    CAPTURE(operation);
    House house;
    house.kit.Store().FailOnce(operation, fault);
    const auto until_done = [&](const auto& ask) {
      for (int tries = 0; tries < 20; ++tries) {
        try {
          ask();
          return house.kit.Crash();
        } catch (const dtm::RejectedError& error) {
          FAIL_CHECK("a repeat was rejected: " << error.what());
          return;
        } catch (const dtm::Error&) {
          house.kit.Advance(seconds(1));
        }
      }
      FAIL_CHECK("the store works again and is not used");
    };
    until_done([&] { (void)house.kit->PrepareWorkflow(Workflow("")); });
    if (operation > 4) house.kit.Store().FailOnce(operation - 4, fault);
    until_done([&] {
      house.kit->RegisterBranch("g", TransType::kWorkflow, Record("01", Op::kAction, "a"));
    });
    CHECK(Told(house.kit->PrepareWorkflow(Workflow(""))) == "prepared: 01-action=a");
    if (operation > 8) house.kit.Store().FailOnce(operation - 8, fault);
    until_done([&] { house.kit->FinishWorkflow("g", Status::kSucceed, "", "r"); });
    CHECK(house.Seen() == "succeed");
    CHECK(house.kit->Query("g")->result == "r");
  }
}

// ---- calls that the initiator makes itself ----

TEST_CASE("endpoint: a direct call reaches a function, and its failure comes back") {
  House house(false, [](dtm::Coordinator& tm) {
    tm.Register<int>("f", [](const int& n, const dtm::BranchInfo& info) {
      if (n == 1) return Result::Success();
      if (n == 2) throw dtm::FailureError("poor");
      if (n == 3) return Result::Ongoing("later");
      throw std::runtime_error(info.gid + info.branch_id + Name(info.op));
    });
  });
  dtm::InitiatorCall call;
  call.url = "local:f";
  call.info = {"g", TransType::kTcc, "01", Op::kTry};
  using Kind = Result::Kind;
  call.payload = "1";
  CHECK(house.kit->CallBranch(call).kind == Kind::kSuccess);
  call.payload = "2";
  CHECK(house.kit->CallBranch(call).kind == Kind::kFailure);
  call.payload = "3";
  CHECK(house.kit->CallBranch(call).kind == Kind::kOngoing);
  call.payload = "4";
  CHECK(house.kit->CallBranch(call).text == "g01try");
  call.url = "local:none";
  CHECK_THROWS_WITH(house.kit->CallBranch(call), ContainsSubstring("'none'"));
  CHECK(house.kit.Branches().Calls().empty());
}

TEST_CASE("endpoint: a direct call by url tells the branch what it needs, and brings its answer") {
  dtm::Options options = dtm_test::Quiet();
  options.server_url = "http://me/api/dtmsvr";
  TestCoordinator kit({}, options);
  dtm::InitiatorCall call;
  call.url = "http://b/try?x=1";
  call.info = {"g", TransType::kXa, "02", Op::kAction};
  call.tell_coordinator = true;
  call.phase2_url = "http://b/try?x=1";
  const std::string whole =
      "http://b/try?x=1&dtm=http%3A%2F%2Fme%2Fapi%2Fdtmsvr&phase2_url=http%3A%2F%2Fb%2Ftry%3Fx%3D1";
  kit.Branches().On(whole, Result{Result::Kind::kSuccess, "the answer"});
  kit.Branches().On(whole, Result::Failure("poor"));
  CHECK(kit->CallBranch(call).text == "the answer");
  CHECK(kit->CallBranch(call).kind == Result::Kind::kFailure);
  REQUIRE(kit.Branches().Urls() == Texts{whole, whole});
  const dtm::BranchInfo& info = kit.Branches().Calls()[0].info;
  CHECK(info.gid == "g");
  CHECK(info.branch_id == "02");
  CHECK(info.op == Op::kAction);
  CHECK(info.trans_type == TransType::kXa);
  call.tell_coordinator = false;
  call.phase2_url = "";
  (void)kit->CallBranch(call);
  CHECK(kit.Branches().Urls().back() == "http://b/try?x=1");
  CHECK_FALSE(kit->Query("g").has_value());  // nothing is stored of it
}

TEST_CASE("endpoint: without a server of its own, no coordinator is told") {
  House house;
  dtm::InitiatorCall call;
  call.url = "http://b/try";
  call.info = {"g", TransType::kTcc, "01", Op::kTry};
  call.tell_coordinator = true;
  (void)house.kit->CallBranch(call);
  CHECK(house.kit.Branches().Urls() == Texts{"http://b/try"});
}

TEST_CASE("endpoint: a direct call without a url is a success without a call") {
  House house;
  dtm::InitiatorCall call;
  call.info = {"g", TransType::kTcc, "01", Op::kTry};
  CHECK(house.kit->CallBranch(call).kind == Result::Kind::kSuccess);
  CHECK(house.kit.Branches().Calls().empty());
}

TEST_CASE("endpoint: a direct call by url needs somebody who calls urls") {
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  dtm::InitiatorCall call;
  call.url = "http://b/try";
  CHECK_THROWS_WITH(tm.CallBranch(call), ContainsSubstring("HttpBranches"));
}

TEST_CASE(
    "endpoint: a direct call that is out when the coordinator stops comes back with an error") {
  /// Never answers, and says when it was called.
  class Silence : public dtm::BranchCaller {
   public:
    explicit Silence(std::promise<void>& called) : called_(called) {}
    void Call(std::vector<dtm::BranchCall>, dtm::BranchResults&) override { called_.set_value(); }
    void Stop() override {}

   private:
    std::promise<void>& called_;
  };
  std::promise<void> called;
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  tm.Use(std::make_unique<Silence>(called));
  tm.Start();
  dtm::InitiatorCall call;
  call.url = "http://b/try";
  auto answer = std::async(std::launch::async, [&] { return tm.CallBranch(call); });
  called.get_future().wait();
  CHECK(tm.Stop(seconds(10)));
  const Result result = answer.get();
  CHECK(result.kind == Result::Kind::kError);
  CHECK_THAT(result.text, ContainsSubstring("stopped"));
}

TEST_CASE("endpoint: a workflow that is not stored is not resumed, and not stored by that") {
  House house;
  CHECK_THROWS_WITH(house.kit->ResumeWorkflow(Workflow()), ContainsSubstring("is not stored"));
  CHECK(!house.kit->Query(Workflow().gid));
  house.kit->PrepareWorkflow(Workflow());
  CHECK(house.kit->ResumeWorkflow(Workflow()).status == Status::kPrepared);
}

TEST_CASE("endpoint: the url of a function is that of its own coordinator only") {
  House one, two;
  const auto branch = one.kit->Register<int>("f", [](const int&) {});
  CHECK(branch.name == "f");
  CHECK(one.kit->UrlOfLocal("f", branch.registered_with) == "local:f");
  CHECK_THROWS_WITH(two.kit->UrlOfLocal("f", branch.registered_with), ContainsSubstring("'f'"));
}
