/// What may be asked of a coordinator: what is accepted, what is refused and how, what races; after a restart at any moment, and on a store that fails at any operation.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/coordinator/operations.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::TransType;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::hours;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

namespace {

Definition Of(TransType type, const std::string& gid = "g") {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  return definition;
}

/// Branch `id`, whose urls are http://b/confirm<id> and http://b/cancel<id>; of an xa http://b/xa<id>.
dtm::Step Branch(TransType type, const std::string& id, const std::string& payload = "p") {
  dtm::Step step;
  step.action = "http://b/" + std::string(type == TransType::kXa ? "xa" : "confirm") + id;
  step.compensate = type == TransType::kXa ? step.action : "http://b/cancel" + id;
  step.payload = payload;
  step.branch_id = id;
  return step;
}

/// The kind of what is thrown, and its first words, up to "; " or ": " behind what clients know.
std::string Outcome(const std::function<void()>& ask) {
  const auto first = [](const char* kind, const std::exception& error) {
    const std::string text = error.what();
    const std::size_t end = (std::min)(text.find(": gid '"), text.find(';'));
    return kind + (": " + text.substr(0, end));
  };
  try {
    ask();
    return "done";
  } catch (const dtm::BadInput& error) {
    return first("bad input", error);
  } catch (const dtm::EndedError& error) {
    return first("ended", error);
  } catch (const dtm::RejectedError& error) {
    return first("rejected", error);
  }
}

/// A test coordinator that may crash wherever the test says so.
struct House {
  explicit House(bool crashes = false, dtm::Options options = dtm_test::Quiet())
      : kit({}, std::move(options)), crashes_(crashes) {}

  void MayCrash() {
    if (crashes_) kit.Crash();
  }
  void Prepare(TransType type, const std::string& gid = "g") {
    CHECK(kit->Prepare(Of(type, gid)).status == Status::kPrepared);
    MayCrash();
  }
  void Register(TransType type, const std::string& id, const std::string& gid = "g") {
    kit->RegisterBranch(gid, type, Branch(type, id));
    MayCrash();
  }
  /// Status, and what the rows have come to.
  std::string Seen(const std::string& gid = "g") {
    const auto stored = kit->Query(gid);
    if (!stored) return "none";
    std::string text = Name(stored->status);
    for (const dtm::Branch& branch : stored->branches) {
      text += branch.status == dtm::BranchStatus::kPrepared  ? " P"
              : branch.status == dtm::BranchStatus::kSucceed ? " S"
                                                             : " F";
    }
    return text;
  }
  std::string Reason(const std::string& gid = "g") { return kit->Query(gid)->reason; }
  /// "url op" of every call.
  Texts Called() {
    Texts calls;
    for (const auto& call : kit.Branches().Calls()) {
      calls.push_back(call.url.substr(9) + " " + dtm::Name(call.info.op));
    }
    return calls;
  }

  TestCoordinator kit;

 private:
  const bool crashes_;
};

}  // namespace

TEST_CASE(
    "operations: a tcc is prepared, its branches register, and the submit confirms the last "
    "first") {
  House house(GENERATE(false, true));
  house.Prepare(TransType::kTcc);
  house.Register(TransType::kTcc, "01");
  house.Register(TransType::kTcc, "0101");
  house.Register(TransType::kTcc, "02");
  CHECK(house.Seen() == "prepared P P P P P P");
  CHECK(house.Called().empty());
  house.kit->Submit(Of(TransType::kTcc));
  house.MayCrash();
  house.kit.Advance(seconds(10));
  CHECK(house.Seen() == "succeed P S P S P S");
  if (house.kit.Branches().Calls().size() > 3) return;  // a call was out when it crashed
  CHECK(house.Called() == Texts{"confirm02 confirm", "confirm0101 confirm", "confirm01 confirm"});
  CHECK(house.kit.Branches().Calls().at(1).info.branch_id == "0101");
}

