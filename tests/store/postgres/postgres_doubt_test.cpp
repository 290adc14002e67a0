/// Commits whose outcome the store in PostgreSQL does not learn: a connection that is cut at any byte, a server that does not
/// answer, that restarts, or that reads a message late. Recover settles each.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <sys/types.h>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/cutting_proxy.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/postgres/postgres_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Ask;
using dtm_test::Batch;
using dtm_test::CuttingProxy;
using dtm_test::NewTransaction;
using dtm_test::PostgresServer;
using dtm_test::Put;
using std::chrono::milliseconds;

namespace {

std::unique_ptr<dtm::postgres_store::Database> Tables(const std::string& conninfo,
                                                      milliseconds timeout) {
  dtm::PostgresStoreOptions options;
  options.schema = "doubt";
  options.store_timeout = timeout;
  return std::make_unique<dtm::postgres_store::Database>(conninfo, options);
}
/// Without beats.
std::unique_ptr<dtm::Store> Open(const std::string& conninfo, milliseconds timeout) {
  return std::make_unique<dtm::SharedStore>(Tables(conninfo, timeout), std::chrono::seconds(1));
}
std::unique_ptr<dtm::Store> Open() {
  return Open(PostgresServer::Shared().Conninfo(), std::chrono::seconds(30));
}
/// Whose waits are short.
std::unique_ptr<dtm::Store> OpenImpatient() {
  return Open(PostgresServer::Shared().Conninfo(), milliseconds(300));
}

/// Somebody else's connection.
struct Session {
  std::string operator()(const std::string& sql) const { return Ask(connection.Handle(), sql); }
  Session() { (*this)("SET search_path = doubt"); }
  /// Until this is true.
  void Await(const std::string& sql) const {
    for (int i = 0; (*this)(sql) != "t"; ++i) {
      REQUIRE(i < 2000);
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  const dtm::PgConnection connection{PostgresServer::Shared().Conninfo()};
};

enum class End { kStored, kNotStored, kInDoubt, kFenced };

/// Adds one transaction and changes another, in one commit.
struct Step {
  Step(dtm::Store& store, dtm::Transaction& old, const std::string& gid)
      : store_(store), old_(old), fresh(NewTransaction(gid)) {}
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
      CHECK_THAT(error.what(), ContainsSubstring("PostgreSQL"));
      return End::kNotStored;
    }
  }

 private:
  dtm::Store& store_;
  dtm::Transaction& old_;

 public:
  dtm::Transaction fresh;
};

std::string Unused(const std::string& what) {
  static int last = 0;
  return what + std::to_string(++last);
}

}  // namespace

TEST_CASE(
    "a connection that is cut at any byte of a commit leaves all of it or nothing, and Recover "
    "tells") {
  const auto observer = Open();
  CuttingProxy proxy(PostgresServer::Shared().Port());
  const auto store =
      Open(PostgresServer::Shared().ConninfoAt(proxy.Port()), std::chrono::seconds(30));
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
    REQUIRE(Step(*store, old, Unused("g")).Run() ==
            End::kStored);  // it works, and its statement is prepared
  };
  // A message that is not whole does nothing, wherever it ends.
  for (std::size_t at = 0; at < request; at += at + 20 < request ? 37 : 1)
    cut(CuttingProxy::kRequest, at);
  CHECK(stored == 0);
  CHECK(lost > 10);
  cut(CuttingProxy::kRequest, request);
  for (std::size_t at = 0; at <= answer; ++at) cut(CuttingProxy::kAnswer, at);
  CHECK(stored > 100);
}

TEST_CASE(
    "a server that does not answer costs the store's timeout, and what it reads late is not "
    "stored") {
  const Session session;
  const auto observer = Open();
  const auto store = OpenImpatient();
  dtm::Transaction old = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, old));
  REQUIRE(Step(*store, old, Unused("g")).Run() == End::kStored);
  const std::string pid = session(
      "SELECT pid FROM pg_stat_activity WHERE application_name = 'dtm' ORDER BY query_start DESC "
      "LIMIT 1");
  REQUIRE(::kill(static_cast<pid_t>(std::stoi(pid)), SIGSTOP) == 0);
  Step late(*store, old, Unused("late"));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(late.Run() == End::kInDoubt);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  const auto owner = store->Owner();
  store->Recover();
  CHECK(store->Owner() == owner);
  CHECK_FALSE(observer->Load(late.fresh.definition->gid).has_value());
  ::kill(static_cast<pid_t>(std::stoi(pid)), SIGCONT);  // now it reads the message
  session.Await("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = " + pid);
  CHECK_FALSE(observer->Load(late.fresh.definition->gid).has_value());
  CHECK(observer->Load(old.definition->gid)->version == old.version);
  CHECK(Step(*store, old, Unused("g")).Run() == End::kStored);
}

