/// The tcc client: what is registered and called, in which order and under which ids (protocol §11.2, W31).
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/tcc.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::LocalBranch;
using dtm::Result;
using dtm::Tcc;
using Lines = std::vector<std::string>;

namespace {

std::string CallOne(Tcc& tcc) {
  return tcc.CallBranch(30, "http://b/Try", "http://b/Confirm", "http://b/Cancel");
}

dtm::TransResult RunOne(FakeEndpoint& endpoint) {
  return dtm::TccGlobalTransaction(endpoint, "g", [](Tcc& tcc) { CallOne(tcc); });
}

}  // namespace

TEST_CASE("tcc client: each branch is registered, then tried; then it is submitted") {
  FakeEndpoint endpoint;
  dtm::TransOptions options;
  options.wait_result = true;
  options.branch_headers["k"] = "v";
  dtm::TccGlobalTransaction(endpoint, "g", options, [](Tcc& tcc) {
    CHECK(tcc.Gid() == "g");
    CallOne(tcc);
    tcc.CallBranch(std::string("x"), "http://c/Try", "http://c/Confirm", "http://c/Cancel");
  });
  CHECK(endpoint.log == Lines{"prepare g", "register tcc g 01", "call 01 try http://b/Try",
                              "register tcc g 02", "call 02 try http://c/Try", "submit g"});
  const dtm::Step& step = endpoint.registered.at(0);
  CHECK(step.action == "http://b/Confirm");
  CHECK(step.compensate == "http://b/Cancel");
  CHECK(step.payload == "30");
  CHECK(endpoint.registered.at(1).payload == R"("x")");
  const dtm::InitiatorCall& call = endpoint.called.at(0);
  CHECK(call.info.gid == "g");
  CHECK(call.info.trans_type == dtm::TransType::kTcc);
  CHECK(call.payload == "30");
  CHECK(call.tell_coordinator);
  CHECK(call.phase2_url.empty());
  CHECK(call.options.branch_headers.at("k") == "v");
  for (const dtm::Definition& sent : {endpoint.prepared.at(0), endpoint.submitted.at(0)}) {
    CHECK(sent.type == dtm::TransType::kTcc);
    CHECK(sent.options.wait_result);
    CHECK(sent.steps.empty());
  }
}

TEST_CASE("tcc client: CallBranch returns the body of a success") {
  FakeEndpoint endpoint;
  endpoint.answer = {Result::Kind::kSuccess, R"({"seat":7})"};
  Tcc tcc(endpoint, "g", {});
  CHECK(CallOne(tcc) == R"({"seat":7})");
}

TEST_CASE("tcc client: FAILURE of a try is FailureError, and everything is cancelled") {
  FakeEndpoint endpoint;
  endpoint.answer = Result::Failure("no money");
  CHECK_THROWS_AS(RunOne(endpoint), dtm::FailureError);
  CHECK(endpoint.log ==
        Lines{"prepare g", "register tcc g 01", "call 01 try http://b/Try", "abort tcc g"});
  CHECK(endpoint.aborted.at(0).second == "gid 'g': the try of branch 01 failed: no money");
}

TEST_CASE(
    "tcc client: no definite answer of a try is no FailureError, and everything is cancelled") {
  for (const Result& answer :
       {Result::Ongoing("wait"), Result::Error("wait"), Result::NotSent("wait")}) {
    CAPTURE(static_cast<int>(answer.kind));
    FakeEndpoint endpoint;
    endpoint.answer = answer;
    const bool ongoing = answer.kind == Result::Kind::kOngoing;
    CHECK_THROWS_WITH(RunOne(endpoint), std::string("gid 'g': the try of branch 01 ") +
                                            (ongoing ? "is not finished yet: wait"
                                                     : "gave no definite answer: wait"));
    CHECK_THROWS_AS(RunOne(endpoint), dtm::Error);
    try {
      RunOne(endpoint);
    } catch (const dtm::FailureError&) {
      FAIL("it is not definite");
    } catch (const dtm::Error&) {
    }
    CHECK(endpoint.aborted.size() == 3);
    CHECK(endpoint.submitted.empty());
  }
}

TEST_CASE(
    "tcc client: a branch that cannot be registered is not tried (Appendix A: after its timeout)") {
  FakeEndpoint endpoint;
  endpoint.instead_of_taking["register tcc g 02"] = [] {
    throw dtm::RejectedError("not prepared");
  };
  CHECK_THROWS_AS(dtm::TccGlobalTransaction(endpoint, "g",
                                            [](Tcc& tcc) {
                                              CallOne(tcc);
                                              CallOne(tcc);
                                            }),
                  dtm::RejectedError);
  CHECK(endpoint.log == Lines{"prepare g", "register tcc g 01", "call 01 try http://b/Try",
                              "register tcc g 02", "abort tcc g"});
}

