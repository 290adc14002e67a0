/// Transactions and branches as query and all show them: byte for byte, with nothing secret.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/http/wire/json_text.hpp>
#include <dtm/http/wire/stored_transaction.hpp>

using dtm::BranchStatus;
using dtm::Definition;
using dtm::Status;
using dtm::Time;
using dtm::Transaction;
using dtm::wire::BranchesJson;
using dtm::wire::JsonText;
using dtm::wire::TimeText;
using dtm::wire::TransactionJson;
using Seconds = std::chrono::seconds;

namespace {

/// 2026-11-22T07:08:07Z
constexpr std::int64_t kStart = 1795331287;

Time At(std::int64_t seconds, std::int64_t micros = 0) {
  return Time(Seconds(seconds)) + dtm::Duration(micros);
}

Definition Saga() {
  Definition saga;
  saga.gid = "s1";
  saga.steps = {{"http://h/a1", "http://h/c1", R"({"amount":30})"}};
  return saga;
}

Transaction Stored(Definition definition, Status status) {
  Transaction transaction;
  transaction.branches.resize(2 * definition.steps.size());
  transaction.definition = std::make_shared<Definition>(std::move(definition));
  transaction.status = status;
  transaction.created = At(kStart, 4500);
  transaction.due = At(kStart + 10);  // of a finished one it means nothing
  if (dtm::IsFinal(status)) transaction.finished = At(kStart + 1);
  transaction.id = 7;
  return transaction;
}

std::string Shown(const Transaction& transaction) {
  return JsonText(TransactionJson(transaction, Seconds(10)));
}

std::vector<std::string> Keys(const nlohmann::ordered_json& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys;
}

}  // namespace

TEST_CASE("stored transaction: times in UTC, without zeros at the end") {
  struct Row {
    std::int64_t seconds;
    std::int64_t micros;
    const char* text;
  };
  const Row rows[] = {
      {0, 0, "1970-01-01T00:00:00Z"},
      {kStart, 0, "2026-11-22T07:08:07Z"},
      {kStart, 4500, "2026-11-22T07:08:07.0045Z"},
      {kStart, 1, "2026-11-22T07:08:07.000001Z"},
      {kStart, 999999, "2026-11-22T07:08:07.999999Z"},
      {kStart, 100000, "2026-11-22T07:08:07.1Z"},
      {kStart, 1000000, "2026-11-22T07:08:08Z"},
      {951782400, 0, "2000-02-29T00:00:00Z"},
      {4102444799, 500000, "2099-12-31T23:59:59.5Z"},
      {-1, 0, "1969-12-31T23:59:59Z"},
      {0, -1, "1969-12-31T23:59:59.999999Z"},
      {-1, -250000, "1969-12-31T23:59:58.75Z"},
  };
  for (const Row& row : rows) CHECK(TimeText(At(row.seconds, row.micros)) == row.text);
}

