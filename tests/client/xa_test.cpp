/// The xa client: what is called, in which order and under which ids (protocol §11.4, §11.1, W31). Branches register
/// themselves.
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/xa.hpp>

using dtm::Result;
using dtm::Xa;
using Lines = std::vector<std::string>;

namespace {

dtm::TransResult RunOne(FakeEndpoint& endpoint) {
  return dtm::XaGlobalTransaction(endpoint, "g", [](Xa& xa) { xa.CallBranch(30, "http://b/Xa"); });
}

}  // namespace

TEST_CASE(
    "xa client: each branch is called and told where it will be asked; then it is submitted") {
  FakeEndpoint endpoint;
  dtm::TransOptions options;
  options.request_timeout = std::chrono::seconds(8);
  endpoint.answer = {Result::Kind::kSuccess, "the body"};
  dtm::XaGlobalTransaction(endpoint, "g", options, [](Xa& xa) {
    CHECK(xa.Gid() == "g");
    CHECK(xa.CallBranch(30, "http://b/Xa") == "the body");
    xa.CallBranch(nlohmann::json{{"a", 1}}, std::string("http://c/Xa"));
  });
  CHECK(endpoint.log ==
        Lines{"prepare g", "call 01 action http://b/Xa", "call 02 action http://c/Xa", "submit g"});
  CHECK(endpoint.registered.empty());
  const dtm::InitiatorCall& call = endpoint.called.at(1);
  CHECK(call.info.gid == "g");
  CHECK(call.info.trans_type == dtm::TransType::kXa);
  CHECK(call.info.op == dtm::Op::kAction);
  CHECK(call.payload == R"({"a":1})");
  CHECK(call.tell_coordinator);
  CHECK(call.phase2_url == "http://c/Xa");
  CHECK(call.options.request_timeout == std::chrono::seconds(8));
  CHECK(endpoint.prepared.at(0).type == dtm::TransType::kXa);
  CHECK(endpoint.submitted.at(0).options.request_timeout == std::chrono::seconds(8));
}

TEST_CASE("xa client: FAILURE is FailureError and rolls back; the next branch is not called") {
  FakeEndpoint endpoint;
  endpoint.answer = Result::Failure("no money");
  CHECK_THROWS_AS(dtm::XaGlobalTransaction(endpoint, "g",
                                           [](Xa& xa) {
                                             xa.CallBranch(1, "http://b/Xa");
                                             xa.CallBranch(1, "http://c/Xa");
                                           }),
                  dtm::FailureError);
  CHECK(endpoint.log == Lines{"prepare g", "call 01 action http://b/Xa", "abort xa g"});
  CHECK(endpoint.aborted.at(0).second == "gid 'g': the action of branch 01 failed: no money");
}

TEST_CASE("xa client: no definite answer is no FailureError, and rolls back") {
  for (const Result& answer :
       {Result::Ongoing("wait"), Result::Error("wait"), Result::NotSent("wait")}) {
    FakeEndpoint endpoint;
    endpoint.answer = answer;
    const bool ongoing = answer.kind == Result::Kind::kOngoing;
    CHECK_THROWS_WITH(RunOne(endpoint), std::string("gid 'g': the action of branch 01 ") +
                                            (ongoing ? "is not finished yet: wait"
                                                     : "gave no definite answer: wait"));
    CHECK(endpoint.aborted.size() == 1);
    CHECK(endpoint.submitted.empty());
  }
}

TEST_CASE("xa client: an empty url is no call and success (W31)") {
  FakeEndpoint endpoint;
  endpoint.answer = Result::Error("nobody may ask");
  dtm::XaGlobalTransaction(endpoint, "g", [](Xa& xa) {
    CHECK(xa.CallBranch(1, "").empty());
    CHECK(xa.CallBranch(1, dtm::kNoBranch).empty());
  });
  CHECK(endpoint.log == Lines{"prepare g", "submit g"});
}

TEST_CASE(
    "xa client: a function is called and asked by its name; misuse is found before the call") {
  FakeEndpoint endpoint;
  Xa xa(endpoint, "g", {});
  xa.CallBranch(1, dtm::LocalBranch<int>{"Xa", FakeEndpoint::kOwner});
  CHECK(endpoint.called.at(0).url == "local:Xa");
  CHECK(endpoint.called.at(0).phase2_url == "local:Xa");
  CHECK_THROWS_AS(xa.CallBranch(1, dtm::LocalBranch<int>{"Xa", 1}), dtm::LogicError);
  CHECK_THROWS_AS(xa.CallBranch(1, "local:Xa"), dtm::LogicError);
  CHECK(endpoint.called.size() == 1);
}

TEST_CASE("xa client: 99 branches, and the hundredth is misuse") {
  FakeEndpoint endpoint;
  Xa xa(endpoint, "g", {});
  for (int i = 0; i < 99; ++i) xa.CallBranch(1, "http://b/Xa");
  CHECK(endpoint.called.back().info.branch_id == "99");
  CHECK_THROWS_AS(xa.CallBranch(1, "http://b/Xa"), dtm::LogicError);
}
