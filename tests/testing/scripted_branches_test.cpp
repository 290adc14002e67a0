/// Scripted branches: answers in turn, when they are due, and not after the end of a run.
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/testing/scripted_branches.hpp>

using dtm::BranchCall;
using dtm::Result;
using dtm::testing::ScriptedAnswer;
using dtm::testing::ScriptedBranches;
using dtm::testing::VirtualTime;
using std::chrono::seconds;

namespace {

class Results : public dtm::BranchResults {
 public:
  void Done(BranchCall call, Result result) override {
    got.push_back({call.Url(), std::move(result)});
  }
  std::vector<std::pair<std::string, Result>> got;
};

BranchCall CallOf(const std::string& url) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g";
  definition->steps.push_back({url, "", ""});
  return {definition, 1, seconds(3)};
}

}  // namespace

TEST_CASE("scripted branches: answers in turn, then success") {
  auto time = std::make_shared<VirtualTime>();
  ScriptedBranches branches(time);
  branches.On("http://a", Result::Failure("one")).On("http://a", Result::Ongoing("two"));
  const auto caller = branches.NewCaller();
  Results results;
  for (int i = 0; i < 3; ++i) caller->Call({CallOf("http://a")}, results);
  caller->Call({CallOf("http://b"), CallOf("http://b")}, results);
  REQUIRE(results.got.size() == 5);
  CHECK(results.got[0].second.text == "one");
  CHECK(results.got[1].second.kind == Result::Kind::kOngoing);
  for (int i = 2; i < 5; ++i) {
    CHECK(results.got[static_cast<std::size_t>(i)].second.kind == Result::Kind::kSuccess);
  }
  CHECK(branches.Urls() ==
        std::vector<std::string>{"http://a", "http://a", "http://a", "http://b", "http://b"});
  CHECK(branches.Calls()[0].info.gid == "g");
  CHECK(branches.Calls()[0].info.branch_id == "01");
  CHECK(branches.Calls()[0].at == time->Now());
}

TEST_CASE("scripted branches: late answers, silence, and answers after the deadline") {
  auto time = std::make_shared<VirtualTime>();
  ScriptedBranches branches(time);
  branches.On("http://late", {{Result::Failure("no"), seconds(2), false}});
  branches.On("http://silent", {ScriptedAnswer::Silence()});
  branches.On("http://too-late", {{Result::Success(), seconds(4), false}});
  const auto caller = branches.NewCaller();
  Results results;
  caller->Call({CallOf("http://late"), CallOf("http://silent"), CallOf("http://too-late")},
               results);
  CHECK(results.got.empty());
  time->MoveTowards(time->Now() + seconds(2));
  REQUIRE(results.got.size() == 1);
  CHECK(results.got[0].second.kind == Result::Kind::kFailure);
  time->MoveTowards(time->Now() + seconds(1));
  REQUIRE(results.got.size() == 3);
  CHECK(results.got[1].second.kind == Result::Kind::kError);
  CHECK(results.got[2].second.kind == Result::Kind::kError);
  time->MoveTowards(time->Now() + seconds(60));
  CHECK(results.got.size() == 3);  // each call is answered once
}

TEST_CASE("scripted branches: what is out at the end of a run is lost, the script goes on") {
  auto time = std::make_shared<VirtualTime>();
  ScriptedBranches branches(time);
  branches.On("http://a", {{Result::Failure("first"), seconds(1), false},
                           {Result::Failure("second"), seconds(1), false}});
  Results results;
  bool stopped = GENERATE(true, false);
  auto caller = branches.NewCaller();
  caller->Call({CallOf("http://a")}, results);
  if (stopped) {
    caller->Stop();
  } else {
    caller.reset();
  }
  time->MoveTowards(time->Now() + seconds(1));
  CHECK(results.got.empty());
  branches.NewCaller()->Call({CallOf("http://a")}, results);
  time->MoveTowards(time->Now() + seconds(1));
  CHECK(results.got.empty());  // that caller is gone as well
  const auto next = branches.NewCaller();
  next->Call({CallOf("http://a")}, results);
  REQUIRE(results.got.size() == 1);
  CHECK(results.got[0].second.kind == Result::Kind::kSuccess);
}
