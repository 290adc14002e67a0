/// What every builder does with a branch and a payload: urls, functions, none, and the text of the payload.
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/branch_args.hpp>
#include <dtm/client/msg.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow_run.hpp>
#include <dtm/client/xa.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::LocalBranch;
namespace branch_args = dtm::branch_args;

TEST_CASE(
    "branch args: a url is itself, none is empty, a function is where the endpoint reaches it") {
  const FakeEndpoint endpoint;
  CHECK(branch_args::Url(endpoint, "g", "http://a/b") == "http://a/b");
  CHECK(branch_args::Url(endpoint, "g", std::string("http://a/b")) == "http://a/b");
  CHECK(branch_args::Url(endpoint, "g", std::string()).empty());
  CHECK(branch_args::Url(endpoint, "g", dtm::kNoBranch).empty());
  CHECK(branch_args::Url(endpoint, "g", LocalBranch<int>{"Out", FakeEndpoint::kOwner}) ==
        "local:Out");
}

TEST_CASE("branch args: a function of another coordinator, and a name for a function, are misuse") {
  const FakeEndpoint endpoint;
  CHECK_THROWS_AS(
      branch_args::Url(endpoint, "g", LocalBranch<int>{"Out", FakeEndpoint::kOwner + 1}),
      dtm::LogicError);
  for (const char* name : {"local:Out", "local:"}) {
    CHECK_THROWS_AS(branch_args::Url(endpoint, "g", name), dtm::LogicError);
    CHECK_THROWS_WITH(branch_args::Url(endpoint, "gid-7", name),
                      ContainsSubstring("gid 'gid-7'") && ContainsSubstring(name) &&
                          ContainsSubstring("pass what Register returned"));
  }
}

TEST_CASE("branch args: what is no url is refused when it is added, by every builder") {
  FakeEndpoint endpoint;
  for (const char* bad : {"bank/TransIn", "http://", "ftp:///x", "h:80/x"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(branch_args::Url(endpoint, "g", bad), dtm::RejectedError);
    CHECK_THROWS_AS(dtm::NewSaga(endpoint, "g").Add(bad, dtm::kNoBranch, 1), dtm::RejectedError);
    CHECK_THROWS_WITH(dtm::NewSaga(endpoint, "g").Add("http://a", bad, 1),
                      ContainsSubstring("gid 'g'") && ContainsSubstring(bad));
    CHECK_THROWS_AS(dtm::NewMsg(endpoint, "g").Add(bad, 1), dtm::RejectedError);
    CHECK_THROWS_AS(dtm::NewMsg(endpoint, "g").Prepare(bad), dtm::RejectedError);
    dtm::Tcc tcc(endpoint, "g", {});
    CHECK_THROWS_AS(tcc.CallBranch(1, bad, "http://a", "http://a"), dtm::RejectedError);
    CHECK_THROWS_AS(tcc.CallBranch(1, "http://a", bad, "http://a"), dtm::RejectedError);
    CHECK_THROWS_AS(tcc.CallBranch(1, "http://a", "http://a", bad), dtm::RejectedError);
    dtm::Xa xa(endpoint, "g", {});
    CHECK_THROWS_AS(xa.CallBranch(1, bad), dtm::RejectedError);
    dtm::Workflow workflow(endpoint, "g", dtm::WorkflowState{});
    CHECK_THROWS_AS(workflow.NewBranch().Call(bad, 1), dtm::RejectedError);
    CHECK_THROWS_AS(workflow.NewBranch().OnRollback(bad, 1), dtm::RejectedError);
    CHECK_THROWS_AS(workflow.NewBranch().OnCommit(bad, 1), dtm::RejectedError);
  }
  CHECK(endpoint.log.empty());  // nobody was told, and nothing was called
  CHECK(endpoint.called.empty());
}

TEST_CASE("branch args: payloads are compact JSON") {
  CHECK(branch_args::Text("g", "step 0", nlohmann::json{{"b", 1}, {"a", {1, nullptr}}}) ==
        R"({"a":[1,null],"b":1})");
  CHECK(branch_args::Text("g", "step 0", nullptr) == "null");
  CHECK(branch_args::Text("g", "step 0", "text") == R"("text")");
}

TEST_CASE("branch args: what JSON cannot say is misuse, with the gid and the place") {
  CHECK_THROWS_AS(branch_args::Text("g", "step 3", "\xFF"), dtm::LogicError);
  CHECK_THROWS_WITH(branch_args::Text("gid-7", "step 3", "\xFF"),
                    ContainsSubstring("gid 'gid-7'") && ContainsSubstring("payload of step 3"));
}

TEST_CASE("branch args: a null pointer is misuse, not undefined") {
  const FakeEndpoint endpoint;
  const char* const none = nullptr;
  CHECK_THROWS_AS(branch_args::Url(endpoint, "g", none), dtm::LogicError);
  CHECK_THROWS_WITH(branch_args::Url(endpoint, "gid-7", none),
                    ContainsSubstring("gid 'gid-7'") && ContainsSubstring("kNoBranch"));
}

TEST_CASE("branch args: a function that is called later has to be able to read the payload") {
  const nlohmann::json payload = {{"amount", 30}};
  const auto check = [&](const auto& branch) {
    branch_args::CheckReads<nlohmann::json>(branch, "gid-7", "step 0", payload);
  };
  CHECK_NOTHROW(check("http://a"));
  CHECK_NOTHROW(check(dtm::kNoBranch));
  CHECK_NOTHROW(check(LocalBranch<nlohmann::json>{"Undo", 1}));
  using Amounts = std::map<std::string, int>;
  CHECK_NOTHROW(check(LocalBranch<Amounts>{"Undo", 1}));
  CHECK_THROWS_AS(check(LocalBranch<int>{"Undo", 1}), dtm::LogicError);
  using Texts = std::map<std::string, std::string>;
  CHECK_THROWS_WITH(check(LocalBranch<Texts>{"Undo", 1}),
                    ContainsSubstring("gid 'gid-7': the payload of step 0 is not what one"));
}
