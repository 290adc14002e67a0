/// A transaction from JSON: what is read, that it is what was written, and what is refused.
#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/limits.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/read_transaction.hpp>
#include <dtm/http/wire/write_transaction.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::BadInput;
using dtm::CleanGid;
using dtm::Definition;
using dtm::SameContent;
using dtm::wire::EncodeTransaction;
using Seconds = std::chrono::seconds;

namespace {

Definition Decode(const std::string& text) {
  const auto json = dtm::wire::json_input::ParseObject(text, "the body");
  return dtm::wire::DecodeTransaction(dtm::wire::json_input::Fields(json, "the transaction"));
}

/// A saga with this behind its gid and type.
std::string Body(const std::string& more) {
  return R"({"gid":"g1","trans_type":"saga")" + more + "}";
}

/// Of who decodes it, or who then submits it.
std::string Refusal(const std::string& body) {
  try {
    const std::string problem = dtm::Problem(Decode(body));
    return problem.empty() ? "it was taken" : problem;
  } catch (const BadInput& error) {
    return error.what();
  }
}

std::string Repeated(const std::string& text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += (i == 0 ? "" : ",") + text;
  return all;
}

}  // namespace

TEST_CASE("read transaction: what is encoded is decoded to the same content and options") {
  std::vector<Definition> sagas(6);
  sagas[1].steps = {{"http://h/a", "http://h/c?x=1&y=<2>", R"({"n":30})"}};
  sagas[2].steps = {{"", "", ""}, {"https://h/a", "", std::string("\0\n\"\\\x7F", 5)}};
  sagas[3].steps.resize(12, {"http://h/\xC3\xBC", "http://[::1]:8/c", "\xF0\x9F\x98\x80"});
  sagas[3].concurrent = true;
  sagas[3].orders = {{2, {0, 1}}, {10, {9, 2, 2}}, {11, {}}};
  sagas[4].concurrent = true;
  sagas[4].options.wait_result = true;
  sagas[4].options.timeout_to_fail = dtm::kMaxOptionSeconds;
  sagas[4].options.request_timeout = Seconds(1);
  sagas[4].options.retry_interval = Seconds(86400);
  sagas[4].options.retry_limit = dtm::kMaxRetryLimit;
  sagas[4].options.branch_headers = {{"Authorization", "Bearer x"}, {"Empty", ""}};
  sagas[5].steps.resize(dtm::kMaxSteps);
  for (Definition& saga : sagas) {
    saga.gid = "a 'gid' \"with\" \\ <all> & \xE2\x82\xAC";
    const std::string text = EncodeTransaction(saga);
    INFO(text.substr(0, 300));
    const Definition decoded = Decode(text);
    CHECK(SameContent(decoded, saga));
    CHECK(decoded.options.wait_result == saga.options.wait_result);
    CHECK(decoded.options.timeout_to_fail == saga.options.timeout_to_fail);
    CHECK(decoded.options.request_timeout == saga.options.request_timeout);
    CHECK(decoded.options.retry_interval == saga.options.retry_interval);
    CHECK(decoded.options.retry_limit == saga.options.retry_limit);
    CHECK(decoded.options.branch_headers == saga.options.branch_headers);
    CHECK_FALSE(decoded.prepared_first);
    CHECK(EncodeTransaction(decoded) == text);
  }
}

TEST_CASE("read transaction: gids lose the characters that the reference removes") {
  CHECK(CleanGid("a\nb\rc;d;;") == "abcd");
  CHECK(CleanGid(";\n\r").empty());
  CHECK(CleanGid(" \t\"\xC3\xBC,:") == " \t\"\xC3\xBC,:");
}

