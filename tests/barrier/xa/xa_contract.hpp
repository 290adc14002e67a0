/// What the branch of an xa does on every server; included once by the test of each, with a Kit of that server.
/// Needs: Catch2, and of the Kit: Connection (Exec, Ask), Fresh, Handle, Prepared, kAgain (the code of an action that meets its own
/// prepared transaction), KillIn.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/barrier/xa/sql_xa.hpp>

namespace xa_contract {

using dtm::Op;
using Kind = dtm::Result::Kind;
using Names = std::vector<std::string>;
using Run = std::function<void(const std::string& sql)>;
using Business = std::function<dtm::Result(const Run&)>;

inline dtm::XaCall CallOf(Op op, const std::string& gid = "g", const std::string& branch = "01") {
  return {gid, branch, op, op == Op::kAction ? "http://bank/Xa" : "", ""};
}
inline Business Debit() {
  return [](const Run& run) {
    run("UPDATE account SET balance = balance - 30 WHERE name = 'a'");
    return dtm::Result::Success();
  };
}
inline Business Unused() {
  return [](const Run&) -> dtm::Result { throw std::runtime_error("the business ran"); };
}

template <typename Kit>
class Bank {
 public:
  Bank() { Kit::Fresh(); }
  ~Bank() {
    CHECK(Kit::Prepared() == Names{});  // no test leaves locks behind
  }
  dtm::Result Handle(Op op, const Business& business, const std::string& gid = "g") {
    return Kit::Handle(CallOf(op, gid), coordinator, business);
  }
  dtm::Result Action(const std::string& gid = "g") { return Handle(Op::kAction, Debit(), gid); }
  dtm::Result Commit(const std::string& gid = "g") { return Handle(Op::kCommit, Unused(), gid); }
  dtm::Result RollBack(const std::string& gid = "g") {
    return Handle(Op::kRollback, Unused(), gid);
  }
  std::string Balance() {
    return typename Kit::Connection().Ask("SELECT balance FROM account WHERE name = 'a'");
  }
  /// Reasons of the rows of branch 01.
  std::string Row(const std::string& gid = "g") {
    return typename Kit::Connection().Ask(
        "SELECT CONCAT_WS(' ', trans_type, op, barrier_id, reason) FROM " + Kit::Barriers() +
        " WHERE gid = '" + gid + "'");
  }
  FakeEndpoint coordinator;
};

template <typename Kit>
void TwoPhases() {
  Bank<Kit> bank;
  SECTION("commit") {
    CHECK(bank.Action().kind == Kind::kSuccess);
    CHECK(bank.coordinator.log == Names{"register xa g 01"});
    CHECK(bank.coordinator.registered.at(0).action == "http://bank/Xa");
    CHECK(bank.coordinator.registered.at(0).compensate == "http://bank/Xa");
    CHECK(Kit::Prepared() == Names{"g-01"});
    CHECK(bank.Balance() == "100");
    for (int i = 0; i < 3; ++i) {
      CHECK(bank.Commit().kind == Kind::kSuccess);
      CHECK(bank.Balance() == "70");
    }
    CHECK(bank.Row() == "xa action 01 action");
  }
  SECTION("rollback, and an action that comes late") {
    CHECK(bank.Action().kind == Kind::kSuccess);
    for (int i = 0; i < 3; ++i) CHECK(bank.RollBack().kind == Kind::kSuccess);
    CHECK(bank.Row() == "xa action 01 rollback");
    CHECK(bank.Handle(Op::kAction, Unused()).kind == Kind::kFailure);
    CHECK(bank.Balance() == "100");
    CHECK(bank.coordinator.log.size() == 1);
  }
  SECTION("branches and gids are apart") {
    CHECK(bank.Action("g").kind == Kind::kSuccess);
    CHECK(bank.RollBack("G").kind == Kind::kSuccess);
    CHECK(Kit::Handle(CallOf(Op::kRollback, "g", "02"), bank.coordinator, Unused()).kind ==
          Kind::kSuccess);
    CHECK(bank.Commit("g").kind == Kind::kSuccess);
    CHECK(bank.Balance() == "70");
  }
}

/// All calls in all orders, against a model.
template <typename Kit>
void EveryOrder() {
  Bank<Kit> bank;
  int order = 0;
  for (; order < 3 * 3 * 3 * 3; ++order) {
    const std::string gid = "order-" + std::to_string(order);
    std::string state = "nothing";
    std::string story;
    bool good = true;
    const std::string before = bank.Balance();
    for (int i = 0, rest = order; i < 4 && good; ++i, rest /= 3) {
      const Op op = rest % 3 == 0 ? Op::kAction : rest % 3 == 1 ? Op::kCommit : Op::kRollback;
      if (op == Op::kAction && state == "prepared") continue;  // a test of its own
      story += std::string(" ") + Name(op);
      const dtm::Result result =
          bank.Handle(op, op == Op::kAction && state == "nothing" ? Debit() : Unused(), gid);
      Kind expected = Kind::kSuccess;
      if (op == Op::kAction) {
        if (state != "nothing")
          expected = Kind::kFailure;
        else
          state = "prepared";
      } else if (op == Op::kCommit) {
        if (state == "nothing" || state == "forbidden")
          expected = Kind::kError;
        else
          state = "committed";
      } else {
        if (state == "committed")
          expected = Kind::kError;
        else
          state = "forbidden";
      }
      good = result.kind == expected &&
             (expected != Kind::kError || result.text.find("LOST") != std::string::npos);
      story += good ? "" : " (" + result.text + ")";
    }
    const bool debited = bank.Balance() != before;
    INFO(gid << ':' << story);
    REQUIRE(good);
    REQUIRE(debited == (state == "committed"));
    REQUIRE(Kit::Prepared() == (state == "prepared" ? Names{gid + "-01"} : Names{}));
    if (state == "prepared") REQUIRE(bank.RollBack(gid).kind == Kind::kSuccess);
  }
  CHECK(order == 81);
}

template <typename Kit>
void WhatTheBusinessDoes() {
  Bank<Kit> bank;
  const auto after = [&](const dtm::Result& result) {
    return Business([result](const Run& run) {
      (void)Debit()(run);
      return result;
    });
  };
  SECTION("it refuses, or is not finished") {
    CHECK(bank.Handle(Op::kAction, after(dtm::Result::Failure("no money"))).text == "no money");
    CHECK(bank.Handle(Op::kAction, after(dtm::Result::Ongoing())).kind == Kind::kOngoing);
    CHECK(bank.Handle(Op::kAction, after(dtm::Result::Error("hm"))).kind == Kind::kError);
  }
  SECTION("it throws") {
    CHECK_THROWS_AS(bank.Handle(Op::kAction,
                                [](const Run& run) -> dtm::Result {
                                  (void)Debit()(run);
                                  throw dtm::FailureError("no money");
                                }),
                    dtm::FailureError);
  }
  SECTION("a statement of it fails") {
    CHECK_THROWS(bank.Handle(Op::kAction, [](const Run& run) {
      (void)Debit()(run);
      run("SELECT nothing FROM nowhere");
      return dtm::Result::Success();
    }));
  }
  CHECK(bank.coordinator.log.empty());  // nobody would have to roll it back
  CHECK(Kit::Prepared() == Names{});
  CHECK(bank.Row().empty());
  CHECK(bank.Balance() == "100");
  CHECK(bank.Action().kind == Kind::kSuccess);
  CHECK(bank.Commit().kind == Kind::kSuccess);
  CHECK(bank.Balance() == "70");
}

template <typename Kit>
void TheCoordinatorRefuses() {
  Bank<Kit> bank;
  bank.coordinator.instead_of_taking["register xa g 01"] = [] {
    throw dtm::RejectedError("aborted");
  };
  CHECK_THROWS_AS(bank.Action(), dtm::RejectedError);
  CHECK(Kit::Prepared() == Names{});
  // No reply: it may be registered, and will be rolled back.
  bank.coordinator.instead_of_taking["register xa g 01"] = [] {
    throw dtm::InDoubtError("no reply");
  };
  CHECK_THROWS_AS(bank.Action(), dtm::InDoubtError);
  CHECK(Kit::Prepared() == Names{});
  CHECK(bank.RollBack().kind == Kind::kSuccess);
  CHECK(bank.Handle(Op::kAction, Unused()).kind == Kind::kFailure);
  CHECK(bank.Balance() == "100");
}

/// Both orders of what happens at once: the rollback does not overtake the action.
template <typename Kit>
void RollbackWhileItRuns() {
  Bank<Kit> bank;
  dtm::Result meanwhile;
  const auto roll_back = [&] { meanwhile = bank.RollBack(); };
  SECTION("in the business") {
    CHECK(bank.Handle(Op::kAction,
                      [&](const Run& run) {
                        roll_back();
                        return Debit()(run);
                      })
              .kind == Kind::kSuccess);
  }
  SECTION("between registration and PREPARE") {
    bank.coordinator.instead_of_taking["register xa g 01"] = roll_back;
    CHECK(bank.Action().kind == Kind::kSuccess);
  }
  CHECK(meanwhile.kind == Kind::kError);
  CHECK_THAT(meanwhile.text, Catch::Matchers::ContainsSubstring("still running"));
  CHECK(Kit::Prepared() == Names{"g-01"});
  CHECK(bank.RollBack().kind == Kind::kSuccess);
  CHECK(bank.Balance() == "100");
}

template <typename Kit>
void ActionAgain() {
  Bank<Kit> bank;
  CHECK(bank.Action().kind == Kind::kSuccess);
  try {
    (void)bank.Handle(Op::kAction, Unused());
    FAIL("a prepared action ran again");
  } catch (const dtm::SqlError& error) {
    CHECK(error.Code() == Kit::kAgain);
  }
  CHECK(Kit::Prepared() == Names{"g-01"});  // the first one is not disturbed
  CHECK(bank.Commit().kind == Kind::kSuccess);
  CHECK(bank.Balance() == "70");
}

template <typename Kit>
void TheConnectionIsKilled() {
  Bank<Kit> bank;
  SECTION("in the business") {
    CHECK_THROWS(bank.Handle(Op::kAction, [](const Run& run) {
      (void)Debit()(run);
      Kit::KillIn(run);
      return dtm::Result::Success();
    }));
    CHECK(bank.coordinator.log.empty());
  }
  SECTION("between registration and PREPARE") {
    Run kept;
    bank.coordinator.instead_of_taking["register xa g 01"] = [&] { Kit::KillIn(kept); };
    CHECK_THROWS_AS(bank.Handle(Op::kAction,
                                [&](const Run& run) {
                                  kept = run;
                                  return Debit()(run);
                                }),
                    dtm::InDoubtError);
  }
  CHECK(bank.RollBack().kind == Kind::kSuccess);
  CHECK(bank.Handle(Op::kAction, Unused()).kind == Kind::kFailure);
  CHECK(bank.Balance() == "100");
}

template <typename Kit>
void RefusedNames() {
  Bank<Kit> bank;
  for (const std::string gid : {"it's", "a\"b", "a\\b", "a`b", "\xc3\xa4"}) {
    CHECK_THROWS_AS(bank.Handle(Op::kAction, Unused(), gid), dtm::RejectedError);
    CHECK_THROWS_AS(bank.Commit(gid), dtm::RejectedError);
    CHECK_THROWS_AS(bank.RollBack(gid), dtm::RejectedError);
  }
  // At the limit it is the server that accepts it; the barrier's own limit of 128 bytes may be the lower one.
  const std::string longest((std::min)(Kit::kXidLimit - 3, std::size_t{128}), 'x');
  CHECK(bank.Action(longest).kind == Kind::kSuccess);
  CHECK(Kit::Prepared() == Names{longest + "-01"});
  CHECK(bank.Commit(longest).kind == Kind::kSuccess);
  CHECK_THROWS_AS(bank.Action(std::string(Kit::kXidLimit - 2, 'x')), dtm::RejectedError);
  // What is a blank or a sign for others is a letter here.
  for (const std::string gid : {"a b", "a;b", "a-b", "a%b", "$1", "?"}) {
    CHECK(bank.Action(gid).kind == Kind::kSuccess);
    CHECK(bank.RollBack(gid).kind == Kind::kSuccess);
  }
}

template <typename Kit>
void Old() {
  Bank<Kit> bank;
  CHECK(bank.Action().kind == Kind::kSuccess);
  CHECK(bank.Handle(
                Op::kAction, [](const Run&) { return dtm::Result::Success(); }, "with-dash")
            .kind == Kind::kSuccess);
  CHECK(Kit::Old(std::chrono::hours(1)) == Names{});
  CHECK(bank.Commit().kind == Kind::kSuccess);
  CHECK(Kit::Old(std::chrono::seconds(0)) == Names{"with-dash-01"});
  CHECK(bank.RollBack("with-dash").kind == Kind::kSuccess);
  CHECK_THROWS_AS(Kit::Old(std::chrono::seconds(-1)), dtm::LogicError);
}

/// As by a power loss, between the phases.
template <typename Kit>
void ServerKilled() {
  Bank<Kit> bank;
  CHECK(bank.Handle(
                Op::kAction,
                [](const Run& run) {
                  run("INSERT INTO account VALUES ('b', 1)");
                  return dtm::Result::Success();
                },
                "undone")
            .kind == Kind::kSuccess);
  CHECK(bank.Action("done").kind == Kind::kSuccess);
  Kit::KillServer();
  CHECK_THROWS_AS(bank.Commit("done"), dtm::Error);
  Kit::StartServer();
  const dtm::Result after = bank.Commit("done");
  INFO(after.text);
  CHECK(after.kind == Kind::kSuccess);
  CHECK(bank.RollBack("undone").kind == Kind::kSuccess);
  CHECK(bank.Commit("done").kind == Kind::kSuccess);
  CHECK(bank.Balance() == "70");
  CHECK(typename Kit::Connection().Ask("SELECT count(*) FROM account") == "1");
}

}  // namespace xa_contract
