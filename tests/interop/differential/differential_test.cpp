/// The same transactions, made by chance, at our coordinator and at the Go server: the calls of their branches, the replies
/// to their initiators and their ends are the same, or differ as docs/differences.md says.
///   DTM_DIFFERENTIAL=COUNT[:SEED[:FIRST]]   how many, of which seed, from which number (500:1:0)
///   DTM_DIFFERENTIAL_LOUD=1                 also shows what differed once, and was run again
/// Needs: tools/go_dtm.sh, POSIX. Takes half a minute for 500; they run at the same time.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/interop/differential/compare.hpp"
#include "tests/interop/differential/generate.hpp"
#include "tests/interop/differential/peers.hpp"
#include "tests/interop/differential/run.hpp"
#include "tests/interop/differential/scenario.hpp"
#include "tests/interop/differential/scripted_service.hpp"

using namespace dtm_test;

namespace {

struct Both {
  std::vector<Outcome> ours, go;
};

class Peers {
 public:
  Both Run(const std::vector<Scenario>& scenarios) {
    Both both;
    std::thread go([&] { both.go = Runner(go_, service_, scenarios).RunAll(); });
    both.ours = Runner(*ours_, service_, scenarios).RunAll();
    go.join();
    return both;
  }

 private:
  ScriptedService service_;
  GoServer go_;
  std::unique_ptr<Peer> ours_ = MakeOurs();
};

/// Those of them that no row of docs/differences.md names.
std::vector<Difference> Unnamed(std::vector<Difference> all) {
  all.erase(
      std::remove_if(all.begin(), all.end(), [](const Difference& d) { return !d.name.empty(); }),
      all.end());
  return all;
}

std::string Report(const Scenario& scenario, const Outcome& ours, const Outcome& go) {
  std::string text = Text(scenario) + "\n" + Told(ours, "ours") + Told(go, "go");
  for (const Difference& d : Comparison(scenario, ours, go).All()) {
    text += "  differs" + (d.name.empty() ? "" : " as " + d.name) + ": " + d.text + "\n";
  }
  return text;
}

std::vector<Scenario> Again(std::vector<Scenario> scenarios, const std::string& run) {
  for (Scenario& scenario : scenarios) scenario.run = run;
  return scenarios;
}

/// The smallest scenario that can be found of those that still differ, tried all at once.
std::string Minimised(Peers& peers, Scenario scenario) {
  std::string report;
  for (int round = 0; round < 6; ++round) {
    std::vector<Scenario> smaller = Smaller(scenario);
    for (std::size_t i = 0; i < smaller.size(); ++i) {
      smaller[i].run = std::string(1, static_cast<char>('A' + round));
      smaller[i].number = scenario.number * 100 + static_cast<int>(i);
    }
    const Both both = peers.Run(smaller);
    bool found = false;
    for (std::size_t i = 0; i < smaller.size() && !found; ++i) {
      if (Unnamed(Comparison(smaller[i], both.ours[i], both.go[i]).All()).empty()) continue;
      report = Report(smaller[i], both.ours[i], both.go[i]);
      smaller[i].number = scenario.number;
      scenario = smaller[i];
      found = true;
    }
    if (!found) break;
  }
  return report;
}

constexpr int kTries = 4;

}  // namespace

TEST_CASE("differential: what the Go server does, or a difference that has a name") {
  int count = 500;
  std::uint64_t seed = 1;
  int first = 0;
  if (const char* const text = std::getenv("DTM_DIFFERENTIAL")) {
    unsigned long long given = 1;
    std::sscanf(text, "%d:%llu:%d", &count, &given, &first);
    seed = given;
  }
  Peers peers;
  std::map<std::string, int> names;
  int unequal_once = 0;
  double slowest = 0;
  const int batch = 1000;
  for (int done = 0; done < count; done += batch) {
    std::vector<Scenario> scenarios;
    for (int i = done; i < (std::min)(done + batch, count); ++i) {
      scenarios.push_back(Generator(seed, first + i).Make());
    }
    // On a busy machine the Go server runs a transaction twice at a time, if a call takes longer than its interval (W10). So
    // what differs has to differ again, alone.
    for (int tried = 0; tried < kTries && !scenarios.empty(); ++tried) {
      const Both both = peers.Run(scenarios);
      std::vector<Scenario> differ;
      for (std::size_t i = 0; i < scenarios.size(); ++i) {
        slowest = (std::max)({slowest, both.ours[i].seconds, both.go[i].seconds});
        const std::vector<Difference> all =
            Comparison(scenarios[i], both.ours[i], both.go[i]).All();
        const bool equal = Unnamed(all).empty();
        for (const Difference& d : all) {
          if (equal) ++names[d.name];
        }
        if (equal) continue;
        differ.push_back(scenarios[i]);
        if (tried + 1 < kTries) {
          ++unequal_once;
          if (std::getenv("DTM_DIFFERENTIAL_LOUD") != nullptr) {
            std::printf("%s\n", Report(scenarios[i], both.ours[i], both.go[i]).c_str());
          }
        } else if (differ.size() > 5) {
          FAIL_CHECK(Text(scenarios[i]) +
                     "\n    differs too; DTM_DIFFERENTIAL=1:" + std::to_string(seed) + ":" +
                     std::to_string(scenarios[i].number) + " shows it");
        } else {
          const std::string report = Report(scenarios[i], both.ours[i], both.go[i]);
          FAIL_CHECK(report +
                     (differ.size() == 1 ? "smaller:\n" + Minimised(peers, scenarios[i]) : ""));
        }
      }
      scenarios = Again(std::move(differ), std::string(1, static_cast<char>('b' + tried)));
    }
    std::printf("%d of %d; the slowest took %.0f s; %d had to be run again\n",
                (std::min)(done + batch, count), count, slowest, unequal_once);
    std::fflush(stdout);
  }
  for (const auto& [name, times] : names)
    std::printf("differs as documented, %d times: %s\n", times, name.c_str());
  // The documents are not out of date: what they name does happen.
  if (count < 500) return;
  for (const char* name :
       {kWaitResult, kBadInput, kSubmitAfterSuccess, kRegisteredAgain, kTimeoutDuringCall}) {
    INFO(name);
    CHECK(names.count(name) == 1);
  }
}
