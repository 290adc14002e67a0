/// Every I/O operation of the SQLite store fails once: what Commit said must be what is there.
///
/// A scenario of batches runs on a disk whose n-th operation fails, for every n, in several ways.
/// After each failure a copy of the files, as a killed process would leave them, is opened on a
/// healthy disk: Commit returned = all is there; StoreError = nothing of the batch is there;
/// CommitInDoubt = all or nothing. Once the fault is gone the same store goes on.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tests/catch.hpp"
#include "tests/store/contract_steps.hpp"
#include "tests/support/faulty_vfs.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/sql/sqlite_connection.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using Catch::Matchers::ContainsSubstring;
using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::SqliteStore;
using dtm::Status;
using dtm::Store;
using dtm::Transaction;
using Kind = FaultyVfs::Kind;
using Op = FaultyVfs::Op;

namespace {

/// What a test looks at of each record: gid -> (retry_count, status, bytes of its payload).
using World = std::map<std::string, std::tuple<std::uint32_t, Status, std::size_t>>;

/// b and d are big at first.
std::size_t FirstBytes(const std::string& gid) { return gid == "b" || gid == "d" ? 5000 : 10; }
std::string PayloadOf(const std::string& gid, std::size_t bytes) {
  return gid + std::string(bytes, 'x');
}

World Look(Store& store) {
  World world;
  for (const Transaction& transaction : All(store)) {
    REQUIRE_FALSE(transaction.unreadable);
    const std::string& gid = transaction.definition->gid;
    const std::string& payload = transaction.definition->steps.at(0).payload;
    const std::size_t bytes = payload.size() - gid.size();
    REQUIRE(payload == PayloadOf(gid, bytes));
    world[gid] = {transaction.retry_count, transaction.status, bytes};
  }
  std::size_t due = 0;
  for (const auto& entry : world) due += dtm::IsFinal(std::get<1>(entry.second)) ? 0u : 1u;
  REQUIRE(DuePage(store, dtm::kNever, {}, 100).size() == due);
  return world;
}

struct Write {
  const char* gid;
  std::uint32_t mark;
  Status status = Status::kSubmitted;
  bool due_changed = true;
  std::size_t new_bytes = 0;  ///< not 0: its definition changes
};

struct Batch {
  std::vector<Write> writes;
  bool expire = false;
};

const std::vector<Batch>& Scenario() {
  static const std::vector<Batch> scenario{
      {{{"a", 0}, {"b", 0}, {"c", 0}}},
      {{{"a", 1}, {"c", 1, Status::kSubmitted, false}, {"d", 0}}},
      {{{"a", 1, Status::kSubmitted, true, 4000},  // small -> big -> big -> small
        {"b", 1, Status::kSubmitted, true, 4100},
        {"d", 0, Status::kSubmitted, true, 20}}},
      {{{"a", 1, Status::kSubmitted, true, 30}, {"d", 0, Status::kSubmitted, true, 4200}}},
      {{{"a", 2, Status::kSucceed}, {"b", 1, Status::kFailed}, {"d", 1, Status::kAborting}}},
      {{{"c", 2}}, true},
      {{{"e", 0}}}};
  return scenario;
}

/// The worlds before the first batch, after it, after the second, ...
std::vector<World> Worlds() {
  std::vector<World> worlds(1);
  for (const Batch& batch : Scenario()) {
    World world = worlds.back();
    for (const Write& write : batch.writes) {
      const bool known = world.count(write.gid) > 0;
      const std::size_t old = known ? std::get<2>(world[write.gid]) : FirstBytes(write.gid);
      world[write.gid] = {write.mark, write.status, write.new_bytes > 0 ? write.new_bytes : old};
    }
    for (auto entry = world.begin(); batch.expire && entry != world.end();) {
      entry = dtm::IsFinal(std::get<1>(entry->second)) ? world.erase(entry) : std::next(entry);
    }
    worlds.push_back(world);
  }
  return worlds;
}

void WriteBatch(Store& store, const Batch& batch) {
  std::vector<Transaction> transactions;
  for (const Write& write : batch.writes) {
    const auto stored = store.Load(write.gid);
    transactions.push_back(
        stored ? *stored
               : NewTransaction(write.gid, At(1), PayloadOf(write.gid, FirstBytes(write.gid))));
    Transaction& transaction = transactions.back();
    transaction.retry_count = write.mark;
    transaction.status = write.status;
    if (write.due_changed) transaction.due = At(2 + write.mark);
    if (dtm::IsFinal(write.status)) transaction.finished = At(10);
    if (write.new_bytes == 0) continue;
    const std::string payload = PayloadOf(write.gid, write.new_bytes);
    transaction.definition = NewTransaction(write.gid, At(1), payload).definition;
  }
  std::vector<dtm::Change> changes;
  for (std::size_t i = 0; i < transactions.size(); ++i) {
    const Write& write = batch.writes[i];
    changes.push_back({&transactions[i], write.due_changed, write.new_bytes > 0, false});
  }
  store.Begin();
  store.Apply(changes);
  const bool all_applied = std::all_of(changes.begin(), changes.end(),
                                       [](const dtm::Change& change) { return change.applied; });
  REQUIRE(all_applied);
  if (batch.expire) store.Expire(At(1000), 0, 100, true);
  store.Commit();
}

/// One run of the scenario on the failing disk.
class FaultyRun {
 public:
  FaultyRun(FaultyVfs& vfs, dtm::Durability durability)
      : vfs_(vfs), durability_(durability), path_(dir_ / "s.db"), worlds_(Worlds()) {}

