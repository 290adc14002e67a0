/// Commits whose outcome the store in MariaDB does not learn: a connection that is cut at any byte, a batch that still
/// runs or comes late, a server that restarts. Recover settles each.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/cutting_proxy.hpp"
#include "tests/support/mysql_server.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/mysql/mysql_store.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Ask;
using dtm_test::Batch;
using dtm_test::CuttingProxy;
using dtm_test::MysqlServer;
using dtm_test::NewTransaction;
using dtm_test::Put;
using std::chrono::seconds;

namespace {

std::unique_ptr<dtm::mysql_store::Database> Tables(unsigned port, seconds timeout) {
  dtm::MysqlAddress address = MysqlServer::Shared().Address();
  if (port != 0) address.port = port;
  dtm::MysqlStoreOptions options;
  options.store_timeout = timeout;
  return std::make_unique<dtm::mysql_store::Database>(address, options);
}
/// Without beats.
std::unique_ptr<dtm::Store> Open(unsigned port = 0, seconds timeout = seconds(30)) {
  return std::make_unique<dtm::SharedStore>(Tables(port, timeout), seconds(1));
}
/// Whose waits are short.
std::unique_ptr<dtm::Store> OpenImpatient() { return Open(0, seconds(1)); }

/// Somebody else's connection.
struct Session {
  std::string operator()(const std::string& sql) const { return Ask(connection.Handle(), sql); }
  /// Until somebody waits for a lock.
  void AwaitWaiting() const {
    for (int i = 0; (*this)("SELECT COUNT(*) > 0 FROM information_schema.innodb_trx WHERE "
                            "trx_state = 'LOCK WAIT'") != "1";
         ++i) {
      REQUIRE(i < 200);
      // The table is not read anew if it was read less than 100 ms ago.
      std::this_thread::sleep_for(std::chrono::milliseconds(120));
    }
  }
  const dtm::MysqlConnection connection{MysqlServer::Shared().Address()};
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
      CHECK_THAT(error.what(), ContainsSubstring("MySQL"));
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
  CuttingProxy proxy(static_cast<int>(MysqlServer::Shared().Address().port));
  const auto store = Open(static_cast<unsigned>(proxy.Port()));
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
  for (std::size_t at = 0; at < request; at += at + 8 < request ? 97 : 1)
    cut(CuttingProxy::kRequest, at);
  CHECK(stored == 0);
  CHECK(lost > 10);
  cut(CuttingProxy::kRequest, request);
  // The server stops at the first statement whose answer it cannot send, or does not.
  for (std::size_t at = 0; at < answer; at += 7) cut(CuttingProxy::kAnswer, at);
  cut(CuttingProxy::kAnswer, answer - 1);
  CHECK(stored > 0);
}

TEST_CASE("Recover waits for a batch of its own that still runs, and for no other one") {
  const Session session;
  const auto observer = Open();
  const auto store = OpenImpatient();
  dtm::Transaction old = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, old));
  // The same batch as the store would send it, by a connection that waits for somebody's lock.
  const auto running = Tables(0, seconds(30))->Connect();
  dtm::Transaction fresh = NewTransaction(Unused("running"));
  dtm::Change insert{&fresh};
  dtm::Change update{&old};
  dtm::shared_store::BatchRows batch;
  batch.Add(insert);
  batch.Add(update);
  batch.Sort();
  session("BEGIN");
  session("SELECT 1 FROM dtm_trans WHERE gid = '" + old.definition->gid + "' FOR UPDATE");
  std::thread writes([&] { CHECK(running->Write(store->Owner(), 1, batch)); });
  const Session look;
  look.AwaitWaiting();
  CHECK_THROWS_AS(store->Recover(), dtm::StoreError);  // not within its timeout
  CHECK(Put(*observer, NewTransaction(Unused("others"))));
  bool stored = false;
  session("COMMIT");
  for (int i = 0; !stored && i < 100; ++i) {
    store->Recover();
    stored = observer->Load(fresh.definition->gid).has_value();
    CHECK(stored);  // at once: it had to wait for it
  }
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

