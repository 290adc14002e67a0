/// A workflow on a coordinator that remembers what is recorded, for the tests of both workflow headers.
/// Needs: Catch2, fake_endpoint.hpp. Threads: one.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/workflow.hpp>

namespace workflow_kit {

using dtm::LocalBranch;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::Workflow;
using dtm::WorkflowBranch;
using Lines = std::vector<std::string>;
using Handle = dtm::WorkflowHandle<int>;

inline const Result kNo = Result::Failure("no money");

/// A workflow "wf" with a coordinator that remembers what is recorded, and what its function did.
struct Fixture {
  FakeEndpoint endpoint;
  Lines did;

  Handle Make(std::function<std::string(Workflow&)> function) {
    Handle handle(endpoint, "wf", [function = std::move(function)](Workflow& workflow, const int&) {
      return function(workflow);
    });
    handle.ResumeAt("local:wf");
    return handle;
  }
  std::function<void()> Does(const std::string& what) {
    return [this, what] { did.push_back(what); };
  }
  std::function<void()> Fails(const std::string& what) {
    return [this, what] {
      did.push_back(what);
      throw dtm::FailureError("no money");
    };
  }
  Lines TakeDid() { return std::exchange(did, {}); }
  Lines TakeLog() { return std::exchange(endpoint.log, {}); }
};

inline dtm::Step Recorded(const std::string& id, Op op, const std::string& answer,
                          bool failed = false) {
  dtm::Step step;
  step.branch_id = id;
  step.op = op;
  step.payload = answer;
  step.failed = failed;
  return step;
}

/// The answer that Do records and returns.
template <typename Function>
std::string AnswerOf(const Function& step) {
  Fixture f;
  std::string returned;
  f.Make([&](Workflow& wf) { return returned = wf.NewBranch().Do(step); }).Execute("g", 1);
  CHECK(f.endpoint.registered.at(0).payload == returned);
  return returned;
}

}  // namespace workflow_kit
