/// What members of a shared store promise each other, on a real server: who is heard, who is forgotten, what is nobody's, and
/// what time it is. Beats come by hand, in a time of the test's own.
/// Needs: Catch2, a database server. Threads: one.
///
/// Kit: Tables() opens the database, Fresh() empties it, Sql(text) runs a statement in it and returns its answer as text; of
/// the member with an id, Forget removes what is known, GiveIdAgain makes another one, EpochOf tells the epoch.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_owners.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/shared/shared_store.hpp>

namespace dtm_test {

/// A database that a test looks into, and that fails or has another clock when the test wants it.
struct WatchedDatabase : dtm::shared_store::Database {
  using Query = dtm::shared_store::Query;
  struct State {
    std::map<Query, int> runs;
    int batches = 0;
    bool fails = false;
    std::int64_t clock_is_off = 0;  ///< microseconds
    std::function<void(Query)> on_run;
    bool rejoins_again = false;  ///< such a statement arrives twice, the second time late

    int All() const {
      int all = batches;
      for (const auto& [query, times] : runs) all += times;
      return all;
    }
  };

  /// With another clock.
  struct Rows : dtm::SqlRows {
    std::size_t Count() const override { return inner->Count(); }
    bool IsNull(std::size_t row, std::size_t column) const override {
      return inner->IsNull(row, column);
    }
    std::int64_t Number(std::size_t row, std::size_t column) const override {
      return inner->Number(row, column) + (column == clock ? off : 0);
    }
    std::string_view View(std::size_t row, std::size_t column) const override {
      return inner->View(row, column);
    }
    std::unique_ptr<dtm::SqlRows> inner;
    std::size_t clock = 0;
    std::int64_t off = 0;
  };

  struct Connection : dtm::shared_store::Connection {
    bool Works() const override { return inner->Works(); }
    std::unique_ptr<dtm::SqlRows> Run(Query query,
                                      const std::vector<dtm::SqlValue>& values) override {
      if (state->fails) throw dtm::SqlError("the test's database is down", "");
      ++state->runs[query];
      if (state->on_run) state->on_run(query);
      auto rows = std::make_unique<Rows>();
      rows->inner = inner->Run(query, values);
      if (query == Query::kRejoin && std::exchange(state->rejoins_again, false)) {
        (void)inner->Run(query, values);
      }
      if (query == Query::kBeat) rows->clock = dtm::shared_store::kTime;
      if (query == Query::kBeat || query == Query::kTime) rows->off = state->clock_is_off;
      return rows;
    }
    bool Write(std::uint64_t member, std::int64_t epoch,
               dtm::shared_store::BatchRows& batch) override {
      ++state->batches;
      return inner->Write(member, epoch, batch);
    }
    std::unique_ptr<dtm::shared_store::Connection> inner;
    std::shared_ptr<State> state;
  };

  WatchedDatabase(std::unique_ptr<dtm::shared_store::Database> database,
                  std::shared_ptr<State> watched)
      : inner(std::move(database)), state(std::move(watched)) {}
  dtm::SqlDialect Dialect() const override { return inner->Dialect(); }
  std::unique_ptr<dtm::shared_store::Connection> Connect() override {
    if (state->fails) throw dtm::SqlError("the test's database is down", "");
    auto connection = std::make_unique<Connection>();
    connection->inner = inner->Connect();
    connection->state = state;
    return connection;
  }

  std::unique_ptr<dtm::shared_store::Database> inner;
  std::shared_ptr<State> state;
};

template <typename Kit>
struct MembersContract {
  using Query = dtm::shared_store::Query;
  using Texts = std::vector<std::string>;
  static constexpr std::chrono::milliseconds kLease{1000};

  /// A coordinator's store, in the test's time.
  struct Node {
    explicit Node(const dtm::Duration& time)
        : watched(std::make_shared<WatchedDatabase::State>()),
          store(std::make_unique<WatchedDatabase>(Kit::Tables(), watched), kLease,
                [&time] { return time; }) {
      store.StartBeatingByHand();
    }
    std::string Id() const { return std::to_string(store.Owner()); }
    std::shared_ptr<WatchedDatabase::State> watched;
    dtm::SharedStore store;
  };

  static std::string ProblemOf(dtm::Store& store) {
    try {
      Put(store, NewTransaction("late"));
      return "none";
    } catch (const dtm::Fenced& error) {
      store.Rollback();
      return error.what();
    }
  }

