/// Typed functions: payloads, forms of functions, what they may return and throw.
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include "tests/support/nested.hpp"
#include <dtm/coordinator/functions/typed_function.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::BranchCall;
using dtm::BranchInfo;
using dtm::CatchAsResult;
using dtm::EraseType;
using dtm::Result;

namespace {

struct Transfer {
  int amount;
};
void from_json(const nlohmann::json& json, Transfer& transfer) {
  json.at("amount").get_to(transfer.amount);
}

const BranchInfo kInfo = {"g1", dtm::TransType::kSaga, "01", dtm::Op::kCompensate};
const dtm::Caller kCaller(kInfo);

}  // namespace

TEST_CASE("typed functions: the payload arrives, nothing returned is success") {
  int got = 0;
  const auto function = EraseType<Transfer>([&got](const Transfer& t) { got = t.amount; });
  CHECK(function(R"({"amount":30})", kCaller).kind == Result::Kind::kSuccess);
  CHECK(got == 30);
}

TEST_CASE("typed functions: any type nlohmann can read; the info says for whom it is called") {
  std::vector<std::string> seen;
  const auto function = EraseType<std::vector<int>>(
      [&seen](const std::vector<int>& numbers, const BranchInfo& info) -> Result {
        seen = {info.gid, info.branch_id, dtm::Name(info.op), dtm::Name(info.trans_type)};
        return numbers.size() == 3 ? Result::Ongoing("soon") : Result::Failure("few");
      });
  const Result result = function("[1,2,3]", kCaller);
  CHECK(result.kind == Result::Kind::kOngoing);
  CHECK(result.text == "soon");
  CHECK(seen == std::vector<std::string>{"g1", "01", "compensate", "saga"});
  CHECK(function("[]", kCaller).kind == Result::Kind::kFailure);
}

TEST_CASE("typed functions: a payload of another form is a temporary error, not called") {
  bool called = false;
  const auto function = EraseType<Transfer>([&called](const Transfer&) { called = true; });
  for (const char* payload : {"", "{", "[]", R"({"amount":"x"})", R"({"sum":1})"}) {
    CAPTURE(payload);
    const Result result = CatchAsResult([&] { return function(payload, kCaller); });
    CHECK(result.kind == Result::Kind::kError);
    CHECK_THAT(result.text, ContainsSubstring("payload"));
  }
  CHECK(!called);
}

TEST_CASE("typed functions: a payload that is nested deeply is a temporary error, not called") {
  const auto function = EraseType<nlohmann::json>([](const nlohmann::json&) {});
  const auto kind = [&](std::size_t levels) {
    return CatchAsResult([&] { return function(dtm_test::Nested(levels), kCaller); }).kind;
  };
  CHECK(kind(64) == Result::Kind::kSuccess);
  CHECK(kind(65) == Result::Kind::kError);
  CHECK(kind(dtm_test::kCrashing) == Result::Kind::kError);
}

TEST_CASE("typed functions: what nlohmann throws inside the function is the function's error") {
  const auto function = EraseType<Transfer>([](const Transfer&) -> Result {
    return Result::Failure(nlohmann::json::parse("not json").dump());
  });
  const Result result = CatchAsResult([&] { return function(R"({"amount":1})", kCaller); });
  CHECK(result.kind == Result::Kind::kError);
  CHECK(result.text.find("payload") == std::string::npos);
}

TEST_CASE("typed functions: captures that can only be moved") {
  auto sum = std::make_unique<int>(0);
  const int* const seen = sum.get();
  const dtm::BranchFunction function =
      EraseType<Transfer>([sum = std::move(sum)](const Transfer& t) { *sum += t.amount; });
  const dtm::BranchFunction copy = function;  // NOLINT(performance-unnecessary-copy-initialization)
  CHECK(function(R"({"amount":30})", kCaller).kind == Result::Kind::kSuccess);
  CHECK(copy(R"({"amount":12})", kCaller).kind == Result::Kind::kSuccess);
  CHECK(*seen == 42);

  auto times = std::make_unique<int>(0);
  const int* const called = times.get();
  const dtm::TransactionFunction in_commit = dtm::EraseTransactionType<Transfer>(
      [times = std::move(times)](const dtm::WorkContext&, const Transfer&, const BranchInfo& info) {
        if (info.gid == "g1") ++*times;
      });
  CHECK(in_commit(dtm::WorkContext(), R"({"amount":30})", kCaller).kind == Result::Kind::kSuccess);
  CHECK(*called == 1);
}

TEST_CASE("typed functions: an empty function stays empty, so that it can be refused") {
  using Typed = std::function<void(const Transfer&)>;
  CHECK_FALSE(EraseType<Transfer>(Typed()));
  CHECK_FALSE(EraseType<Transfer>(static_cast<void (*)(const Transfer&)>(nullptr)));
  CHECK(EraseType<Transfer>(Typed([](const Transfer&) {})));
  using InCommit = std::function<void(struct Database*, const Transfer&)>;
  CHECK_FALSE(dtm::EraseTransactionType<Transfer>(InCommit()));
}