TEST_CASE("a batch that waits for the heir to take over stores nothing") {
  const Session session;
  const auto heir = Open();
  const auto store = OpenImpatient();
  dtm::Transaction old = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, old));
  const std::string me = std::to_string(store->Owner());
  session("BEGIN");
  session("SELECT 1 FROM dtm_fence WHERE id = " + me + " FOR UPDATE");
  Step step(*store, old, Unused("g"));
  SECTION("and is told so") {
    End end = End::kStored;
    std::thread writes([&] { end = step.Run(); });
    const Session look;
    look.AwaitWaiting();
    session("UPDATE dtm_node SET heir = " + std::to_string(heir->Owner()) + " WHERE id = " + me);
    session("DELETE FROM dtm_fence WHERE id = " + me);
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

TEST_CASE("a batch that is the victim of a deadlock stores nothing, and may come again") {
  const Session session;
  const auto store = Open();
  dtm::Transaction first = NewTransaction(Unused("old"));
  dtm::Transaction second = NewTransaction(Unused("old"));
  REQUIRE(Put(*store, first));
  REQUIRE(Put(*store, second));
  session("BEGIN");
  // The server ends the one that has done less.
  session("INSERT INTO dtm_journal SELECT 1000 + seq, '' FROM seq_1_to_1000");
  session("UPDATE dtm_trans SET finished = 1 WHERE id = " + std::to_string(second.id));
  dtm::Transaction fresh = NewTransaction(Unused("g"));
  const auto commit = [&] {
    store->Begin();
    const Batch batch(*store, {&fresh, &first, &second});
    store->Commit();
    return batch.Applied();
  };
  std::string said;
  std::thread writes([&] {
    try {
      (void)commit();
    } catch (const dtm::CommitInDoubt&) {
      said = "in doubt";
    } catch (const dtm::StoreError& error) {
      said = error.what();
    }
  });
  const Session look;
  look.AwaitWaiting();
  session("UPDATE dtm_trans SET finished = 1 WHERE id = " + std::to_string(first.id));
  writes.join();
  session("ROLLBACK");
  CHECK_THAT(said,
             ContainsSubstring("1213") && ContainsSubstring("nothing of the batch was stored"));
  CHECK_FALSE(store->Load(fresh.definition->gid).has_value());
  CHECK(store->Load(first.definition->gid)->version == first.version);
  fresh.id = 0;
  CHECK(commit());
}

TEST_CASE("a batch of two thousand is one message, and one that is too large is refused") {
  const auto store = Open();
  std::vector<dtm::Transaction> all;
  for (int i = 0; i < 2000; ++i) all.push_back(NewTransaction(Unused("many")));
  for (int round = 0; round < 2; ++round) {
    std::vector<dtm::Change> changes;
    for (dtm::Transaction& each : all) changes.push_back({&each});
    store->Begin();
    store->Apply(changes);
    store->Commit();
    for (dtm::Transaction& each : all) ++each.version;
    CHECK(std::all_of(changes.begin(), changes.end(),
                      [](const dtm::Change& change) { return change.applied; }));
  }
  dtm::Transaction large = NewTransaction(Unused("large"));
  large.last_error = std::string(std::size_t{17} << 20, '\\');
  CHECK_THROWS_WITH(Put(*store, large), ContainsSubstring("max_allowed_packet"));
  CHECK(Put(*store, NewTransaction(Unused("g"))));
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
  MysqlServer::Shared().Kill();
  Step lost(*store, old, Unused("lost"));
  CHECK(lost.Run() == End::kInDoubt);
  CHECK_THROWS_AS(store->Recover(), dtm::StoreError);
  CHECK_THROWS_AS(observer->Load(before), dtm::StoreError);
  MysqlServer::Shared().Start();
  store->Recover();
  CHECK(observer->Load(before).has_value());
  CHECK_FALSE(observer->Load(lost.fresh.definition->gid).has_value());
  CHECK(Step(*store, old, Unused("g")).Run() == End::kStored);
  // A connection that was lost between batches is opened again.
  CHECK(dtm_test::DuePage(*observer, dtm_test::At(99), {}, 10).empty());
}
