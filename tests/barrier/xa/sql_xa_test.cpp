/// The branch of an xa, without a server: every answer that one can give, in every state of the branch.
#include <cstddef>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/barrier/xa/sql_xa.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Op;
using dtm::SqlDialect;
using Kind = dtm::Result::Kind;

namespace {

/// A server with one branch, whose answers a test sets.
class Server : public dtm::SqlSession {
 public:
  explicit Server(SqlDialect dialect) : dialect_(dialect) {}

  SqlDialect Dialect() const override { return dialect_; }
  dtm::SqlTransaction Transaction() override { return dtm::SqlTransaction::kNone; }
  std::string Simple(const char* sql) override {
    Asked(sql);
    return std::string(sql).substr(0, std::string_view(sql).find(' '));
  }
  dtm::SqlAnswer Run(const std::string& sql, const std::vector<std::string_view>& values) override {
    Asked(sql);
    dtm::SqlAnswer answer;
    if (sql.find("INSERT") == 0) {
      answer.affected = row.empty() ? 1 : 0;
      if (row.empty()) row = std::string(values[5]);
    } else if (sql.find("pg_prepared_xacts") != std::string::npos) {
      if (listed) answer.first_column = {"g-01"};
    } else if (!row.empty()) {
      answer.first_column = {row + " g 01"};
    }
    return answer;
  }

  /// What begins or ends with this gets this error: once for each, in this order.
  void Refuse(const std::string& part, const std::string& code) {
    refusals_.push_back({part, code});
  }

  std::vector<std::string> log;
  std::string row;  ///< its reason; empty: none that is committed
  bool listed = false;

 private:
  struct Refusal {
    std::string part;
    std::string code;
  };
  void Asked(const std::string& sql) {
    log.push_back(sql);
    for (auto refusal = refusals_.begin(); refusal != refusals_.end(); ++refusal) {
      if (sql.find(refusal->part) == std::string::npos) continue;
      const std::string code = refusal->code;
      refusals_.erase(refusal);
      throw dtm::SqlError("refused", code);
    }
  }

  const SqlDialect dialect_;
  std::deque<Refusal> refusals_;
};

/// What a call said: "success", "failure", "later", "LOST", "in doubt", or the code of the error.
std::string Said(Server& server, Op op, FakeEndpoint& coordinator,
                 const std::function<dtm::Result()>& business) {
  dtm::SqlXaBranch branch(server, "dtm_barrier.barrier", [&]() -> std::vector<std::string> {
    if (server.listed) return {"other-01", "g-01"};
    return {"other-01"};
  });
  try {
    const dtm::Result result =
        branch.Handle({"g", "01", op, "http://bank/Xa", ""}, coordinator, business);
    if (result.kind == Kind::kSuccess) return "success";
    if (result.kind == Kind::kFailure) return "failure";
    return result.text.find("LOST") != std::string::npos ? "LOST" : "later: " + result.text;
  } catch (const dtm::InDoubtError&) {
    return "in doubt";
  } catch (const dtm::SqlError& error) {
    return error.Code();
  } catch (const dtm::LogicError&) {
    return "misuse";
  }
}
std::string Said(Server& server, Op op) {
  FakeEndpoint coordinator;
  return Said(server, op, coordinator, [] { return dtm::Result::Success(); });
}

struct Names {
  explicit Names(SqlDialect dialect) : postgres(dialect == SqlDialect::kPostgres) {}
  const bool postgres;
  const char* prepare = postgres ? "PREPARE TRANSACTION 'g-01'" : "XA PREPARE 'g-01'";
  const char* commit = postgres ? "COMMIT PREPARED 'g-01'" : "XA COMMIT 'g-01'";
  const char* rollback = postgres ? "ROLLBACK PREPARED 'g-01'" : "XA ROLLBACK 'g-01'";
  const char* unknown = postgres ? "42704" : "1397";
  const char* timeout = postgres ? "55P03" : "1205";
  const char* deadlock = postgres ? "40P01" : "1213";
};

}  // namespace

TEST_CASE("sql xa: the commit, in every state of the branch") {
  for (const SqlDialect dialect : {SqlDialect::kPostgres, SqlDialect::kMysql}) {
    const Names names(dialect);
    const struct {
      const char* answer;  // to what commits; "": OK
      bool listed;         // as prepared
      const char* row;
      const char* said;
    } rows[] = {
        {"", false, "action", "success"},
        {names.unknown, false, "action", "success"},  // a repeat
        {names.unknown, false, "", "LOST"},
        {names.unknown, false, "rollback", "LOST"},
        {names.deadlock, true, "", names.deadlock},
        {"", true, "action", "success"},
        {dialect == SqlDialect::kPostgres ? "57P01" : "2013", true, "", "in doubt"},
        {"", false, "", dialect == SqlDialect::kPostgres ? "success" : "later"},
    };
    for (const auto& row : rows) {
      CAPTURE(names.postgres, row.answer, row.listed, row.row);
      Server server(dialect);
      server.listed = row.listed;
      server.row = row.row;
      if (*row.answer != '\0') server.Refuse(names.commit, row.answer);
      CHECK_THAT(Said(server, Op::kCommit), Catch::Matchers::StartsWith(row.said));
      CHECK(server.row == row.row);  // it forbids nothing
    }
    // The connection that prepared is closed only now.
    Server server(dialect);
    server.listed = true;
    server.row = "action";
    for (int i = 0; i < 3; ++i) server.Refuse(names.commit, names.unknown);
    CHECK(Said(server, Op::kCommit) == "success");
  }
}