TEST_CASE("stored transaction: a transaction in every status, byte for byte") {
  const std::string begin = R"({"id":7,"create_time":"2026-11-22T07:08:07.0045Z","update_time":)";
  const std::string what =
      R"("gid":"s1","trans_type":"saga","steps":[{"action":"http://h/a1","compensate":"http://h/c1"}],)"
      R"("payloads":["{\"amount\":30}"],)";
  const std::string options = R"("options":"{\"concurrent\":false}","next_cron_interval":10)";
  const std::string next = R"(,"next_cron_time":"2026-11-22T07:08:17Z")";
  const std::string end = R"(,"concurrent":false})";
  const std::string created = "\"2026-11-22T07:08:07.0045Z\"";
  const std::string finished = "\"2026-11-22T07:08:08Z\"";
  struct Row {
    Status status;
    std::string text;
  };
  const Row rows[] = {
      {Status::kPrepared, begin + created + "," + what +
                              R"("status":"prepared","protocol":"http",)" + options + next + end},
      {Status::kSubmitted, begin + created + "," + what +
                               R"("status":"submitted","protocol":"http",)" + options + next + end},
      {Status::kAborting, begin + created + "," + what +
                              R"("status":"aborting","protocol":"http",)" + options + next + end},
      {Status::kSucceed, begin + finished + "," + what +
                             R"("status":"succeed","protocol":"http","finish_time":)" + finished +
                             "," + options + end},
      {Status::kFailed, begin + finished + "," + what +
                            R"("status":"failed","protocol":"http","rollback_time":)" + finished +
                            "," + options + end},
  };
  for (const Row& row : rows) CHECK(Shown(Stored(Saga(), row.status)) == row.text);

  Transaction changed = Stored(Saga(), Status::kSubmitted);
  changed.updated = At(kStart + 1);
  CHECK(Shown(changed) == begin + finished + "," + what +
                              R"("status":"submitted","protocol":"http",)" + options + next + end);

  Transaction waits = Stored(Saga(), Status::kPrepared);
  waits.due = dtm::kNever;  // nothing tries it by itself
  CHECK(Shown(waits) ==
        begin + created + "," + what + R"("status":"prepared","protocol":"http",)" + options + end);
}