TEST_CASE("operations: an xa commits the first registered first, by one url") {
  House house(GENERATE(false, true));
  house.Prepare(TransType::kXa);
  house.Register(TransType::kXa, "01");
  house.Register(TransType::kXa, "02");
  const bool commit = GENERATE(true, false);
  commit ? (void)house.kit->Submit(Of(TransType::kXa))
         : house.kit->Abort("g", TransType::kXa, "enough");
  house.kit.Advance(seconds(1));
  CHECK(house.Seen() == (commit ? "succeed P S P S" : "failed S P S P"));
  CHECK(house.Reason() == (commit ? "" : "enough"));
  const std::string op = commit ? " commit" : " rollback";
  CHECK(house.Called() == Texts{"xa01" + op, "xa02" + op});
}

TEST_CASE("operations: an abort cancels every branch that registered, the last first") {
  House house(GENERATE(false, true));
  house.Prepare(TransType::kTcc);
  house.Register(TransType::kTcc, "01");
  house.Register(TransType::kTcc, "02");
  house.kit.Branches().On("http://b/cancel02", {{Result::Failure("not so fast")}});
  house.kit->Abort("g", TransType::kTcc, "no money");
  CHECK(house.kit->Query("g")->status == Status::kAborting);
  house.kit->Abort("g", TransType::kTcc, "again");  // a repeat is accepted
  CHECK(house.Reason() == "no money");
  house.MayCrash();
  house.kit.Advance(hours(1));
  CHECK(house.Seen() == "failed S P S P");
  const Texts called = house.Called();
  CHECK(called.front() == "cancel02 cancel");
  CHECK(called.back() == "cancel01 cancel");
  CHECK(called.size() >= 3);  // the failure of a cancel is no answer
}

TEST_CASE("operations: abort of each type in each status") {
  House house(GENERATE(false, true));
  const TransType type =
      GENERATE(TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa);
  const bool saga = type == TransType::kSaga;
  CAPTURE(Name(type));
  for (const char* url : {"confirm01", "cancel01", "xa01", "m", "undo"}) {
    house.kit.Branches().On("http://b/" + std::string(url), Result::Ongoing());
  }
  Definition definition = Of(type);
  if (type == TransType::kMsg) definition.query_prepared = "http://b/query";
  if (!dtm::RegistersSteps(type))
    definition.steps = {{"http://b/m", saga ? "http://b/undo" : "", "p"}};
  const auto abort = [&] { house.kit->Abort("g", type, "no"); };
  CHECK(Outcome(abort) == "bad input: no TransGlobal with gid: g found");
  house.kit->Prepare(definition);
  if (dtm::RegistersSteps(type)) house.Register(type, "01");
  SECTION("as another type it is refused") {
    for (const TransType other : {TransType::kSaga, TransType::kMsg, TransType::kTcc,
                                  TransType::kXa, TransType::kWorkflow}) {
      if (other == type) continue;
      CHECK(Outcome([&] { house.kit->Abort("g", other, "no"); }) ==
            "rejected: gid 'g' is a " + std::string(Name(type)) + ", not a " + Name(other));
    }
  }
  SECTION("prepared it is rolled back, and a repeat is accepted while that goes on") {
    CHECK(Outcome(abort) == "done");
    house.kit.Settle();
    const Status status = house.kit->Query("g")->status;
    CHECK(status == (dtm::RegistersSteps(type) ? Status::kAborting : Status::kFailed));
    if (!dtm::IsFinal(status)) CHECK(Outcome(abort) == "done");
    CHECK(house.Reason() == "no");
  }
  SECTION("submitted it is refused, but for a saga; and after its success") {
    const std::string form = "trans type: '" + std::string(Name(type)) + "' current status '";
    house.kit->Submit(definition);
    if (!saga) CHECK(Outcome(abort) == "rejected: " + form + "submitted', cannot abort. FAILURE");
    house.kit.Advance(hours(1));
    CHECK(Outcome(abort) == "ended: " + form + "succeed', cannot abort. FAILURE");
  }
  SECTION("stopped it is refused, and is not stopped again") {
    house.kit->ForceStop("g");
    house.MayCrash();
    CHECK(Outcome(abort).find("failed', cannot abort. FAILURE") != std::string::npos);
    CHECK(Outcome([&] { house.kit->ForceStop("g"); }) ==
          "ended: global transaction force stop error. status: failed. error: FAILURE");
    CHECK(Outcome([&] { house.kit->RetryNow("g"); }).substr(0, 6) == "ended:");
    CHECK_THROWS_WITH(house.kit->ForceStop("g"),
                      ContainsSubstring("gid 'g' was not changed: it has already ended as failed"));
  }
}

