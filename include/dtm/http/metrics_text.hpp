/// Counters of the API and the coordinator in Prometheus' text format, under dtm's names.
/// Needs: std. Threads: ApiCounters is thread-safe, the rest are pure functions. Protocol: §9.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <dtm/coordinator/metrics.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/version.hpp>

namespace dtm {
inline namespace v1 {

/// Requests answered, by the name of the API.
class ApiCounters {
 public:
  struct Api {
    std::uint64_t ok = 0;
    std::uint64_t failed = 0;
    Histogram durations;
  };

  /// `api` is one of a few names, never what a caller sent.
  void Answered(const std::string& api, int status, Duration took) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Api& counted = apis_[api];
    ++(status < 400 ? counted.ok : counted.failed);
    counted.durations.Add(took);
  }

  std::map<std::string, Api> Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return apis_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Api> apis_;
};

namespace metrics_text {

inline void Head(std::string& out, const char* name, const char* type, const char* help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
  out.append(name).append(" ").append(type).append("\n");
}

inline void Line(std::string& out, const std::string& name, const std::string& labels,
                 std::uint64_t value) {
  out.append(name).append("{").append(labels).append("} ");
  out.append(std::to_string(value)).append("\n");
}

inline std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

inline void Lines(std::string& out, const std::string& name, const std::string& labels,
                  const Histogram& histogram) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    total += histogram.counts[i];
    const std::string bound =
        i < Histogram::kBounds.size() ? Number(Histogram::kBounds[i]) : "+Inf";
    Line(out, name + "_bucket", labels + ",le=\"" + bound + "\"", total);
  }
  out.append(name).append("_sum{").append(labels).append("} ");
  out.append(Number(histogram.sum)).append("\n");
  Line(out, name + "_count", labels, total);
}

inline std::string Text(const std::map<std::string, ApiCounters::Api>& apis,
                        const Metrics::Snapshot& done) {
  std::string out;
  Head(out, "dtm_server_info", "gauge", "The version of the server.");
  Line(out, "dtm_server_info", std::string("version=\"") + kVersion + "\"", 1);
  const auto api_labels = [](const std::string& api) {
    return "type=\"http\",api=\"" + api + "\"";
  };
  Head(out, "dtm_server_process_total", "counter", "Requests answered.");
  for (const auto& [api, counted] : apis) {
    const std::string labels = api_labels(api);
    Line(out, "dtm_server_process_total", labels + ",status=\"ok\"", counted.ok);
    Line(out, "dtm_server_process_total", labels + ",status=\"fail\"", counted.failed);
  }
  Head(out, "dtm_server_response_duration", "histogram", "Seconds from a request to its answer.");
  for (const auto& [api, counted] : apis) {
    Lines(out, "dtm_server_response_duration", api_labels(api), counted.durations);
  }
  const auto model = [](TransType type) { return std::string("model=\"") + Name(type) + "\""; };
  Head(out, "dtm_transaction_process_total", "counter", "Transactions that ended.");
  for (const auto& [key, count] : done.ended) {
    const char* status = key.second == Status::kSucceed ? "ok" : "fail";
    Line(out, "dtm_transaction_process_total", model(key.first) + ",status=\"" + status + "\"",
         count);
  }
  Head(out, "dtm_transaction_handled_duration", "histogram",
       "Seconds from the creation of a transaction to its end.");
  for (const auto& [type, histogram] : done.durations) {
    Lines(out, "dtm_transaction_handled_duration", model(type), histogram);
  }
  Head(out, "dtm_branch_process_total", "counter", "Branch calls that were answered.");
  for (const auto& [branch, count] : done.branches) {
    Line(out, "dtm_branch_process_total",
         model(branch.type) + ",branchid=\"" + branch.branch_id + "\",branchtype=\"" +
             Name(branch.op) + "\",status=\"" + (branch.ok ? "ok" : "fail") + "\"",
         count);
  }
  return out;
}

}  // namespace metrics_text
}  // namespace v1
}  // namespace dtm
