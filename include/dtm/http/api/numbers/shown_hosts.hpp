/// Which of the hosts that are called are shown: of many only some, so that what is shown has a bounded size.
/// Needs: std. Threads: a pure function.
#pragma once

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <vector>

#include <dtm/coordinator/parts/branch_caller.hpp>

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kMostHosts = 100;

/// Limited hosts come first, then those with most waiting calls; at most kMostHosts.
inline std::vector<HostLoad> ShownHosts(std::vector<HostLoad> hosts) {
  std::sort(hosts.begin(), hosts.end(), [](const HostLoad& a, const HostLoad& b) {
    return std::tie(b.limited, b.waiting, b.in_flight, a.host) <
           std::tie(a.limited, a.waiting, a.in_flight, b.host);
  });
  if (hosts.size() > kMostHosts) hosts.resize(kMostHosts);
  return hosts;
}

}  // namespace v1
}  // namespace dtm