TEST_CASE("operations: a URL whose scheme nobody calls is refused at every door, and says which") {
  House house;
  house.Prepare(TransType::kTcc);
  const std::string url = "grpc://bank/TransIn";
  const auto refused = [](const std::function<void()>& ask) {
    CHECK_THROWS_AS(ask(), dtm::BadInput);
    CHECK_THROWS_WITH(ask(), ContainsSubstring("grpc://bank/TransIn") &&
                                 ContainsSubstring("this program calls no grpc:// URLs: include"));
  };
  Definition saga = Of(TransType::kSaga, "new");
  saga.steps = {{"http://h/a", "", ""}, {"", url, ""}};
  refused([&] { house.kit->Submit(saga); });
  refused([&] { house.kit->Prepare(saga); });
  refused([&] { house.kit->SubmitAsync(saga, {}); });
  refused([&] { house.kit->Transact([&](dtm::Tx& tx) { tx.Submit(saga); }); });
  Definition msg = Of(TransType::kMsg, "new");
  msg.query_prepared = url;
  refused([&] { house.kit->Prepare(msg); });
  Definition workflow = Of(TransType::kWorkflow, "new");
  workflow.query_prepared = url;
  refused([&] { house.kit->PrepareWorkflow(workflow); });
  dtm::Step branch = Branch(TransType::kTcc, "01");
  branch.compensate = url;
  refused([&] { house.kit->RegisterBranch("g", TransType::kTcc, branch); });
  refused([&] { house.kit->Subscribe("t", url); });
  dtm::InitiatorCall call;
  call.info.gid = "g";
  call.url = url;
  CHECK_THROWS_AS(house.kit->CallBranch(call), dtm::RejectedError);
  CHECK_FALSE(house.kit->Query("new"));
}

TEST_CASE("operations: what nobody could carry out is bad input, whatever is stored") {
  House house;
  house.Prepare(TransType::kTcc);
  Definition no_url = Of(TransType::kSaga);
  no_url.steps = {{"h/a", "", ""}};
  Definition orders = Of(TransType::kSaga, "new");
  orders.orders = {{1, {0}}};
  const auto kind = [](const std::function<void()>& ask) {
    const std::string outcome = Outcome(ask);
    return outcome.substr(0, outcome.find(':'));
  };
  CHECK(kind([&] { house.kit->Submit(no_url); }) == "bad input");
  CHECK(kind([&] { house.kit->Prepare(no_url); }) == "bad input");
  CHECK(kind([&] { house.kit->SubmitAsync(no_url, {}); }) == "bad input");
  CHECK(kind([&] { house.kit->Submit(orders); }) == "bad input");  // no prepare gave it steps
  CHECK(kind([&] {
          house.kit->RegisterBranch("g", TransType::kTcc, Branch(TransType::kTcc, ""));
        }) == "bad input");
  CHECK(kind([&] { house.kit->Subscribe("t", "ftp://h"); }) == "bad input");
  for (const char* gid : {"", "none"}) {
    CHECK(kind([&] { house.kit->ForceStop(gid); }) == "bad input");
    CHECK(kind([&] { house.kit->RetryNow(gid); }) == "bad input");
    CHECK(kind([&] { house.kit->Cancel(gid); }) == "bad input");
  }
  // What another one could do, or could be done at another time, is not.
  CHECK(kind([&] { house.kit->Submit(Of(TransType::kXa)); }) == "rejected");
  CHECK(kind([&] { house.kit->Submit(Of(TransType::kWorkflow)); }) == "rejected");
  CHECK(kind([&] { house.kit->FinishWorkflow("none", Status::kSucceed, "", ""); }) == "rejected");
  CHECK(kind([&] { house.kit->Subscribe("", "http://h"); }) == "rejected");
  CHECK(kind([&] {
          house.kit->RegisterBranch("none", TransType::kTcc, Branch(TransType::kTcc, "01"));
        }) == "rejected");
  CHECK(house.Seen() == "prepared");
}

