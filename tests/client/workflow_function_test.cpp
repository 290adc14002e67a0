/// The functions of a workflow: what a step returns as text, what JSON cannot hold, and captures that can only be moved.
#include <cmath>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/client/workflow_kit.hpp"
#include <dtm/client/workflow_function.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::NotKept;
using dtm::Result;
using workflow_kit::Fixture;
using workflow_kit::Lines;
namespace workflow_function = dtm::workflow_function;

namespace {

/// Says no when it is turned into JSON.
struct Refuses {};
void to_json(nlohmann::json&, const Refuses&) { throw std::runtime_error("not this one"); }

template <typename Step>
std::string NotKeptOf(const Step& step) {
  try {
    return "kept: " + workflow_function::Answer(step, "branch 01");
  } catch (const NotKept& error) {
    return error.why;
  }
}

}  // namespace

TEST_CASE("workflow function: what a step returns is recorded as text") {
  const auto answer = [](const auto& step) { return workflow_function::Answer(step, "branch 01"); };
  CHECK(answer([] {}).empty());
  CHECK(answer([] { return "text"; }) == "text");
  CHECK(answer([] { return Result{Result::Kind::kSuccess, "done"}; }) == "done");
  CHECK(answer([] { return 42; }) == "42");
  CHECK(answer([] { return std::vector<int>{1, 2}; }) == "[1,2]");
  CHECK(answer([] { return nlohmann::json("text"); }) == R"("text")");
  CHECK_THROWS_AS(answer([] { return Result::Failure("no"); }), dtm::FailureError);
}

TEST_CASE(
    "workflow function: what JSON cannot hold is said after the step, which is not done again") {
  CHECK_THAT(NotKeptOf([] { return std::nan(""); }),
             ContainsSubstring("branch 01: what the step returned") && ContainsSubstring("NaN"));
  CHECK_THAT(NotKeptOf([] {
               return std::map<std::string, double>{{"sum", std::nan("")}};
             }),
             ContainsSubstring("'/sum'"));
  CHECK_THAT(NotKeptOf([] { return nlohmann::json("\xFF"); }), ContainsSubstring("UTF-8"));
  CHECK(NotKeptOf([] { return Refuses(); }) == "not this one");
  // What the step itself throws is its own.
  CHECK_THROWS_AS(NotKeptOf([]() -> double { throw std::runtime_error("lost"); }),
                  std::runtime_error);
}

TEST_CASE("workflow function: a step that returns NaN ends the workflow once, with its rollback") {
  Fixture f;
  const auto handle = f.Make([&f](dtm::Workflow& wf) -> std::string {
    wf.NewBranch().OnRollback(f.Does("undo")).Do([&f] {
      f.did.push_back("do");
      return std::nan("");
    });
    return "never";
  });
  for (int run = 0; run < 2; ++run) {
    CHECK_THROWS_AS(handle.Execute("g", 1), dtm::FailureError);
  }
  CHECK(f.did == Lines{"do", "undo"});
  CHECK_THAT(f.endpoint.workflow.reason, ContainsSubstring("NaN"));
  CHECK(f.endpoint.workflow.status == dtm::Status::kFailed);
}

TEST_CASE("workflow function: a payload with NaN is refused before anything is called") {
  Fixture f;
  const auto handle = f.Make([](dtm::Workflow& wf) -> std::string {
    return wf.NewBranch().Call("http://a", std::nan(""));
  });
  CHECK_THROWS_AS(handle.Execute("g", 1), dtm::LogicError);
  CHECK(f.endpoint.called.empty());
}

TEST_CASE("workflow function: captures that can only be moved") {
  auto times = std::make_unique<int>(0);
  const int* const called = times.get();
  const auto shared = workflow_function::Finish(
      [times = std::move(times)](bool succeeded) { *times += succeeded ? 1 : 10; });
  shared(true);
  shared(false);
  CHECK(*called == 11);

  auto text = std::make_unique<std::string>("sent");
  const auto workflow =
      workflow_function::Erase<int>([text = std::move(text)](dtm::Workflow& wf, const int& number) {
        return *text + " " + std::to_string(number) + " " + wf.Gid();
      });
  FakeEndpoint endpoint;
  dtm::Workflow wf(endpoint, "g", {});
  CHECK(workflow(wf, 7) == "sent 7 g");

  auto undone = std::make_unique<int>(0);
  const int* const seen = undone.get();
  const auto undo =
      workflow_function::Callback([undone = std::move(undone)] { ++*undone; }, "branch 01");
  undo();
  CHECK(*seen == 1);
  const auto refuses =
      workflow_function::Callback([] { return Result::Failure("no"); }, "branch 01");
  CHECK_THROWS_AS(refuses(), dtm::FailureError);
}
