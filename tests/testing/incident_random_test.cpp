/// 200 random transactions with crashes: each replays to the same end by the same calls, with its functions and without, in
/// full and redacted; and a function that was changed is found at the first call that differs.
#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/testing/random_incidents.hpp"
#include <dtm/testing/incident.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::testing::Incident;
using dtm::testing::ReplayReport;
using dtm_test::RandomFunctions;
using dtm_test::RandomIncident;
using Calls = std::vector<RandomFunctions::Called>;

namespace {

constexpr unsigned kSeeds = 200;

ReplayReport ReplayWith(const Incident& incident, RandomFunctions& functions) {
  return incident.ReplayInto(
      [&functions](dtm::Coordinator& tm) { RandomIncident::SetUp(tm, functions); });
}

/// The calls that began, in their order, with the decisions.
std::vector<std::string> Done(const dtm::Timeline& story) {
  std::vector<std::string> done;
  for (const dtm::JournalEntry& entry : story.entries) {
    const dtm::Definition& definition = *story.transaction.definition;
    if (!dtm::testing::IsDoneByCoordinator(entry, definition)) continue;
    done.push_back(dtm::testing::DoneText(definition, entry, 0));
  }
  return done;
}

/// A process ended, so some results were lost.
bool Crashed(const dtm::Timeline& story) { return story.runs.size() > 1; }

}  // namespace

TEST_CASE("incident: 200 random transactions replay to the same end by the same calls") {
  std::map<std::string, int> ends;
  int crashed = 0;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    CAPTURE(seed);
    RandomIncident random(seed);
    const Incident incident = Incident::FromText(random.Export());
    const dtm::Transaction& recorded = incident.Recorded().transaction;
    ++ends[std::string(dtm::Name(recorded.definition->type)) + " " + dtm::Name(recorded.status)];
    crashed += Crashed(incident.Recorded()) ? 1 : 0;
    RandomFunctions functions(seed);
    const ReplayReport with = ReplayWith(incident, functions);
    CHECK(with.first_difference == "");
    CHECK(with.same);
    CHECK_THAT(with.not_replayed, !ContainsSubstring("gap"));
    CHECK((functions.called == random.Called()));
    CHECK(Done(with.replayed) == Done(with.recorded));
    if (dtm::IsFinal(recorded.status)) CHECK(with.replayed.transaction.status == recorded.status);
    CHECK(incident.ReplayInto().first_difference == "");
    const std::string redacted = random.Export(dtm::ExportContent::kRedacted);
    CHECK(Incident::FromText(redacted).ReplayInto().first_difference == "");
  }
  for (const auto& end : ends) UNSCOPED_INFO(end.first << ": " << end.second);
  CHECK(ends.size() >= 12);  // each type, ended well and badly, and unfinished
  CHECK(crashed >= 40);
}

TEST_CASE("incident: a changed function is found at the first call that differs") {
  int found = 0, lost = 0;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    RandomIncident random(seed);
    const Calls& calls = random.Called();
    if (calls.empty()) continue;
    const std::size_t which = seed % calls.size();
    CAPTURE(seed, which, calls[which].branch);
    const Incident incident = Incident::FromText(random.Export());
    RandomFunctions functions(seed);
    functions.changed = &calls[which];
    const ReplayReport report = ReplayWith(incident, functions);
    // Up to there the same was called, and after it nothing but what had begun before its result was told.
    CHECK(functions.called.size() <= calls.size());
    CHECK(std::equal(functions.called.begin(), functions.called.end(), calls.begin()));
    CHECK(functions.called.size() > which);
    if (report.same) {  // its result was not recorded
      const dtm::Transaction& recorded = incident.Recorded().transaction;
      const bool workflow = recorded.definition->type == dtm::TransType::kWorkflow;
      CHECK((Crashed(incident.Recorded()) || !dtm::IsFinal(recorded.status) || workflow ||
             recorded.reason.empty()));
      ++lost;
      continue;
    }
    ++found;
    CHECK(functions.called.size() <= which + 4);
    const bool resume = report.first_difference.find("branch 00 ") != std::string::npos;
    const bool named = report.first_difference.find(calls[which].branch) != std::string::npos;
    CAPTURE(report.first_difference);
    CHECK((named || resume));
  }
  CAPTURE(found, lost);
  CHECK(found >= 100);
  CHECK(lost < found / 5);
}
