/// The message builder: the definition it hands over, and DoAndSubmit with every outcome of the local transaction and
/// of the query-back. Protocol §4.2, §11.1, §11.3, W31.
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/msg.hpp>
#include <dtm/core/validate.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::BranchInfo;
using dtm::LocalBranch;
using dtm::Msg;
using dtm::NewMsg;
using dtm::Result;
using std::chrono::seconds;
using Lines = std::vector<std::string>;

namespace {

Msg One(FakeEndpoint& endpoint) { return NewMsg(endpoint, "g").Add("http://b/In", 30); }

const std::string kPrepare = "prepare g", kSubmit = "submit g", kAbort = "abort msg g",
                  kAsk = "call 00 msg http://a/Query";

/// Runs DoAndSubmit; "submitted", "FailureError: text", ...
template <typename Business>
std::string Outcome(FakeEndpoint& endpoint, const Business& business) {
  try {
    One(endpoint).DoAndSubmit("http://a/Query", business);
    return "submitted";
  } catch (const dtm::FailureError& error) {
    return std::string("FailureError: ") + error.what();
  } catch (const dtm::InDoubtError& error) {
    return std::string("InDoubtError: ") + error.what();
  } catch (const std::exception& error) {
    return std::string("exception: ") + error.what();
  } catch (int number) {
    return "int: " + std::to_string(number);
  }
}

}  // namespace

TEST_CASE("msg builder: the definition") {
  FakeEndpoint endpoint;
  NewMsg(endpoint, "gid-1")
      .Add("http://b/In", nlohmann::json{{"amount", 30}})
      .Add(LocalBranch<int>{"In", FakeEndpoint::kOwner}, 7)
      .AddTopic("orders", "news")
      .Add(dtm::kNoBranch, nullptr)
      .Submit();
  const dtm::Definition& msg = endpoint.submitted.at(0);
  CHECK(msg.gid == "gid-1");
  CHECK(msg.type == dtm::TransType::kMsg);
  CHECK_FALSE(msg.concurrent);
  CHECK(msg.delay == seconds(0));
  CHECK(msg.query_prepared.empty());
  REQUIRE(msg.steps.size() == 4);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"http://b/In", R"({"amount":30})"},
      {"local:In", "7"},
      {"topic://orders", R"("news")"},
      {"", "null"}};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(msg.steps[i].action == expected[i].first);
    CHECK(msg.steps[i].payload == expected[i].second);
    CHECK(msg.steps[i].compensate.empty());
  }
  CHECK(dtm::Problem(msg).empty());
}

TEST_CASE(
    "msg builder: concurrency, delay and options reach prepare and submit, with the same content") {
  FakeEndpoint endpoint;
  Msg msg = One(endpoint)
                .SetConcurrent()
                .SetDelay(std::chrono::hours(1))
                .SetTimeoutToFail(seconds(7))
                .AddBranchHeader("k", "v");
  msg.Prepare("http://a/Query");
  msg.Submit();
  CHECK(endpoint.log == Lines{kPrepare, kSubmit});
  CHECK(SameContent(endpoint.prepared.at(0), endpoint.submitted.at(0)));
  for (const dtm::Definition& sent : {endpoint.prepared.at(0), endpoint.submitted.at(0)}) {
    CHECK(sent.concurrent);
    CHECK(sent.delay == seconds(3600));
    CHECK(sent.options.timeout_to_fail == seconds(7));
    CHECK(sent.options.branch_headers.at("k") == "v");
    CHECK(sent.query_prepared == "http://a/Query");
    CHECK(sent.steps.size() == 1);
  }
}

TEST_CASE("msg builder: chains keep type and value category; no temporary coordinator") {
  using L = Msg&;
  using R = Msg&&;
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().Add("", 1)), Msg&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().Add("", 1)), Msg>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().AddTopic("", 1)), Msg&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().AddTopic("", 1)), Msg>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetDelay(seconds(1))), Msg&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetDelay(seconds(1))), Msg>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetConcurrent()), Msg&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetConcurrent()), Msg>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Msg, FakeEndpoint, std::string>);
  FakeEndpoint endpoint;
  Msg msg = One(endpoint);
  CHECK(msg.Gid() == "g");
  CHECK(msg.SubmitAndWait(seconds(5)).gid == "g");
  CHECK(endpoint.waited == std::vector<dtm::Duration>{seconds(5)});
}

