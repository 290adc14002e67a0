/// What the barrier promises on every SQL server; tests/barrier/{postgres,mysql}_barrier_test.cpp run it on real ones.
/// Needs: Catch2. Threads: the sections start threads of their own where two deliveries meet.
///
/// Kit: `Connection` with Exec(sql), Ask(sql) -> first value, Handle(); `Table` made of a handle; `kAccount` the name of a
/// table (name, balance) with ("a", 100) that the contract may change; `Fresh()` empties both tables.
#pragma once

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/barrier/sql_barrier.hpp>

namespace dtm_test {

template <typename Kit>
struct SqlBarrierContract {
  using Connection = typename Kit::Connection;
  using Table = typename Kit::Table;
  using Handle = typename Kit::Handle;
  using Kind = dtm::Result::Kind;

  static dtm::Barrier Saga(const std::string& op, const std::string& gid = "g") {
    return dtm::Barrier("saga", gid, "01", op);
  }
  static dtm::Barrier Msg(const std::string& gid = "g") {
    return dtm::Barrier("msg", gid, "00", "msg");
  }
  static void Add(Handle db, int amount) {
    Kit::Run(db, "UPDATE account SET balance = balance + " + std::to_string(amount) +
                     " WHERE name = 'a'");
  }
  static std::string Balance(Connection& connection) {
    return connection.Ask("SELECT balance FROM account WHERE name = 'a'");
  }
  static std::string Rows(Connection& connection, const std::string& gid = "g") {
    return connection.Ask("SELECT COUNT(*) FROM " + Kit::Barriers() + " WHERE gid = '" + gid + "'");
  }
  template <typename Business>
  static Kind Deliver(Connection& connection, dtm::Barrier barrier, const Business& business) {
    Table table(connection.Handle());
    return table.Call(barrier, business).kind;
  }
  template <typename Error, typename Function>
  static std::string TextOf(const Function& function) {
    try {
      function();
    } catch (const Error& error) {
      return error.what();
    } catch (const std::exception& error) {
      return std::string("another error: ") + error.what();
    }
    return "nothing was thrown";
  }

