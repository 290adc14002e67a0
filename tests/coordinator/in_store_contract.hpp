/// What an outbox in the coordinators' store promises (dtm::InStore), on each database server: business rows and the saga are
/// in one transaction, and a coordinator takes it up without a relay.
/// Needs: Catch2, a database server. Threads: those of the coordinators.
///
/// Kit: Store() opens the store, whose tables are in kSchema; Connection with Handle, Exec, Ask; Outbox; Fresh() empties all,
/// and makes an empty table `orders`.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/dtm.hpp>
#include <dtm/outbox/store_rows.hpp>

namespace dtm_test {

template <typename Kit>
struct InStoreContract {
  using Connection = typename Kit::Connection;
  using Outbox = typename Kit::Outbox;
  using Counts = std::map<std::string, int>;

  /// A coordinator whose function counts by gid.
  struct Node {
    explicit Node(const std::string& app = "main") : tm(Kit::Store(), Of(app)) {
      count = tm.template Register<int>("count", [this](const int& n, const dtm::BranchInfo& info) {
        const std::lock_guard<std::mutex> lock(mutex);
        by_gid[info.gid] += n;
      });
    }
    Counts Get() {
      const std::lock_guard<std::mutex> lock(mutex);
      return by_gid;
    }
    static dtm::Options Of(const std::string& app) {
      dtm::Options options = dtm_test::Quiet();
      options.app = app;
      return options;
    }
    std::mutex mutex;
    Counts by_gid;
    dtm::LocalBranch<int> count;
    dtm::Coordinator tm;
  };

  template <typename Until>
  static bool Within(std::chrono::milliseconds limit, const Until& until) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!until()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  static dtm::Saga SagaOf(Outbox& outbox, const std::string& gid, int amount) {
    // Of whichever coordinator has it.
    return dtm::NewSaga(outbox, gid).Add(dtm::LocalBranch<int>{"count", 0}, dtm::kNoBranch, amount);
  }
  static bool HasEnded(Node& node, const std::string& gid) {
    const auto stored = node.tm.Query(gid);
    return stored && stored->status == dtm::Status::kSucceed;
  }

