/// The words of protocol §1, and the numbers under which they are stored.
#include <string>

#include "tests/catch.hpp"
#include <dtm/core/types.hpp>

using dtm::BranchStatus;
using dtm::Op;
using dtm::Status;
using dtm::TransType;

TEST_CASE("types: the numbers are stored and must never change") {
  CHECK(static_cast<int>(TransType::kSaga) == 1);
  CHECK(static_cast<int>(TransType::kMsg) == 2);
  CHECK(static_cast<int>(TransType::kTcc) == 3);
  CHECK(static_cast<int>(TransType::kXa) == 4);
  CHECK(static_cast<int>(TransType::kWorkflow) == 5);
  CHECK(static_cast<int>(Status::kPrepared) == 1);
  CHECK(static_cast<int>(Status::kSubmitted) == 2);
  CHECK(static_cast<int>(Status::kAborting) == 3);
  CHECK(static_cast<int>(Status::kSucceed) == 4);
  CHECK(static_cast<int>(Status::kFailed) == 5);
  CHECK(static_cast<int>(BranchStatus::kPrepared) == 1);
  CHECK(static_cast<int>(BranchStatus::kSucceed) == 2);
  CHECK(static_cast<int>(BranchStatus::kFailed) == 3);
  CHECK(static_cast<int>(Op::kAction) == 1);
  CHECK(static_cast<int>(Op::kCompensate) == 2);
}

TEST_CASE("types: dtm's own words") {
  CHECK(Name(TransType::kSaga) == std::string("saga"));
  CHECK(Name(TransType::kMsg) == std::string("msg"));
  CHECK(Name(TransType::kTcc) == std::string("tcc"));
  CHECK(Name(TransType::kXa) == std::string("xa"));
  CHECK(Name(TransType::kWorkflow) == std::string("workflow"));
  CHECK(Name(Status::kPrepared) == std::string("prepared"));
  CHECK(Name(Status::kSubmitted) == std::string("submitted"));
  CHECK(Name(Status::kAborting) == std::string("aborting"));
  CHECK(Name(Status::kSucceed) == std::string("succeed"));
  CHECK(Name(Status::kFailed) == std::string("failed"));
  CHECK(Name(BranchStatus::kPrepared) == std::string("prepared"));
  CHECK(Name(BranchStatus::kSucceed) == std::string("succeed"));
  CHECK(Name(BranchStatus::kFailed) == std::string("failed"));
  CHECK(Name(Op::kAction) == std::string("action"));
  CHECK(Name(Op::kCompensate) == std::string("compensate"));
  // A number from a damaged or newer store.
  CHECK(Name(static_cast<TransType>(99)) == std::string("unknown"));
  CHECK(Name(static_cast<Status>(99)) == std::string("unknown"));
  CHECK(Name(static_cast<BranchStatus>(99)) == std::string("unknown"));
  CHECK(Name(static_cast<Op>(99)) == std::string("unknown"));
}

TEST_CASE("types: succeed and failed are final, nothing else") {
  CHECK(IsFinal(Status::kSucceed));
  CHECK(IsFinal(Status::kFailed));
  CHECK_FALSE(IsFinal(Status::kPrepared));
  CHECK_FALSE(IsFinal(Status::kSubmitted));
  CHECK_FALSE(IsFinal(Status::kAborting));
}
