/// Commits whose outcome a store in a database server does not learn: a connection that is cut at any byte, a batch that still runs
/// or comes late, a server that is killed. Recover settles each. tests/store/{postgres,mysql}/*_doubt_test.cpp run it on real servers.
/// Needs: Catch2, store, POSIX. Threads: some checks start one.
///
/// Kit: `Tables(timeout, port)`, a shared_store::Database, by the server's own port if it is 0; `kPatient` and `kImpatient`, timeouts;
/// `Server()` with Kill() and Start(); `Port()`; `Session`, somebody else's connection: (sql) -> first value, AwaitWaiting(), until
/// somebody waits for a lock; `kName`, which is in each error; `kFence`, the table of what a batch locks; `Fence(session, me, heir)`
/// what an heir does; `kRequestStep` and `kAnswerStep`: from one cut to the next.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/cutting_proxy.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/shared/shared_store.hpp>

namespace dtm_test {

template <typename Kit>
struct DoubtContract {
  using Session = typename Kit::Session;

  /// Without beats.
  static std::unique_ptr<dtm::Store> Open(int port = 0) {
    return std::make_unique<dtm::SharedStore>(Kit::Tables(Kit::kPatient, port),
                                              std::chrono::seconds(1));
  }
  /// Whose waits are short.
  static std::unique_ptr<dtm::Store> OpenImpatient() {
    return std::make_unique<dtm::SharedStore>(Kit::Tables(Kit::kImpatient, 0),
                                              std::chrono::seconds(1));
  }
  static std::string Unused(const std::string& what) {
    static int last = 0;
    return what + std::to_string(++last);
  }

  /// The tables, with less room in a message, and something before and after each write.
  struct Watched : dtm::shared_store::Database {
    using Function = std::function<void()>;
    Watched(std::size_t most_bytes, Function before_write, Function after_write)
        : most(most_bytes), before(std::move(before_write)), after(std::move(after_write)) {}
    struct Connection : dtm::shared_store::Connection {
      explicit Connection(Watched& of) : database(of), inner(of.tables->Connect()) {}
      bool Works() const override { return inner->Works(); }
      std::size_t MostBytes() const override { return database.most; }
      std::unique_ptr<dtm::SqlRows> Run(dtm::shared_store::Query query,
                                        const std::vector<dtm::SqlValue>& values) override {
        return inner->Run(query, values);
      }
      bool Write(std::uint64_t member, std::int64_t epoch,
                 dtm::shared_store::BatchRows& batch) override {
        database.before();
        const bool written = inner->Write(member, epoch, batch);
        database.after();
        return written;
      }
      Watched& database;
      const std::unique_ptr<dtm::shared_store::Connection> inner;
    };
    dtm::SqlDialect Dialect() const override { return tables->Dialect(); }
    std::unique_ptr<dtm::shared_store::Connection> Connect() override {
      return std::make_unique<Connection>(*this);
    }
    const std::size_t most;
    const Function before, after;
    const std::unique_ptr<dtm::shared_store::Database> tables = Kit::Tables(Kit::kPatient, 0);
  };

  enum class End { kStored, kNotStored, kInDoubt, kFenced };

  /// Adds one transaction and changes another, in one commit.
  struct Step {
    Step(dtm::Store& store, dtm::Transaction& old, const std::string& gid)
        : fresh(NewTransaction(gid)), store_(store), old_(old) {}
    End Run() {
      try {
        store_.Begin();
        const Batch batch(store_, {&fresh, &old_});
        store_.Commit();
        CHECK(batch.Applied());
        ++old_.version;
        return End::kStored;
      } catch (const dtm::CommitInDoubt&) {
        return End::kInDoubt;
      } catch (const dtm::Fenced&) {
        return End::kFenced;
      } catch (const dtm::StoreError& error) {
        CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring(Kit::kName));
        return End::kNotStored;
      }
    }

    dtm::Transaction fresh;

   private:
    dtm::Store& store_;
    dtm::Transaction& old_;
  };

