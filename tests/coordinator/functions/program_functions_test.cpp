/// Branches and workflows: one name for each, a pool of threads for either.
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/functions/program_functions.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::BranchCall;
using dtm::ProgramFunctions;
using dtm::Result;

namespace {

/// The texts of the results, in the order in which they came.
struct Results : dtm::BranchResults {
  void Done(BranchCall call, Result result) override {
    const std::lock_guard<std::mutex> lock(mutex);
    texts.push_back(call.Url() + " " + result.text);
  }
  std::vector<std::string> Take() {
    const std::lock_guard<std::mutex> lock(mutex);
    return std::exchange(texts, {});
  }
  std::mutex mutex;
  std::vector<std::string> texts;
};

BranchCall CallOf(const std::string& name) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g";
  definition->steps.push_back({"local:" + name, "", "1"});
  return {definition, 1, {}};
}

dtm::BranchFunction Says(const char* text) {
  return [text](const std::string&, const dtm::Caller&) { return Result::Ongoing(text); };
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("program_functions: branches and workflows share their names") {
  ProgramFunctions functions(2, 2);
  functions.Register("A", Says("a"));
  functions.RegisterResume("W", Says("w"));
  CHECK_THROWS_WITH(functions.RegisterResume("A", Says("")), ContainsSubstring("'A'"));
  CHECK_THROWS_WITH(functions.Register("W", Says("")), ContainsSubstring("'W'"));
  CHECK(functions.Find("A"));
  CHECK(functions.Find("W"));
  CHECK_FALSE(functions.Find("B"));
  Results results;
  functions.Call({CallOf("W"), CallOf("A"), CallOf("B")}, results);
  CHECK_THAT(results.Take().at(0), ContainsSubstring("local:B waiting for handler"));
  functions.RunQueued();
  CHECK(results.Take() == Texts{"local:A a", "local:W w"});
}

TEST_CASE("program_functions: a workflow that waits lets branches run, but no other workflow") {
  ProgramFunctions functions(2, 2);
  Results results;
  bool on_branch = true;
  functions.RegisterResume("Waits", [&](const std::string&, const dtm::Caller&) {
    on_branch = functions.OnBranchThread();
    functions.Call({CallOf("W"), CallOf("A")}, results);
    functions.RunQueued();
    CHECK(results.Take() == Texts{"local:A a"});
    return Result::Ongoing("waited");
  });
  functions.RegisterResume("W", Says("w"));
  functions.Register("A", Says("a"));
  functions.Call({CallOf("Waits")}, results);
  functions.RunQueued();
  CHECK_FALSE(on_branch);
  CHECK(results.Take() == Texts{"local:Waits waited"});
  functions.RunQueued();
  CHECK(results.Take() == Texts{"local:W w"});
}

TEST_CASE("program_functions: a workflow that comes late has threads too, and all end together") {
  ProgramFunctions functions(2, 2);
  functions.StartThreads();
  functions.RegisterResume("W", Says("w"));
  functions.Register("A", Says("a"));
  Results results;
  functions.Call({CallOf("W"), CallOf("A")}, results);
  Texts texts;
  while (texts.size() < 2) {
    for (std::string& text : results.Take()) texts.push_back(std::move(text));
    std::this_thread::yield();
  }
  functions.BeginNothingNew();
  functions.Call({CallOf("W"), CallOf("A")}, results);
  CHECK(results.Take() ==
        Texts{"local:W the coordinator was stopping", "local:A the coordinator was stopping"});
  functions.Stop();
  CHECK(functions.Running() == 0);
}
