/// A coordinator that only records what builders hand it, in `log` also in which order.
/// Needs: std. Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/endpoint.hpp>

class FakeEndpoint : public dtm::Endpoint {
 public:
  std::string NewGid() override { return "gid-" + std::to_string(++gids_); }

  dtm::TransResult Submit(dtm::Definition definition) override {
    return Take(std::move(definition));
  }
  dtm::TransResult SubmitAndWait(dtm::Definition definition, dtm::Duration timeout) override {
    waited.push_back(timeout);
    return Take(std::move(definition));
  }
  void SubmitAsync(dtm::Definition definition, dtm::AnswerCallback callback) override {
    callback({Take(std::move(definition)), nullptr});
  }
  dtm::TransResult Prepare(dtm::Definition definition) override {
    Note("prepare " + definition.gid);
    prepared.push_back(std::move(definition));
    return {prepared.back().gid, dtm::Status::kPrepared, {}};
  }
  void Abort(const std::string& gid, dtm::TransType type, const std::string& reason) override {
    aborted.emplace_back(gid, reason);
    Note(std::string("abort ") + Name(type) + " " + gid);
  }
  void RegisterBranch(const std::string& gid, dtm::TransType type, dtm::Step step) override {
    Note(std::string("register ") + Name(type) + " " + gid + " " + step.branch_id +
         (type == dtm::TransType::kWorkflow ? std::string(" ") + Name(step.op) : ""));
    if (type == dtm::TransType::kWorkflow) workflow.recorded.push_back(step);
    registered.push_back(std::move(step));
  }
  dtm::WorkflowState PrepareWorkflow(dtm::Definition definition) override {
    Note("prepare " + definition.gid);
    if (prepared.empty()) {  // later ones change nothing
      workflow.options = definition.options;
      if (!definition.data.empty()) workflow.workflow = definition.workflow;
      workflow.data = definition.data;
    }
    prepared.push_back(std::move(definition));
    return workflow;
  }
  dtm::WorkflowState ResumeWorkflow(dtm::Definition definition) override {
    return PrepareWorkflow(std::move(definition));
  }
  void FinishWorkflow(const std::string& gid, dtm::Status ended, const std::string& reason,
                      const std::string& result) override {
    Note("finish " + gid + " " + Name(ended));
    workflow.status = ended;
    workflow.reason = reason;
    workflow.result = result;
  }
  dtm::Result CallBranch(const dtm::InitiatorCall& call) override {
    called.push_back(call);
    Note("call " + call.info.branch_id + " " + Name(call.info.op) + " " + call.url);
    return answers ? answers(call) : answer;
  }
  std::string UrlOfLocal(const std::string& name, std::uint64_t owner) const override {
    if (owner != kOwner) throw dtm::LogicError("function '" + name + "' is not mine");
    return dtm::kLocalPrefix + name;
  }

  static constexpr std::uint64_t kOwner = 42;
  std::vector<dtm::Definition> submitted;
  std::vector<dtm::Duration> waited;
  dtm::Status status = dtm::Status::kSubmitted;
  std::vector<dtm::Definition> prepared;
  std::vector<std::pair<std::string, std::string>> aborted;
  std::vector<dtm::Step> registered;
  std::vector<dtm::InitiatorCall> called;
  dtm::Result answer = dtm::Result::Success();  ///< of every branch
  dtm::WorkflowState workflow;

  std::vector<std::string> log;                                    ///< "prepare g", "submit g", ...
  std::function<dtm::Result(const dtm::InitiatorCall&)> answers;   ///< instead of `answer`
  std::map<std::string, std::function<void()>> instead_of_taking;  ///< by line of the log: throws

 private:
  void Note(const std::string& line) {
    log.push_back(line);
    const auto found = instead_of_taking.find(line);
    if (found != instead_of_taking.end()) found->second();
  }
  dtm::TransResult Take(dtm::Definition definition) {
    Note("submit " + definition.gid);
    submitted.push_back(std::move(definition));
    return {submitted.back().gid, status, {}};
  }
  int gids_ = 0;
};