  static void CutAtAnyByte() {
    const auto observer = Open();
    CuttingProxy proxy(Kit::Port());
    const auto store = Open(proxy.Port());
    dtm::Transaction old = NewTransaction(Unused("old"));
    REQUIRE(Put(*store, old));
    REQUIRE(Step(*store, old, Unused("g")).Run() == End::kStored);
    proxy.Count();
    REQUIRE(Step(*store, old, Unused("g")).Run() == End::kStored);
    const std::size_t request = proxy.Passed(CuttingProxy::kRequest);
    const std::size_t answer = proxy.Passed(CuttingProxy::kAnswer);
    int stored = 0;
    int lost = 0;
    const auto cut = [&](CuttingProxy::Way way, std::size_t at) {
      CAPTURE(way, at, request, answer);
      proxy.CutAfter(way, at);
      Step step(*store, old, Unused("g"));
      const End end = step.Run();
      if (end == End::kStored) return proxy.Count();  // all of the answer came
      CHECK(end == End::kInDoubt);
      CHECK_THROWS_AS(store->Begin(), dtm::StoreError);  // nothing may be believed yet
      proxy.Count();
      store->Recover();
      const auto fresh = observer->Load(step.fresh.definition->gid);
      const auto changed = observer->Load(old.definition->gid);
      CHECK(fresh.has_value() == (changed->version == old.version + 1));
      ++(fresh ? stored : lost);
      old = *changed;
      CHECK(store->Owner() == observer->Load(old.definition->gid)->owner);
      REQUIRE(Step(*store, old, Unused("g")).Run() == End::kStored);  // it works
    };
    // A message that is not whole does nothing, wherever it ends.
    for (std::size_t at = 0; at < request; at += at + 20 < request ? Kit::kRequestStep : 1)
      cut(CuttingProxy::kRequest, at);
    CHECK(stored == 0);
    CHECK(lost > 10);
    cut(CuttingProxy::kRequest, request);
    for (std::size_t at = 0; at < answer; at += Kit::kAnswerStep) cut(CuttingProxy::kAnswer, at);
    cut(CuttingProxy::kAnswer, answer - 1);
    CHECK(stored > 0);
  }

  static void RecoverWaitsForARunningBatch() {
    const Session session;
    const auto observer = Open();
    const auto store = OpenImpatient();
    dtm::Transaction old = NewTransaction(Unused("old"));
    REQUIRE(Put(*store, old));
    // The same batch as the store would send it, by a connection that waits for somebody's lock.
    const auto running = Kit::Tables(Kit::kPatient, 0)->Connect();
    dtm::Transaction fresh = NewTransaction(Unused("running"));
    fresh.created = At(1);  // of which its id is made in MySQL, by somebody else than the store
    dtm::Change insert{&fresh};
    dtm::Change update{&old};
    dtm::shared_store::BatchRows batch;
    batch.Add(insert, "");
    batch.Add(update, "");
    batch.Sort();
    session("BEGIN");
    session("SELECT 1 FROM dtm_trans WHERE gid = '" + old.definition->gid + "' FOR UPDATE");
    const std::int64_t epoch = std::stoll(session(std::string("SELECT epoch FROM ") + Kit::kFence +
                                                  " WHERE id = " + std::to_string(store->Owner())));
    std::thread writes([&] { CHECK(running->Write(store->Owner(), epoch, batch)); });
    const Session
        look;  // in no transaction: in one PostgreSQL goes on listing what it listed first
    look.AwaitWaiting();
    CHECK_THROWS_AS(store->Recover(), dtm::StoreError);  // not within its timeout
    CHECK(Put(*observer, NewTransaction(Unused("others"))));
    session("COMMIT");
    store->Recover();
    CHECK(observer->Load(fresh.definition->gid).has_value());  // at once: it had to wait for it
    writes.join();
    CHECK(insert.applied);
    // What comes later is of an epoch that is over.
    ++old.version;
    dtm::shared_store::BatchRows again;
    dtm::Change more{&old};
    again.Add(more, "");
    CHECK_FALSE(running->Write(store->Owner(), epoch, again));
    CHECK(observer->Load(old.definition->gid)->version == old.version);
  }

  static void WithoutMemoryForTheAnswer() {
    dtm::SharedStore store(std::make_unique<Watched>(
                               SIZE_MAX, [] {}, [] { throw std::bad_alloc(); }),
                           std::chrono::seconds(1));
    const std::string gid = Unused("g");
    CHECK_THROWS_AS(Put(store, NewTransaction(gid)), dtm::CommitInDoubt);
    CHECK_THROWS_AS(store.Begin(), dtm::StoreError);
    store.Recover();
    CHECK(store.Load(gid).has_value());
  }