TEST_CASE("msg builder: misuse is found before anything is sent") {
  FakeEndpoint endpoint;
  Msg msg = NewMsg(endpoint, "g");
  CHECK_THROWS_AS(msg.Add("local:In", 1), dtm::LogicError);
  CHECK_THROWS_AS(msg.Add(LocalBranch<int>{"In", 1}, 1), dtm::LogicError);
  CHECK_THROWS_WITH(msg.Add("http://b", std::string("\xFF")),
                    ContainsSubstring("payload of step 0"));
  CHECK_THROWS_AS(msg.Prepare("local:Query"), dtm::LogicError);
  msg.Submit();
  CHECK(endpoint.submitted.at(0).steps.empty());  // what was refused was not added
  CHECK(endpoint.prepared.empty());
}

TEST_CASE(
    "msg DoAndSubmit: prepared, then the local transaction with its identity, then submitted") {
  FakeEndpoint endpoint;
  BranchInfo info;
  const dtm::TransResult result =
      One(endpoint).DoAndSubmit("http://a/Query", [&](const BranchInfo& told) {
        CHECK(endpoint.log == Lines{kPrepare});
        info = told;
      });
  CHECK(result.gid == "g");
  CHECK(endpoint.log == Lines{kPrepare, kSubmit});
  CHECK(info.gid == "g");
  CHECK(info.trans_type == dtm::TransType::kMsg);
  CHECK(info.branch_id == "00");
  CHECK(info.op == dtm::Op::kMsg);
  CHECK(endpoint.submitted.at(0).query_prepared == "http://a/Query");
}

TEST_CASE("msg DoAndSubmit: what cannot be prepared does not run") {
  FakeEndpoint endpoint;
  endpoint.instead_of_taking[kPrepare] = [] { throw dtm::InDoubtError("no answer"); };
  bool ran = false;
  CHECK(Outcome(endpoint, [&](const BranchInfo&) { ran = true; }) == "InDoubtError: no answer");
  CHECK_FALSE(ran);
  CHECK(endpoint.log == Lines{kPrepare});
}

TEST_CASE("msg DoAndSubmit: every outcome of the local transaction and of the query-back") {
  // What the local transaction does, and what comes out when the answer of the query-back is FAILURE, or open.
  struct Business {
    const char* name;
    std::function<Result()> run;
    std::string refused, open;
  };
  const std::string in_doubt =
      "InDoubtError: gid 'g': the local transaction gave no definite answer (";
  const std::string ask = "); the coordinator will ask http://a/Query";
  const std::vector<Business> all = {
      {"throws an exception", []() -> Result { throw std::runtime_error("lost"); },
       "exception: lost", "exception: lost"},
      {"throws something else", []() -> Result { throw 42; }, "int: 42", "int: 42"},
      {"returns an error", [] { return Result::Error("lost"); },
       "FailureError: nothing was committed", in_doubt + "lost" + ask},
      {"returns ONGOING", [] { return Result::Ongoing("busy"); },
       "FailureError: nothing was committed", in_doubt + "busy" + ask},
  };
  for (const Business& business : all) {
    for (const Result& query :
         {Result::Success(), Result::Failure("nothing was committed"), Result::Ongoing("wait"),
          Result::Error("wait"), Result::NotSent("wait")}) {
      CAPTURE(business.name, static_cast<int>(query.kind));
      FakeEndpoint endpoint;
      endpoint.answer = query;
      const std::string outcome =
          Outcome(endpoint, [&](const BranchInfo&) { return business.run(); });
      if (query.kind == Result::Kind::kSuccess) {
        CHECK(outcome == "submitted");
        CHECK(endpoint.log == Lines{kPrepare, kAsk, kSubmit});
      } else if (query.kind == Result::Kind::kFailure) {
        CHECK(outcome == business.refused);
        CHECK(endpoint.log == Lines{kPrepare, kAsk, kAbort});
      } else {
        CHECK(outcome == business.open);
        CHECK(endpoint.log == Lines{kPrepare, kAsk});
      }
    }
  }
}