TEST_CASE("operations: nobody waits, and every callback comes once") {
  House house;
  std::vector<std::string> told;
  const auto say = [&told](const std::string& what) {
    return [&told, what](const dtm::Answer& reply) {
      told.push_back(what +
                     (reply.error ? " error" : std::string(" ") + Name(reply.result.status)));
    };
  };
  dtm::Operations& tm = *house.kit;
  tm.PrepareAsync(Of(TransType::kTcc), say("prepare"));
  CHECK(told.empty());
  house.kit.Settle();
  tm.RegisterBranchAsync("g", TransType::kTcc, Branch(TransType::kTcc, "01"), say("register"));
  house.kit.Settle();
  CHECK(told == Texts{"prepare prepared", "register prepared"});
  tm.SubmitAndWaitAsync(Of(TransType::kTcc), seconds(9), say("submit"));
  tm.WaitAsync("g", seconds(9), say("wait"));
  tm.AbortAsync("none", {}, "no", dtm::WaitResult::kIgnored, say("abort"));
  tm.ExplainAsync("none", [&](const std::string& text, const std::exception_ptr& error) {
    told.push_back(error ? "explain error" : text.substr(0, 14));
  });
  tm.ListWaitingAsync(seconds(0), 9, [&](const Texts& gids, const std::exception_ptr&) {
    told.push_back("list " + std::to_string(gids.size()));
  });
  tm.SubscribeAsync("t", "http://b", "", say("subscribe"));
  tm.DeleteTopicAsync("none", say("delete"));
  CHECK(told.size() == 2);
  house.kit.Settle();
  std::sort(told.begin(), told.end());
  CHECK(told == Texts{"abort error", "delete error", "list 1", "no TransGlobal", "prepare prepared",
                      "register prepared", "submit succeed", "subscribe submitted",
                      "wait succeed"});
}

TEST_CASE("operations: the same branch again is accepted, and is one branch") {
  House house(GENERATE(false, true));
  const TransType type = GENERATE(TransType::kTcc, TransType::kXa);
  house.Prepare(type);
  house.Register(type, "01");
  house.Register(type, "01");
  CHECK(house.Seen() == "prepared P P");
  house.kit->Submit(Of(type));
  house.kit.Advance(seconds(1));
  CHECK(house.kit.Branches().Calls().size() == 1);
}

TEST_CASE(
    "operations: a branch that contradicts what is registered is refused and changes nothing") {
  House house(GENERATE(false, true));
  house.Prepare(TransType::kTcc);
  house.Register(TransType::kTcc, "01");
  dtm::Step other = Branch(TransType::kTcc, "01");
  SECTION("its confirm") { other.action = "http://b/other"; }
  SECTION("its cancel") { other.compensate = "http://b/other"; }
  SECTION("its payload") { other.payload = "other"; }
  CHECK_THROWS_AS(house.kit->RegisterBranch("g", TransType::kTcc, other), dtm::RejectedError);
  CHECK_THROWS_WITH(house.kit->RegisterBranch("g", TransType::kTcc, other),
                    ContainsSubstring("'g'") && ContainsSubstring("01"));
  CHECK(house.Seen() == "prepared P P");
  CHECK(house.kit->Query("g")->definition->steps.at(0).action == "http://b/confirm01");
}

