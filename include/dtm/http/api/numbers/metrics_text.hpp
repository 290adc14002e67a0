/// Counters of the API and the coordinator in Prometheus' text format, under dtm's names.
/// Needs: std. Threads: pure functions. Protocol: §9.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/version.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/metrics.hpp>
#include <dtm/core/types.hpp>
#include <dtm/http/api/numbers/api_counters.hpp>
#include <dtm/http/api/numbers/shown_hosts.hpp>

namespace dtm {
inline namespace v1 {

namespace metrics_text {

inline void Head(std::string& out, const char* name, const char* type, const char* help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
  out.append(name).append(" ").append(type).append("\n");
}

inline void Line(std::string& out, const std::string& name, const std::string& labels,
                 std::uint64_t value) {
  out.append(name);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(std::to_string(value)).append("\n");
}

/// With a point in every locale.
inline std::string Number(double value) {
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, value, std::chars_format::general, 9).ptr;
  return std::string(text, end);
}

inline void NumberLine(std::string& out, const std::string& name, const std::string& labels,
                       double value) {
  out.append(name);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(Number(value)).append("\n");
}

inline void Lines(std::string& out, const std::string& name, const std::string& labels,
                  const Histogram& histogram) {
  std::uint64_t total = 0;
  const std::string before = labels.empty() ? "" : labels + ",";
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    total += histogram.counts[i];
    const std::string bound =
        i < histogram.bounds->size() ? Number((*histogram.bounds)[i]) : "+Inf";
    Line(out, name + "_bucket", before + "le=\"" + bound + "\"", total);
  }
  NumberLine(out, name + "_sum", labels, histogram.sum);
  Line(out, name + "_count", labels, total);
}

inline void Gauge(std::string& out, const char* name, const char* help, std::uint64_t value) {
  Head(out, name, "gauge", help);
  Line(out, name, "", value);
}

/// The value of a label: quotes and backslashes are escaped, other bytes are unchanged.
inline std::string Label(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

inline void HostLines(std::string& out, const std::vector<HostLoad>& hosts) {
  const auto each = [&](const char* name, const char* help, auto value) {
    Head(out, name, "gauge", help);
    for (const HostLoad& host : hosts) {
      Line(out, name, "host=\"" + Label(host.host) + "\"", value(host));
    }
  };
  each("dtm_host_calls_in_flight", "Calls by URL that are out, by host.",
       [](const HostLoad& host) { return host.in_flight; });
  each("dtm_host_calls_waiting", "Calls by URL that wait for a slot, by host.",
       [](const HostLoad& host) { return host.waiting; });
  each("dtm_host_limited", "1: the host does not answer, so few calls at a time go to it.",
       [](const HostLoad& host) { return host.limited ? 1u : 0u; });
}

inline void HookLines(std::string& out, const std::map<std::string, HookLoad>& hooks) {
  const auto each = [&](const char* name, const char* type, const char* help, auto value) {
    Head(out, name, type, help);
    for (const auto& [hook, load] : hooks) Line(out, name, "hook=\"" + hook + "\"", value(load));
  };
  each("dtm_hook_waiting", "gauge", "What the hook of the program was not told yet.",
       [](const HookLoad& load) { return load.waiting; });
  each("dtm_hook_dropped_total", "counter",
       "What the hook of the program is never told, since it was too slow.",
       [](const HookLoad& load) { return load.dropped; });
}

inline void GaugeLines(std::string& out, const Gauges& now) {
  if (now.backlog) {
    Gauge(out, "dtm_transactions_unfinished", "Transactions that have not ended.",
          now.backlog->unfinished);
    Gauge(out, "dtm_transactions_waiting",
          "Of them: those that wait for a time or for their submit.", now.backlog->waiting);
    Gauge(out, "dtm_transactions_stuck",
          "Of them: those that go on only with RetryNow or ForceStop, or are damaged.",
          now.backlog->stuck + now.damaged);
    Head(out, "dtm_oldest_unfinished_seconds", "gauge", "Age of the oldest of them.");
    NumberLine(out, "dtm_oldest_unfinished_seconds", "",
               static_cast<double>(now.oldest_age.count()) / 1e6);
  }
  Gauge(out, "dtm_transactions_in_memory", "Transactions in memory; the others wait in the store.",
        now.in_memory);
  Head(out, "dtm_calls_in_flight", "gauge", "Branch calls that are out.");
  Line(out, "dtm_calls_in_flight", "to=\"function\"", now.functions.in_flight);
  Line(out, "dtm_calls_in_flight", "to=\"url\"", now.urls.in_flight);
  Head(out, "dtm_calls_waiting", "gauge", "Branch calls that wait for a thread or a slot.");
  Line(out, "dtm_calls_waiting", "to=\"function\"", now.functions.waiting);
  Line(out, "dtm_calls_waiting", "to=\"url\"", now.urls.waiting);
  HostLines(out, ShownHosts(now.urls.hosts));
  Gauge(out, "dtm_store_failing", "1: the last commit failed.", now.store_fails ? 1 : 0);
  if (!now.hooks.empty()) HookLines(out, now.hooks);
  if (now.sharing) {
    const auto count = [&out](const char* name, const char* help, std::uint64_t value) {
      Head(out, name, "counter", help);
      Line(out, name, "", value);
    };
    count("dtm_beats_failed_total",
          "Attempts to let the other coordinators on the store hear that this one lives.",
          now.sharing->failed_beats);
    count("dtm_fenced_total", "How often the others took over what this one drove.",
          now.sharing->fenced);
    count("dtm_store_went_back_total",
          "Of these: the database turned out to be older than what it had stored.",
          now.sharing->forgotten);
  }
  if (!now.outboxes) return;
  Head(out, "dtm_outbox_rows_total", "counter", "Rows of outbox tables that were taken up.");
  Line(out, "dtm_outbox_rows_total", "status=\"ok\"", now.outboxes->relayed);
  Line(out, "dtm_outbox_rows_total", "status=\"fail\"", now.outboxes->refused);
  Head(out, "dtm_outbox_oldest_seconds", "gauge", "Age of the oldest row that waits.");
  NumberLine(out, "dtm_outbox_oldest_seconds", "",
             static_cast<double>(now.outboxes->oldest_age.count()) / 1e6);
}

/// Of several coordinators on one store; each shows its own.
inline void PeerLines(std::string& out, const PeerCounts& peers) {
  Head(out, "dtm_cluster_members", "gauge",
       "Coordinators on the store that are alive, as this one sees it.");
  Line(out, "dtm_cluster_members", "", peers.members);
  Head(out, "dtm_cluster_driven", "gauge", "Unfinished transactions that this coordinator drives.");
  Line(out, "dtm_cluster_driven", "", peers.driven);
  Head(out, "dtm_cluster_taken_over_total", "counter",
       "Transactions that this coordinator has taken over from others.");
  Line(out, "dtm_cluster_taken_over_total", "", peers.taken_over);
}

inline std::string Text(const std::map<std::string, ApiCounters::Api>& apis,
                        const Metrics::Snapshot& done, const Gauges& now) {
  std::string out;
  Head(out, "dtm_server_info", "gauge", "The version of the server, and its store.");
  Line(out, "dtm_server_info",
       std::string("version=\"") + kVersion + "\",store=\"" + now.store + "\"", 1);
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
  Head(out, "dtm_branches_skipped_total", "counter", "Branches that somebody said to be done.");
  for (const auto& [type, count] : done.repaired) {
    Line(out, "dtm_branches_skipped_total", model(type), count);
  }
  Head(out, "dtm_store_commit_duration", "histogram", "Seconds that the store took for a commit.");
  Lines(out, "dtm_store_commit_duration", "", done.commits);
  GaugeLines(out, now);
  if (now.peers) PeerLines(out, *now.peers);
  return out;
}

}  // namespace metrics_text
}  // namespace v1
}  // namespace dtm
