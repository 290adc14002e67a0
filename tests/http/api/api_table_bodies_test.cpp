/// docs/http_api.md as a table: "Reading a body", with every key and every type.
#include <cstddef>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include "tests/support/nested.hpp"

using dtm_test::Api;
using dtm_test::Bad;
using dtm_test::BadSaga;
using dtm_test::CheckRows;
using dtm_test::Chunked;
using dtm_test::Good;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::kNever;
using dtm_test::Post;
using dtm_test::Repeated;
using dtm_test::Row;
using dtm_test::Saga;
using dtm_test::Step;

namespace {

/// An unknown key with a value of this many levels, as `more`.
std::string Deep(std::size_t levels) { return R"(,"x":)" + dtm_test::Nested(levels); }
}  // namespace

TEST_CASE("a body that is no object of JSON is refused") {
  Api api;
  std::vector<Row> rows = {
      Bad("empty", ""),
      Bad("space", " \r\n\t"),
      Bad("cut", R"({"gid":"never-stored","trans_type":"saga")"),
      Bad("two objects", Saga(kNever) + Saga(kNever)),
      Bad("text behind", Saga(kNever) + "x"),
      Bad("a bracket behind", Saga(kNever) + "}"),
      Bad("NUL behind", Saga(kNever) + std::string(1, '\0')),
      Bad("comma at the end", R"({"gid":"never-stored","trans_type":"saga",})"),
      Bad("single quotes", "{'gid':'never-stored','trans_type':'saga'}"),
      Bad("no quotes", "{gid:\"never-stored\",trans_type:\"saga\"}"),
      Bad("comment", "/**/" + Saga(kNever)),
      Bad("form", "gid=never-stored&trans_type=saga"),
      Bad("UTF-16", std::string("\xFE\xFF\0{\0}", 6)),
      Bad("65 levels", Saga(kNever, Deep(64)), "64"),
      Bad("65 levels of objects",
          Saga(kNever, R"(,"x":)" + Repeated(R"({"y":)", 64) + "1" + Repeated("}", 64)), "64"),
      Bad("65 levels in a known key", Saga(kNever, R"(,"steps":)" + dtm_test::Nested(64))),
      Bad("half a million levels", std::string(500000, '[')),
      Bad("half a million objects", Repeated("{\"\":", 250000)),
      Bad("invalid UTF-8 in gid", Saga(kNever + "\xFF")),
      Bad("invalid UTF-8 in a payload", Saga(kNever, ",\"payloads\":[\"\xC3\"]")),
      Bad("invalid UTF-8 in an unknown value", Saga(kNever, ",\"x\":\"\xC3\x28\"")),
      Bad("invalid UTF-8 in an unknown key", Saga(kNever, ",\"\x80\":1")),
      Bad("overlong UTF-8", Saga(kNever, ",\"rollback_reason\":\"\xC0\xAF\"")),
      Bad("surrogate in UTF-8", Saga(kNever, ",\"rollback_reason\":\"\xED\xA0\x80\"")),
      Bad("lone high surrogate", Saga(kNever + R"(\ud800)")),
      Bad("lone low surrogate", Saga(kNever + R"(\udc00x)")),
      Bad("two high surrogates", Saga(kNever + R"(\ud800\ud800)")),
      Bad("raw NUL in a string", Saga(kNever + std::string(1, '\0'))),
      Bad("raw line break in a string", Saga(kNever + "\n")),
      Bad("odd escape", Saga(kNever + R"(\x41)")),
      Bad("half an escape", Saga(kNever + R"(\u12)")),
      Good("spaces around", " \r\n\t" + Saga("b1") + " \r\n\t "),
      Good("64 levels", Saga("b2", Deep(63))),
      Good("a pair of surrogates", Saga(R"(\ud83d\ude00)")),
      Good("unknown keys", Saga("b3", R"(,"x":{"gid":[1,null]},"":0,"ext_data":7,"owner":null)")),
      {"in chunks", Chunked("submit", Saga("b4"), 5), 200, kDone},
  };
  for (const char* body : {"[]", "\"x\"", "1", "true", "null", "{}", "nul", "NaN", "-", "{", "["}) {
    rows.push_back(Bad("no transaction", body));
  }
  CheckRows(api, rows);
  CHECK(api.Stored("\U0001F600"));
  CHECK(!api.Stored(kNever));
}