  static void Run() {
    using Catch::Matchers::ContainsSubstring;
    Kit::Fresh();
    dtm::Duration time = std::chrono::hours(1);
    const auto pass = [&time](int ms) { time += std::chrono::milliseconds(ms); };
    auto one = std::make_unique<Node>(time);
    auto two = std::make_unique<Node>(time);
    const auto due = [](const std::unique_ptr<Node>& node) {
      return store_contract::DueOf(node->store);
    };

    SECTION("a lease holds for nine tenths of its time, from beat to beat, until another is heir") {
      const auto lease = one->store.OurLease();
      CHECK(lease->Holds());
      pass(899);
      CHECK(lease->Holds());
      pass(1);
      CHECK_FALSE(lease->Holds());
      (void)one->store.Beat();
      CHECK(lease->Holds());
      for (int i = 0; i < 5; ++i) {
        (void)two->store.Beat();
        pass(250);
      }
      CHECK_FALSE(lease->Holds());
      (void)two->store.Beat();
      (void)one->store.Beat();
      CHECK_FALSE(lease->Holds());
      CHECK_THAT(ProblemOf(one->store), ContainsSubstring("silent for too long"));
      one->store.Recover();
      CHECK_FALSE(lease->Holds());
      CHECK(one->store.OurLease()->Holds());
      CHECK(one->store.CountSharing()->fenced == 1);
      CHECK(one->store.CountSharing()->forgotten == 0);
    }

    SECTION("fenced by what came late, it is told again when it is out") {
      one->watched->rejoins_again = true;
      one->store.Recover();
      CHECK(ProblemOf(one->store) != "none");
      one->store.Recover();  // it is a member still
      CHECK(Put(one->store, NewTransaction("mine")));
      for (int i = 0; i < 6; ++i) {
        (void)two->store.Beat();
        pass(250);
      }
      CHECK_THROWS_AS(one->store.Recover(), dtm::Fenced);
    }

    SECTION("what is nobody's is taken up with the next beat, once") {
      for (int i = 0; i < 3; ++i) {
        REQUIRE(Put(one->store, NewTransaction("g" + std::to_string(i), At(i))));
      }
      (void)one->store.Beat();
      Kit::Sql("UPDATE dtm_trans SET owner = 0 WHERE gid <> 'g1'");
      const std::uint64_t before = two->store.Takeovers();
      (void)two->store.Beat();
      CHECK(two->store.Takeovers() == before + 1);
      CHECK(due(two) == Texts{"g0", "g2"});
      CHECK(two->store.Load("g0")->version == 2);
      (void)one->store.Beat();
      CHECK(due(one) == Texts{"g1"});
      CHECK(one->watched->runs[Query::kFree] == 0);  // there was none by then
      (void)two->store.Beat();
      CHECK(two->store.Takeovers() == before + 1);
    }

    SECTION("what belongs to none that is known is found at the start, and every 5 s") {
      REQUIRE(Put(one->store, NewTransaction("lost", At(1))));
      REQUIRE(Put(two->store, NewTransaction("mine", At(2))));
      Kit::Sql("DELETE FROM dtm_node WHERE id = " + one->Id());
      (void)two->store.Beat();
      CHECK(due(two) == Texts{"lost", "mine"});
      CHECK(two->store.Load("lost")->version == 2);
      CHECK(two->store.Load("mine")->version == 1);
      Kit::Sql("UPDATE dtm_trans SET owner = 987654321 WHERE gid = 'lost'");
      for (int i = 0; i < 19; ++i) {
        pass(250);
        (void)two->store.Beat();
      }
      CHECK(due(two) == Texts{"mine"});
      pass(250);
      (void)two->store.Beat();
      CHECK(due(two) == Texts{"lost", "mine"});
      CHECK(two->watched->runs[Query::kOrphans] == 2);
    }

    SECTION("a database that has forgotten it, or gave its id to another, is found out") {
      const auto lease = one->store.OurLease();
      REQUIRE(Put(one->store, NewTransaction("gid")));
      (void)one->store.Beat();
      (void)one->store.Beat();
      pass(250);
      const std::string row = " WHERE id = " + one->Id();
      bool other = false;
      SECTION("its row is gone") { Kit::Forget(one->Id()); }
      SECTION("its beat went back") { Kit::Sql("UPDATE dtm_node SET beat = 1" + row); }
      SECTION("another has its id") {
        Kit::GiveIdAgain(one->Id());
        other = true;
      }
      (void)one->store.Beat();
      CHECK_FALSE(lease->Holds());
      CHECK_THAT(ProblemOf(one->store), ContainsSubstring("a backup was restored"));
      CHECK(one->store.CountSharing()->forgotten == 1);
      const std::string before = one->Id();
      one->store.Recover();
      CHECK(one->Id() != before);
      CHECK(one->store.OurLease()->Holds());
      CHECK(Put(one->store, NewTransaction("new")));
      (void)one->store.Beat();
      CHECK_FALSE(one->store.CountSharing()->fenced > 1);
      if (other) CHECK(Kit::Sql("SELECT heir FROM dtm_node" + row) == "0");
    }

    SECTION("one whose id was given again neither recovers nor leaves as that one") {
      const std::string row = " WHERE id = " + one->Id();
      const std::string heir = "SELECT heir FROM dtm_node" + row;
      Kit::GiveIdAgain(one->Id());
      SECTION("recovers") {
        CHECK_THROWS_AS(one->store.Recover(), dtm::Fenced);
        CHECK(Kit::Sql(heir) == "0");
      }
      SECTION("leaves") {
        one->store.Leave();
        CHECK(Kit::Sql(heir) == "0");
      }
    }

    SECTION("epochs begin anywhere, and are counted up") {
      const auto epoch = [&](const Node& node) { return Kit::EpochOf(node.Id()); };
      CHECK(epoch(*one) != epoch(*two));
      const std::int64_t before = epoch(*one);
      one->store.Recover();
      CHECK(epoch(*one) == before + 1);
      (void)one->store.Beat();
      CHECK(Put(one->store, NewTransaction("gid")));
    }

    SECTION("who has left does not come back") {
      one->store.Leave();
      CHECK_THROWS_WITH(one->store.Recover(), ContainsSubstring("has stopped"));
      (void)two->store.Beat();
      CHECK(Kit::Sql("SELECT count(*) FROM dtm_node") == "1");
    }

    SECTION("that it cannot be heard is told once, and that it can be again") {
      Texts told;
      one->store.OnSilence([&told](const std::string& why) { told.push_back(why); });
      (void)one->store.Beat();
      one->watched->fails = true;
      (void)one->store.Beat();
      (void)one->store.Beat();
      CHECK(told == Texts{"the test's database is down"});
      one->watched->fails = false;
      (void)one->store.Beat();
      (void)one->store.Beat();
      CHECK(told == Texts{"the test's database is down", ""});
      CHECK(one->store.CountSharing()->failed_beats == 2);
    }

    SECTION("a beat is one statement, and now and then one more") {
      (void)one->store.Beat();
      const int before = one->watched->All();
      for (int i = 0; i < 40; ++i) {
        pass(250);
        (void)one->store.Beat();
        (void)two->store.Beat();
      }
      CHECK(one->watched->All() - before == 42);  // in 10 s
    }

    SECTION("the clock is the server's, whatever it does later") {
      const auto state = std::make_shared<WatchedDatabase::State>();
      const auto hour = std::chrono::hours(1);
      state->clock_is_off = dtm::Duration(hour).count();
      dtm::SharedStore ahead(std::make_unique<WatchedDatabase>(Kit::Tables(), state), kLease,
                             [&time] { return time; });
      ahead.StartBeatingByHand();
      const dtm::Time here =
          std::chrono::time_point_cast<dtm::Duration>(std::chrono::system_clock::now());
      const dtm::Time there = ahead.SharedTime().value();
      CHECK(there - here > hour - std::chrono::minutes(1));
      CHECK(there - here < hour + std::chrono::minutes(1));
      CHECK(*ahead.SharedTime() - *one->store.SharedTime() > hour - std::chrono::minutes(1));
      pass(500);
      CHECK(*ahead.SharedTime() == there + std::chrono::milliseconds(500));
      state->clock_is_off = 0;  // its clock was set
      for (int i = 0; i < 3; ++i) (void)ahead.Beat();
      const dtm::Duration moved = there + std::chrono::milliseconds(500) - *ahead.SharedTime();
      CHECK(moved == std::chrono::microseconds(300));
    }

    SECTION("an answer that took long does not say what time it is") {
      const auto state = std::make_shared<WatchedDatabase::State>();
      std::vector<int> takes = {50, 40, 0};  // the server's time stands still meanwhile
      state->on_run = [&](Query query) {
        if (query != Query::kTime) return;
        time += std::chrono::seconds(takes.front());
        takes.erase(takes.begin());
      };
      dtm::SharedStore slow(std::make_unique<WatchedDatabase>(Kit::Tables(), state), kLease,
                            [&time] { return time; });
      CHECK(takes.empty());
      CHECK(*one->store.SharedTime() - *slow.SharedTime() > std::chrono::seconds(80));
    }
  }
};

}  // namespace dtm_test