  /// True if the planned operation was reached.
  bool Run(const FaultyVfs::Plan& plan) {
    vfs_.Arm(plan);
    bool recovered_once = false;
    int failures = 0;
    while (done_ < Scenario().size()) {
      try {
        if (store_ == nullptr) store_ = std::make_unique<SqliteStore>(path_, durability_);
        if (done_ == 2 && !recovered_once) {  // its operations fail too
          recovered_once = true;
          must_recover_ = true;
        }
        if (must_recover_) Recover();
        if (done_ == Scenario().size()) break;
        WriteBatch(*store_, Scenario()[done_]);
        ++done_;
        if (durability_ == dtm::Durability::kPower) CHECK_FALSE(vfs_.WalDirty());
        if (vfs_.Fired() > checked_) CheckImage("Commit returned", 0);
        checked_ = vfs_.Fired();
      } catch (const dtm::CommitInDoubt& error) {
        CHECK_THAT(error.what(), ContainsSubstring("may or may not"));
        store_->Rollback();
        in_doubt_ = 1;
        must_recover_ = true;
        CheckImage(error.what(), in_doubt_);
        ++failures;
      } catch (const dtm::StoreError& error) {
        if (store_ != nullptr) store_->Rollback();
        CheckImage(error.what(), in_doubt_);
        ++failures;
      }
      if (failures > 3) vfs_.Disarm();  // the fault goes away
      REQUIRE(failures < 10);
    }
    store_.reset();  // closing may fail as well
    CheckImage("closed", 0);
    const bool fired = vfs_.Fired() > 0;
    vfs_.Disarm();
    CHECK(LookAt(path_) == worlds_.back());
    return fired;
  }

 private:
  void Recover() {
    store_->Recover();
    must_recover_ = false;
    const FaultyVfs::Healthy healthy(vfs_);
    const World world = Look(*store_);
    if (in_doubt_ > 0 && world == worlds_[done_ + 1]) ++done_;
    in_doubt_ = 0;
    CHECK(world == worlds_[done_]);
  }

  /// What a kill at this moment would leave: one of the worlds done_ .. done_ + more.
  void CheckImage(const std::string& after, std::size_t more) {
    const FaultyVfs::Healthy healthy(vfs_);
    INFO("after: " << after << "; batches done: " << done_);
    const std::string image = dir_ / "image.db";
    for (const char* end : {"", "-wal"}) {
      std::filesystem::remove(image + end);
      if (Exists(path_ + end)) std::filesystem::copy_file(path_ + end, image + end);
    }
    const World world = LookAt(image);
    const bool expected =
        std::find(&worlds_[done_], &worlds_[done_] + more + 1, world) <= &worlds_[done_] + more;
    CHECK(expected);
  }

