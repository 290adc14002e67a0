/// The record: branch ids (protocol §1), the rows of a saga (§4.1), same content (design §6).
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/transaction.hpp>

using dtm::Definition;
using dtm::Op;

namespace {

Definition Transfer() {
  Definition saga;
  saga.gid = "g";
  saga.steps = {{"http://a/Out", "http://a/OutCom", "30"}, {"local:In", "", "31"}};
  saga.concurrent = true;
  saga.orders = {{1, {0}}};
  return saga;
}

}  // namespace

TEST_CASE("transaction: rows are compensation and action of each step") {
  const Definition saga = Transfer();
  CHECK(dtm::CompensateOf(0) == 0);
  CHECK(dtm::ActionOf(0) == 1);
  CHECK(dtm::CompensateOf(7) == 14);
  CHECK(dtm::ActionOf(7) == 15);
  for (std::size_t row = 0; row < 10; ++row) {
    CHECK(dtm::StepOf(dtm::TransType::kSaga, row) == row / 2);
    CHECK(dtm::OpOf(dtm::TransType::kSaga, row) == (row % 2 == 0 ? Op::kCompensate : Op::kAction));
  }
  CHECK(UrlOf(saga, 0) == "http://a/OutCom");
  CHECK(UrlOf(saga, 1) == "http://a/Out");
  CHECK(UrlOf(saga, 2).empty());
  CHECK(UrlOf(saga, 3) == "local:In");
  CHECK(PayloadOf(saga, 0) == "30");
  CHECK(PayloadOf(saga, 1) == "30");
  CHECK(PayloadOf(saga, 3) == "31");
}

TEST_CASE("transaction: branch ids have two digits and count from one, also past 99") {
  const auto id = [](std::size_t step) { return dtm::NumberOf(step); };
  CHECK(id(0) == "01");
  CHECK(dtm::NumberOf(0) == "01");
  CHECK(id(8) == "09");
  CHECK(id(9) == "10");
  CHECK(id(98) == "99");
  CHECK(id(99) == "100");
  CHECK(id(999) == "1000");
}

TEST_CASE("transaction: for whom a branch is called") {
  const dtm::BranchInfo info = InfoOf(Transfer(), 2);
  CHECK(info.gid == "g");
  CHECK(info.trans_type == dtm::TransType::kSaga);
  CHECK(info.branch_id == "02");
  CHECK(info.op == Op::kCompensate);
}

TEST_CASE("transaction: local functions by their prefix") {
  CHECK(dtm::IsLocal("local:In"));
  CHECK(dtm::IsLocal("local:"));
  for (const char* url : {"", "local", "Local:In", " local:In", "http://local:80/"}) {
    CHECK_FALSE(dtm::IsLocal(url));
  }
}

TEST_CASE("transaction: same content is type, steps, payloads, concurrency and orders") {
  const Definition saga = Transfer();
  CHECK(SameContent(saga, Transfer()));
  std::vector<Definition> others(9, saga);
  others[0].gid = "h";
  others[1].type = dtm::TransType::kMsg;
  others[2].steps[0].action = "http://b/Out";
  others[3].steps[1].compensate = "local:InCom";
  others[4].steps[1].payload = "32";
  others[5].steps.pop_back();
  others[6].steps.push_back(others[6].steps[0]);
  others[7].concurrent = false;
  others[8].orders.clear();
  for (std::size_t i = 0; i < others.size(); ++i) {
    CAPTURE(i);
    CHECK_FALSE(SameContent(saga, others[i]));
    CHECK_FALSE(SameContent(others[i], saga));
  }
  Definition options = saga;
  options.options.wait_result = true;
  options.options.timeout_to_fail = std::chrono::seconds(5);
  options.options.request_timeout = std::chrono::seconds(5);
  options.options.retry_interval = std::chrono::seconds(5);
  options.options.retry_limit = 5;
  options.options.branch_headers["a"] = "b";
  CHECK(SameContent(saga, options));
}

TEST_CASE("transaction: its result") {
  dtm::Transaction t;
  t.definition = std::make_shared<const Definition>(Transfer());
  t.status = dtm::Status::kFailed;
  t.reason = "no money";
  const dtm::TransResult result = ResultOf(t);
  CHECK(result.gid == "g");
  CHECK(result.Failed());
  CHECK(result.reason == "no money");
}