TEST_CASE("tcc client: no try, no call; the branch is registered all the same (W31)") {
  FakeEndpoint endpoint;
  endpoint.answer = Result::Failure("nobody may ask");
  Tcc tcc(endpoint, "g", {});
  CHECK(tcc.CallBranch(1, dtm::kNoBranch, "http://b/Confirm", "http://b/Cancel").empty());
  CHECK(tcc.CallBranch(1, "", dtm::kNoBranch, dtm::kNoBranch).empty());
  CHECK(endpoint.log == Lines{"register tcc g 01", "register tcc g 02"});
  CHECK(endpoint.registered.at(1).action.empty());
  CHECK(endpoint.registered.at(1).compensate.empty());
}

TEST_CASE("tcc client: functions are branches too") {
  FakeEndpoint endpoint;
  const LocalBranch<int> try_it{"Try", FakeEndpoint::kOwner},
      confirm{"Confirm", FakeEndpoint::kOwner}, cancel{"Cancel", FakeEndpoint::kOwner},
      foreign{"Try", FakeEndpoint::kOwner + 1};
  Tcc tcc(endpoint, "g", {});
  tcc.CallBranch(1, try_it, confirm, cancel);
  CHECK(endpoint.registered.at(0).action == "local:Confirm");
  CHECK(endpoint.registered.at(0).compensate == "local:Cancel");
  CHECK(endpoint.called.at(0).url == "local:Try");
  CHECK_THROWS_AS(tcc.CallBranch(1, foreign, confirm, cancel), dtm::LogicError);
  CHECK_THROWS_AS(tcc.CallBranch(1, "local:Try", confirm, cancel), dtm::LogicError);
  CHECK_THROWS_AS(tcc.CallBranch(std::string("\xFF"), "http://b", "", ""), dtm::LogicError);
  CHECK(endpoint.registered.size() == 1);  // misuse is found before anything is sent
  CHECK(endpoint.called.size() == 1);
}

TEST_CASE("tcc client: inside a try there are branches below it, under the same gid") {
  FakeEndpoint endpoint;
  const dtm::BranchInfo caller{"g", dtm::TransType::kTcc, "02", dtm::Op::kTry, {}};
  dtm::TransOptions options;
  options.branch_headers["k"] = "v";
  Tcc nested(endpoint, caller, options);
  CHECK(nested.Gid() == "g");
  CallOne(nested);
  CallOne(nested);
  CHECK(endpoint.log == Lines{"register tcc g 0201", "call 0201 try http://b/Try",
                              "register tcc g 0202", "call 0202 try http://b/Try"});
  CHECK(endpoint.called.at(1).info.branch_id == "0202");
  CHECK(endpoint.called.at(1).options.branch_headers == options.branch_headers);
}

TEST_CASE("tcc client: 99 branches, and the hundredth is misuse that cancels") {
  FakeEndpoint endpoint;
  CHECK_THROWS_AS(dtm::TccGlobalTransaction(endpoint, "g",
                                            [](Tcc& tcc) {
                                              for (int i = 0; i < 100; ++i) CallOne(tcc);
                                            }),
                  dtm::LogicError);
  CHECK(endpoint.registered.size() == 99);
  CHECK(endpoint.registered.back().branch_id == "99");
  CHECK(endpoint.aborted.size() == 1);
}

TEST_CASE(
    "tcc client: confirm and cancel may take types of their own; what cannot be read is not "
    "tried") {
  FakeEndpoint endpoint;
  const LocalBranch<int> try_it{"Try", FakeEndpoint::kOwner};
  const LocalBranch<double> confirm{"Confirm", FakeEndpoint::kOwner};
  const LocalBranch<nlohmann::json> cancel{"Cancel", FakeEndpoint::kOwner};
  const LocalBranch<std::string> text{"Text", FakeEndpoint::kOwner};
  Tcc tcc(endpoint, "g", {});
  tcc.CallBranch(30, try_it, confirm, cancel);
  endpoint.log.clear();
  CHECK_THROWS_AS(tcc.CallBranch(30, try_it, text, cancel), dtm::LogicError);
  CHECK_THROWS_AS(tcc.CallBranch(30, try_it, confirm, text), dtm::LogicError);
  CHECK_THROWS_AS(tcc.CallBranch(std::nan(""), "http://b/Try", "http://b/C", "http://b/D"),
                  dtm::LogicError);
  CHECK(endpoint.log.empty());  // neither registered nor tried
}
