/// A transaction as JSON: the captured bodies of protocol §11.1.
#include <chrono>

#include "tests/catch.hpp"
#include <dtm/core/transaction.hpp>
#include <dtm/http/wire/write_transaction.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::wire::EncodeTransaction;
using Seconds = std::chrono::seconds;

namespace {

/// The saga of the captured bodies; their urls are shortened there.
Definition Captured() {
  Definition saga;
  saga.gid = "g1";
  saga.steps = {{"A", "C", R"({"amount":30})"}, {"A2", "", "null"}};
  return saga;
}

}  // namespace

TEST_CASE("write transaction: the captured bodies of dtm's client, byte for byte") {
  Definition saga = Captured();
  CHECK(EncodeTransaction(saga) ==
        R"({"gid":"g1","trans_type":"saga","concurrent":false,)"
        R"("steps":[{"action":"A","compensate":"C"},{"action":"A2","compensate":""}],)"
        R"("payloads":["{\"amount\":30}","null"],"protocol":""})");
  saga.concurrent = true;
  saga.orders[1] = {0};
  CHECK(EncodeTransaction(saga) ==
        R"({"gid":"g1","trans_type":"saga",)"
        R"("custom_data":"{\"concurrent\":true,\"orders\":{\"1\":[0]}}","concurrent":true,)"
        R"("steps":[{"action":"A","compensate":"C"},{"action":"A2","compensate":""}],)"
        R"("payloads":["{\"amount\":30}","null"],"protocol":""})");
  saga.orders.clear();  // "orders" is there all the same
  CHECK_THAT(EncodeTransaction(saga),
             ContainsSubstring(R"("custom_data":"{\"concurrent\":true,\"orders\":{}}")"));
  saga.concurrent = false;  // orders without concurrency are not sent
  saga.orders[1] = {0};
  CHECK_THAT(EncodeTransaction(saga), ContainsSubstring(R"("custom_data":"{\"concurrent\":false)"));
  saga.orders.clear();
  CHECK(EncodeTransaction(saga).find("custom_data") == std::string::npos);
}

TEST_CASE("write transaction: the options that are set, in the reference's order") {
  Definition saga;
  saga.gid = "g\"1";
  CHECK(EncodeTransaction(saga) ==
        R"({"gid":"g\"1","trans_type":"saga","concurrent":false,"protocol":""})");
  saga.options.wait_result = true;
  saga.options.timeout_to_fail = Seconds(60);
  saga.options.request_timeout = Seconds(5);
  saga.options.retry_interval = Seconds(7);
  saga.options.retry_limit = 3;
  saga.options.branch_headers = {{"b", "2"}, {"a", "1"}};
  CHECK(EncodeTransaction(saga) ==
        R"({"gid":"g\"1","trans_type":"saga","wait_result":true,"timeout_to_fail":60,)"
        R"("request_timeout":5,"retry_interval":7,"branch_headers":{"a":"1","b":"2"},)"
        R"("concurrent":false,"retry_limit":3,"protocol":""})");
}