  static World LookAt(const std::string& path) {
    SqliteStore store(path);
    ExpectSound(path);
    return Look(store);
  }
  static void ExpectSound(const std::string& path) {
    dtm::sql::Database db(path, SQLITE_OPEN_READWRITE);
    dtm::sql::Statement check(db, "PRAGMA integrity_check");
    REQUIRE(check.Step());
    CHECK(check.Text(0) == "ok");
    check.Reset();
    dtm::sql::Statement orphans(
        db, "SELECT count(*) FROM dtm_big_definition WHERE id NOT IN (SELECT id FROM dtm_trans)");
    REQUIRE(orphans.Step());
    CHECK(orphans.Int(0) == 0);
    orphans.Reset();
  }

  FaultyVfs& vfs_;
  const dtm::Durability durability_;
  TempDir dir_;
  const std::string path_;
  const std::vector<World> worlds_;
  std::unique_ptr<SqliteStore> store_;
  std::size_t done_ = 0;      // batches that are certainly stored
  std::size_t in_doubt_ = 0;  // 1: the one after them may be
  bool must_recover_ = false;
  int checked_ = 0;  // failures before the last commit that was looked at
};

bool Changes(Op op, Kind) {
  return op == Op::kWrite || op == Op::kTruncate || op == Op::kSync || op == Op::kDelete;
}

/// Fails operation 1, 2, 3, ... until a run meets no failure; returns how many runs met one.
int FailEveryOperation(FaultyVfs::Plan plan, dtm::Durability durability) {
  FaultyVfs vfs;
  for (int n = 1;; n += dtm_test::kStep) {
    plan.fail_at = n;
    INFO("operation " << n << (plan.sticky ? ", sticky" : ", once"));
    FaultyRun run(vfs, durability);
    if (!run.Run(plan)) return n - 1;
    REQUIRE(n < 5000);
  }
}

}  // namespace

TEST_CASE("every operation fails once and does nothing") {
  CHECK(FailEveryOperation({}, dtm::Durability::kPower) > 100);
}

TEST_CASE("every operation fails once although it was done") {
  FaultyVfs::Plan plan;
  plan.effect = FaultyVfs::Effect::kDone;
  plan.matches = Changes;
  CHECK(FailEveryOperation(plan, dtm::Durability::kPower) > 50);
}

TEST_CASE("every operation fails from then on, for a while") {
  FaultyVfs::Plan plan;
  plan.sticky = true;
  CHECK(FailEveryOperation(plan, dtm::Durability::kPower) > 100);
}

TEST_CASE("the disk is full at every write, which is done half") {
  FaultyVfs::Plan plan;
  plan.effect = FaultyVfs::Effect::kHalf;
  plan.write_code = SQLITE_FULL;
  plan.matches = [](Op op, Kind) { return op == Op::kWrite; };
  for (const bool sticky : {false, true}) {
    plan.sticky = sticky;
    CHECK(FailEveryOperation(plan, dtm::Durability::kPower) > 30);
  }
}

TEST_CASE("every change fails once, without flushes") {
  FaultyVfs::Plan plan;
  plan.matches = Changes;
  CHECK(FailEveryOperation(plan, dtm::Durability::kProcess) > 50);
}

TEST_CASE("a full disk is named, and the store goes on by itself when there is space") {
  TempDir dir;
  FaultyVfs vfs;
  SqliteStore store(dir / "s.db");
  REQUIRE(Put(store, NewTransaction("before")));
  FaultyVfs::Plan plan;
  plan.fail_at = 1;
  plan.sticky = true;
  plan.write_code = SQLITE_FULL;
  plan.matches = [](Op op, Kind) { return op == Op::kWrite; };
  vfs.Arm(plan);
  for (int i = 0; i < 3; ++i) {
    Transaction refused = NewTransaction("refused");
    store.Begin();
    REQUIRE(ApplyOne(store, refused));
    try {
      store.Commit();
      FAIL("it was committed on a full disk");
    } catch (const dtm::CommitInDoubt&) {
      FAIL("a full disk is definite");
    } catch (const dtm::StoreError& error) {
      CHECK_THAT(error.what(), ContainsSubstring("no space is left") && ContainsSubstring("s.db"));
    }
    store.Rollback();
    CHECK(Gids(All(store)) == std::vector<std::string>{"before"});  // reading works
  }
  vfs.Disarm();
  CHECK(Put(store, NewTransaction("after")));
  CHECK(Gids(All(store)) == std::vector<std::string>{"after", "before"});
}

