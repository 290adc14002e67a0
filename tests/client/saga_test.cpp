/// The saga builder: the definition it hands over (protocol §4.1 and §11.1).
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/validate.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::kNoBranch;
using dtm::LocalBranch;
using dtm::NewSaga;
using dtm::Saga;

namespace saga_test {

struct Transfer {
  int amount = 0;
  std::string to;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount, to)

}  // namespace saga_test

namespace {

using saga_test::Transfer;

/// Says no when it is turned into JSON.
struct Refuses {};
void to_json(nlohmann::json&, const Refuses&) { throw std::domain_error("not this one"); }

const LocalBranch<Transfer> kOut{"TransOut", FakeEndpoint::kOwner};
const LocalBranch<Transfer> kOutCom{"TransOutCom", FakeEndpoint::kOwner};

template <typename Payload>
std::string PayloadOf(const Payload& payload) {
  FakeEndpoint endpoint;
  NewSaga(endpoint, "g").Add("http://a", "http://b", payload).Submit();
  return endpoint.submitted.at(0).steps.at(0).payload;
}

}  // namespace

TEST_CASE("saga builder: the definition") {
  FakeEndpoint endpoint;
  NewSaga(endpoint, "gid-1")
      .Add("http://bank-b/TransIn", "http://bank-b/TransInCom", Transfer{30, "B"})
      .Add(kOut, kOutCom, Transfer{30, "A"})
      .Submit();
  REQUIRE(endpoint.submitted.size() == 1);
  const dtm::Definition& saga = endpoint.submitted[0];
  CHECK(saga.gid == "gid-1");
  CHECK(saga.type == dtm::TransType::kSaga);
  CHECK_FALSE(saga.concurrent);
  CHECK(saga.orders.empty());
  REQUIRE(saga.steps.size() == 2);
  CHECK(saga.steps[0].action == "http://bank-b/TransIn");
  CHECK(saga.steps[0].compensate == "http://bank-b/TransInCom");
  CHECK(saga.steps[0].payload == R"({"amount":30,"to":"B"})");
  CHECK(saga.steps[1].action == "local:TransOut");
  CHECK(saga.steps[1].compensate == "local:TransOutCom");
  CHECK(dtm::Problem(saga).empty());
}

TEST_CASE("saga builder: no steps") {
  FakeEndpoint endpoint;
  NewSaga(endpoint, "g").Submit();
  CHECK(endpoint.submitted.at(0).steps.empty());
}

TEST_CASE("saga builder: a branch is a URL, a function or none, in any mixture") {
  FakeEndpoint endpoint;
  const std::string url = "http://c/x";
  const char* pointer = "http://d/x";
  NewSaga(endpoint, "g")
      .Add(kOut, kNoBranch, Transfer{})
      .Add(kNoBranch, kOutCom, Transfer{})
      .Add(kNoBranch, kNoBranch, nullptr)
      .Add(url, pointer, 1)
      .Add(kOut, url, Transfer{})
      .Add("", "", 1)
      .Submit();
  const std::vector<dtm::Step>& steps = endpoint.submitted.at(0).steps;
  REQUIRE(steps.size() == 6);
  CHECK((steps[0].action == "local:TransOut" && steps[0].compensate.empty()));
  CHECK((steps[1].action.empty() && steps[1].compensate == "local:TransOutCom"));
  CHECK((steps[2].action.empty() && steps[2].compensate.empty()));
  CHECK((steps[3].action == "http://c/x" && steps[3].compensate == "http://d/x"));
  CHECK((steps[4].action == "local:TransOut" && steps[4].compensate == "http://c/x"));
  CHECK((steps[5].action.empty() && steps[5].compensate.empty()));
}

TEST_CASE("saga builder: payloads are the JSON text of anything nlohmann can serialise") {
  CHECK(PayloadOf(Transfer{1, "x"}) == R"({"amount":1,"to":"x"})");
  CHECK(PayloadOf(nullptr) == "null");
  CHECK(PayloadOf(30) == "30");
  CHECK(PayloadOf(true) == "true");
  CHECK(PayloadOf("text") == "\"text\"");
  CHECK(PayloadOf(std::string("q\"\n")) == "\"q\\\"\\n\"");
  CHECK(PayloadOf(std::vector<int>{1, 2}) == "[1,2]");
  CHECK(PayloadOf(std::vector<int>{1}) == "[1]");
  CHECK(PayloadOf(std::vector<Transfer>{{1, "a"}}) == R"([{"amount":1,"to":"a"}])");
  CHECK(PayloadOf(std::map<std::string, int>{{"a", 1}}) == R"({"a":1})");
  CHECK(PayloadOf(nlohmann::json{{"a", nullptr}}) == R"({"a":null})");  // not wrapped in an array
  CHECK(PayloadOf(nlohmann::json()) == "null");
  CHECK(PayloadOf(std::string("\xC3\xBC")) == "\"\xC3\xBC\"");
}