TEST_CASE("msg DoAndSubmit: a definite failure is aborted with its reason, and nobody is asked") {
  for (const bool thrown : {false, true}) {
    FakeEndpoint endpoint;
    endpoint.answer = Result::Success();
    CHECK(Outcome(endpoint, [&](const BranchInfo&) -> Result {
            if (thrown) throw dtm::FailureError("no money");
            return Result::Failure("no money");
          }) == "FailureError: no money");
    CHECK(endpoint.log == Lines{kPrepare, kAbort});
    CHECK(endpoint.aborted.at(0).second == "no money");
  }
}

TEST_CASE("msg DoAndSubmit: an error of the abort itself is ignored") {
  FakeEndpoint endpoint;
  endpoint.instead_of_taking[kAbort] = [] { throw dtm::InDoubtError("no answer"); };
  CHECK(Outcome(endpoint, [](const BranchInfo&) { return Result::Failure("no money"); }) ==
        "FailureError: no money");
}

TEST_CASE("msg DoAndSubmit: a query-back that throws is no answer") {
  FakeEndpoint endpoint;
  endpoint.answers = [](const dtm::InitiatorCall&) -> Result {
    throw std::runtime_error("no such host");
  };
  CHECK_THAT(Outcome(endpoint, [](const BranchInfo&) { return Result::Error("lost"); }),
             ContainsSubstring("InDoubtError"));
  CHECK(endpoint.log == Lines{kPrepare, kAsk});
}

TEST_CASE(
    "msg DoAndSubmit: the query-back has no body, and asks where the coordinator would (W31)") {
  FakeEndpoint endpoint;
  endpoint.answer = Result::Success();
  Msg msg = One(endpoint).AddBranchHeader("k", "v");
  msg.DoAndSubmit(LocalBranch<nlohmann::json>{"Query", FakeEndpoint::kOwner},
                  [](const BranchInfo&) { return Result::Error("lost"); });
  const dtm::InitiatorCall& call = endpoint.called.at(0);
  CHECK(call.url == "local:Query");
  CHECK(call.url == endpoint.prepared.at(0).query_prepared);
  CHECK(call.payload.empty());
  CHECK(call.info.gid == "g");
  CHECK(call.info.trans_type == dtm::TransType::kMsg);
  CHECK(call.info.branch_id == "00");
  CHECK(call.info.op == dtm::Op::kMsg);
  CHECK(call.options.branch_headers.at("k") == "v");
}

TEST_CASE("msg DoAndSubmit: no error shows the password of the query's URL") {
  const char* const query = "http://user:secret@a/Query";
  for (const bool committed : {false, true}) {
    FakeEndpoint endpoint;
    endpoint.answer = Result::Ongoing("wait");
    endpoint.instead_of_taking[kSubmit] = [] { throw dtm::BusyError("too much waits"); };
    const auto business = [&](const BranchInfo&) {
      return committed ? Result::Success() : Result::Error("lost");
    };
    CHECK_THROWS_WITH(One(endpoint).DoAndSubmit(query, business),
                      ContainsSubstring("a/Query") && !ContainsSubstring("secret"));
  }
}

TEST_CASE("msg DoAndSubmit: an error of the submit comes out, and is not followed by an abort") {
  FakeEndpoint endpoint;
  endpoint.instead_of_taking[kSubmit] = [] { throw dtm::InDoubtError("no answer"); };
  CHECK(Outcome(endpoint, [](const BranchInfo&) {}) == "InDoubtError: no answer");
  CHECK(endpoint.log == Lines{kPrepare, kSubmit});
}

TEST_CASE(
    "msg DoAndSubmit: a submit refused for now, after the commit, is in doubt: nothing was changed "
    "is not true") {
  for (const bool busy : {false, true}) {
    FakeEndpoint endpoint;
    endpoint.instead_of_taking[kSubmit] = [busy] {
      if (busy) throw dtm::BusyError("too much waits");
      throw dtm::StoreError("disk full");
    };
    const std::string outcome = Outcome(endpoint, [](const BranchInfo&) {});
    CHECK_THAT(outcome,
               ContainsSubstring("InDoubtError: gid 'g': the local transaction is committed") &&
                   ContainsSubstring("http://a/Query"));
    CHECK(endpoint.log == Lines{kPrepare, kSubmit});
  }
}