TEST_CASE("a checkpoint that fails inside a commit loses nothing") {
  for (const Op op : {Op::kWrite, Op::kSync}) {
    TempDir dir;
    FaultyVfs vfs;
    auto store = std::make_unique<SqliteStore>(dir / "s.db");
    REQUIRE(Put(*store, NewTransaction("small")));
    FaultyVfs::Plan plan;
    plan.fail_at = 1;
    plan.sticky = true;
    plan.matches = op == Op::kWrite
                       ? [](Op o, Kind kind) { return o == Op::kWrite && kind == Kind::kMain; }
                       : [](Op o, Kind kind) { return o == Op::kSync && kind == Kind::kMain; };
    vfs.Arm(plan);
    std::vector<Transaction> many;
    for (int i = 0; i < 20; ++i) {  // more than 1000 pages
      many.push_back(
          NewTransaction("gid" + std::to_string(i), At(0), std::string(256 * 1024, 'x')));
    }
    store->Begin();
    for (Transaction& transaction : many) REQUIRE(ApplyOne(*store, transaction));
    store->Commit();
    CHECK(vfs.Fired() > 0);  // it was tried
    CHECK(All(*store).size() == 21);
    vfs.Disarm();
    REQUIRE(Put(*store, NewTransaction("next")));
    store->Recover();
    CHECK(All(*store).size() == 22);
    store.reset();
    CHECK(All(*std::make_unique<SqliteStore>(dir / "s.db")).size() == 22);
  }
}

TEST_CASE("until Recover has worked, nothing is written and reading goes on") {
  TempDir dir;
  FaultyVfs vfs;
  SqliteStore store(dir / "s.db");
  REQUIRE(Put(store, NewTransaction("gid")));
  FaultyVfs::Plan plan;
  plan.fail_at = 1;
  plan.sticky = true;
  plan.matches = [](Op op, Kind) { return op == Op::kOpen; };
  vfs.Arm(plan);
  CHECK_THROWS_AS(store.Recover(), dtm::StoreError);
  CHECK_THROWS_WITH(store.Begin(), ContainsSubstring("recovered"));
  CHECK(store.Load("gid").has_value());
  CHECK(store.Scan({}, 0, 1).transactions.size() == 1);
  CHECK_THROWS_AS(DuePage(store, At(9), {}, 1), dtm::StoreError);
  CHECK_THROWS_AS(store.NextDue(At(0)), dtm::StoreError);
  CHECK_THROWS_AS(store.Commit(), dtm::StoreError);
  store.Rollback();
  vfs.Disarm();
  store.Recover();
  CHECK(store.Load("gid").has_value());
  CHECK(Put(store, NewTransaction("next")));
}

TEST_CASE("a read that fails is an error of the store, and no record is taken for damaged") {
  TempDir dir;
  FaultyVfs vfs;
  {
    SqliteStore store(dir / "s.db");
    Transaction one = store_contract::Registering("one", dtm::TransType::kTcc, 5000);
    REQUIRE(Put(store, one));
    REQUIRE(store_contract::PutAdded(store, one, 3, 20000));
  }
  const bool due = GENERATE(false, true);
  int failed = 0;
  for (int n = 1, fired = 1; fired > 0; ++n) {
    SqliteStore store(dir / "s.db");
    FaultyVfs::Plan plan;
    plan.fail_at = n;
    plan.matches = [](Op op, Kind) { return op == Op::kRead; };
    vfs.Arm(plan);
    bool damaged = false;
    try {
      damaged = (due ? DuePage(store, At(9), {}, 1).at(0) : *store.Load("one")).unreadable;
    } catch (const dtm::StoreError&) {
      ++failed;
    }
    CHECK_FALSE(damaged);
    fired = vfs.Fired();
    vfs.Disarm();
    CHECK_FALSE(store.Load("one")->unreadable);
  }
  CHECK(failed > 10);
}