// Its XA COMMIT came while the connection that prepared was being closed.
TEST_CASE("sql xa: a MariaDB that says OK and does nothing is not believed, nor is the work lost") {
  Server server(SqlDialect::kMysql);
  CHECK_THAT(Said(server, Op::kCommit), ContainsSubstring("restart MariaDB"));
  server.Refuse("XA COMMIT", "1397");  // and again
  server.Refuse("FOR UPDATE", "1205");
  CHECK_THAT(Said(server, Op::kCommit), ContainsSubstring("restart MariaDB"));
  server.Refuse("INSERT", "1205");
  CHECK_THAT(Said(server, Op::kRollback), ContainsSubstring("restart MariaDB"));
  server.Refuse("CONCAT_WS", "2013");  // it is committed, perhaps
  CHECK(Said(server, Op::kCommit) == "in doubt");
}

TEST_CASE("sql xa: the rollback, in every state of the branch") {
  for (const SqlDialect dialect : {SqlDialect::kPostgres, SqlDialect::kMysql}) {
    const Names names(dialect);
    const struct {
      const char* answer;
      const char* row;
      const char* said;
      const char* left;
    } rows[] = {
        {"", "", "success", "rollback"},
        {names.unknown, "", "success", "rollback"},  // the action has not come yet
        {names.unknown, "rollback", "success", "rollback"},
        {names.unknown, "action", "LOST", "action"},
        {names.deadlock, "", names.deadlock, ""},
        {dialect == SqlDialect::kPostgres ? "" : "1402", "", "success", "rollback"},
    };
    for (const auto& row : rows) {
      CAPTURE(names.postgres, row.answer, row.row);
      Server server(dialect);
      server.row = row.row;
      if (*row.answer != '\0') server.Refuse(names.rollback, row.answer);
      CHECK(Said(server, Op::kRollback) == row.said);
      CHECK(server.row == row.left);
    }
    Server running(dialect);
    running.Refuse(names.rollback, names.unknown);
    running.Refuse("INSERT", names.timeout);
    CHECK_THAT(Said(running, Op::kRollback), ContainsSubstring("still running"));
    CHECK(running.row.empty());
  }
}

TEST_CASE("sql xa: the action, refused at every step") {
  for (const SqlDialect dialect : {SqlDialect::kPostgres, SqlDialect::kMysql}) {
    const Names names(dialect);
    const struct {
      const char* step;
      const char* code;
      const char* said;
      bool registered;
    } rows[] = {
        {names.postgres ? "BEGIN" : "XA START", names.deadlock, names.deadlock, false},
        {"INSERT", names.timeout, names.timeout, false},
        {names.postgres ? "RELEASE" : "XA END", names.deadlock, names.deadlock, false},
        {names.postgres ? "RELEASE" : "XA END", names.postgres ? "3B001" : "1399", "misuse", false},
        {names.prepare, names.deadlock, names.deadlock, true},
        {names.prepare, names.postgres ? "" : "2013", "in doubt", true},
        {"no step", "", "success", true},
    };
    for (const auto& row : rows) {
      CAPTURE(names.postgres, row.step, row.code);
      Server server(dialect);
      FakeEndpoint coordinator;
      server.Refuse(row.step, row.code);
      CHECK(Said(server, Op::kAction, coordinator, [] { return dtm::Result::Success(); }) ==
            row.said);
      CHECK(coordinator.log.size() == (row.registered ? 1U : 0U));
      // What did not succeed tries to undo, as far as the server lets it.
      const bool undone = server.log.back().find("ROLLBACK") != std::string::npos;
      if (!names.postgres) {
        CHECK(undone ==
              (row.said != std::string("success") && row.step != std::string("XA START")));
      }
    }
    for (const char* row : {"action", "rollback"}) {
      Server server(dialect);
      FakeEndpoint coordinator;
      server.row = row;
      CHECK(Said(server, Op::kAction, coordinator,
                 []() -> dtm::Result { throw std::logic_error("it ran"); }) == "failure");
      CHECK(coordinator.log.empty());
      CHECK(server.row == row);
    }
  }
}
