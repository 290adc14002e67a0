/// The builder alone, with a coordinator of this program's own: neither SQLite nor HTTP.
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/store/memory.hpp>

/// Makes each step at once: it adds the payload.
class Sum : public dtm::Endpoint {
 public:
  std::string NewGid() override { return "1"; }
  dtm::TransResult Submit(dtm::Definition definition) override {
    for (const dtm::Step& step : definition.steps) sum += std::stoi(step.payload);
    return {definition.gid, dtm::Status::kSucceed, ""};
  }
  dtm::TransResult SubmitAndWait(dtm::Definition definition, dtm::Duration) override {
    return Submit(std::move(definition));
  }
  void SubmitAsync(dtm::Definition definition, dtm::AnswerCallback callback) override {
    callback({Submit(std::move(definition)), nullptr});
  }
  dtm::TransResult Prepare(dtm::Definition) override { Cannot(); }
  void Abort(const std::string&, dtm::TransType, const std::string&) override { Cannot(); }
  void RegisterBranch(const std::string&, dtm::TransType, dtm::Step) override { Cannot(); }
  dtm::WorkflowState PrepareWorkflow(dtm::Definition) override { Cannot(); }
  dtm::WorkflowState ResumeWorkflow(dtm::Definition) override { Cannot(); }
  void FinishWorkflow(const std::string&, dtm::Status, const std::string&,
                      const std::string&) override {
    Cannot();
  }
  dtm::Result CallBranch(const dtm::InitiatorCall&) override { Cannot(); }
  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override { return name; }

  int sum = 0;

 private:
  [[noreturn]] static void Cannot() { throw dtm::LogicError("it only adds"); }
};

int main() {
  Sum endpoint;
  const dtm::TransResult result = dtm::NewSaga(endpoint, dtm::MustGenGid(endpoint))
                                      .Add("http://sum/add", dtm::kNoBranch, 30)
                                      .Add("http://sum/add", "http://sum/subtract", 12)
                                      .SubmitAndWait(std::chrono::seconds(1));
  const dtm::MemoryStore store;
  return result.Succeeded() && endpoint.sum == 42 ? 0 : 1;
}