TEST_CASE("operations: nobody registers once it is decided") {
  House house(GENERATE(false, true));
  const TransType type = GENERATE(TransType::kTcc, TransType::kXa);
  const std::string url = type == TransType::kTcc ? "http://b/confirm01" : "http://b/xa01";
  house.Prepare(type);
  house.Register(type, "01");
  house.kit.Branches().On(url, {{Result::Ongoing()}});
  if (type == TransType::kTcc) house.kit.Branches().On("http://b/cancel01", {{Result::Ongoing()}});
  const std::string how = GENERATE(as<std::string>{}, "submit", "abort", "timeout", "force stop");
  CAPTURE(how);
  if (how == "submit") house.kit->Submit(Of(type));
  if (how == "abort") house.kit->Abort("g", type, "no");
  if (how == "timeout") house.kit.Advance(seconds(36));
  if (how == "force stop") house.kit->ForceStop("g");
  const auto refused = [&] {
    for (const char* id : {"01", "02"}) {  // the same again is too late as well
      CHECK_THROWS_AS(house.kit->RegisterBranch("g", type, Branch(type, id)), dtm::RejectedError);
      CHECK_THROWS_WITH(house.kit->RegisterBranch("g", type, Branch(type, id)),
                        "no trans with gid: g status: prepared found FAILURE");
    }
  };
  refused();
  house.MayCrash();
  refused();
  house.kit.Advance(hours(1));
  CHECK(dtm::IsFinal(house.kit->Query("g")->status));
  refused();
  CHECK(house.kit->Query("g")->branches.size() == 2);
}

TEST_CASE("operations: who names the wrong type or an unknown gid changes nothing") {
  House house(GENERATE(false, true));
  house.Prepare(TransType::kTcc);
  for (const TransType wrong :
       {TransType::kXa, TransType::kSaga, TransType::kMsg, TransType::kWorkflow}) {
    CAPTURE(Name(wrong));
    CHECK_THROWS_AS(house.kit->RegisterBranch("g", wrong, Branch(wrong, "01")), dtm::RejectedError);
    CHECK_THROWS_AS(house.kit->Abort("g", wrong, "no"), dtm::RejectedError);
    if (wrong == TransType::kWorkflow) continue;
    CHECK_THROWS_AS(house.kit->Submit(Of(wrong)), dtm::RejectedError);
    CHECK_THROWS_AS(house.kit->Prepare([&] {
      Definition definition = Of(wrong);
      definition.query_prepared = "http://b/q";
      return definition;
    }()),
                    dtm::RejectedError);
  }
  CHECK_THROWS_WITH(
      house.kit->RegisterBranch("none", TransType::kTcc, Branch(TransType::kTcc, "1")),
      "no trans with gid: none status: prepared found FAILURE");
  CHECK_THROWS_AS(house.kit->Abort("none", TransType::kTcc, "no"), dtm::RejectedError);
  CHECK(house.Seen() == "prepared");
  CHECK(house.Seen("none") == "none");
}

TEST_CASE("operations: nobody registers a branch with what has its steps already") {
  House house;
  Definition definition = Of(GENERATE(TransType::kSaga, TransType::kMsg));
  definition.query_prepared = definition.type == TransType::kMsg ? "http://b/q" : "";
  definition.steps.push_back({"http://b/a", "", "p"});
  house.kit->Prepare(definition);
  CHECK_THROWS_AS(house.kit->RegisterBranch("g", definition.type, Branch(TransType::kXa, "02")),
                  dtm::RejectedError);
  CHECK(house.kit->Query("g")->definition->steps.size() == 1);
}

TEST_CASE("operations: a branch that nobody could call is refused") {
  House house;
  house.Prepare(TransType::kTcc);
  dtm::Step step = Branch(TransType::kTcc, "01");
  SECTION("a topic") { step.action = "topic://t"; }
  SECTION("a topic to cancel at") { step.compensate = "topic://t"; }
  SECTION("a long url") { step.action = std::string(dtm::kMaxUrlBytes + 1, 'u'); }
  SECTION("a large payload") { step.payload = std::string(dtm::kMaxPayloadBytes + 1, 'p'); }
  SECTION("no UTF-8") { step.branch_id = "\xFF"; }
  CHECK_THROWS_AS(house.kit->RegisterBranch("g", TransType::kTcc, step), dtm::RejectedError);
  CHECK(house.Seen() == "prepared");
}

