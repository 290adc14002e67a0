/// What the branch of an xa promises when the connection breaks at any byte of a call; the tests of each server run it.
/// Needs: Catch2. Threads: the proxy has one of its own.
///
/// Kit: as for xa_contract.hpp, and what tests/support/cut_at_every_byte.hpp wants.
#pragma once

#include <string>

#include "tests/barrier/xa/xa_contract.hpp"
#include "tests/support/cut_at_every_byte.hpp"

namespace xa_contract {

/// `handle(connection, call, coordinator, business)`: calls the branch through a connection to the proxy.
template <typename Kit, typename Cut = Kit, typename HandleOn>
void CutAtAnyByte(const HandleOn& handle_on) {
  using dtm_test::Said;
  using Connection = typename Cut::Connection;
  Bank<Kit> bank;
  int effects = 0;
  const auto debit = [](const Run& run) {
    run("UPDATE account SET balance = balance - 1 WHERE name = 'a'");
    return dtm::Result::Success();
  };
  const auto handle = [&](Connection& connection, Op op, int number, const auto& armed) {
    if (op != Op::kAction) armed();
    const dtm::Result result = handle_on(connection, CallOf(op, std::to_string(number)),
                                         bank.coordinator, [&](const Run& run) {
                                           const dtm::Result done = debit(run);
                                           armed();
                                           return done;
                                         });
    CHECK(result.kind == Kind::kSuccess);
  };
  /// As the coordinator: until it succeeds.
  const auto settle = [&](Op op, int number) {
    std::string said;
    for (int attempt = 0; attempt < 100; ++attempt) {
      try {
        const dtm::Result result = bank.Handle(op, Unused(), std::to_string(number));
        if (result.kind == Kind::kSuccess) return;
        said = result.text;
        CHECK(said.find("LOST") == std::string::npos);
      } catch (const dtm::SqlError& error) {  // the broken connection's command is running
        said = error.what();
      }
    }
    FAIL("does not settle: " << said);
  };
  const auto prepared_first = [&](Op op) {
    return [&, op](Connection& connection, int number, const auto& armed) {
      REQUIRE(bank.Handle(Op::kAction, debit, std::to_string(number)).kind == Kind::kSuccess);
      handle(connection, op, number, armed);
    };
  };
  SECTION("of what prepares it") {
    dtm_test::CutAtEveryByte<Cut>(
        [&](Connection& connection, int number, const auto& armed) {
          handle(connection, Op::kAction, number, armed);
        },
        [&](int number, Said said) {
          const bool commits = said == Said::kDone;
          settle(commits ? Op::kCommit : Op::kRollback, number);
          effects += commits ? 1 : 0;
          CHECK(bank.Balance() == std::to_string(100 - effects));
        },
        1000);
  }
  SECTION("of the commit") {
    dtm_test::CutAtEveryByte<Cut>(
        prepared_first(Op::kCommit),
        [&](int number, Said) {
          settle(Op::kCommit, number);
          ++effects;
          CHECK(bank.Balance() == std::to_string(100 - effects));
        },
        Cut::kBytesOfCommit);
  }
  SECTION("of the rollback, which also forbids the action") {
    dtm_test::CutAtEveryByte<Cut>(
        prepared_first(Op::kRollback),
        [&](int number, Said) {
          settle(Op::kRollback, number);
          CHECK(bank.Balance() == "100");
        },
        Cut::kBytesOfRollback);
  }
}

}  // namespace xa_contract