TEST_CASE("saga builder: the payload is serialised in Add") {
  FakeEndpoint endpoint;
  Transfer transfer{30, "B"};
  Saga saga = NewSaga(endpoint, "g");
  saga.Add("http://a", "http://b", transfer);
  transfer.amount = 99;
  saga.Submit();
  CHECK(endpoint.submitted.at(0).steps.at(0).payload == R"({"amount":30,"to":"B"})");
}

TEST_CASE("saga builder: a step that cannot be added leaves the builder as it was") {
  FakeEndpoint endpoint;
  Saga saga = NewSaga(endpoint, "g");
  saga.Add("http://a", "http://b", 1);
  const LocalBranch<Transfer> stranger{"TransOut", 7};
  CHECK_THROWS_AS(saga.Add(stranger, kOutCom, Transfer{}), dtm::LogicError);
  CHECK_THROWS_AS(saga.Add(kOut, stranger, Transfer{}), dtm::LogicError);
  CHECK_THROWS_AS(saga.Add("http://a", "http://b", Refuses{}), std::domain_error);
  saga.Submit();
  CHECK(endpoint.submitted.at(0).steps.size() == 1);
}

TEST_CASE("saga builder: the name of a function is no URL") {
  FakeEndpoint endpoint;
  Saga saga = NewSaga(endpoint, "gid-7");
  CHECK_THROWS_AS(saga.Add("local:TransOut", "", 1), dtm::LogicError);
  CHECK_THROWS_WITH(saga.Add("", "local:TransOutCom", 1),
                    ContainsSubstring("gid-7") && ContainsSubstring("local:TransOutCom") &&
                        ContainsSubstring("Register"));
}

// Everything this library throws is a dtm::Error that says what to do (base/error.hpp).
TEST_CASE("saga builder: a payload that is no JSON text is misuse") {
  FakeEndpoint endpoint;
  Saga saga = NewSaga(endpoint, "gid-7");
  CHECK_THROWS_AS(saga.Add("http://a", "http://b", std::string("\xFF")), dtm::LogicError);
}

TEST_CASE("saga builder: concurrency and orders") {
  FakeEndpoint endpoint;
  NewSaga(endpoint, "g")
      .Add("http://a", "", 1)
      .Add("http://b", "", 1)
      .Add("http://c", "", 1)
      .SetConcurrent()
      .AddBranchOrder(2, {0, 1})
      .AddBranchOrder(1, {2})
      .AddBranchOrder(1, {0})  // as in Go: the last one for a step
      .Submit();
  const dtm::Definition& saga = endpoint.submitted.at(0);
  CHECK(saga.concurrent);
  CHECK(saga.orders == std::map<int, std::vector<int>>{{1, {0}}, {2, {0, 1}}});
}

TEST_CASE("saga builder: all options reach the coordinator") {
  using std::chrono::seconds;
  FakeEndpoint endpoint;
  NewSaga(endpoint, "g")
      .SetWaitResult()
      .SetTimeoutToFail(seconds(1))
      .SetRetryInterval(seconds(2))
      .SetRequestTimeout(seconds(3))
      .SetRetryLimit(4)
      .AddBranchHeader("a", "b")
      .Add("http://a", "", 1)
      .Submit();
  const dtm::TransOptions& options = endpoint.submitted.at(0).options;
  CHECK(options.wait_result);
  CHECK(options.timeout_to_fail == seconds(1));
  CHECK(options.retry_interval == seconds(2));
  CHECK(options.request_timeout == seconds(3));
  CHECK(options.retry_limit == 4);
  CHECK(options.branch_headers.at("a") == "b");
}

