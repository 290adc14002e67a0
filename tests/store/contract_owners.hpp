/// The contract of stores that several coordinators share: who owns what, and what one that was taken for dead can still do.
/// Needs: Catch2, store. Threads: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/store.hpp>

namespace dtm_test {
namespace store_contract {

using dtm::Change;
using dtm::Status;
using dtm::Store;
using dtm::Transaction;
using Texts = std::vector<std::string>;

/// Two coordinators on one store, and what makes the second one the heir of the first. The store says how.
struct TwoOwners {
  std::unique_ptr<Store> one, two;
  std::function<void()> fence_one;  ///< it was silent for too long
  /// After that: `two` takes over up to so many of its unfinished transactions, and says how many.
  std::function<std::size_t(std::size_t limit)> claim;
};

inline Texts DueOf(Store& store) { return Gids(DuePage(store, At(99), {}, 100)); }
inline std::uint64_t OwnerOf(Store& store, const std::string& gid) {
  return store.Load(gid).value().owner;
}

inline void OwnersDiffer(TwoOwners& owners) {
  CHECK(owners.one->Owner() != 0);
  CHECK(owners.two->Owner() != 0);
  CHECK(owners.one->Owner() != owners.two->Owner());
  const std::uint64_t before = owners.one->Owner();
  owners.one->Recover();
  CHECK(owners.one->Owner() == before);  // it was not fenced
}

inline void DueIsMine(TwoOwners& owners) {
  for (int i = 0; i < 6; ++i) {
    Store& store = i % 2 == 0 ? *owners.one : *owners.two;
    REQUIRE(Put(store, NewTransaction("g" + std::to_string(i), At(10 + i))));
    CHECK(OwnerOf(*owners.one, "g" + std::to_string(i)) == store.Owner());
  }
  CHECK(DueOf(*owners.one) == Texts{"g0", "g2", "g4"});
  CHECK(DueOf(*owners.two) == Texts{"g1", "g3", "g5"});
  CHECK(Gids(DuePage(*owners.one, At(99), {At(10), owners.one->Load("g0")->id}, 1)) == Texts{"g2"});
  CHECK(owners.one->NextDue(At(0)) == At(10));
  CHECK(owners.two->NextDue(At(0)) == At(11));
  CHECK(owners.two->NextDue(At(15)) == dtm::kNever);
  // Everybody reads everything.
  CHECK(All(*owners.one).size() == 6);
  CHECK(Gids(All(*owners.one)) == Gids(All(*owners.two)));
  CHECK(owners.two->CountUnfinished(At(50)).unfinished == 6);
}

inline void ForeignGidIsNotInserted(TwoOwners& owners) {
  Transaction first = NewTransaction("gid", At(5), "the first");
  REQUIRE(Put(*owners.one, first));
  Transaction second = NewTransaction("gid", At(1), "another");
  CHECK_FALSE(Put(*owners.two, second));
  CHECK(second.id == 0);
  CHECK(Difference(*owners.two->Load("gid"), first).empty());
  CHECK(OwnerOf(*owners.two, "gid") == owners.one->Owner());
}

/// A change of what another has written meanwhile is left out, and the rest of the batch is stored.
inline void ForeignVersionIsLeftOut(TwoOwners& owners) {
  Transaction mine = NewTransaction("shared", At(5));
  REQUIRE(Put(*owners.one, mine));
  Transaction other = NewTransaction("other", At(6));
  REQUIRE(Put(*owners.one, other));
  Transaction theirs = owners.two->Load("shared").value();
  theirs.retry_count = 2;
  REQUIRE(Put(*owners.two, theirs));

  mine.retry_count = 1;
  other.retry_count = 1;
  std::vector<Change> changes{{&mine}, {&other}};
  owners.one->Begin();
  owners.one->Apply(changes);
  owners.one->Commit();
  CHECK_FALSE(changes[0].applied);
  CHECK(changes[1].applied);
  CHECK(Difference(*owners.one->Load("shared"), theirs).empty());
  CHECK(owners.one->Load("other")->retry_count == 1);
}

/// What one writes is its own from then on, and the version counts by one: the other has lost it.
inline void AChangeTakesOver(TwoOwners& owners) {
  std::vector<Transaction> page;
  for (int i = 0; i < 20; ++i) {
    Transaction prepared = NewTransaction("g" + std::to_string(i), At(i));
    prepared.status = Status::kPrepared;
    REQUIRE(Put(*owners.one, prepared));
    if (i % 2 == 1) page.push_back(owners.two->Load(prepared.definition->gid).value());
  }
  std::vector<Change> changes;
  for (Transaction& transaction : page) {
    transaction.status = Status::kSubmitted;
    changes.push_back({&transaction});
  }
  owners.two->Begin();
  owners.two->Apply(changes);
  owners.two->Commit();
  for (std::size_t i = 0; i < page.size(); ++i) {
    CHECK(changes[i].applied);
    const Transaction stored = owners.one->Load(page[i].definition->gid).value();
    CHECK(stored.owner == owners.two->Owner());
    CHECK(stored.version == 2);
  }
  CHECK(DueOf(*owners.one).size() == 10);
  CHECK(DueOf(*owners.two).size() == 10);
  Transaction last = owners.one->Load("g1").value();
  last.status = Status::kSucceed;
  last.due = dtm::kNever;
  CHECK(Put(*owners.one, last));
  CHECK(DueOf(*owners.one).size() == 10);
  CHECK(DueOf(*owners.two).size() == 9);
}

/// `applied` and `id` are looked at after Commit, and what was in the batch when it was applied is stored.
inline void AppliedAfterCommit(TwoOwners& owners) {
  Transaction exists = NewTransaction("exists");
  REQUIRE(Put(*owners.two, exists));
  Transaction fresh = NewTransaction("fresh");
  Transaction again = NewTransaction("exists");
  std::vector<Change> changes{{&fresh}, {&again}};
  changes[1].applied = true;  // whatever it was
  owners.one->Begin();
  owners.one->Apply(changes);
  CHECK_FALSE(owners.two->Load("fresh").has_value());
  fresh.retry_count = 99;  // too late for this batch
  owners.one->Commit();
  CHECK(changes[0].applied);
  CHECK_FALSE(changes[1].applied);
  CHECK(fresh.id == owners.two->Load("fresh")->id);
  CHECK(owners.two->Load("fresh")->retry_count == 0);
}

inline bool IsFenced(const std::function<void()>& call) {
  try {
    call();
    return false;
  } catch (const dtm::Fenced&) {
    return true;
  }
}

/// Whatever it begins, before or after: nothing of it is stored.
inline void FencedStoresNothing(TwoOwners& owners) {
  Transaction old = NewTransaction("old", At(5));
  REQUIRE(Put(*owners.one, old));
  Transaction changed = old;
  changed.retry_count = 7;
  Transaction fresh = NewTransaction("fresh");
  owners.one->Begin();  // before it is fenced
  const Batch batch(*owners.one, {&changed, &fresh});
  owners.fence_one();
  CHECK(IsFenced([&] { owners.one->Commit(); }));
  owners.one->Rollback();
  fresh.id = 0;
  CHECK(IsFenced([&] { Put(*owners.one, fresh); }));
  owners.one->Rollback();
  CHECK(IsFenced([&] {  // also if nobody was there to take it over yet
    changed.version = old.version;
    Put(*owners.one, changed);
  }));
  owners.one->Rollback();
  CHECK(Gids(All(*owners.two)) == Texts{"old"});
  CHECK(Difference(*owners.two->Load("old"), old).empty());
  REQUIRE(owners.two->Load("old")->version == 1);
}

/// It comes back as a coordinator like a new one, which owns nothing; what it knew is of no use.
inline void FencedComesBackAsAnother(TwoOwners& owners) {
  Transaction old = NewTransaction("old", At(5));
  REQUIRE(Put(*owners.one, old));
  const std::uint64_t before = owners.one->Owner();
  owners.fence_one();
  CHECK(IsFenced([&] { Put(*owners.one, NewTransaction("late")); }));
  owners.one->Recover();
  CHECK(owners.one->Owner() != before);
  CHECK(owners.one->Owner() != owners.two->Owner());
  CHECK(DueOf(*owners.one).empty());
  CHECK(owners.claim(100) == 1);
  CHECK(DueOf(*owners.two) == Texts{"old"});
  old.retry_count = 7;
  CHECK_FALSE(Put(*owners.one, old));
  CHECK(owners.two->Load("old")->retry_count == 0);
  REQUIRE(Put(*owners.one, NewTransaction("new", At(6))));
  CHECK(DueOf(*owners.one) == Texts{"new"});
}

/// What it knew is forgotten before it comes back: also if it recovers for another reason.
inline void RecoverTellsThatItIsFenced(TwoOwners& owners) {
  const std::uint64_t before = owners.one->Owner();
  owners.fence_one();
  CHECK(IsFenced([&] { owners.one->Recover(); }));
  CHECK(owners.one->Owner() == before);
  owners.one->Recover();
  CHECK(owners.one->Owner() != before);
  CHECK(Put(*owners.one, NewTransaction("new")));
  owners.one->Recover();
  CHECK(Put(*owners.one, NewTransaction("newer")));
}

/// The heir takes over page by page, what is due first first; a page is whole, and counts the versions by one.
inline void PagesAreTakenOverInOrder(TwoOwners& owners) {
  for (int i = 0; i < 10; ++i) {
    REQUIRE(Put(*owners.one, NewTransaction("g" + std::to_string(i), At(50 - i))));
  }
  REQUIRE(Put(*owners.one, Finished("ended", At(0), At(1))));
  REQUIRE(Put(*owners.two, NewTransaction("mine", At(45))));
  const std::uint64_t dead = owners.one->Owner();
  owners.fence_one();
  CHECK(owners.claim(3) == 3);
  CHECK(DueOf(*owners.two) == Texts{"g9", "g8", "g7", "mine"});
  CHECK(OwnerOf(*owners.two, "g0") == dead);
  CHECK(owners.two->Load("g0")->version == 1);
  CHECK(owners.two->Load("g9")->version == 2);
  CHECK(owners.claim(100) == 7);
  CHECK(owners.claim(100) == 0);
  CHECK(DueOf(*owners.two).size() == 11);
  CHECK(OwnerOf(*owners.two, "ended") == dead);
}

}  // namespace store_contract

/// Runs every check on two coordinators of a fresh, empty store.
inline void ExpectOwnership(const std::function<store_contract::TwoOwners()>& open) {
  using namespace store_contract;  // NOLINT(google-build-using-namespace)
  struct OwnerCheck {
    const char* name;
    void (*run)(TwoOwners& owners);
  };
  const std::vector<OwnerCheck> checks{
      {"each has a number of its own", OwnersDiffer},
      {"what is due is one's own", DueIsMine},
      {"a gid that another has stored is not inserted", ForeignGidIsNotInserted},
      {"a change of what another has written is left out", ForeignVersionIsLeftOut},
      {"a change takes over", AChangeTakesOver},
      {"what was applied is known after Commit", AppliedAfterCommit},
      {"one that is fenced stores nothing", FencedStoresNothing},
      {"one that was fenced comes back as another", FencedComesBackAsAnother},
      {"to recover tells that it is fenced", RecoverTellsThatItIsFenced},
      {"the heir takes over page by page", PagesAreTakenOverInOrder}};
  for (const OwnerCheck& check : checks) {
    DYNAMIC_SECTION(check.name) {
      TwoOwners owners = open();
      check.run(owners);
    }
  }
}

}  // namespace dtm_test