TEST_CASE("operations: as many branches register as a transaction may have steps") {
  House house;
  house.Prepare(TransType::kXa);
  for (std::size_t i = 0; i < dtm::kMaxSteps; ++i) {
    house.kit->RegisterBranch("g", TransType::kXa, Branch(TransType::kXa, dtm::NumberOf(i), ""));
  }
  CHECK_THROWS_WITH(
      house.kit->RegisterBranch("g", TransType::kXa, Branch(TransType::kXa, "more", "")),
      ContainsSubstring("1000"));
  CHECK(house.kit->Query("g")->branches.size() == 2 * dtm::kMaxSteps);
}

TEST_CASE(
    "operations: a prepared one that nobody submits is rolled back with the number of seconds") {
  House house(GENERATE(false, true));
  const bool own = GENERATE(false, true);
  Definition definition = Of(TransType::kTcc);
  if (own) definition.options.timeout_to_fail = seconds(100);
  house.kit->Prepare(definition);
  house.Register(TransType::kTcc, "01");
  house.kit.Advance(seconds(own ? 99 : 34));
  CHECK(house.Seen() == "prepared P P");
  house.kit.Advance(seconds(2));
  CHECK(house.Seen() == "failed S P");
  CHECK(house.Reason() == (own ? "Timeout after 100 seconds" : "Timeout after 35 seconds"));
  CHECK_THROWS_AS(house.kit->Submit(Of(TransType::kTcc)), dtm::FailureError);
}

TEST_CASE(
    "operations: a submit and the timeout at the same moment end one way, and the submit is told") {
  const bool submit_first = GENERATE(true, false);
  const bool crash = GENERATE(false, true);
  House house(crash);
  house.Prepare(TransType::kTcc);
  house.Register(TransType::kTcc, "01");
  house.kit.Branches().On("http://b/cancel01", {{Result::Ongoing()}});
  house.kit.Advance(seconds(34));
  // The clock jumps to the end while nobody looks: both are there in the next turn.
  const auto end = house.kit->Query("g")->created + seconds(35);
  house.kit.Clock().Set(submit_first ? end - dtm::Duration(1) : end);
  std::string told;
  try {
    house.kit->Submit(Of(TransType::kTcc));
    told = "accepted";
  } catch (const dtm::RejectedError& error) {
    told = error.what();
  }
  house.MayCrash();
  house.kit.Advance(hours(1));
  if (told == "accepted") {
    CHECK(house.Seen() == "succeed P S");
    CHECK(house.Reason() == "");
  } else {
    CHECK_FALSE(submit_first);
    CHECK_THAT(told, ContainsSubstring("aborting") && ContainsSubstring("cannot submit"));
    CHECK(house.Seen() == "failed S P");
  }
  const std::string undone = house.Seen() == "failed S P" ? "cancel01 cancel" : "confirm01 confirm";
  for (const std::string& call : house.Called()) CHECK(call == undone);
}

