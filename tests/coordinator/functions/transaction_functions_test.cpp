/// Functions that run inside a commit, by name.
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include <dtm/coordinator/functions/transaction_functions.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;

namespace {

struct Database;

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
  auto* const db = reinterpret_cast<Database*>(&connection);
  functions.Register(pay, [db](Database* given, const std::string& payload, const dtm::Caller&) {
    CHECK(given == db);
    return Result{Result::Kind::kSuccess, payload};
  });
  CHECK(functions.Run(CallOf(pay), dtm::WorkContext(db)).text == "7");
  CHECK_THROWS_WITH(functions.Run(CallOf(pay), dtm::WorkContext()),
                    ContainsSubstring("the store has no SQL"));
  const Result missing = functions.Run(CallOf(pay + "2"), dtm::WorkContext(db));
  CHECK(missing.no_handler);
  CHECK_THAT(missing.text, ContainsSubstring("Pay2"));
}

TEST_CASE("transaction functions: a name is needed, and taken once") {
  dtm::TransactionFunctions functions;
  const auto nothing = [](Database*, const std::string&, const dtm::Caller&) {
    return Result::Success();
  };
  CHECK_THROWS_AS(functions.Register(dtm::kInTransactionPrefix, nothing), dtm::LogicError);
  const std::string pay = dtm::kInTransactionPrefix + std::string("Pay");
  functions.Register(pay, nothing);
  CHECK_THROWS_WITH(functions.Register(pay, nothing), ContainsSubstring("registered already"));
}
