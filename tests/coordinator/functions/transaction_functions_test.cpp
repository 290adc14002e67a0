/// Functions that run inside a commit, by name.
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include <dtm/coordinator/functions/transaction_functions.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;

namespace {

dtm::BranchCall CallOf(const std::string& name) {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g";
  definition->steps = {{dtm::kLocalPrefix + name, "", "7"}};
  dtm::BranchCall call;
  call.definition = definition;
  call.row = dtm::ActionOf(0);
  return call;
}

}  // namespace

TEST_CASE(
    "transaction functions: one is found by its name, and gets the connection and the payload") {
  dtm::TransactionFunctions functions;
  const std::string pay = dtm::kInTransactionPrefix + std::string("Pay");
  int connection = 0;  // only its address counts
  sqlite3* const db = reinterpret_cast<sqlite3*>(&connection);
  functions.Register(pay, [db](sqlite3* given, const std::string& payload, const dtm::Caller&) {
    CHECK(given == db);
    return Result{Result::Kind::kSuccess, payload};
  });
  CHECK(functions.Run(CallOf(pay), db).text == "7");
  const Result no_sql = functions.Run(CallOf(pay), nullptr);
  CHECK(no_sql.kind == Result::Kind::kError);
  CHECK_THAT(no_sql.text, ContainsSubstring("the store has no SQL"));
  const Result missing = functions.Run(CallOf(pay + "2"), db);
  CHECK(missing.no_handler);
  CHECK_THAT(missing.text, ContainsSubstring("Pay2"));
}

TEST_CASE("transaction functions: a name is needed, and taken once") {
  dtm::TransactionFunctions functions;
  const auto nothing = [](sqlite3*, const std::string&, const dtm::Caller&) {
    return Result::Success();
  };
  CHECK_THROWS_AS(functions.Register(dtm::kInTransactionPrefix, nothing), dtm::LogicError);
  const std::string pay = dtm::kInTransactionPrefix + std::string("Pay");
  functions.Register(pay, nothing);
  CHECK_THROWS_WITH(functions.Register(pay, nothing), ContainsSubstring("registered already"));
}
