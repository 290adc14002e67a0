/// Several coordinators on one store, whatever happens to them: nothing accepted is lost, an end is an end, each record has one
/// history, nobody calls what another has taken over, and everything ends when nothing more happens.
/// DTM_SEEDS=200000 in the environment runs so many seeds instead of the usual 2000, from DTM_FIRST on; so DTM_FIRST=7
/// DTM_SEEDS=7 DTM_LOUD=1 is seed 7 alone, and tells all that happens.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/simulation/audit.hpp"
#include "tests/simulation/clients.hpp"
#include "tests/simulation/cluster.hpp"
#include "tests/support/sanitized.hpp"

using simulation::Audit;
using simulation::Clients;
using simulation::Cluster;
using simulation::Fault;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// How often something happened over all seeds: a test that tests nothing is noticed.
struct Counts : Audit::Counts {
  int runs = 0, accepted = 0, asked_again = 0, jumps = 0;
};

std::vector<std::string> Run(std::uint64_t seed, Fault fault, Counts& counts) {
  Audit audit;
  audit.loud = std::getenv("DTM_LOUD") != nullptr;
  Cluster cluster(seed, fault, audit);
  Clients clients(cluster, audit);
  const int rounds = 10 + cluster.random.Below(30);
  for (int round = 0; round < rounds; ++round) {
    for (int n = cluster.random.Below(3); n > 0; --n) clients.Begin();
    if (cluster.random.OneIn(4)) clients.Meddle();
    if (cluster.random.OneIn(3)) cluster.Disturb();
    cluster.RunUntil(cluster.time->Now() + cluster.random.UpTo(milliseconds(600)));
  }
  audit.Note("from now on nothing happens");
  cluster.Heal();
  cluster.RunUntil(cluster.time->Now() + hours(3),
                   [&] { return clients.AllAnswered() && audit.AllEnded(); });
  cluster.RunUntil(cluster.time->Now() + seconds(10));  // what is late comes now
  audit.CheckEnd(clients.known);
  for (const std::string& line : audit.trace) std::fprintf(stderr, "%s\n", line.c_str());
  ++counts.runs;
  counts.accepted += clients.accepted;
  counts.asked_again += clients.asked_again;
  counts.jumps += cluster.tables->jumps;
  counts.calls += audit.counts.calls;
  counts.claims += audit.counts.claims;
  counts.taken_by_write += audit.counts.taken_by_write;
  counts.late += audit.counts.late;
  counts.ended += audit.counts.ended;
  counts.rolled_back += audit.counts.rolled_back;
  counts.repeated_elsewhere += audit.counts.repeated_elsewhere;
  counts.skipped += audit.counts.skipped;
  return audit.Violations();
}

std::uint64_t Number(const char* name, std::uint64_t otherwise) {
  const char* wanted = std::getenv(name);
  return wanted == nullptr ? otherwise : std::strtoull(wanted, nullptr, 10);
}

}  // namespace

TEST_CASE("a planted mistake is found") {
  if (dtm_test::kStep > 1) return;  // for a sanitizer there is nothing else than in the other test
  struct Planted {
    const char* name;
    Fault fault;
    const char* says;  // how
  };
  const Planted all[] = {
      {"no fence", Fault::kNoFence, "was written by one that is out"},
      {"writes without a look at the version", Fault::kBlindWrite, ": version "},
      {"calls without a look at the lease", Fault::kNoLeaseCheck, " has taken it over"},
      {"an heir that does not wait for the lease", Fault::kHeirDoesNotWait, " has taken it over"},
      {"claims that do not count the version", Fault::kUncountedClaim, ": version "},
      {"a clock on the wall", Fault::kWallClock, "the time of the database"}};
  for (const Planted& planted : all) {
    Counts counts;
    std::uint64_t seed = 1;
    std::string found;
    for (; seed <= 2000 && found.empty(); ++seed) {
      for (const std::string& violation : Run(seed, planted.fault, counts)) {
        if (violation.find(planted.says) != std::string::npos) found = violation;
      }
    }
    CAPTURE(planted.name);
    REQUIRE_FALSE(found.empty());
    if (std::getenv("DTM_SHOW") != nullptr)
      WARN(planted.name << ": seed " << seed - 1 << ": " << found);
  }
}

// They have met what 100,000 others had not: a rejoin that came late before a takeover, two commits in doubt at one time, a
// coordinator that joined again between a change and its commit, a slow first answer.
TEST_CASE("seeds that have found a mistake once") {
  Counts counts;
  for (const std::uint64_t seed : {57757U, 82756U, 116326U, 127585U, 133951U}) {
    CAPTURE(seed);
    CHECK(Run(seed, Fault::kNone, counts) == std::vector<std::string>{});
  }
}

TEST_CASE("several coordinators on one store: whatever happens to them, the invariants hold") {
  Counts counts;
  int broken = 0;
  const std::uint64_t last = Number("DTM_SEEDS", dtm_test::kStep > 1 ? 200 : 2000);
  for (std::uint64_t seed = Number("DTM_FIRST", 1); seed <= last && broken < 10;
       seed += dtm_test::kStep) {
    const std::vector<std::string> violations = Run(seed, Fault::kNone, counts);
    CAPTURE(seed);
    CHECK(violations == std::vector<std::string>{});
    broken += !violations.empty();
  }
  const int runs = counts.runs;
  if (runs < 100) return;  // a replay
  CHECK(counts.accepted > 10 * runs);
  CHECK(counts.rolled_back > 4 * runs);
  CHECK(counts.asked_again > 4 * runs);
  CHECK(counts.claims > 2 * runs);
  CHECK(counts.taken_by_write > 10 * runs);
  CHECK(counts.repeated_elsewhere > runs / 4);
  CHECK(counts.late > runs / 4);
  CHECK(counts.skipped > runs / 4);
  CHECK(counts.jumps > runs / 20);
}
