/// How calls in flight are shared between hosts.
#include <cstddef>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/http/calls/host_limits.hpp>

using dtm::HostLimits;

namespace {

/// Starts as many calls as may start.
int Fill(HostLimits& limits, HostLimits::Load& host) {
  int started = 0;
  while (limits.MayStart(host)) {
    limits.Started(host);
    ++started;
  }
  return started;
}

void FinishAll(HostLimits& limits, HostLimits::Load& host, bool silent) {
  while (host.in_flight > 0) limits.Finished(host, silent);
}

}  // namespace

TEST_CASE("one host gets 1,024 of 1,280") {
  HostLimits limits{{}};
  HostLimits::Load host;
  CHECK(Fill(limits, host) == 1024);
  CHECK(limits.InFlight() == 1024);
  limits.Finished(host, false);
  CHECK(Fill(limits, host) == 1);
}

TEST_CASE("hosts that fill up leave room for the next") {
  HostLimits limits{{}};
  std::vector<HostLimits::Load> hosts(5);
  const int expected[] = {1024, 205, 41, 8, 2};
  for (std::size_t i = 0; i < 5; ++i) {
    HostLimits::Load next;
    CHECK(limits.MayStart(next));
    CHECK(Fill(limits, hosts[i]) == expected[i]);
  }

  // Nothing above the total.
  std::vector<HostLimits::Load> more(2000);
  for (HostLimits::Load& host : more) Fill(limits, host);
  CHECK(limits.InFlight() <= 1280);
  HostLimits::Load late;
  CHECK_FALSE(limits.MayStart(late));
}

TEST_CASE("a host whose last 10 calls got no answer gets 8 until one answers") {
  HostLimits limits{{}};
  HostLimits::Load dead;
  Fill(limits, dead);
  for (int i = 0; i < 9; ++i) limits.Finished(dead, true);
  CHECK(Fill(limits, dead) == 9);
  limits.Finished(dead, true);  // the tenth
  CHECK_FALSE(limits.MayStart(dead));
  FinishAll(limits, dead, true);
  CHECK(Fill(limits, dead) == 8);

  limits.Finished(dead, true);
  CHECK(Fill(limits, dead) == 1);
  limits.Finished(dead, false);
  CHECK(Fill(limits, dead) == 1024 - 7);
}

TEST_CASE("an answer between two silent calls breaks the row") {
  HostLimits limits{{}};
  HostLimits::Load host;
  for (int i = 0; i < 100; ++i) {
    limits.Started(host);
    limits.Finished(host, i % 10 != 9);
  }
  CHECK(Fill(limits, host) == 1024);
}

TEST_CASE("a hundred dead hosts leave room") {
  HostLimits limits{{}};
  std::vector<HostLimits::Load> dead(100);
  for (HostLimits::Load& host : dead) {
    for (int i = 0; i < 10; ++i) {
      limits.Started(host);
      limits.Finished(host, true);
    }
    CHECK(Fill(limits, host) == 8);
  }
  HostLimits::Load alive;
  CHECK(Fill(limits, alive) == 384);  // 4 shares of what is free
}