TEST_CASE("operations: the submit after the abort is refused, the abort after the submit too") {
  House house(GENERATE(false, true));
  const TransType type = GENERATE(TransType::kTcc, TransType::kXa);
  const std::string url = type == TransType::kTcc ? "http://b/cancel01" : "http://b/xa01";
  house.Prepare(type, "aborted");
  house.Register(type, "01", "aborted");
  house.kit.Branches().On(url, {{Result::Ongoing()}});
  house.kit->Abort("aborted", type, "no");
  house.MayCrash();
  CHECK_THROWS_WITH(house.kit->Submit(Of(type, "aborted")), ContainsSubstring("cannot submit"));
  CHECK_THROWS_WITH(house.kit->Prepare(Of(type, "aborted")), ContainsSubstring("cannot prepare"));
  house.kit.Advance(hours(1));
  CHECK(house.Seen("aborted") == "failed S P");

  house.Prepare(type, "submitted");
  house.Register(type, "01", "submitted");
  house.kit.Branches().On(type == TransType::kTcc ? "http://b/confirm01" : url,
                          {{Result::Ongoing()}, {Result::Ongoing()}});
  house.kit->Submit(Of(type, "submitted"));
  house.MayCrash();
  CHECK_THROWS_AS(house.kit->Abort("submitted", type, "no"), dtm::RejectedError);
  CHECK_THROWS_AS(house.kit->Cancel("submitted"), dtm::RejectedError);
  CHECK(house.kit->Submit(Of(type, "submitted")).status == Status::kSubmitted);  // W1
  CHECK(house.Seen("submitted") == "submitted P P");
  house.kit.Advance(hours(1));
  CHECK(house.Seen("submitted") == "succeed P S");
  CHECK_THROWS_AS(house.kit->Abort("submitted", type, "no"), dtm::RejectedError);
  CHECK(house.kit->Submit(Of(type, "submitted")).Succeeded());
}

TEST_CASE("operations: a tcc or xa without branches ends at once, prepared or not") {
  House house(GENERATE(false, true));
  const TransType type = GENERATE(TransType::kTcc, TransType::kXa);
  if (GENERATE(false, true)) house.Prepare(type);
  house.kit->Submit(Of(type));
  house.kit.Advance(seconds(1));
  CHECK(house.Seen() == "succeed");
  house.Prepare(type, "a");
  house.kit->Abort("a", type, "");
  house.kit.Advance(seconds(1));
  CHECK(house.Seen("a") == "failed");
}

TEST_CASE(
    "operations: with wait_result the submit of a tcc answers when all is confirmed, or must "
    "wait") {
  House house;
  Definition definition = Of(TransType::kTcc);
  definition.options.wait_result = true;
  house.Prepare(TransType::kTcc);
  house.Register(TransType::kTcc, "01");
  house.kit.Branches().On("http://b/confirm01", {{Result::Ongoing()}});
  CHECK(house.kit->Submit(definition).status == Status::kSubmitted);
  house.kit.Advance(seconds(11));
  CHECK(house.kit->Submit(definition).Succeeded());
}

TEST_CASE(
    "operations: a store that fails at any operation loses nothing and leaves nothing half done") {
  const auto fault =
      GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored);
  const bool commit = GENERATE(true, false);
  CAPTURE(fault, commit);
  int refused = 0;
  for (std::uint64_t operation = 1; operation <= 16; ++operation) {
    CAPTURE(operation);
    House house;
    house.kit.Store().FailOnce(operation, fault);
    // A client that repeats what was not accepted, as protocol and errors tell it to.
    const auto until_done = [&](const std::function<void()>& ask) {
      for (int tries = 0; tries < 20; ++tries) {
        try {
          return ask();
        } catch (const dtm::RejectedError& error) {
          FAIL_CHECK("a repeat was rejected: " << error.what());
          return;
        } catch (const dtm::Error&) {
          ++refused;
          house.kit.Advance(seconds(1));
        }
      }
      FAIL_CHECK("the store works again and is not used");
    };
    const auto seen = [&] {
      std::string status;
      until_done([&] { status = house.Seen(); });
      return status;
    };
    until_done([&] { house.kit->Prepare(Of(TransType::kTcc)); });
    CHECK(seen() == "prepared");
    for (const char* id : {"01", "02"}) {
      until_done(
          [&] { house.kit->RegisterBranch("g", TransType::kTcc, Branch(TransType::kTcc, id)); });
    }
    CHECK(seen() == "prepared P P P P");
    CHECK(house.Called().empty());
    until_done([&] {
      commit ? (void)house.kit->Submit(Of(TransType::kTcc))
             : house.kit->Abort("g", TransType::kTcc, "no");
    });
    const bool decided = house.kit->Query("g")->status != Status::kPrepared;
    CHECK(decided);
    house.kit.Crash();
    house.kit.Advance(seconds(60));
    CHECK(seen() == (commit ? "succeed P S P S" : "failed S P S P"));
    for (const std::string& call : house.Called()) {
      CHECK_THAT(call, ContainsSubstring(commit ? "confirm" : "cancel"));
    }
  }
  CHECK(refused > 0);  // the faults did hit
}