TEST_CASE("read transaction: payloads belong to steps, old data comes behind them") {
  struct Row {
    const char* more;
    std::vector<std::string> payloads;  // of the steps
  };
  const Row rows[] = {
      {"", {}},
      {R"(,"payloads":["x"])", {}},
      {R"(,"steps":[],"payloads":[])", {}},
      {R"(,"steps":null,"payloads":null)", {}},
      {R"(,"steps":[{}],"payloads":["a"])", {"a"}},
      {R"(,"steps":[{}],"payloads":[""])", {""}},
      {R"(,"steps":[{}],"payloads":[null])", {""}},
      {R"(,"steps":[null],"payloads":["a"])", {"a"}},
      {R"(,"steps":[{}],"payloads":["a","b","c"])", {"a"}},
      {R"(,"steps":[{"data":"a"},{"data":"b"}])", {"a", "b"}},
      {R"(,"steps":[{"data":"a"},{"data":""}],"payloads":["p"])", {"p", "a"}},
      {R"(,"steps":[{"data":"x"},{"data":"y"}],"payloads":["p"])", {"p", "x"}},
      {R"(,"steps":[{"DATA":"a","x":"y"}])", {"a"}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.more);
    const Definition saga = Decode(Body(row.more));
    REQUIRE(saga.steps.size() == row.payloads.size());
    for (std::size_t i = 0; i < row.payloads.size(); ++i) {
      CHECK(saga.steps[i].payload == row.payloads[i]);
    }
  }
  const Definition saga = Decode(
      Body(R"(,"steps":[{"Action":"http://h/A","COMPENSATE":"HTTPS://h"}],"payloads":["1"])"));
  CHECK(saga.steps[0].action == "http://h/A");
  CHECK(saga.steps[0].compensate == "HTTPS://h");
}

TEST_CASE("read transaction: only custom_data makes a saga concurrent") {
  const std::string steps = R"(,"steps":[{},{},{}],"payloads":["","",""])";
  const auto with = [&](const std::string& custom_data) {
    return Decode(Body(steps + R"(,"custom_data":")" + custom_data + "\""));
  };
  CHECK_FALSE(Decode(Body(steps + R"(,"concurrent":true)")).concurrent);
  CHECK_FALSE(with("").concurrent);
  CHECK_FALSE(with("{}").concurrent);
  CHECK_FALSE(with(R"({\"concurrent\":null,\"orders\":null,\"other\":[{}]})").concurrent);
  CHECK(with(R"({\"concurrent\":true})").concurrent);
  CHECK(with(R"({\"CONCURRENT\":true})").concurrent);
  const Definition saga = with(R"({\"concurrent\":true,\"orders\":{\"2\":[0,1],\"1\":[]}})");
  CHECK(saga.orders.at(2) == std::vector<int>{0, 1});
  CHECK(saga.orders.at(1).empty());
  CHECK(with(R"({\"orders\":{\"2\":[0],\"1\":null}})").orders ==
        std::map<int, std::vector<int>>{{2, {0}}});
}

TEST_CASE("read transaction: what cannot be carried out is refused, and the field is named") {
  struct Row {
    std::string body;
    const char* words;
  };
  const std::string one = R"(,"payloads":[""],"steps":)";
  const std::string three = R"(,"steps":[{},{},{}],"payloads":["","",""],"custom_data":)";
  const std::string big(dtm::kMaxPayloadBytes + 1, 'p');
  const std::string quarter = "\"" + std::string(dtm::kMaxPayloadBytes, 'p') + "\"";
  std::vector<Row> rows = {
      {"{}", "gid"},
      {R"({"trans_type":"saga"})", "gid"},
      {R"({"gid":"","trans_type":"saga"})", "gid"},
      {R"({"gid":";\n","trans_type":"saga"})", "gid"},
      {R"({"gid":null,"trans_type":"saga"})", "gid"},
      {R"({"gid":7,"trans_type":"saga"})", "'gid'"},
      {R"({"gid":"a\tb","trans_type":"saga"})", "gid 'a b'"},
      {R"({"gid":"a\u0000","trans_type":"saga"})", "gid"},
      {R"({"gid":")" + std::string(129, 'g') + R"(","trans_type":"saga"})", "128"},
      {R"({"gid":"g1"})", "trans_type"},
      {R"({"gid":"g1","trans_type":true})", "'trans_type'"},
      {R"({"gid":"g1","trans_type":"other"})", "trans_type 'other'"},
      {Body(R"(,"protocol":"grpc")"), "protocol 'grpc'"},
      {Body(R"(,"protocol":1)"), "'protocol'"},
      {Body(R"(,"wait_result":1)"), "'wait_result'"},
      {Body(R"(,"wait_result":"true")"), "'wait_result'"},
      {Body(R"(,"concurrent":"true")"), "'concurrent'"},
      {Body(R"(,"timeout_to_fail":"1")"), "'timeout_to_fail'"},
      {Body(R"(,"timeout_to_fail":-1)"), "'timeout_to_fail'"},
      {Body(R"(,"timeout_to_fail":86401)"), "'timeout_to_fail'"},
      {Body(R"(,"request_timeout":1.5)"), "'request_timeout'"},
      {Body(R"(,"retry_interval":86401)"), "'retry_interval'"},
      {Body(R"(,"retry_limit":1000001)"), "'retry_limit'"},
      {Body(R"(,"retry_limit":true)"), "'retry_limit'"},
      {Body(R"(,"branch_headers":["a"])"), "'branch_headers'"},
      {Body(R"(,"branch_headers":{"a":1})"), "'branch_headers'"},
      {Body(R"(,"branch_headers":{"":"x"})"), "branch header"},
      {Body(R"(,"branch_headers":{"a b":"x"})"), "branch header 'a b'"},
      {Body(R"(,"branch_headers":{"a":"x\r\ny: z"})"), "branch header 'a'"},
      {Body(R"(,"branch_headers":{"a":")" + std::string(4096, 'h') + "\"}"), "branch header a"},
      {Body(R"(,"query_prepared":1)"), "'query_prepared'"},
      {Body(R"(,"rollback_reason":{})"), "'rollback_reason'"},
      {Body(R"(,"req_extra":"x")"), "'req_extra'"},
      {Body(R"(,"req_extra":{"a":{}})"), "'req_extra'"},
      {Body(R"(,"steps":{})"), "'steps'"},
      {Body(one + "[7]"), "'steps'"},
      {Body(one + R"([{"action":7}])"), "'steps'"},
      {Body(one + R"([{"x":[]}])"), "'steps'"},
      {Body(R"(,"payloads":"x")"), "'payloads'"},
      {Body(R"(,"payloads":[{}])"), "'payloads'"},
      {Body(R"(,"steps":[{}])"), "1 steps but only 0 payloads"},
      {Body(R"(,"steps":[{},{"data":"x"}])"), "2 steps but only 1 payloads"},
      {Body(R"(,"steps":[)" + Repeated("{}", 1001) + R"(],"payloads":[)" + Repeated("\"\"", 1001) +
            "]"),
       "1000 steps"},
      {Body(one + R"([{"action":"local:Out"}])"), "'local:Out'"},
      {Body(one + R"([{"compensate":"local:"}])"), "'local:'"},
      {Body(one + R"([{"action":"h/a"}])"), "\"h/a\""},
      {Body(one + R"([{"compensate":"ftp:///c"}])"), "\"ftp:///c\""},
      {Body(one + R"([{"action":"http://u s@h/a"}])"), "as %XX"},
      {Body(one + R"([{"action":"http://h/)" + std::string(2048, 'u') + "\"}]"), "a url of step 0"},
      {Body(R"(,"steps":[{}],"payloads":[")" + big + "\"]"), "payload of step 0"},
      {Body(R"(,"steps":[{},{},{},{},{"action":"http://h"}],"payloads":[)" + Repeated(quarter, 4) +
            R"(,""])"),
       "the transaction has"},
  };
  for (const char* custom :
       {"x", "[]", "7", "{} {}", R"({\"concurrent\":1})", R"({\"orders\":[]})", R"({\"orders\":7})",
        R"({\"orders\":{\"x\":[0]}})", R"({\"orders\":{\"\":[0]}})", R"({\"orders\":{\"-1\":[0]}})",
        R"({\"orders\":{\"+1\":[0]}})", R"({\"orders\":{\"10000\":[0]}})",
        R"({\"orders\":{\"1\":0}})", R"({\"orders\":{\"1\":[\"0\"]}})",
        R"({\"orders\":{\"1\":[0.0]}})", R"({\"orders\":{\"1\":[-1]}})",
        R"({\"orders\":{\"1\":[null]}})", R"({\"orders\":{\"1\":[18446744073709551615]}})"}) {
    rows.push_back({Body(three + "\"" + custom + "\""), "custom_data"});
  }
  rows.push_back({Body(three + "7"), "'custom_data'"});
  for (const char* orders : {R"({\"3\":[0]})", R"({\"1\":[3]})", R"({\"1\":[1]})", R"({\"0\":[1]})",
                             R"({\"9999\":[0]})", R"({\"1\":[1000]})"}) {
    const std::string custom = R"("{\"concurrent\":)";
    rows.push_back({Body(three + custom + R"(false,\"orders\":)" + orders + "}\""), "order"});
  }
  for (const Row& row : rows) {
    INFO(row.body.substr(0, 300));
    const std::string refusal = Refusal(row.body);
    CHECK_THAT(refusal, ContainsSubstring(row.words));
    CHECK(dtm::Printable(refusal) == refusal);
  }
}

TEST_CASE("read transaction: as much as the limits allow is taken") {
  const std::string url = "http://h/" + std::string(dtm::kMaxUrlBytes - 9, 'u');
  std::string headers;
  for (std::size_t i = 10; i < 10 + dtm::kMaxHeaders; ++i) {
    headers += (i > 10 ? ",\"" : "\"") + std::to_string(i) + "\":\"" +
               std::string(dtm::kMaxHeaderBytes - 2, 'h') + "\"";
  }
  const std::string payload = "\"" + std::string(dtm::kMaxPayloadBytes, 'p') + "\"";
  const std::string begin =
      R"({"gid":")" + std::string(dtm::kMaxGidBytes, 'g') + R"(","trans_type":"saga",)" +
      R"("timeout_to_fail":86400,"request_timeout":86400,"retry_interval":86400,)" +
      R"("retry_limit":1000000,"steps":[{"action":")" + url + R"("},{},{}],"payloads":[)" +
      Repeated(payload, 3) + R"(],"branch_headers":{)" + headers;
  const Definition saga = Decode(begin + "}}");
  CHECK(saga.gid.size() == dtm::kMaxGidBytes);
  CHECK(saga.steps[0].action == url);
  CHECK(saga.steps[2].payload.size() == dtm::kMaxPayloadBytes);
  CHECK(saga.options.branch_headers.size() == dtm::kMaxHeaders);
  CHECK(saga.options.retry_limit == dtm::kMaxRetryLimit);
  CHECK_THAT(Refusal(begin + ",\"x\":\"\"}}"), ContainsSubstring("33 branch headers"));
}
