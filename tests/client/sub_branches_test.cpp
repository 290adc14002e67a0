/// The ids of branches that an initiator makes (protocol §1), and what the answer of a direct call means.
#include <chrono>
#include <string>

#include "tests/catch.hpp"
#include <dtm/client/sub_branches.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::SubBranches;

TEST_CASE("sub branches: two digits, counted from one") {
  SubBranches branches;
  CHECK(branches.Next() == "01");
  CHECK(branches.Next() == "02");
  for (int i = 3; i < 10; ++i) branches.Next();
  CHECK(branches.Next() == "10");
}

TEST_CASE("sub branches: 99 and no more, and asking again changes nothing") {
  for (const std::string parent : {"", "02"}) {
    SubBranches branches(parent);
    for (int i = 1; i < 99; ++i) branches.Next();
    CHECK(branches.Next() == parent + "99");
    for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(branches.Next(), dtm::LogicError);
  }
}

TEST_CASE(
    "sub branches: below a branch its id comes first, level by level, up to twenty characters") {
  CHECK(SubBranches("02").Next() == "0201");
  SubBranches third("0201");
  third.Next();
  CHECK(third.Next() == "020102");
  CHECK(SubBranches(std::string(19, '0')).Next() == std::string(19, '0') + "01");
  CHECK_THROWS_WITH(SubBranches(std::string(20, '0')).Next(), ContainsSubstring("nested too deep"));
}

TEST_CASE(
    "sub branches: an answer is its body, FailureError, OngoingError, or an error that is none") {
  CHECK(dtm::BodyOf({Result::Kind::kSuccess, "the body"}, "it") == "the body");
  CHECK(dtm::BodyOf(Result::Success(), "it").empty());
  CHECK_THROWS_WITH(dtm::BodyOf(Result::Failure("no money"), "the try"),
                    "the try failed: no money");
  CHECK_THROWS_AS(dtm::BodyOf(Result::Failure("no money"), "the try"), dtm::FailureError);
  CHECK_THROWS_AS(dtm::BodyOf(Result::Ongoing("soon"), "the try"), dtm::OngoingError);
  CHECK_THROWS_WITH(dtm::BodyOf(Result::Ongoing("soon"), "the try"),
                    "the try is not finished yet: soon");
  for (const Result& open : {Result::Error("later"), Result::NotSent("later")}) {
    try {
      dtm::BodyOf(open, "the try");
      FAIL("it returned");
    } catch (const dtm::FailureError&) {
      FAIL("it is not definite");
    } catch (const dtm::OngoingError&) {
      FAIL("nobody said so");
    } catch (const dtm::Error& error) {
      CHECK(std::string(error.what()) == "the try gave no definite answer: later");
    }
  }
}

TEST_CASE("sub branches: an error carries what the branch asked for") {
  for (Result answer : {Result::Ongoing("later"), Result::Error("later")}) {
    answer.retry_after = std::chrono::seconds(60);
    try {
      (void)dtm::BodyOf(answer, "it");
      FAIL("it returned");
    } catch (const dtm::Error& error) {
      CHECK(error.retry_after == std::chrono::seconds(60));
    }
  }
}