TEST_CASE("operations: what was refused by a failing store is not there after a crash") {
  House house;
  house.kit.Store().FailAlways(StoreFault::kDefinite);
  CHECK_THROWS_AS(house.kit->Prepare(Of(TransType::kXa)), dtm::Error);
  house.kit.Crash();
  CHECK(house.Seen() == "none");
  house.Prepare(TransType::kXa);
  CHECK(house.Seen() == "prepared");
}

TEST_CASE("operations: a tcc whose stored rows are lost is stuck, not carried out a second time") {
  const auto inner = std::make_shared<dtm::MemoryStore>();
  TestCoordinator kit({}, dtm_test::Quiet(), inner);
  kit->Prepare(Of(TransType::kTcc));
  kit->RegisterBranch("g", TransType::kTcc, Branch(TransType::kTcc, "01"));
  kit.Branches().On("http://b/confirm01", {{Result::Success(), seconds(1)}});
  kit->Submit(Of(TransType::kTcc));
  kit.Settle();
  REQUIRE(kit.Branches().Calls().size() == 1);
  auto stored = *inner->Load("g");
  stored.branches.clear();
  std::vector<dtm::Change> changes{{&stored, true, false}};
  inner->Begin();
  inner->Apply(changes);
  inner->Commit();
  REQUIRE(changes[0].applied);
  kit.Advance(hours(1));
  CHECK(kit->Query("g")->stuck);
  CHECK(kit->Query("g")->status == Status::kSubmitted);
  CHECK(kit.Branches().Calls().size() == 1);
}

TEST_CASE("operations: work shares a commit, and its result is told") {
  struct Open : dtm::Coordinator {
    using Coordinator::Coordinator;
    using Coordinator::RunWork;
  };
  Open requests(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  CHECK(requests.RunWork([](dtm::TransactContext&) { return Result::Success(); }).kind ==
        Result::Kind::kSuccess);
  const Result failure =
      requests.RunWork([](dtm::TransactContext&) { return Result::Failure("no"); });
  CHECK(failure.kind == Result::Kind::kFailure);
  CHECK(failure.text == "no");
  CHECK(requests.RunWork([](dtm::TransactContext&) -> Result { throw std::runtime_error("oops"); })
            .text == "oops");
  CHECK(requests.Stop(seconds(1)));
  CHECK_THROWS_AS(requests.RunWork([](dtm::TransactContext&) { return Result::Success(); }),
                  dtm::LogicError);
  bool called = false;
  CHECK_THROWS_AS(
      requests.PrepareAsync(Of(TransType::kTcc), [&](const dtm::Answer&) { called = true; }),
      dtm::LogicError);
  CHECK_FALSE(called);
}

TEST_CASE("operations: a burst is one commit, and who waits inside one ends it") {
  int woken = 0;
  dtm::Options options = dtm_test::Quiet();
  options.on_wake = [&] { ++woken; };
  House house(false, options);
  house.kit.Settle();
  const auto commits = [&] {
    const auto counts = house.kit->Counted().commits.counts;
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  };
  const std::uint64_t before = commits();
  house.kit->BeginBurst();
  int done = 0;
  for (const char* gid : {"a", "b", "c"}) {
    house.kit->PrepareAsync(Of(TransType::kTcc, gid), [&](const dtm::Answer&) { ++done; });
  }
  CHECK(woken == 0);
  house.kit->EndBurst();
  CHECK(woken == 1);
  house.kit.Settle();
  CHECK(done == 3);
  CHECK(commits() == before + 1);

  dtm::Coordinator threaded(std::make_unique<dtm::MemoryStore>(), dtm_test::Quiet());
  threaded.Start();
  threaded.BeginBurst();
  CHECK(threaded.Prepare(Of(TransType::kTcc)).status == Status::kPrepared);
}
