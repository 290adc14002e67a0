/// What the barrier promises when the connection breaks at any byte of its commit; the tests of each server run it.
/// Needs: Catch2. Threads: the proxy has one of its own.
///
/// Kit: as for SqlBarrierContract, and ServerPort(), Through(port) -> a connection by TCP.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "tests/barrier/sql_barrier_contract.hpp"
#include "tests/catch.hpp"
#include "tests/support/cut_at_every_byte.hpp"

namespace dtm_test {

template <typename Kit>
struct SqlCutContract {
  using Contract = SqlBarrierContract<Kit>;
  using Connection = typename Kit::Connection;
  using Handle = typename Kit::Handle;
  using Table = typename Kit::Table;
  using Kind = dtm::Result::Kind;

  static void Run() {
    Kit::Fresh();
    Connection direct;

    SECTION("of Call: in doubt or nothing stored, and the same call again settles it") {
      int effects = 0;
      const auto debit = [](Handle db) { Contract::Add(db, -1); };
      CutAtEveryByte<Kit>(
          [&](Connection& connection, int number, const auto& armed) {
            dtm::Barrier barrier = Contract::Saga("action", std::to_string(number));
            Table table(connection.Handle());
            const dtm::Result result = table.Call(barrier, [&](Handle db) {
              debit(db);
              armed();
            });
            CHECK(result.kind == Kind::kSuccess);
          },
          [&](int number, Said said) {
            const std::string gid = std::to_string(number);
            if (said == Said::kNothingStored) CHECK(Contract::Rows(direct, gid) == "0");
            if (said == Said::kDone) CHECK(Contract::Rows(direct, gid) == "1");
            CHECK(Contract::Deliver(direct, Contract::Saga("action", gid), debit) ==
                  Kind::kSuccess);
            ++effects;
            CHECK(Contract::Balance(direct) == std::to_string(100 - effects));
          },
          1000);
    }
    SECTION("of QueryPrepared: what it said holds, and asked again it says what holds") {
      CutAtEveryByte<Kit>(
          [&](Connection& connection, int number, const auto& armed) {
            armed();
            Table table(connection.Handle());
            const dtm::Result result = table.QueryPrepared(Contract::Msg(std::to_string(number)));
            CHECK(result.kind == Kind::kFailure);
          },
          [&](int number, Said said) {
            const std::string gid = std::to_string(number);
            if (said == Said::kNothingStored) CHECK(Contract::Rows(direct, gid) == "0");
            if (said == Said::kDone) CHECK(Contract::Rows(direct, gid) == "1");
            Table table(direct.Handle());
            CHECK(table.QueryPrepared(Contract::Msg(gid)).kind == Kind::kFailure);
            CHECK(Contract::Rows(direct, gid) == "1");
          },
          20);
    }
    SECTION("of DeleteOldBarriers: in doubt, or nothing was deleted") {
      CutAtEveryByte<Kit>(
          [&](Connection& connection, int number, const auto& armed) {
            const std::string gid = std::to_string(number);
            Contract::Deliver(direct, Contract::Saga("action", gid), [](Handle) {});
            Kit::Age(direct, std::chrono::hours(25));
            armed();
            const std::int64_t deleted = Kit::DeleteOld(connection, std::chrono::hours(24), 10);
            CHECK(deleted == 1);
          },
          [&](int number, Said said) {
            const std::string gid = std::to_string(number);
            if (said == Said::kNothingStored) CHECK(Contract::Rows(direct, gid) == "1");
            if (said == Said::kDone) CHECK(Contract::Rows(direct, gid) == "0");
            Kit::DeleteOld(direct, std::chrono::hours(24), 10);
            CHECK(Contract::Rows(direct, gid) == "0");
          },
          20);
    }
  }
};

}  // namespace dtm_test