  static void Run() {
    Kit::Fresh();
    Connection connection;
    const auto debit = [](Handle db) { Add(db, -30); };
    const auto credit = [](Handle db) { Add(db, 30); };
    const auto never = [](Handle) { FAIL("the business must not run"); };
    using Catch::Matchers::ContainsSubstring;

    SECTION("n deliveries have one effect") {
      CHECK(Deliver(connection, Saga("action"), debit) == Kind::kSuccess);
      CHECK(Deliver(connection, Saga("action"), never) == Kind::kSuccess);
      CHECK(Deliver(connection, Saga("compensate"), credit) == Kind::kSuccess);
      CHECK(Deliver(connection, Saga("compensate"), never) == Kind::kSuccess);
      CHECK(Balance(connection) == "100");
      CHECK(Rows(connection) == "2");
    }
    SECTION("a compensation of what never ran has no effect, and the late action has none") {
      CHECK(Deliver(connection, Saga("compensate"), never) == Kind::kSuccess);
      CHECK(Deliver(connection, Saga("action"), never) == Kind::kSuccess);
      CHECK(Deliver(connection, Saga("compensate"), never) == Kind::kSuccess);
      CHECK(Deliver(connection, dtm::Barrier("tcc", "t", "01", "cancel"), never) == Kind::kSuccess);
      CHECK(Deliver(connection, dtm::Barrier("tcc", "t", "01", "try"), never) == Kind::kSuccess);
      CHECK(Deliver(connection, dtm::Barrier("workflow", "w", "01", "rollback"), never) ==
            Kind::kSuccess);
      CHECK(Deliver(connection, dtm::Barrier("workflow", "w", "01", "action"), never) ==
            Kind::kSuccess);
      CHECK(Balance(connection) == "100");
    }
    SECTION("names differ by every byte") {
      const std::string longest(128, 'x');
      for (const std::string& gid :
           {std::string("Abc"), std::string("abc"), std::string("b "), std::string("\xC3\xA9"),
            std::string("e"), longest, std::string("it's \"$1\" ? \\ %")}) {
        CHECK(Deliver(connection, Saga("action", gid), debit) == Kind::kSuccess);
        CHECK(Deliver(connection, Saga("action", gid), never) == Kind::kSuccess);
      }
      CHECK(Balance(connection) == "-110");
    }
    SECTION("the calls of one barrier are numbered") {
      Table table(connection.Handle());
      for (int delivery = 0; delivery < 2; ++delivery) {
        dtm::Barrier barrier = Saga("action");
        for (int call = 0; call < 3; ++call) {
          CHECK(table.Call(barrier, debit).kind == Kind::kSuccess);
        }
      }
      CHECK(Balance(connection) == "10");
    }
    SECTION("what the business does not finish is rolled back and said") {
      for (const dtm::Result& said : {dtm::Result::Failure("poor"), dtm::Result::Ongoing("wait"),
                                      dtm::Result::Error("broken")}) {
        Table table(connection.Handle());
        dtm::Barrier barrier = Saga("action");
        const dtm::Result got = table.Call(barrier, [&](Handle db) {
          Add(db, -30);
          return said;
        });
        CHECK(got.kind == said.kind);
        CHECK(got.text == said.text);
        CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)table.Call(barrier, debit); }),
                   ContainsSubstring("did not commit"));
      }
      const std::string text = TextOf<std::runtime_error>([&] {
        Deliver(connection, Saga("action"), [](Handle db) {
          Add(db, -30);
          throw std::runtime_error("out of order");
        });
      });
      CHECK(text == "out of order");
      CHECK(Rows(connection) == "0");
      CHECK(Balance(connection) == "100");
      CHECK(Deliver(connection, Saga("action"), debit) == Kind::kSuccess);
      CHECK(Balance(connection) == "70");
    }
    SECTION("a business that ends the transaction is found out") {
      for (const char* end : {"COMMIT", "ROLLBACK", "COMMIT; BEGIN"}) {
        CAPTURE(end);
        const std::string text = TextOf<dtm::LogicError>([&] {
          Deliver(connection, Saga("action"), [&](Handle db) {
            Kit::RunEach(db, end);
            Add(db, -1);
          });
        });
        CHECK_THAT(text, ContainsSubstring("was ended inside the business"));
        CHECK_THAT(TextOf<dtm::LogicError>([&] {
                     Deliver(connection, Saga("action", "h"), [&](Handle db) {
                       Kit::RunEach(db, end);
                       return dtm::Result::Failure("poor");
                     });
                   }),
                   ContainsSubstring("was ended inside the business"));
        Kit::Fresh();
      }
    }
    SECTION("a barrier inside the program's transaction") {
      Table table(connection.Handle());
      dtm::Barrier first = Saga("action");
      CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)table.CallInTransaction(first, debit); }),
                 ContainsSubstring("in no transaction"));
      connection.Exec("BEGIN");
      CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)table.Call(first, debit); }),
                 ContainsSubstring("in a transaction already"));
      CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)table.QueryPrepared(Msg()); }),
                 ContainsSubstring("in a transaction already"));
      CHECK(table.CallInTransaction(first, debit).kind == Kind::kSuccess);
      dtm::Barrier second = Saga("action", "h");
      CHECK(table
                .CallInTransaction(second,
                                   [&](Handle db) {
                                     Add(db, -30);
                                     return dtm::Result::Failure("poor");
                                   })
                .kind == Kind::kFailure);
      CHECK(Balance(connection) == "70");
      connection.Exec("ROLLBACK");
      CHECK(Balance(connection) == "100");
      CHECK(Deliver(connection, Saga("action"), debit) == Kind::kSuccess);
    }
    SECTION("a call inside the business of another shares its fate") {
      for (const bool fails : {true, false}) {
        Table table(connection.Handle());
        dtm::Barrier outer = Saga("action");
        const dtm::Result result = table.Call(outer, [&](Handle) {
          dtm::Barrier inner = Saga("action", "inner");
          CHECK(table
                    .CallInTransaction(inner,
                                       [&](Handle db) {
                                         dtm::Barrier third = Saga("action", "third");
                                         CHECK(table.CallInTransaction(third, debit).kind ==
                                               Kind::kSuccess);
                                         Add(db, -5);
                                       })
                    .kind == Kind::kSuccess);
          return fails ? dtm::Result::Failure("poor") : dtm::Result::Success();
        });
        CHECK(result.kind == (fails ? Kind::kFailure : Kind::kSuccess));
        CHECK(Balance(connection) == (fails ? "100" : "65"));
      }
    }
    SECTION("the local step of a message runs once, and is asked for") {
      Table table(connection.Handle());
      CHECK(Deliver(connection, Msg(), debit) == Kind::kSuccess);
      CHECK_THAT(TextOf<dtm::DuplicatedError>([&] { Deliver(connection, Msg(), never); }),
                 ContainsSubstring("DUPLICATED"));
      CHECK(table.QueryPrepared(Msg()).kind == Kind::kSuccess);
      CHECK(table.QueryPrepared(Msg("h")).kind == Kind::kFailure);
      CHECK(table.QueryPrepared(Msg("h")).kind == Kind::kFailure);
      CHECK_THAT(TextOf<dtm::DuplicatedError>([&] { Deliver(connection, Msg("h"), never); }),
                 ContainsSubstring("DUPLICATED"));
      CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)table.QueryPrepared(Saga("action")); }),
                 ContainsSubstring("op msg"));
      CHECK(Balance(connection) == "70");
    }
    SECTION(
        "asked while the local step runs: the question waits, and the answer is what came of it") {
      for (const bool commits : {true, false}) {
        const std::string gid = commits ? "commits" : "fails";
        std::promise<void> running;
        std::future<dtm::Result> answer;
        Deliver(connection, Msg(gid), [&](Handle db) {
          Add(db, -1);
          answer = std::async(std::launch::async, [&] {
            Connection other;
            Table table(other.Handle());
            running.set_value();
            return table.QueryPrepared(Msg(gid));
          });
          running.get_future().wait();
          Kit::WaitForALock(db);
          return commits ? dtm::Result::Success() : dtm::Result::Failure("poor");
        });
        CHECK(answer.get().kind == (commits ? Kind::kSuccess : Kind::kFailure));
      }
    }
    SECTION("asked for longer than locks are waited for, nothing is decided") {
      Deliver(connection, Msg(), [&](Handle) {
        Connection other;
        Kit::ShortLocks(other);
        Table table(other.Handle());
        CHECK_THAT(TextOf<dtm::SqlError>([&] { (void)table.QueryPrepared(Msg()); }),
                   ContainsSubstring("may come again"));
      });
      CHECK(Table(connection.Handle()).QueryPrepared(Msg()).kind == Kind::kSuccess);
    }
    SECTION("deliveries at once: one effect, the others are repeats or come again") {
      constexpr int kThreads = 3;
      for (int round = 0; round < 20; ++round) {
        const std::string gid = "round" + std::to_string(round);
        std::atomic<int> fails{round % 2};  // the first to run rolls back
        std::vector<std::future<int>> runs;
        for (int thread = 0; thread < kThreads; ++thread) {
          runs.push_back(std::async(std::launch::async, [&, thread] {
            Connection own;
            int again = 0;
            for (int delivery = 0; delivery < 50; ++delivery) {
              try {
                const std::string op = thread == 2 ? "compensate" : "action";
                const Kind kind = Deliver(own, Saga(op, gid), [&](Handle db) {
                  Add(db, thread == 2 ? 30 : -30);
                  if (fails.fetch_sub(1) > 0) return dtm::Result::Ongoing("not now");
                  return dtm::Result::Success();
                });
                if (kind == Kind::kSuccess) return again;
              } catch (const dtm::SqlError& error) {
                if (dtm::FaultOf(Kit::kDialect, error.Code(), dtm::SqlStage::kStatement) !=
                    dtm::SqlFault::kTemporary) {
                  throw;
                }
              }
              ++again;
            }
            throw std::runtime_error("does not settle");
          }));
        }
        for (auto& run : runs) run.get();
        CHECK(Balance(connection) == "100");  // action and compensation, or neither
        CHECK(Rows(connection, gid) == "2");
      }
    }
    SECTION("old rows are deleted in pages") {
      for (int i = 0; i < 5; ++i) {
        Deliver(connection, Saga("action", "old" + std::to_string(i)), debit);
      }
      Kit::Age(connection, std::chrono::hours(25));
      Deliver(connection, Saga("action"), debit);
      CHECK(Kit::DeleteOld(connection, std::chrono::hours(24), 3) == 3);
      CHECK(Kit::DeleteOld(connection, std::chrono::hours(24), 3) == 2);
      CHECK(Kit::DeleteOld(connection, std::chrono::hours(24)) == 0);
      CHECK(Rows(connection) == "1");
      CHECK_THROWS_AS(Kit::DeleteOld(connection, std::chrono::hours(23)), dtm::LogicError);
      CHECK_THROWS_AS(Kit::DeleteOld(connection, std::chrono::hours(24), 0), dtm::LogicError);
    }
    SECTION("what is refused before the server is asked") {
      Table table(connection.Handle());
      dtm::Barrier xa("xa", "g", "01", "action");
      CHECK_THAT(TextOf<dtm::LogicError>([&] { (void)table.Call(xa, never); }),
                 ContainsSubstring("XaBranch"));
      for (const char* name : {"", ".", "a.", ".b", "a.b.c", "a b", "a\"b", "a`b"}) {
        CHECK_THROWS_AS(Table(connection.Handle(), name), dtm::LogicError);
      }
      CHECK_THROWS_AS(Table(nullptr), dtm::LogicError);
      Table missing(connection.Handle(), "no_such_table");
      dtm::Barrier barrier = Saga("action");
      CHECK_THAT(TextOf<dtm::SqlError>([&] { (void)missing.Call(barrier, never); }),
                 ContainsSubstring("CreateBarrierTable"));
      CHECK(Deliver(connection, Saga("action"), debit) == Kind::kSuccess);
    }
  }
};

}  // namespace dtm_test