TEST_CASE("each key takes its type and no other") {
  Api api;
  struct Key {
    const char* name;
    const char* right;
  };
  const char text[] = R"("")";
  const char texts[] = R"({"a":"b"})";
  const Key keys[] = {{"gid", text},           {"trans_type", text},      {"steps", "[{}]"},
                      {"payloads", R"([""])"}, {"custom_data", text},     {"query_prepared", text},
                      {"protocol", text},      {"rollback_reason", text}, {"wait_result", "true"},
                      {"concurrent", "true"},  {"timeout_to_fail", "1"},  {"request_timeout", "1"},
                      {"retry_interval", "1"}, {"retry_limit", "1"},      {"branch_headers", texts},
                      {"req_extra", texts}};
  const char* values[] = {text,
                          R"("1")",
                          R"("true")",
                          "true",
                          "1",
                          "0",
                          "1.5",
                          "1.0",
                          "1e2",
                          "1e400",
                          "[]",
                          "{}",
                          R"([""])",
                          "[{}]",
                          R"([[""]])",
                          "[1]",
                          "[true]",
                          "[{},7]",
                          R"([{"action":1}])",
                          texts,
                          R"({"a":1})",
                          R"({"a":null,"b":[]})"};
  const auto kind = [](const std::string& value) {
    const Json json = Json::parse(value, nullptr, false);
    if (json.is_discarded() || json.is_number_float()) return std::string("float");
    std::string type = json.type_name();
    if (!json.is_structured()) return type;
    for (const Json& element : json) type += std::string(" ") + element.type_name();
    return type;
  };
  std::vector<Row> rows;
  for (const Key& key : keys) {
    const std::string name = key.name;
    const auto with = [&name](const std::string& gid, const std::string& value) {
      return Saga(gid, ",\"" + name + "\":" + value);
    };
    for (const std::string value : values) {
      const bool empty = value == "[]" || value == "{}";
      const bool same = kind(value) == kind(key.right) || (empty && value[0] == key.right[0]);
      if (same && value != R"([{"action":1}])") continue;
      std::string words = name == "branch_headers" ? "header" : name == "steps" ? "step" : name;
      if (value == "1e400") words.clear();
      rows.push_back(Bad(name + " " + value, with(kNever, value), words));
    }
    if (name == "gid" || name == "trans_type") {
      const std::string other =
          name == "gid" ? "\"trans_type\":\"saga\"" : "\"gid\":\"never-stored\"";
      rows.push_back(Bad(name + " null", "{" + other + ",\"" + name + "\":null}", name));
      continue;
    }
    rows.push_back(Good(name + " null", with("null-" + name, "null")));
    const std::string right = key.right + std::string(name == "steps" ? R"(,"payloads":[""])" : "");
    rows.push_back(Good(name, with("right-" + name, right)));
  }
  CheckRows(api, rows);
  CHECK(!api.Stored(kNever));
}

