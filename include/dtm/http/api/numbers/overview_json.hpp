/// The numbers of a coordinator as `overview` shows them.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/http_api.md, "Overview".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/version.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/metrics.hpp>
#include <dtm/core/types.hpp>
#include <dtm/http/api/numbers/shown_hosts.hpp>
#include <dtm/http/wire/stored_transaction.hpp>

namespace dtm {
inline namespace v1 {
namespace overview_json {

using Json = nlohmann::ordered_json;

inline Json CallsJson(const Gauges& now) {
  Json hosts = Json::array();
  for (const HostLoad& host : ShownHosts(now.urls.hosts)) {
    hosts.push_back({{"host", host.host},
                     {"in_flight", host.in_flight},
                     {"waiting", host.waiting},
                     {"limited", host.limited}});
  }
  const auto load = [](const CallLoad& calls) {
    return Json{{"in_flight", calls.in_flight}, {"waiting", calls.waiting}};
  };
  return {
      {"functions", load(now.functions)}, {"urls", load(now.urls)}, {"hosts", std::move(hosts)}};
}

inline Json CountersJson(const Metrics::Snapshot& done) {
  Json ended = Json::array(), durations = Json::array(), branches = Json::array();
  for (const auto& [key, count] : done.ended) {
    ended.push_back({{"type", Name(key.first)}, {"status", Name(key.second)}, {"count", count}});
  }
  for (const auto& [type, histogram] : done.durations) {
    durations.push_back({{"type", Name(type)},
                         {"seconds", histogram.sum},
                         {"bounds", *histogram.bounds},
                         {"counts", histogram.counts}});
  }
  for (const auto& [branch, count] : done.branches) {
    branches.push_back({{"type", Name(branch.type)},
                        {"branch_id", branch.branch_id},
                        {"op", Name(branch.op)},
                        {"ok", branch.ok},
                        {"count", count}});
  }
  std::uint64_t commits = 0;
  for (const std::uint64_t count : done.commits.counts) commits += count;
  return {{"ended", std::move(ended)},
          {"durations", std::move(durations)},
          {"branches", std::move(branches)},
          {"commits", {{"count", commits}, {"seconds", done.commits.sum}}}};
}

/// `now.backlog` must have a value.
inline Json Of(const Gauges& now, const Metrics::Snapshot& done) {
  const Backlog& backlog = *now.backlog;
  return {{"version", std::string("v") + kVersion},
          {"store", now.store},
          {"time", wire::TimeText(now.time)},
          {"unfinished", backlog.unfinished},
          {"waiting", backlog.waiting},
          {"stuck", backlog.stuck},
          {"damaged", now.damaged},
          {"oldest_time", backlog.oldest == kNever ? "" : wire::TimeText(backlog.oldest)},
          {"in_memory", now.in_memory},
          {"store_fails", now.store_fails},
          {"calls", CallsJson(now)},
          {"counters", CountersJson(done)}};
}

}  // namespace overview_json
}  // namespace v1
}  // namespace dtm
