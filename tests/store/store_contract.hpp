/// What every store has to do (include/dtm/store/store.hpp), as checks that are run against each.
/// Needs: Catch2, store. Threads: as the contract says; one check has readers of its own.
///
/// A test of a store is one line: ExpectContract([] { return a fresh, empty store; }). One that several coordinators share
/// keeps Checks() and tests/store/contract_owners.hpp.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_batches.hpp"
#include "tests/store/contract_journal.hpp"
#include "tests/store/contract_lists.hpp"
#include "tests/store/contract_records.hpp"
#include "tests/store/contract_steps.hpp"
#include "tests/store/contract_values.hpp"
#include "tests/store/contract_works.hpp"
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

struct Check {
  const char* name;
  void (*run)(Store& store);
};

/// For every store, also for one that sends a batch at once, when it is committed.
inline std::vector<Check> Checks() {
  return {{"nothing of a batch is visible before Commit", BatchIsInvisibleBeforeCommit},
          {"Rollback leaves nothing behind", RollbackLeavesNothing},
          {"there is one batch at a time", OneBatchAtATime},
          {"what was rolled back cannot be committed", RolledBackCannotBeCommitted},
          {"an empty batch is fine", EmptyBatchIsFine},
          {"Recover keeps what is committed and drops the open batch", RecoverKeepsWhatIsCommitted},
          {"a gid that exists is not inserted and nothing changes", ExistingGidIsNotInserted},
          {"of one gid twice in a batch the first is inserted", GidTwiceInABatch},
          {"a change of another version is left out, the rest is applied", StaleVersionIsLeftOut},
          {"inserted rows get ascending numbers", RowsAscend},
          {"every field comes back, at its limits", EveryFieldComesBack},
          {"the smallest and the largest come back", SmallestAndLargestComeBack},
          {"gids are compared whole, byte by byte", GidsAreWholeTexts},
          {"in_flight is not stored", InFlightIsForgotten},
          {"a change may write another definition, of any size", DefinitionFollowsChanges},
          {"a lost change leaves the definition alone", LostChangeLeavesTheDefinition},
          {"steps are added", StepsAreAdded},
          {"the largest workflow is stored", LargestWorkflowIsStored},
          {"large records come in order", LargeRecordsComeInOrder},
          {"added steps expire with their transaction", AddedStepsExpireWithTheirTransaction},
          {"a journal grows with its changes", JournalGrowsWithItsChanges},
          {"a long journal is folded", JournalIsFolded},
          {"readers in other threads see whole journals", ReadersSeeWholeJournals},
          {"what is unfinished is counted", UnfinishedIsCounted},
          {"what is due comes in order, page by page", DueInOrderPageByPage},
          {"NextDue is the first one later", NextDueIsTheFirstLater},
          {"due follows updates", DueFollowsUpdates},
          {"what has ended is not due", FinishedIsNotDue},
          {"Scan filters and pages, newest first", ScanFiltersAndPages},
          {"a search finds what matches", SearchFindsWhatMatches},
          {"new transactions do not disturb a scan", NewOnesDoNotDisturbAScan},
          {"Expire stops at the young", ExpireStopsAtTheYoung},
          {"the unfinished never expire", UnfinishedNeverExpires},
          {"readers in other threads see whole batches", ReadersSeeWholeBatches}};
}

/// Works that write values, and retention that keeps gids.
inline std::vector<Check> ChecksOfWorks() {
  return {{"Expire may keep the gids", ExpireKeepsGids},
          {"work returns its result and does not harm the batch", WorkResults},
          {"values are seen by their batch first", ValuesAreSeenByTheBatchFirst},
          {"values count their versions", ValuesCountTheirVersions},
          {"removed values are gone", RemovedValuesAreGone},
          {"work that fails leaves values alone", FailedWorkLeavesValuesAlone},
          {"values that were rolled back are the old ones", RolledBackValuesAreTheOldOnes},
          {"values are found by category and key", ValuesAreFoundByCategoryAndKey},
          {"values come in pages", ValuesComeInPages},
          {"what work puts into values is kept or undone", WorkKeepsOrUndoesValues},
          {"many works share a batch", ManyWorksInABatch},
          {"work is rolled back with its batch", WorkIsRolledBackWithItsBatch}};
}

/// For a store that writes while the batch is open.
inline std::vector<Check> ChecksOfOpenBatches() {
  return {{"gids may hold zeros", GidsMayHoldZeros},
          {"a journal expires with its transaction", JournalExpiresWithItsTransaction},
          {"of a change that is left out nothing is told", LostChangeTellsNothing},
          {"Expire goes in small steps", ExpireInSmallSteps},
          {"kept gids are forgotten after their time", KeptGidsAreForgotten},
          {"versions count inside a batch", VersionsCountInsideABatch},
          {"a definition that was rolled back is the old one", RolledBackDefinitionIsTheOldOne},
          {"the definition may change inside a batch", DefinitionChangesInsideABatch},
          {"nothing of a journal is visible before Commit", JournalIsInvisibleBeforeCommit},
          {"Expire can be rolled back", ExpireRolledBackRemovesNothing},
          {"Expire may come twice in a batch", ExpireTwiceInABatch},
          {"Expire that was rolled back keeps no gid", RolledBackExpireKeepsNoGid}};
}

inline void RunEach(const std::vector<Check>& checks,
                    const std::function<std::unique_ptr<Store>()>& open) {
  for (const Check& check : checks) {
    DYNAMIC_SECTION(check.name) {
      const std::unique_ptr<Store> store = open();
      check.run(*store);
    }
  }
}

}  // namespace store_contract

/// Runs every check on a store of its own.
inline void ExpectContract(const std::function<std::unique_ptr<dtm::Store>()>& open) {
  store_contract::RunEach(store_contract::Checks(), open);
  store_contract::RunEach(store_contract::ChecksOfWorks(), open);
  store_contract::RunEach(store_contract::ChecksOfOpenBatches(), open);
}

}  // namespace dtm_test