TEST_CASE("saga builder: chains keep type and value category; the builder is a movable value") {
  using L = Saga&;
  using R = Saga&&;
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().Add("", "", 1)), Saga&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().Add("", "", 1)), Saga>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().AddBranchOrder(1, {0})), Saga&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().AddBranchOrder(1, {0})), Saga>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetConcurrent()), Saga&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetConcurrent()), Saga>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<Saga>);
  STATIC_REQUIRE(std::is_move_assignable_v<Saga>);

  FakeEndpoint endpoint;
  Saga one = NewSaga(endpoint, "g").Add("http://a", "", 1);
  Saga& same = one.Add("http://b", "", 2).SetConcurrent();
  CHECK(&same == &one);
  Saga two = std::move(one);
  two.Add("http://c", "", 3);
  const Saga three = std::move(two).SetRetryLimit(5);
  CHECK(three.Gid() == "g");
  three.Submit();
  CHECK(endpoint.submitted.at(0).steps.size() == 3);
  CHECK(endpoint.submitted.at(0).concurrent);
  CHECK(endpoint.submitted.at(0).options.retry_limit == 5);
}

TEST_CASE("saga builder: submitting repeatedly hands over the same content") {
  FakeEndpoint endpoint;
  const Saga saga = NewSaga(endpoint, "g").Add(kOut, kOutCom, Transfer{30, "B"});
  saga.Submit();
  saga.Submit();
  const dtm::TransResult waited = saga.SubmitAndWait(std::chrono::seconds(5));
  bool answered = false;
  saga.SubmitAsync([&](const dtm::Answer& reply) { answered = reply.Get().gid == "g"; });
  CHECK(answered);
  CHECK(waited.gid == "g");
  REQUIRE(endpoint.submitted.size() == 4);
  for (const dtm::Definition& other : endpoint.submitted) {
    CHECK(dtm::SameContent(endpoint.submitted[0], other));
    CHECK(other.steps.size() == 1);
  }
  CHECK(endpoint.waited == std::vector<dtm::Duration>{std::chrono::seconds(5)});
}

TEST_CASE("saga builder: the coordinator's answer and its errors come through") {
  class Refusing : public FakeEndpoint {
   public:
    dtm::TransResult Submit(dtm::Definition) override { throw dtm::InDoubtError("no answer"); }
  };
  FakeEndpoint good;
  good.status = dtm::Status::kSucceed;
  CHECK(NewSaga(good, "g").Submit().Succeeded());
  Refusing refusing;
  CHECK_THROWS_AS(NewSaga(refusing, "g").Submit(), dtm::InDoubtError);
}

TEST_CASE("saga builder: no temporary coordinator") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Saga, FakeEndpoint, std::string>);
  STATIC_REQUIRE(std::is_constructible_v<Saga, FakeEndpoint&, std::string>);
}

TEST_CASE("saga builder: a compensation may take a type of its own that reads the same payload") {
  FakeEndpoint endpoint;
  const LocalBranch<std::map<std::string, nlohmann::json>> undo{"Undo", FakeEndpoint::kOwner};
  const LocalBranch<std::string> text{"Text", FakeEndpoint::kOwner};
  Saga saga = NewSaga(endpoint, "gid-7");
  saga.Add(kOut, undo, Transfer{30, "A"}).Add("http://a", kOutCom, Transfer{1, "B"});
  CHECK_THROWS_AS(saga.Add(kOut, text, Transfer{30, "A"}), dtm::LogicError);
  CHECK_THROWS_WITH(saga.Add(kOut, text, Transfer{30, "A"}),
                    ContainsSubstring("gid 'gid-7': the payload of step 2"));
  saga.Submit();
  REQUIRE(endpoint.submitted.at(0).steps.size() == 2);  // a refused step is not there
  CHECK(endpoint.submitted[0].steps[0].compensate == "local:Undo");
}

TEST_CASE("saga builder: NaN is refused when the step is added, and leaves no step") {
  FakeEndpoint endpoint;
  Saga saga = NewSaga(endpoint, "gid-7");
  const double nan = std::nan("");
  CHECK_THROWS_AS(saga.Add("http://a", kNoBranch, nan), dtm::LogicError);
  CHECK_THROWS_WITH(
      saga.Add("http://a", kNoBranch, std::map<std::string, double>{{"sum", nan}}),
      ContainsSubstring("gid 'gid-7': the payload of step 0") && ContainsSubstring("'/sum'"));
  saga.Submit();
  CHECK(endpoint.submitted.at(0).steps.empty());
}

TEST_CASE("saga builder: a callback whose captures can only be moved") {
  FakeEndpoint endpoint;
  auto said = std::make_unique<std::string>();
  const std::string* const seen = said.get();
  NewSaga(endpoint, "g").SubmitAsync([said = std::move(said)](const dtm::Answer& reply) mutable {
    *said = reply.result.gid;
  });
  CHECK_FALSE(seen == nullptr);
}