TEST_CASE("keys match without regard to case, and the last of equal keys counts") {
  Api api;
  CheckRows(
      api,
      {
          Good("upper case", R"({"GID":"k1","TRANS_TYPE":"saga","Retry_Interval":7})"),
          Good("mixed case",
               R"({"gId":"k2","Trans_Type":"saga","STEPS":[{"action":""}],"PayLoads":["x"]})"),
          Good("the last gid", R"({"gid":"never-stored","gid":"k3","trans_type":"saga"})"),
          Bad("twice, in another case", R"({"gid":"never-stored","trans_type":"saga","GID":"k4"})",
              "gid"),
          Good("the last steps",
               R"({"gid":"k5","trans_type":"saga","payloads":["x"],)"
               R"("steps":[{"action":"http://b/wait"}],"steps":[{"action":""}]})"),
          Good("the last integer", Saga("k6", R"(,"retry_limit":1,"retry_limit":9)")),
          Good("escaped key", R"({"\u0067id":"k7","trans_type":"saga"})"),
          Bad("the last type", R"({"gid":"never-stored","trans_type":"saga","trans_type":"x"})",
              "trans_type|x"),
          Bad("the last bad integer", Saga(kNever, R"(,"retry_limit":9,"RETRY_LIMIT":-1)"),
              "retry_limit"),
          Bad("a name with a space", R"({"gid ":"never-stored","trans_type":"saga"})", "gid"),
          Bad("a dash", R"({"gid":"never-stored","trans-type":"saga"})", "trans_type"),
      });
  for (const char* gid : {"k3", "k7"}) CHECK(api.Stored(gid));
  for (const char* gid : {"k1", "k2", "k5", "k6"}) REQUIRE(api.Stored(gid));
  CHECK(api.Shown("k1")["retry_interval"] == 7);
  CHECK(api.Shown("k2")["payloads"] == Json({"x"}));
  CHECK(api.Shown("k5")["steps"][0].value("action", "") == "");
  CHECK(api.Shown("k6")["retry_limit"] == 9);
  CHECK(!api.Stored(kNever));
}

TEST_CASE("what the values may be") {
  Api api;
  const std::string orders = R"(,"steps":[{},{},{}],"payloads":["","",""],"custom_data":)";
  const std::string rpc = R"(,"protocol":"json-rpc","steps":[{"action":"http://127.0.0.1:1/)";
  const std::string deep = R"({\"a\":)" + dtm_test::Nested(dtm_test::kCrashing) + "}";
  std::vector<Row> rows = {
      Bad("no gid", R"({"trans_type":"saga"})", "gid"),
      Bad("empty gid", Saga(""), "gid"),
      Bad("a gid of nothing but what is deleted", Saga(R"(;\n\r;)"), "gid"),
      Bad("tab in gid", Saga(kNever + R"(\t)"), "gid"),
      Bad("NUL in gid", Saga(kNever + R"(\u0000)"), "gid"),
      Bad("DEL in gid", Saga(kNever + R"(\u007f)"), "gid"),
      Good("deleted from gid", Saga(R"(v\n1;\r2)")),
      Good("quotes and spaces in gid", Saga(R"(a \"b\" 'c' % \\ / <d> é)")),
      Bad("no trans_type", R"({"gid":"never-stored"})", "trans_type"),
      BadSaga(R"(,"protocol":"grpc")", "protocol|grpc"),
      BadSaga(R"(,"protocol":"JSON-RPC")", "protocol|JSON-RPC"),
      BadSaga(R"(,"protocol":"HTTP")", "protocol|HTTP"),
      Good("protocol http", Saga("v2", R"(,"protocol":"http")")),
      Good("protocol empty", Saga("v3", R"(,"protocol":"")")),
      // What could never be called by JSON-RPC.
      BadSaga(rpc + R"(?method=x"}],"payloads":["7"])", "payload|object"),
      BadSaga(rpc + R"(?method=x"}],"payloads":["{"])", "payload|JSON"),
      BadSaga(rpc + R"(?method=x"}],"payloads":["[]"])", "payload|object"),
      BadSaga(rpc + R"(?method=x"}],"payloads":[")" + deep + R"("])", "payload|64"),
      BadSaga(rpc + R"("},{"compensate":"http://127.0.0.1:1/?method=x"}],"payloads":["7","7"])",
              "payload|object"),
      Good("no payload for JSON-RPC", Saga("r1", rpc + R"(?method=x"}],"payloads":[""])")),
      Good("no method", Saga("r2", rpc + R"("}],"payloads":["7"])")),
      // Steps and payloads.
      BadSaga(R"(,"steps":[{}])", "payload"),
      BadSaga(R"(,"steps":[{},{}],"payloads":["x"])", "payload"),
      BadSaga(R"(,"steps":[{},{"data":"x"}])", "payload"),
      BadSaga(R"(,"steps":[{"data":""}])", "payload"),
      BadSaga(R"(,"steps":[{"data":7}])", "data|steps"),
      BadSaga(R"(,"steps":[{"compensate":[]}])", "compensate|steps"),
      BadSaga(R"(,"steps":[{},null,7])", "steps"),
      Good("more payloads", Saga("v4", R"(,"steps":[{}],"payloads":["a","b","c"])")),
      Good("payloads only", Saga("v5", R"(,"payloads":["a"])")),
      Good("old data", Saga("v6", R"(,"steps":[{"data":"a"},{"data":"b"}])")),
      Good("data behind payloads", Saga("v7", R"(,"steps":[{"data":"b"},{}],"payloads":["a"])")),
      Good("unknown keys of a step", Saga("v8", R"(,"steps":[{"x":"y"}],"payloads":["a"])")),
      // custom_data.
      Good("nothing in it", Saga("c1", orders + R"("")")),
      Good("an order", Saga("c2", orders + R"("{\"concurrent\":true,\"orders\":{\"2\":[0,1]}}")")),
      Good("anything else", Saga("c3", orders + R"("{\"x\":[{}],\"delay\":10}")")),
      Good("an empty object", Saga("c4", orders + R"("{}")")),
      // Limits of numbers.
      Good("all zero", Saga("n1", R"(,"timeout_to_fail":0,"request_timeout":0,"retry_interval":0,)"
                                  R"("retry_limit":0)")),
      Good("all at the limit", Saga("n2", R"(,"timeout_to_fail":86400,"request_timeout":86400,)"
                                          R"("retry_interval":86400,"retry_limit":1000000)")),
      BadSaga(R"(,"retry_limit":1000001)", "retry_limit"),
      // Headers.
      BadSaga(R"(,"branch_headers":{"":"x"})", "header"),
      BadSaga(R"(,"branch_headers":{"a b":"x"})", "header"),
      BadSaga(R"(,"branch_headers":{"a":"x\r\ny: z"})", "header"),
      BadSaga(R"(,"branch_headers":{"a\ny":"x"})", "header"),
      BadSaga(R"(,"branch_headers":{"a":"x\u0000"})", "header"),
  };
  for (const char* type :
       {"", "x", "Saga", "SAGA", " saga", "saga\\u0000", "TCC", "msgs", "xa ", "workflows"}) {
    const std::string typed = R"({"gid":"never-stored","trans_type":")" + std::string(type) + "\"}";
    const std::string words = *type == '\0' ? "trans_type" : type + std::string("|trans_type");
    rows.push_back(Bad(typed, typed, words));
    rows.push_back({typed, Post("prepare", typed), 400, words});
  }
  for (const char* url : {"local:Out", "local:", "LOCAL:x", "ftp://b/x", "file:///etc/passwd", "b",
                          "javascript:x", "//b/x", "/x", "b:80/p.S/M", "httpx://b/", " http://b/x",
                          "http:/b", "grpc://b/x", "topic://t", "unix:/run/x"}) {
    const std::string words = std::string(url) + "|url|action|compensate|step";
    rows.push_back(BadSaga(Step(url), words));
    rows.push_back(BadSaga(Step("", url), words));
    rows.push_back({url, Post("prepare", Saga(kNever, Step(url))), 400, words});
  }
  for (const char* custom :
       {"x",
        "[]",
        "7",
        "{",
        "{} {}",
        "\\\"{}\\\"",
        R"({\"concurrent\":1})",
        R"({\"orders\":[]})",
        R"({\"concurrent\":\"true\"})",
        R"({\"orders\":{\"3\":[0]}})",
        R"({\"orders\":{\"0\":[3]}})",
        R"({\"orders\":{\"-1\":[0]}})",
        R"({\"orders\":{\"1\":[-1]}})",
        R"({\"orders\":{\"x\":[0]}})",
        R"({\"orders\":{\"1\":0}})",
        R"({\"orders\":{\"1\":[\"0\"]}})",
        R"({\"orders\":{\"1\":[0.5]}})",
        R"({\"orders\":{\"1\":[1]}})",
        R"({\"orders\":{\"99999999999999999999\":[0]}})",
        R"({\"orders\":{\"1\":[9223372036854775808]}})",
        R"({\"concurrent\":true,\"orders\":{\"0\":[1],\"1\":[2],\"2\":[0]}})"}) {
    rows.push_back(BadSaga(orders + "\"" + custom + "\"", "custom_data|order"));
  }
  for (const char* name : {"timeout_to_fail", "request_timeout", "retry_interval", "retry_limit"}) {
    for (const char* number : {"-1", "9223372036854775808", "-9223372036854775809", "4294967296",
                               "18446744073709551616", "1e5", "1000001"}) {
      rows.push_back(BadSaga(",\"" + std::string(name) + "\":" + number, name));
    }
  }
  for (const char* name : {"timeout_to_fail", "request_timeout", "retry_interval"}) {
    rows.push_back(BadSaga(",\"" + std::string(name) + "\":86401", name));
  }
  CheckRows(api, rows);
  CHECK(api.Stored("v12"));
  const auto payload = [&](const char* gid, std::size_t step) {
    return api.Shown(gid)["payloads"].at(step).get<std::string>();
  };
  CHECK(payload("v4", 0) == "a");
  CHECK(payload("v6", 1) == "b");
  CHECK(payload("v7", 0) + payload("v7", 1) == "ab");
  CHECK(Json::parse(api.Shown("c2").value("custom_data", ""))["orders"]["2"] == Json({0, 1}));
  CHECK(!api.Stored(kNever));
}

TEST_CASE("the same gid is found whatever is deleted from it") {
  const Api api;
  CheckRows(api, {{"prepare", Post("prepare", Saga(R"(d\n;1)")), 200, kDone},
                  {"submit the same", Post("submit", Saga(R"(d1;)")), 200, kDone},
                  {"abort", Post("abort", Saga(R"(;d1)")), 409, "succeed|d1"},
                  {"forceStop", Post("forceStop", R"({"gid":"d;1"})"), 409, "succeed|d1"},
                  {"wake", Post("resetNextCronTime", R"({"GID":"d\r1","x":1})"), 200, kDone},
                  {"forceStop without gid", Post("forceStop", "{}"), 400, "gid"},
                  {"forceStop, a number", Post("forceStop", R"({"gid":1})"), 400, "gid"},
                  {"forceStop, empty", Post("forceStop", ""), 400, ""},
                  {"wake without gid", Post("resetNextCronTime", R"({"gid":""})"), 400, "gid"},
                  {"abort without type", Post("abort", R"({"gid":"d1"})"), 400, "trans_type"},
                  {"abort, odd reason", Post("abort", Saga("d1", R"(,"rollback_reason":1)")), 400,
                   "rollback_reason"}});
}