  /// What is too large for one message is sent in several: if one fails, it is in doubt what is stored.
  static void InSeveralMessages() {
    int messages = 0;
    std::function<void()> before;
    dtm::SharedStore store(std::make_unique<Watched>(
                               5000,
                               [&] {
                                 ++messages;
                                 if (before) before();
                               },
                               [] {}),
                           std::chrono::seconds(1));
    const auto observer = Open();
    std::vector<dtm::Transaction> all;
    for (int i = 0; i < 20; ++i) {
      dtm::Transaction one = NewTransaction(Unused("part"), At(0), std::string(1000, 'x'));
      auto tcc = std::make_shared<dtm::Definition>(*one.definition);
      tcc->type = dtm::TransType::kTcc;
      one.definition = tcc;
      all.push_back(std::move(one));
    }
    const auto commit = [&](bool with_steps) {
      std::vector<dtm::Change> changes;
      for (std::size_t i = 0; i < all.size(); ++i) {
        changes.push_back({&all[i]});
        if (!with_steps) continue;
        auto larger = std::make_shared<dtm::Definition>(*all[i].definition);
        larger->steps.push_back({"local:More" + std::to_string(i), "", std::string(700, 'y')});
        all[i].definition = larger;
        all[i].branches.resize(4);
        changes.back().definition_changed = i % 3 == 0;
        changes.back().new_steps = i % 3 == 0 ? 0 : 1;
      }
      messages = 0;
      store.Begin();
      store.Apply(changes);
      store.Commit();
      CHECK(messages > 4);
      for (dtm::Transaction& each : all) ++each.version;
      CHECK(std::all_of(changes.begin(), changes.end(),
                        [](const dtm::Change& change) { return change.applied; }));
      for (const dtm::Transaction& each : all)
        CHECK(Difference(*observer->Load(each.definition->gid), each).empty());
    };
    commit(false);
    commit(true);
    const auto changed = [&] {
      std::size_t count = 0;
      for (const dtm::Transaction& each : all)
        count += observer->Load(each.definition->gid)->version == each.version + 1 ? 1U : 0U;
      return count;
    };
    for (dtm::Transaction& each : all) each.retry_count = 7;
    SECTION("the second fails") {
      before = [&] {
        if (messages == 2) throw dtm::SqlError("the test says so", "1205");
      };
      CHECK_THROWS_AS(commit(false), dtm::CommitInDoubt);
      before = {};
      CHECK_THROWS_AS(store.Begin(), dtm::StoreError);
      store.Recover();
    }
    SECTION("others take over before the second") {
      const Session session;
      before = [&] {
        if (messages == 2) Kit::Fence(session, std::to_string(store.Owner()), "-1");
      };
      CHECK_THROWS_AS(commit(false), dtm::CommitInDoubt);
      before = {};
      CHECK_THROWS_AS(store.Recover(), dtm::Fenced);  // which forgets what it drove
      store.Recover();
    }
    CHECK(changed() > 0);
    CHECK(changed() < all.size());
  }

  static void ABatchWaitsForTheHeir() {
    const Session session;
    const auto heir = Open();
    const auto store = OpenImpatient();
    dtm::Transaction old = NewTransaction(Unused("old"));
    REQUIRE(Put(*store, old));
    const std::string me = std::to_string(store->Owner());
    session("BEGIN");
    session(std::string("SELECT 1 FROM ") + Kit::kFence + " WHERE id = " + me + " FOR UPDATE");
    Step step(*store, old, Unused("g"));
    SECTION("and is told so") {
      End end = End::kStored;
      std::thread writes([&] { end = step.Run(); });
      const Session look;
      look.AwaitWaiting();
      Kit::Fence(session, me, std::to_string(heir->Owner()));
      session("COMMIT");
      writes.join();
      CHECK(end == End::kFenced);
      store->Recover();
      CHECK(std::to_string(store->Owner()) != me);
    }
    SECTION("or is over before") {
      CHECK(step.Run() == End::kNotStored);
      session("ROLLBACK");
      CHECK(step.Run() == End::kStored);
      return;
    }
    CHECK_FALSE(heir->Load(step.fresh.definition->gid).has_value());
    CHECK(heir->Load(old.definition->gid)->version == 1);
  }

  static void ServerIsKilled() {
    const auto store = Open();
    const auto observer = Open();
    dtm::Transaction old = NewTransaction(Unused("old"));
    REQUIRE(Put(*store, old));
    const std::string before = Unused("g");
    REQUIRE(Step(*store, old, before).Run() == End::kStored);
    REQUIRE(observer->Load(before).has_value());
    Kit::Server().Kill();
    Step lost(*store, old, Unused("lost"));
    CHECK(lost.Run() == End::kInDoubt);
    CHECK_THROWS_AS(store->Recover(), dtm::StoreError);
    CHECK_THROWS_AS(observer->Load(before), dtm::StoreError);
    Kit::Server().Start();
    store->Recover();
    CHECK(observer->Load(before).has_value());
    CHECK_FALSE(observer->Load(lost.fresh.definition->gid).has_value());
    CHECK(Step(*store, old, Unused("g")).Run() == End::kStored);
    // A connection that was lost between batches is opened again.
    CHECK(DuePage(*observer, At(99), {}, 10).empty());
  }
};

}  // namespace dtm_test
