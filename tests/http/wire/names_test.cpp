/// The wire names of branch calls, byte for byte.
#include <string>

#include "tests/catch.hpp"
#include <dtm/http/wire/names.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::wire::BranchMethod;
using dtm::wire::BranchTarget;
using dtm::wire::OpNamed;
using dtm::wire::TypeNamed;

TEST_CASE("who is called for joins the query") {
  const dtm::BranchInfo info{"g1", dtm::TransType::kSaga, "01", dtm::Op::kCompensate};
  const std::string query = "branch_id=01&gid=g1&op=compensate&trans_type=saga";
  CHECK(BranchTarget("/a", info) == "/a?" + query);
  CHECK(BranchTarget("/a?x=1", info) == "/a?x=1&" + query);
  CHECK(BranchTarget("/a?", info) == "/a?" + query);
  CHECK(BranchTarget("/a?x=1&", info) == "/a?x=1&" + query);

  const dtm::BranchInfo hostile{"a&op=action#\r\n", dtm::TransType::kMsg, "0 1", dtm::Op::kAction};
  CHECK(BranchTarget("/", hostile) ==
        "/?branch_id=0%201&gid=a%26op%3Daction%23%0D%0A&op=action&trans_type=msg");
}

TEST_CASE("no payload is a GET, but for xa") {
  CHECK(BranchMethod(dtm::TransType::kSaga, "") == std::string("GET"));
  CHECK(BranchMethod(dtm::TransType::kSaga, "null") == std::string("POST"));
  CHECK(BranchMethod(dtm::TransType::kXa, "") == std::string("POST"));
}

TEST_CASE("types and ops by name") {
  for (const auto type : {dtm::TransType::kSaga, dtm::TransType::kMsg, dtm::TransType::kTcc,
                          dtm::TransType::kXa, dtm::TransType::kWorkflow}) {
    CHECK(TypeNamed(dtm::Name(type)) == type);
  }
  for (const char* name : {"", "Saga", "saga ", "sagas", "unknown"}) {
    CHECK_THROWS_WITH(TypeNamed(name), ContainsSubstring("trans_type '" + std::string(name)));
  }
  for (const auto op :
       {dtm::Op::kAction, dtm::Op::kCompensate, dtm::Op::kTry, dtm::Op::kConfirm, dtm::Op::kCancel,
        dtm::Op::kCommit, dtm::Op::kRollback, dtm::Op::kMsg, dtm::Op::kBusiness}) {
    CHECK(OpNamed(dtm::Name(op)) == op);
  }
  for (const char* name : {"", "Action", "trying", "resume", "unknown"}) {
    CHECK_THROWS_WITH(OpNamed(name), ContainsSubstring("op '" + std::string(name)));
  }
}