TEST_CASE("Recover waits for a batch of its own that still runs, and for no other one") {
  const Session session;
  const auto observer = Open();
  const auto store = OpenImpatient();
  dtm::Transaction old = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, old));
  // The same batch as the store would send it, by a connection that waits for somebody's lock.
  const auto running =
      Tables(PostgresServer::Shared().Conninfo(), std::chrono::seconds(30))->Connect();
  dtm::Transaction fresh = NewTransaction(Unused("running"));
  dtm::Change insert{&fresh};
  dtm::Change update{&old};
  dtm::shared_store::BatchRows batch;
  batch.Add(insert);
  batch.Add(update);
  batch.Sort();
  session("BEGIN; SELECT 1 FROM dtm_trans WHERE gid = '" + old.definition->gid + "' FOR UPDATE");
  std::thread writes([&] { CHECK(running->Write(store->Owner(), 1, batch)); });
  const Session look;  // in no transaction: in one the server goes on listing what it listed first
  look.Await("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
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
  again.Add(more);
  CHECK_FALSE(running->Write(store->Owner(), 1, again));
  CHECK(observer->Load(old.definition->gid)->version == old.version);
}

TEST_CASE("without memory for the answer a commit is in doubt") {
  namespace shared = dtm::shared_store;
  struct NoMemory : shared::Connection {
    explicit NoMemory(std::unique_ptr<shared::Connection> one) : inner(std::move(one)) {}
    bool Works() const override { return inner->Works(); }
    std::unique_ptr<dtm::SqlRows> Run(shared::Query query,
                                      const std::vector<dtm::SqlValue>& values) override {
      return inner->Run(query, values);
    }
    bool Write(std::uint64_t member, std::int64_t epoch, shared::BatchRows& batch) override {
      (void)inner->Write(member, epoch, batch);
      throw std::bad_alloc();
    }
    const std::unique_ptr<shared::Connection> inner;
  };
  struct Database : shared::Database {
    dtm::SqlDialect Dialect() const override { return dtm::SqlDialect::kPostgres; }
    std::unique_ptr<shared::Connection> Connect() override {
      return std::make_unique<NoMemory>(
          Tables(PostgresServer::Shared().Conninfo(), std::chrono::seconds(30))->Connect());
    }
  };
  dtm::SharedStore store(std::make_unique<Database>(), std::chrono::seconds(1));
  const std::string gid = Unused("g");
  CHECK_THROWS_AS(Put(store, NewTransaction(gid)), dtm::CommitInDoubt);
  CHECK_THROWS_AS(store.Begin(), dtm::StoreError);
  store.Recover();
  CHECK(store.Load(gid).has_value());
}

TEST_CASE("a batch that waits for the heir to take over stores nothing") {
  const Session session;
  const auto heir = Open();
  const auto store = OpenImpatient();
  dtm::Transaction old = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, old));
  const std::string me = std::to_string(store->Owner());
  session("BEGIN; SELECT 1 FROM dtm_node WHERE id = " + me + " FOR UPDATE");
  Step step(*store, old, Unused("g"));
  SECTION("and is told so") {
    End end = End::kStored;
    std::thread writes([&] { end = step.Run(); });
    const Session look;
    look.Await("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    session("UPDATE dtm_node SET heir = " + std::to_string(heir->Owner()) + " WHERE id = " + me);
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

TEST_CASE(
    "a server that is killed and started again has all that was committed, and the store goes on") {
  const auto store = Open();
  const auto observer = Open();
  dtm::Transaction old = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, old));
  const std::string before = Unused("g");
  REQUIRE(Step(*store, old, before).Run() == End::kStored);
  REQUIRE(observer->Load(before).has_value());
  PostgresServer::Shared().Kill();
  Step lost(*store, old, Unused("lost"));
  CHECK(lost.Run() == End::kInDoubt);
  CHECK_THROWS_AS(store->Recover(), dtm::StoreError);
  CHECK_THROWS_AS(observer->Load(before), dtm::StoreError);
  PostgresServer::Shared().Start();
  store->Recover();
  CHECK(observer->Load(before).has_value());
  CHECK_FALSE(observer->Load(lost.fresh.definition->gid).has_value());
  CHECK(Step(*store, old, Unused("g")).Run() == End::kStored);
  // A connection that was lost between batches is opened again.
  CHECK(dtm_test::DuePage(*observer, dtm_test::At(99), {}, 10).empty());
}