TEST_CASE("stored transaction: every field, in the order of the reference") {
  Definition saga = Saga();
  saga.concurrent = true;
  saga.steps.push_back({"", "", ""});
  saga.orders[1] = {0};
  saga.options.wait_result = true;
  saga.options.timeout_to_fail = Seconds(60);
  saga.options.request_timeout = Seconds(5);
  saga.options.retry_interval = Seconds(7);
  saga.options.retry_limit = 3;
  saga.options.branch_headers = {{"Authorization", "Bearer secret"}, {"x", ""}};
  Transaction transaction = Stored(saga, Status::kAborting);
  transaction.reason = "<no> money";
  transaction.retry_count = 2;
  transaction.reason_from = 2;
  transaction.last_error = "reset";
  saga.query_prepared = "http://h/asked";
  transaction.definition = std::make_shared<Definition>(saga);
  const auto json = TransactionJson(transaction, Seconds(10));
  CHECK(Keys(json) == std::vector<std::string>{"id",
                                               "create_time",
                                               "update_time",
                                               "gid",
                                               "trans_type",
                                               "steps",
                                               "payloads",
                                               "status",
                                               "query_prepared",
                                               "protocol",
                                               "rollback_reason",
                                               "options",
                                               "custom_data",
                                               "next_cron_interval",
                                               "next_cron_time",
                                               "wait_result",
                                               "timeout_to_fail",
                                               "request_timeout",
                                               "retry_interval",
                                               "branch_headers",
                                               "concurrent",
                                               "retry_limit",
                                               "retry_count",
                                               "rollback_from",
                                               "last_error"});
  transaction.stuck = true;
  CHECK_FALSE(TransactionJson(transaction, Seconds(10)).contains("stuck"));  // it has a next try
  transaction.due = dtm::kNever;
  CHECK(TransactionJson(transaction, Seconds(10))["stuck"] == true);
  CHECK(json["rollback_from"] == "branch 01 action http://h/a1");
  CHECK(json["last_error"] == "reset");
  CHECK(json["query_prepared"] == "http://h/asked");
  CHECK(json["options"] ==
        R"({"wait_result":true,"timeout_to_fail":60,"request_timeout":5,"retry_interval":7,)"
        R"("branch_headers":{"Authorization":"***","x":"***"},"concurrent":true,"retry_limit":3})");
  CHECK(json["custom_data"] == R"({"concurrent":true,"orders":{"1":[0]}})");
  CHECK(json["payloads"] == nlohmann::ordered_json::parse(R"(["{\"amount\":30}",""])"));
  CHECK(json["next_cron_interval"] == 10);  // what it has come to is the caller's
  CHECK(json["retry_count"] == 2);
  const std::string text = JsonText(json);
  CHECK(text.find("secret") == std::string::npos);
  CHECK(text.find(R"("rollback_reason":"\u003cno\u003e money")") != std::string::npos);
}

TEST_CASE("stored transaction: empty and zero fields are left out") {
  Definition empty;
  empty.gid = "e";
  Transaction transaction = Stored(empty, Status::kSubmitted);
  transaction.id = 0;
  const auto json = TransactionJson(transaction, Seconds(10));
  CHECK(Keys(json) == std::vector<std::string>{"id", "create_time", "update_time", "gid",
                                               "trans_type", "status", "protocol", "options",
                                               "next_cron_interval", "next_cron_time",
                                               "concurrent"});
  CHECK(json["id"] == 0);
  CHECK(json["update_time"] == json["create_time"]);
  CHECK(json["concurrent"] == false);
  CHECK(BranchesJson(transaction).dump() == "[]");
}

TEST_CASE("stored transaction: an interval below a second is zero seconds, and left out") {
  CHECK(TransactionJson(Stored(Saga(), Status::kSubmitted), std::chrono::milliseconds(500))
            .count("next_cron_interval") == 0);
  CHECK(TransactionJson(Stored(Saga(), Status::kSubmitted),
                        std::chrono::milliseconds(1500))["next_cron_interval"] == 1);
}

TEST_CASE("stored transaction: branches in the order compensate, action, byte for byte") {
  Definition saga = Saga();
  saga.steps.push_back({"", "http://h/c2?a=1&b=<2>", std::string("\0\xFF", 2)});
  Transaction transaction = Stored(saga, Status::kAborting);
  transaction.branches[1].status = BranchStatus::kSucceed;
  transaction.branches[1].finished = At(kStart + 1);
  transaction.branches[3].status = BranchStatus::kFailed;
  transaction.branches[3].finished = At(kStart + 2);
  const std::string created = R"("2026-11-22T07:08:07.0045Z")";
  const auto head_at = [&](const std::string& updated) {
    return R"({"id":0,"create_time":)" + created + R"(,"update_time":)" + updated +
           R"(,"gid":"s1",)";
  };
  const std::string head = head_at(created);
  const std::string first = R"("2026-11-22T07:08:08Z")", second = R"("2026-11-22T07:08:09Z")";
  CHECK(JsonText(BranchesJson(transaction)) ==
        "[" + head +
            R"("url":"http://h/c1","bin_data":"eyJhbW91bnQiOjMwfQ==","branch_id":"01",)"
            R"("op":"compensate","status":"prepared"},)" +
            head_at(first) +
            R"("url":"http://h/a1","bin_data":"eyJhbW91bnQiOjMwfQ==","branch_id":"01",)"
            R"("op":"action","status":"succeed","finish_time":)" +
            first + "}," + head +
            R"("url":"http://h/c2?a=1\u0026b=\u003c2\u003e","bin_data":"AP8=","branch_id":"02",)"
            R"("op":"compensate","status":"prepared"},)" +
            head_at(second) +
            R"("bin_data":"AP8=","branch_id":"02","op":"action","status":"failed","finish_time":)" +
            second + "}]");
}

TEST_CASE("stored transaction: hundred steps, and a record that cannot be read") {
  Definition saga = Saga();
  saga.steps.resize(100);
  const auto branches = BranchesJson(Stored(saga, Status::kSubmitted));
  REQUIRE(branches.size() == 200);
  CHECK(branches[198]["branch_id"] == "100");
  CHECK(branches[17]["branch_id"] == "09");
  CHECK(branches[18]["op"] == "compensate");
  CHECK(branches[19]["op"] == "action");

  Definition damaged;  // as the store gives it
  damaged.gid = "d";
  Transaction transaction = Stored(damaged, Status::kSubmitted);
  transaction.branches.clear();
  transaction.unreadable = true;
  CHECK(BranchesJson(transaction).empty());
  CHECK(TransactionJson(transaction, Seconds(10))["gid"] == "d");
}
