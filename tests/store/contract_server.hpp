/// What a store in a database server does besides the contract of stores: its tables, retention, and who takes over from whom.
/// tests/store/{postgres,mysql}/*_store_test.cpp run it on real servers.
/// Needs: Catch2, store. Threads: one check starts some.
///
/// Kit: `Tables()`, a shared_store::Database; `Ask(sql)`, the first value that its tables answer; `Made()`: they are there;
/// `kOwnTables`, all but dtm_meta, without "dtm_"; `kMetaName` and `Bytes(hex)`, which are written otherwise; `kTables` and `kFile`, the text that makes the tables and the file of it;
/// `Start(place)`: a whole store, with beats, in a place that is still empty.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_owners.hpp"
#include "tests/store/store_contract.hpp"
#include "tests/support/server_process.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/shared/members.hpp>
#include <dtm/store/shared/shared_store.hpp>

namespace dtm_test {

template <typename Kit>
struct ServerContract {
  using Query = dtm::shared_store::Query;
  using milliseconds = std::chrono::milliseconds;

  /// Without beats: who is dead is told by the test.
  static std::unique_ptr<dtm::Store> Open() {
    return std::make_unique<dtm::SharedStore>(Kit::Tables(), std::chrono::seconds(1));
  }
  /// The tables are made once, which takes longer than a test.
  static std::unique_ptr<dtm::Store> OpenEmpty() {
    if (Kit::Made()) {
      for (const char* table : Kit::kOwnTables) Kit::Ask(std::string("DELETE FROM dtm_") + table);
    }
    return Open();
  }

  static void KeepsTheContract() {
    using namespace store_contract;  // NOLINT(google-build-using-namespace)
    RunEach(Checks(), OpenEmpty);
    RunEach(ChecksOfWorks(), OpenEmpty);
  }

  static void KeepsTheContractOfOwners() {
    ExpectOwnership([] {
      auto one = OpenEmpty();
      auto two = Open();
      const auto dead = static_cast<std::int64_t>(one->Owner());
      const auto heir = static_cast<std::int64_t>(two->Owner());
      const std::shared_ptr<dtm::shared_store::Connection> third = Kit::Tables()->Connect();
      return store_contract::TwoOwners{
          std::move(one), std::move(two),
          [=] {
            const std::int64_t beat = 1;
            REQUIRE(third->Run(Query::kInherit, {dead, beat, std::int64_t{0}, heir})->Count() == 1);
          },
          [=](std::size_t limit) {
            const std::vector<std::string> apps{"", "app"};
            return third
                ->Run(Query::kClaim, {dead, heir, static_cast<std::int64_t>(limit), &apps, heir})
                ->Count();
          }};
    });
  }

  static void SchemaFileHasTheTables() {
    std::ifstream file(std::string(DTM_SOURCE_DIR) + "/sql/" + Kit::kFile);
    std::string text;
    std::getline(file, text);  // says what it is
    text.assign(std::istreambuf_iterator<char>(file), {});
    CHECK("\n" + text == Kit::kTables);
  }

  static void OtherVersionsAreRefused() {
    (void)OpenEmpty();
    const std::string where = std::string(" WHERE ") + Kit::kMetaName + " = 'schema_version'";
    for (const char* version : {"2", "1000", "0", "-1", "x", ""}) {
      Kit::Ask(std::string("UPDATE dtm_meta SET value = '") + version + "'" + where);
      CAPTURE(version);
      CHECK_THROWS_WITH(Open(), Catch::Matchers::ContainsSubstring("has schema version '" +
                                                                   std::string(version) + "'"));
      CHECK(Kit::Ask("SELECT value FROM dtm_meta" + where) == version);
    }
    Kit::Ask("UPDATE dtm_meta SET value = '1'" + where);
    CHECK(Open()->Owner() > 0);
  }