  static void Run() {
    using Catch::Matchers::ContainsSubstring;
    Kit::Fresh();
    Connection connection;
    Outbox outbox(connection.Handle(), dtm::InStore{Kit::kSchema});

    SECTION("what is committed runs, with its business rows; what is rolled back never does") {
      Node node;
      node.tm.Start();
      connection.Exec("BEGIN");
      connection.Exec("INSERT INTO orders VALUES (1)");
      CHECK(SagaOf(outbox, "rolled back", 1).Submit().gid == "rolled back");
      connection.Exec("ROLLBACK");
      connection.Exec("BEGIN");
      connection.Exec("INSERT INTO orders VALUES (2)");
      (void)SagaOf(outbox, "committed", 7).Submit();
      // Uncommitted, it keeps nobody waiting: beats go on, and so do others.
      std::this_thread::sleep_for(std::chrono::milliseconds(700));
      CHECK(dtm::NewSaga(node.tm, "meanwhile")
                .Add(node.count, dtm::kNoBranch, 1)
                .SubmitAndWait(std::chrono::minutes(1))
                .Succeeded());
      CHECK(node.Get() == Counts{{"meanwhile", 1}});
      CHECK(node.tm.Measure().sharing->failed_beats == 0);
      connection.Exec("COMMIT");
      const auto begin = std::chrono::steady_clock::now();
      CHECK(Within(std::chrono::seconds(20), [&] { return HasEnded(node, "committed"); }));
      const auto took = std::chrono::steady_clock::now() - begin;
      INFO("it ran " << std::chrono::duration_cast<std::chrono::milliseconds>(took).count()
                     << " ms after the COMMIT");
      CHECK(took <
            std::chrono::seconds(5));  // at most 300 ms and its calls, on a machine that has time
      CHECK(node.Get() == Counts{{"committed", 7}, {"meanwhile", 1}});
      CHECK_FALSE(node.tm.Query("rolled back").has_value());
      CHECK(connection.Ask("SELECT count(*) FROM orders") == "1");
      const dtm::Transaction stored = node.tm.Query("committed").value();
      CHECK(stored.created > node.tm.Query("meanwhile")->created - std::chrono::minutes(1));
      const dtm::Timeline story = node.tm.Timeline("committed").value();  // as of any other
      REQUIRE_FALSE(story.entries.empty());
      CHECK(story.entries.front().kind == dtm::JournalKind::kSubmitted);
      CHECK(story.entries.front().time == stored.created);
      CHECK_FALSE(story.entries.front().who.empty());
      CHECK(story.runs.size() == 1);
      CHECK(stored.finished >= stored.created);
    }

    SECTION("with no coordinator it waits for one; of several each is run by one") {
      constexpr int kMany = 300;
      connection.Exec("BEGIN");
      for (int i = 0; i < kMany; ++i) (void)SagaOf(outbox, "g" + std::to_string(i), i + 1).Submit();
      connection.Exec("COMMIT");
      Node one;
      Node two;
      one.tm.Start();
      two.tm.Start();
      for (int i = 0; i < kMany; ++i) {
        connection.Exec("BEGIN");
        (void)SagaOf(outbox, "h" + std::to_string(i), i + 1).Submit();
        connection.Exec("COMMIT");
      }
      CHECK(Within(std::chrono::seconds(60), [&] {
        const auto left = one.tm.Measure().backlog;
        return left && left->unfinished == 0;
      }));
      Counts all = one.Get();
      for (const auto& [gid, amount] : two.Get()) all[gid] += amount;
      REQUIRE(all.size() == 2 * kMany);
      for (int i = 0; i < kMany; ++i) {
        CHECK(all["g" + std::to_string(i)] == i + 1);
        CHECK(all["h" + std::to_string(i)] == i + 1);
      }
    }

    SECTION("what calls functions of another app waits for a coordinator of that one") {
      Node node;
      node.tm.Start();
      Outbox foreign(connection.Handle(), dtm::InStore{Kit::kSchema, "shop"});
      connection.Exec("BEGIN");
      (void)SagaOf(foreign, "of shop", 3).Submit();
      (void)SagaOf(outbox, "of main", 1).Submit();
      connection.Exec("COMMIT");
      CHECK(Within(std::chrono::seconds(20), [&] { return HasEnded(node, "of main"); }));
      std::this_thread::sleep_for(std::chrono::milliseconds(700));  // two beats
      CHECK(node.Get() == Counts{{"of main", 1}});
      CHECK_THAT(node.tm.Explain("of shop"), ContainsSubstring("shop"));
      dtm::ScanFilter filter;
      filter.stuck = true;
      CHECK(node.tm.List(filter).transactions.size() == 1);
      Node shop("shop");
      shop.tm.Start();
      CHECK(Within(std::chrono::seconds(20), [&] { return HasEnded(shop, "of shop"); }));
      CHECK(shop.Get() == Counts{{"of shop", 3}});
      CHECK(node.Get() == Counts{{"of main", 1}});
    }

    SECTION("what a coordinator would refuse is refused at once, and what exists is") {
      Node node;
      node.tm.Start();
      CHECK_THROWS_WITH(SagaOf(outbox, "g", 1).Submit(), ContainsSubstring("in no transaction"));
      connection.Exec("BEGIN");
      CHECK_THROWS_AS(SagaOf(outbox, std::string(200, 'g'), 1).Submit(), dtm::RejectedError);
      CHECK_THROWS_WITH(dtm::NewMsg(outbox, "m").AddTopic("nobody", 1).Submit(),
                        ContainsSubstring("topic not found: nobody"));
      CHECK_THROWS_AS(SagaOf(outbox, "w", 1).SubmitAndWait(std::chrono::seconds(1)),
                      dtm::LogicError);
      (void)SagaOf(outbox, "good", 1).Submit();  // nothing of that was written
      connection.Exec("COMMIT");
      CHECK(Within(std::chrono::seconds(20), [&] { return HasEnded(node, "good"); }));
      connection.Exec("BEGIN");
      CHECK_THROWS_WITH(SagaOf(outbox, "good", 1).Submit(),
                        ContainsSubstring("'good'") && ContainsSubstring("submitted before"));
      connection.Exec("ROLLBACK");
      CHECK(node.Get() == Counts{{"good", 1}});
    }

    SECTION("a message goes to the subscribers of its topics, as they are at its submit") {
      Node node;
      node.tm.Subscribe("paid", "local:count");
      node.tm.Subscribe("paid", "local:other");
      connection.Exec("BEGIN");
      (void)dtm::NewMsg(outbox, "m").AddTopic("paid", 5).Submit();
      connection.Exec("COMMIT");
      node.tm.Subscribe("paid", "local:late");
      const dtm::Transaction stored = node.tm.Query("m").value();
      REQUIRE(stored.definition->steps.size() == 2);
      CHECK(stored.definition->steps[0].action == "local:count");
      CHECK(stored.definition->steps[0].topic == "topic://paid");
      CHECK(stored.definition->steps[1].branch_id == "01-02");
      node.tm.Start();
      CHECK(Within(std::chrono::seconds(20), [&] { return node.Get() == Counts{{"m", 5}}; }));
    }

    SECTION("what is no store of this version is not written to") {
      Outbox nowhere(connection.Handle(), dtm::InStore{"no_such_place"});
      connection.Exec("BEGIN");
      CHECK_THROWS_WITH(SagaOf(nowhere, "g", 1).Submit(),
                        ContainsSubstring("a coordinator makes the tables"));
      connection.Exec("ROLLBACK");
      CHECK_THROWS_AS(Outbox(connection.Handle(), dtm::InStore{"a b"}), dtm::LogicError);
      Kit::SetVersion("2");
      connection.Exec("BEGIN");
      CHECK_THROWS_WITH(SagaOf(outbox, "g", 1).Submit(),
                        ContainsSubstring("the store has not schema version 1"));
      connection.Exec("ROLLBACK");
      Kit::SetVersion("1");
    }
  }
};

}  // namespace dtm_test
