/// What happens to transactions, as a log of JSON lines and as numbers for Prometheus: on_event, on_span and LogAsJson.
/// Needs: dtm/dtm.hpp. Threads: those of the coordinator; each hook has one of its own.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <dtm/dtm.hpp>

namespace {

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// Counts events. A dtm::Server has metrics of its own at /api/metrics; this is for a program that serves its own.
class EventCounts {
 public:
  void Add(const dtm::Event& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++counts_[{Name(event.type), Name(event.kind)}];
  }
  std::uint64_t Of(const std::string& type, const std::string& kind) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = counts_.find({type, kind});
    return found == counts_.end() ? 0 : found->second;
  }
  /// In Prometheus' text format.
  std::string Text() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text =
        "# HELP dtm_events_total What happened to transactions.\n# TYPE dtm_events_total counter\n";
    for (const auto& [names, count] : counts_) {
      text += "dtm_events_total{trans_type=\"" + names.first + "\",event=\"" + names.second +
              "\"} " + std::to_string(count) + "\n";
    }
    return text;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> counts_;
};

}  // namespace

int main() {
  EventCounts counts;
  dtm::Options options;
  options.log = dtm::LogAsJson;  // the coordinator's own lines
  options.on_event = [&counts](const dtm::Event& event) {
    counts.Add(event);
    std::puts(JsonLine(event).c_str());
  };
  options.on_span = [](const dtm::Span& span) { std::puts(JsonLine(span).c_str()); };

  dtm::Coordinator tm("observe.db", options);
  const auto out = tm.Register<Transfer>("TransOut", [](const Transfer&) {});
  const auto back = tm.Register<Transfer>("TransOutBack", [](const Transfer&) {});
  const auto in = tm.Register<Transfer>("TransIn", [](const Transfer& transfer) {
    return transfer.amount > 50 ? dtm::Result::Failure("at most 50") : dtm::Result::Success();
  });
  tm.Start();
  for (const int amount : {30, 60}) {
    (void)dtm::NewSaga(tm, tm.NewGid())
        .AddBranchHeader("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .Add(out, back, Transfer{amount})
        .Add(in, dtm::kNoBranch, Transfer{amount})
        .SubmitAndWait(std::chrono::seconds(10));
  }
  if (!tm.Stop(std::chrono::seconds(10))) return 1;  // all events are told then
  std::fputs(counts.Text().c_str(), stdout);
  const bool as_it_should = counts.Of("saga", "submitted") == 2 &&
                            counts.Of("saga", "succeeded") == 1 &&
                            counts.Of("saga", "rollback") == 1 && counts.Of("saga", "failed") == 1;
  return as_it_should ? 0 : 1;
}
