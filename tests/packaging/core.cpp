/// The builder alone, with a coordinator of this program's own: neither SQLite nor HTTP.
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

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
  void SubmitAsync(dtm::Definition definition, dtm::ReplyCallback callback) override {
    callback({Submit(std::move(definition)), nullptr});
  }
  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override { return name; }

  int sum = 0;
};

int main() {
  Sum endpoint;
  const dtm::TransResult result = dtm::NewSaga(endpoint, dtm::MustGenGid(endpoint))
                                      .Add("add", dtm::kNoBranch, 30)
                                      .Add("add", "subtract", 12)
                                      .SubmitAndWait(std::chrono::seconds(1));
  const dtm::MemoryStore store;
  return result.Succeeded() && endpoint.sum == 42 ? 0 : 1;
}