  static void SeveralOpenAtOnce() {
    std::atomic<int> opened{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        try {
          opened += Kit::Start("store_at_once")->Owner() > 0;
        } catch (const std::exception& error) {
          std::fprintf(stderr, "%s\n", error.what());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(opened == 4);
  }

  /// However many are asked for.
  static void AnswersHaveABoundedSize() {
    using namespace store_contract;  // NOLINT(google-build-using-namespace)
    const auto store = OpenEmpty();
    constexpr std::size_t kEach = 1000;
    std::vector<std::int64_t> ids;
    for (int i = 0; i < 20; ++i) {
      Transaction one = Registering("g" + std::to_string(i), dtm::TransType::kWorkflow, kEach);
      REQUIRE(Put(*store, one));
      REQUIRE(PutAdded(*store, one, 2, kEach));
      ids.insert(ids.begin(), one.id);
    }
    const auto connection = Kit::Tables()->Connect();
    const auto me = static_cast<std::int64_t>(store->Owner());
    const std::int64_t of_search[] = {0, 0, 0, INT64_MAX, 0, 0};
    const auto read = [&](Query query, std::int64_t limit, std::int64_t bytes) {
      if (query == Query::kDue) {
        return connection->Run(query, {me, INT64_MIN, std::int64_t{0}, INT64_MAX, limit, bytes});
      }
      std::vector<dtm::SqlValue> values(std::begin(of_search), std::end(of_search));
      values.insert(values.end(), {dtm::SqlBytes{""}, limit, bytes});
      if (query == Query::kSearch) {
        values.emplace_back(&ids);
      } else {
        values.insert(values.end(), {ids.back(), ids.front()});
      }
      return connection->Run(query, values);
    };
    for (const Query query : {Query::kDue, Query::kSearch, Query::kSearchRange}) {
      CHECK(read(query, 64, INT64_MAX)->Count() == 20);
      CHECK(read(query, 7, INT64_MAX)->Count() == 7);
      CHECK(read(query, 64, 1)->Count() == 1);
      const auto some = read(query, 64, 4 * 3 * kEach);
      CHECK(some->Count() == 4);
      CHECK(dtm::shared_store::MayHaveMore(*some, {64, 4 * 3 * kEach}));
      CHECK_FALSE(dtm::shared_store::MayHaveMore(*read(query, 64, INT64_MAX), {64, SIZE_MAX}));
      CHECK(some->Number(0, dtm::shared_store::kId) ==
            (query == Query::kDue ? ids.back() : ids.front()));
    }
    // What retention reads for the hash of the content counts all of it, too.
    const auto looked = connection->Run(Query::kLook, {std::int64_t{0}, std::int64_t{1}});
    CHECK(looked->Number(0, 3) > static_cast<std::int64_t>(3 * kEach));
  }

  static void ExpiresInSmallSteps() {
    using namespace store_contract;  // NOLINT(google-build-using-namespace)
    const auto store = OpenEmpty();
    for (const bool keep : {false, true}) {
      const std::string name = keep ? "kept" : "gone";
      for (int i = 0; i < 10; ++i) {
        dtm::Transaction old = Registering(name + std::to_string(i), dtm::TransType::kTcc, 10);
        REQUIRE(PutTold(*store, old, {ErrorEntry(1)}));
        for (std::size_t n = 0; n < 9; ++n) REQUIRE(PutTold(*store, old, {ErrorEntry(n)}));
        REQUIRE(PutAdded(*store, old, 2));
        if (i % 2 == 0) continue;
        old.status = dtm::Status::kSucceed;
        old.finished = At(i);
        REQUIRE(Put(*store, old));
      }
      std::int64_t position = 0;
      int steps = 0;
      do {
        const std::size_t before = All(*store).size();
        position = store->Expire(At(100), position, 4, keep);
        CHECK(before - All(*store).size() <= 4);
        ++steps;
      } while (position != 0);
      CHECK(steps > 2);
      CHECK(All(*store).size() == (keep ? 10U : 5U));
      CHECK(store->ReadJournal(name + "1").empty());
      CHECK(store->ReadJournal(name + "2").size() == 10);
      CHECK(store->Load(name + "1").has_value() == keep);
    }
    CHECK(Kit::Ask("SELECT count(*) FROM dtm_journal") == "10");
    CHECK(Kit::Ask("SELECT count(*) FROM dtm_step") == "20");
    CHECK(store->Load("kept3")->expired);
    CHECK_FALSE(Put(*store, NewTransaction("kept3")));
    std::string position;
    int steps = 0;
    do {
      const std::string next = store->ForgetGids(At(5), position, 2);
      CHECK((next.empty() || next > position));
      position = next;
      ++steps;
    } while (!position.empty());
    CHECK(steps == 3);
    for (int i = 1; i < 10; i += 2)
      CHECK(store->Load("kept" + std::to_string(i)).has_value() == (i >= 5));
    REQUIRE(Put(*store, NewTransaction("kept3")));
  }

  static void OneOfTwoWritesAValue() {
    using namespace store_contract;  // NOLINT(google-build-using-namespace)
    const auto one = OpenEmpty();
    const auto two = Open();
    PutOne(*one, NewValue("topics", "t", "first"));
    for (const bool removes : {false, true}) {
      dtm::Transaction beside = NewTransaction("beside");
      two->Begin();
      const Batch batch(*two, {&beside});
      removes ? (void)two->RemoveValue("topics", "t")
              : two->PutValue(NewValue("topics", "t", "mine"));
      two->PutValue(NewValue("topics", "new", "mine"));
      PutOne(*one, NewValue("topics", "t", "theirs"));
      CHECK_THROWS_AS(two->Commit(), dtm::BatchLost);
      two->Rollback();
      CHECK_FALSE(one->Load("beside").has_value());
      CHECK(Values(*one).size() == 1);
    }
    two->Begin();
    two->PutValue(NewValue("topics", "t", "mine"));
    two->Commit();
    CHECK(Values(*one) == std::vector<std::string>{"topics/t=mine#4"});
  }

  static void UnreadableRecordsStopNobody() {
    const auto store = OpenEmpty();
    for (const char* gid : {"a", "b", "c", "d"}) REQUIRE(Put(*store, NewTransaction(gid)));
    Kit::Ask("UPDATE dtm_trans SET state = " + Kit::Bytes("09") + " WHERE gid = 'b'");
    Kit::Ask("UPDATE dtm_trans SET status = 77 WHERE gid = 'c'");
    Kit::Ask("UPDATE dtm_trans SET definition = '' WHERE gid = 'd'");
    const auto all = DuePage(*store, At(99), {}, 10);
    REQUIRE(all.size() == 4);
    CHECK_FALSE(all[0].unreadable);
    for (std::size_t i = 1; i < 4; ++i) CHECK(all[i].unreadable);
    // Of a state this short nothing says whether it is stuck.
    for (const char* state : {"09", ""}) {
      Kit::Ask("UPDATE dtm_trans SET due = 9223372036854775807, state = " + Kit::Bytes(state) +
               " WHERE gid = 'b'");
      CHECK(store->CountUnfinished(At(99)).unfinished == 4);
      CHECK(store->CountUnfinished(At(99)).stuck == 0);
    }
  }

  static void TheSilentAreTakenOver() {
    using dtm::shared_store::Members;
    const auto dead = OpenEmpty();
    const auto one = Open();
    const auto two = Open();
    dtm::Duration now = std::chrono::hours(1);
    const auto time = [&now] { return now; };
    Members members_of_dead(milliseconds(1000), time);
    Members members_of_one(milliseconds(1000), time);
    Members members_of_two(milliseconds(1000), time);
    const auto connection = Kit::Tables()->Connect();
    std::map<std::uint64_t, std::int64_t> epochs;  // of members
    const auto beat = [&](Members& members, const std::unique_ptr<dtm::Store>& store) {
      const std::uint64_t id = store->Owner();
      if (epochs.count(id) == 0) {
        epochs[id] =
            std::stoll(Kit::Ask("SELECT epoch FROM dtm_node WHERE id = " + std::to_string(id)));
      }
      return members.Beat(*connection, {id, epochs[id]}, "app");
    };
    std::vector<dtm::Transaction> all;
    for (int i = 0; i < 700; ++i) all.push_back(NewTransaction("g" + std::to_string(i)));
    std::vector<dtm::Change> changes;
    for (dtm::Transaction& each : all) changes.push_back({&each});
    dead->Begin();
    dead->Apply(changes);
    dead->Commit();

    for (int i = 0; i < 20; ++i, now += milliseconds(250)) {  // all live
      CHECK(beat(members_of_dead, dead).is_member);
      const Members::Seen seen = beat(members_of_one, one);
      CHECK(seen.is_member);
      CHECK(seen.until == now + milliseconds(900));
      CHECK(seen.taken == 0);
      CHECK(beat(members_of_two, two).taken == 0);
    }
    SECTION("one of the two, after a lease and not before") {
      for (int i = 0; i < 3; ++i, now += milliseconds(250)) {
        CHECK(beat(members_of_one, one).taken == 0);
        CHECK(beat(members_of_two, two).taken == 0);
      }
      CHECK(beat(members_of_one, one).taken == 700);
      CHECK(beat(members_of_two, two).taken == 0);
      CHECK_FALSE(beat(members_of_dead, dead).is_member);
      CHECK(DuePage(*one, At(99), {}, 1000).size() == 700);
      CHECK(Kit::Ask("SELECT count(*) FROM dtm_node WHERE id = " + std::to_string(dead->Owner())) ==
            "0");
      CHECK_THROWS_AS(Put(*dead, NewTransaction("late")), dtm::Fenced);
      dead->Recover();
      CHECK(Put(*dead, NewTransaction("new")));
    }
    SECTION("one that leaves has it taken over at once") {
      dead->Leave();
      CHECK_THROWS_AS(dead->Begin(), dtm::StoreError);
      CHECK(dead->Load("g1").has_value());
      CHECK(beat(members_of_two, two).taken == 700);
      CHECK(beat(members_of_one, one).taken == 0);
    }
    SECTION("an observer that was itself silent begins to count again") {
      now += milliseconds(5000);
      CHECK(beat(members_of_one, one).taken == 0);
      for (int i = 0; i < 4; ++i) {
        now += milliseconds(250);
        CHECK(beat(members_of_dead, dead).is_member);
        CHECK(beat(members_of_two, two).taken == 0);
        CHECK(beat(members_of_one, one).taken == 0);
      }
      CHECK(beat(members_of_dead, dead).is_member);
    }
    SECTION("of an heir that dies too the next one takes both") {
      REQUIRE(Put(*one, NewTransaction("ones")));
      REQUIRE(
          connection
              ->Run(Query::kInherit, {static_cast<std::int64_t>(dead->Owner()), std::int64_t{21},
                                      std::int64_t{0}, static_cast<std::int64_t>(one->Owner())})
              ->Count() == 1);
      for (int i = 0; i < 3; ++i, now += milliseconds(250))
        CHECK(beat(members_of_two, two).taken == 0);
      CHECK(beat(members_of_two, two).taken == 701);
      CHECK(Kit::Ask("SELECT count(*) FROM dtm_node") == "1");
    }
    SECTION("after a takeover that takes longer than there is time the next beat comes at once") {
      now += milliseconds(1000);
      const auto slow = [&now] { return now += milliseconds(100); };
      Members members(milliseconds(1000), slow);
      (void)beat(members, two);
      std::size_t taken = 0;
      bool more = false;
      for (int i = 0; i < 20; ++i) {
        const Members::Seen seen = beat(members, two);
        taken += seen.taken;
        more = more || seen.more;
        CHECK(seen.is_member);
      }
      CHECK(taken == 700);
      CHECK(more);
    }
  }
};

}  // namespace dtm_test
