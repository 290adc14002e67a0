/// What a commit has done when it returns: kPower has flushed the log, kProcess has written it.
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/support/faulty_vfs.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/transactions.hpp"
#include <dtm/store/durability.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>

using namespace dtm_test;  // NOLINT(google-build-using-namespace)
using dtm::Durability;
using Kind = FaultyVfs::Kind;
using Op = FaultyVfs::Op;

TEST_CASE("kPower: one flush per commit, after the last write") {
  TempDir dir;
  FaultyVfs vfs;
  dtm::SqliteStore store(dir / "s.db", Durability::kPower);
  REQUIRE(Put(store, NewTransaction("first")));  // the first one also starts the log
  for (int i = 0; i < 20; ++i) {
    const int before = vfs.Calls(Op::kSync, Kind::kWal);
    REQUIRE(Put(store, NewTransaction("gid" + std::to_string(i), At(0), std::string(9000, 'x'))));
    CHECK(vfs.Calls(Op::kSync, Kind::kWal) == before + 1);
    CHECK_FALSE(vfs.WalDirty());
  }
  store.Recover();  // a new connection has the same promise
  REQUIRE(Put(store, NewTransaction("last")));
  CHECK_FALSE(vfs.WalDirty());
}

TEST_CASE("kProcess: no flush, but all is written") {
  TempDir dir;
  FaultyVfs vfs;
  dtm::SqliteStore store(dir / "s.db", Durability::kProcess);
  const int before = vfs.Calls(Op::kSync, Kind::kWal) + vfs.Calls(Op::kSync, Kind::kMain);
  for (int i = 0; i < 20; ++i) {
    const int writes = vfs.Calls(Op::kWrite, Kind::kWal);
    REQUIRE(Put(store, NewTransaction("gid" + std::to_string(i))));
    CHECK(vfs.Calls(Op::kWrite, Kind::kWal) > writes);
  }
  CHECK(vfs.Calls(Op::kSync, Kind::kWal) + vfs.Calls(Op::kSync, Kind::kMain) == before);
}
