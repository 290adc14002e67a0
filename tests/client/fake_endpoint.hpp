/// A coordinator that only records what builders hand it.
/// Needs: std. Threads: one.
#pragma once

#include <cstdint>
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
  void SubmitAsync(dtm::Definition definition, dtm::ReplyCallback callback) override {
    callback({Take(std::move(definition)), nullptr});
  }
  dtm::TransResult Prepare(dtm::Definition definition) override {
    prepared.push_back(std::move(definition));
    return {prepared.back().gid, dtm::Status::kPrepared, {}};
  }
  void Abort(const std::string& gid, dtm::TransType, const std::string& reason) override {
    aborted.emplace_back(gid, reason);
  }
  void RegisterBranch(const std::string&, dtm::TransType, dtm::Step step) override {
    registered.push_back(std::move(step));
  }
  dtm::WorkflowState PrepareWorkflow(dtm::Definition definition) override {
    prepared.push_back(std::move(definition));
    return workflow;
  }
  void FinishWorkflow(const std::string&, dtm::Status ended, const std::string& reason,
                      const std::string& result) override {
    workflow.status = ended;
    workflow.reason = reason;
    workflow.result = result;
  }
  dtm::Result CallBranch(const dtm::DirectCall& call) override {
    called.push_back(call);
    return answer;
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
  std::vector<dtm::DirectCall> called;
  dtm::Result answer = dtm::Result::Success();  ///< of every branch
  dtm::WorkflowState workflow;

 private:
  dtm::TransResult Take(dtm::Definition definition) {
    submitted.push_back(std::move(definition));
    return {submitted.back().gid, status, {}};
  }
  int gids_ = 0;
};
