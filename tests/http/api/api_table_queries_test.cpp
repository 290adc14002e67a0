/// docs/http_api.md as a table: what query and all show, and the branches served here.
#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/base/error.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::Api;
using dtm_test::CheckRows;
using dtm_test::Get;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::kNotFound;
using dtm_test::Matches;
using dtm_test::Post;
using dtm_test::Request;
using dtm_test::Row;
using dtm_test::Saga;
using dtm_test::Step;

namespace {

using Names = std::vector<std::string>;

/// Submits and waits, so that it stands where it will stand.
std::string Submit(const std::string& gid, const std::string& more) {
  return Post("submit", Saga(gid, more + R"(,"wait_result":true)"));
}

Json Queried(const Api& api, const std::string& gid) {
  return api.Ask(Get("query?gid=" + gid)).Parsed();
}

Names Keys(const Json& object) {
  Names keys;
  for (const auto& item : object.items()) keys.push_back(item.key());
  return keys;
}

/// Those of the names that are keys: the keys, if they are in this order and no other is there.
Names Ordered(const Json& object, const char* names) {
  Names keys;
  std::istringstream words(names);
  for (std::string name; words >> name;) {
    if (object.contains(name)) keys.push_back(name);
  }
  return keys;
}

const char kTransactionKeys[] =
    "id create_time update_time gid trans_type steps payloads status query_prepared protocol "
    "finish_time rollback_time result rollback_reason options custom_data next_cron_interval "
    "next_cron_time wait_result timeout_to_fail request_timeout retry_interval branch_headers "
    "concurrent retry_limit retry_count rollback_from last_error stuck";
const char kBranchKeys[] =
    "id create_time update_time gid url bin_data branch_id op status finish_time rollback_time";

bool IsTime(const Json& value) {
  return value.is_string() && Matches(value, "20*-*-*T*:*:*Z") && value != "1970-01-01T00:00:00Z";
}

/// The gids of a page, and whether there is a next.
std::string Page(const Json& page) {
  std::string gids;
  for (const Json& t : page["transactions"]) gids += t["gid"].get<std::string>() + " ";
  return gids + (page["next_position"] == "" ? "end" : "more");
}

}  // namespace

TEST_CASE("query shows the transaction and its branches") {
  const Api api;
  const std::string more =
      R"(,"steps":[{"action":"http://b/ok","compensate":"http://b/x?a=1&b=<2>"},)"
      R"({"action":"http://b/wait","compensate":""}],"payloads":["{\"n\":30}","\u0000\u00e9"])"
      R"(,"timeout_to_fail":86400,"request_timeout":4,"retry_interval":60,"retry_limit":5)"
      R"(,"branch_headers":{"X-Key":"canary-1"},"protocol":"http")"
      R"(,"custom_data":"{\"orders\":{\"1\":[0]},\"concurrent\":true}")"
      // What a client may not set:
      R"(,"id":99,"status":"succeed","owner":"canary-2","result":"canary-3","retry_count":77)"
      R"(,"create_time":"1970-01-01T00:00:00Z","finish_time":"1970-01-01T00:00:00Z")";
  CheckRows(api, {{"submit", Submit("q1", more), 425, ""}});
  const std::string body = api.Ask(Get("query?gid=q1")).body;
  CHECK_THAT(body, !ContainsSubstring("canary"));
  CHECK_THAT(body, ContainsSubstring("a=1\\u0026b=\\u003c2\\u003e"));
  const Json shown = Json::parse(body);
  CHECK(Keys(shown) == Names{"branches", "transaction"});

  const Json& t = shown["transaction"];
  CHECK(Keys(t) == Ordered(t, kTransactionKeys));
  CHECK((t["id"].is_number_integer() && t["id"] != 99));
  CHECK(IsTime(t["create_time"]));
  CHECK(IsTime(t["update_time"]));
  CHECK(t["gid"] == "q1");
  CHECK(t["trans_type"] == "saga");
  CHECK(t["steps"].dump() == R"([{"action":"http://b/ok","compensate":"http://b/x?a=1&b=<2>"},)"
                             R"({"action":"http://b/wait","compensate":""}])");
  CHECK(t["payloads"] == Json({"{\"n\":30}", std::string("\0\u00e9", 3)}));
  CHECK(t["status"] == "submitted");
  CHECK(t["protocol"] == "http");
  CHECK(t["custom_data"] == R"({"orders":{"1":[0]},"concurrent":true})");  // byte for byte
  CHECK(t["next_cron_interval"] == 60);
  CHECK(IsTime(t["next_cron_time"]));
  CHECK(t["retry_count"] == 1);  // ONGOING counts against the limit
  for (const char* absent :
       {"finish_time", "rollback_time", "result", "rollback_reason", "query_prepared"}) {
    CHECK(!t.contains(absent));
  }
  const Json options = Json::parse(t["options"].get<std::string>());
  CHECK(options["concurrent"].is_boolean());
  for (const Json* o : {&t, &options}) {  // twice: as a string, and exploded
    CHECK((*o)["wait_result"] == true);
    CHECK((*o)["timeout_to_fail"] == 86400);
    CHECK((*o)["request_timeout"] == 4);
    CHECK((*o)["retry_interval"] == 60);
    CHECK((*o)["retry_limit"] == 5);
    CHECK((*o)["branch_headers"].dump() == R"({"X-Key":"***"})");
    CHECK((*o)["concurrent"] == options["concurrent"]);
  }

  struct Branch {
    const char *id, *op, *url, *data, *status;
  };
  const Branch rows[] = {
      {"01", "compensate", "http://b/x?a=1&b=<2>", "eyJuIjozMH0=", "prepared"},
      {"01", "action", "http://b/ok", "eyJuIjozMH0=", "succeed"},
      {"02", "compensate", "", "AMOp", "prepared"},
      {"02", "action", "http://b/wait", "AMOp", "prepared"},
  };
  REQUIRE(shown["branches"].size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& b = shown["branches"][i];
    CHECK(Keys(b) == Ordered(b, kBranchKeys));
    CHECK(b["id"].is_number_integer());
    CHECK(IsTime(b["create_time"]));
    CHECK(IsTime(b["update_time"]));
    CHECK(b["gid"] == "q1");
    CHECK(b.value("url", "") == rows[i].url);
    CHECK(b["bin_data"] == rows[i].data);
    CHECK(b["branch_id"] == rows[i].id);
    CHECK(b["op"] == rows[i].op);
    CHECK(b["status"] == rows[i].status);
    CHECK(b.contains("finish_time") == (b["status"] == "succeed"));
    if (b.contains("finish_time")) CHECK(b["finish_time"] == b["update_time"]);
  }
}

TEST_CASE("query shows how a transaction ended, and leaves out what is empty") {
  const Api api;
  CheckRows(api, {{"nothing to do", Post("submit", Saga("q<2>")), 200, kDone},
                  {"fails", Submit("q3", Step("http://b/fail", "", "")), 409, "no money"},
                  {"prepare", Post("prepare", Saga("q4")), 200, kDone}});
  const Json none = Queried(api, "q%3C2%3E");
  CHECK(none["branches"] == Json::array());
  const Json& done = none["transaction"];
  CHECK(done["gid"] == "q<2>");
  CHECK(IsTime(done["finish_time"]));
  CHECK(done["concurrent"] == false);
  CHECK(done["options"] == R"({"concurrent":false})");
  for (const char* absent :
       {"rollback_time", "rollback_reason", "next_cron_time", "custom_data", "wait_result",
        "timeout_to_fail", "request_timeout", "retry_interval", "branch_headers", "retry_limit",
        "retry_count", "result", "query_prepared", "steps", "payloads"}) {
    INFO(absent);
    CHECK(!done.contains(absent));
  }
  const Json failed = Queried(api, "q3")["transaction"];
  CHECK(IsTime(failed["rollback_time"]));
  CHECK(failed["rollback_reason"] == "no money");
  CHECK(failed["rollback_from"] == "branch 01 action http://b/fail");
  CHECK_THAT(failed["last_error"].get<std::string>(),
             ContainsSubstring("branch 01 action http://b/fail answered FAILURE: no money"));
  CHECK(!failed.contains("finish_time"));
  CHECK(!failed.contains("next_cron_time"));
  CHECK(Queried(api, "q3")["branches"][1]["status"] == "failed");
  CHECK(IsTime(Queried(api, "q3")["branches"][1]["finish_time"]));
  CHECK(!Queried(api, "q4")["transaction"].contains("next_cron_time"));
}

TEST_CASE("all lists the newest first, in pages") {
  const Api api;
  const std::string none = R"({"next_position":"","transactions":[]})";
  CheckRows(api, {
                     {"nothing yet", Get("all"), 200, none},
                     {"l1", Post("prepare", Saga("l1")), 200, kDone},
                     {"l2", Submit("l2", Step("http://b/wait")), 425, ""},
                     {"l3", Submit("l3", Step("http://b/ok")), 200, kDone},
                     {"l4", Submit("l4", Step("http://b/fail")), 409, "no money"},
                     {"l5", Submit("l5", Step("http://b/ok")), 200, kDone},
                 });
  struct Case {
    const char* query;
    const char* page;
  };
  const Case cases[] = {
      {"all", "l5 l4 l3 l2 l1 end"},
      {"all?x=1&y", "l5 l4 l3 l2 l1 end"},
      {"all?limit=1000", "l5 l4 l3 l2 l1 end"},
      {"all?limit=6", "l5 l4 l3 l2 l1 end"},
      {"all?limit=%2B4", "l5 l4 l3 l2 more"},
      {"all?limit=1", "l5 more"},
      {"all?status=succeed", "l5 l3 end"},
      {"all?status=succeed&limit=1", "l5 more"},
      {"all?status=prepared", "l1 end"},
      {"all?status=submitted&transType=saga", "l2 end"},
      {"all?status=failed", "l4 end"},
      {"all?transType=saga&limit=2", "l5 l4 more"},
      {"all?createTimeStart=1000&createTimeEnd=9999999999999", "l5 l4 l3 l2 l1 end"},
      {"all?createTimeStart=-1", "l5 l4 l3 l2 l1 end"},
      {"all?gid=l3", "l3 end"},
      {"all?short=1&limit=3", "l5 l4 l3 more"},
      {"all?unfinished=1", "l2 l1 end"},
      {"all?unfinished=1&status=prepared", "l1 end"},
      {"all?gidPrefix=l3", "l3 end"},
      {"all?gidPrefix=l&limit=2", "l5 l4 more"},
      {"all?gidPrefix=none", "end"},
      {"all?stuck=1", "end"},
      {"all?gid=l3&limit=1", "l3 end"},
  };
  for (const Case& c : cases) {
    INFO(c.query);
    CHECK(Page(api.Ask(Get(c.query)).Parsed()) == c.page);
  }
  // From page to page; the last one is full, so an empty one follows it.
  std::string position;
  for (const char* gid : {"l5", "l4", "l3", "l2", "l1"}) {
    const Json page = api.Ask(Get("all?limit=1&position=" + position)).Parsed();
    CHECK(Page(page) == std::string(gid) + " more");
    CHECK(page["transactions"][0] == Queried(api, gid)["transaction"]);
    position = page["next_position"];
  }
  const auto bad_number = [](const char* query, const char* text) {
    return Row{query, Get(std::string("all?") + query + text), 400,
               R"({"message":"convert to int error: )" + std::string(text) + R"("})"};
  };
  CheckRows(api, {
                     {"behind the last", Get("all?limit=1&position=" + position), 200, none},
                     {"none aborting", Get("all?status=aborting"), 200, none},
                     {"known type", Get("all?transType=msg"), 200, none},
                     {"long ago", Get("all?createTimeStart=0&createTimeEnd=1"), 200, none},
                     {"some day", Get("all?createTimeStart=9999999999999"), 200, none},
                     {"limit 0", Get("all?limit=0"), 400, "limit"},
                     {"limit -1", Get("all?limit=-1"), 400, "limit"},
                     {"limit 1001", Get("all?limit=1001"), 400, "limit"},
                     {"huge", Get("all?limit=99999999999999999999"), 400, "limit|convert to int"},
                     {"odd position", Get("all?position=abc"), 400, "position|convert to int"},
                     {"odd status", Get("all?status=weird"), 400, "status|weird"},
                     {"status by case", Get("all?status=Succeed"), 400, "status|Succeed"},
                     {"odd type", Get("all?transType=weird"), 400, "transType|weird"},
                     bad_number("limit=", "abc"),
                     bad_number("limit=", "1.5"),
                     bad_number("limit=", "1e3"),
                     bad_number("limit=", "0x10"),
                     bad_number("limit=", "--1"),
                     bad_number("createTimeStart=", "abc"),
                     bad_number("createTimeEnd=", "5s"),
                 });
}

TEST_CASE("functions of this process are branches of a coordinator elsewhere") {
  Api api;
  if (api.AtTwoNodes()) return;  // dtm-server has no functions
  std::string seen;
  api.tm.Register<nlohmann::json>(
      "Out", [&](const nlohmann::json& payload, const dtm::BranchInfo& info) {
        seen = payload.dump() + " " + info.gid + " " + dtm::Name(info.trans_type) + " " +
               info.branch_id + " " + dtm::Name(info.op);
      });
  api.tm.Register<int>("No", [](int) { return dtm::Result::Failure("no <money>"); });
  api.tm.Register<int>("Thrown", [](int) { throw dtm::FailureError("no money"); });
  api.tm.Register<int>("Later", [](int) { return dtm::Result::Ongoing("still at it"); });
  api.tm.Register<int>("Boom", [](int) { throw std::runtime_error("the disk is on fire"); });
  api.tm.Register<int>("Odd", [](int) { throw 7; });
  const std::string info = "?gid=g&trans_type=saga&branch_id=01&op=action";
  CheckRows(
      api,
      {
          {"success", Post("branch/Out" + info, R"({"n":[1]})"), 200, kDone},
          {"failure", Post("branch/No" + info, "1"), 409, "no <money>"},
          {"failure, thrown", Post("branch/Thrown" + info, "1"), 409, "no money"},
          {"ongoing", Post("branch/Later" + info, "1"), 425, "still at it"},
          {"temporary", Post("branch/Boom" + info, "1"), 500, R"({"error":"the disk is on fire"})"},
          {"no exception", Post("branch/Odd" + info, "1"), 500, R"({"error":"*"})"},
          {"payload of another type", Post("branch/No" + info, R"("x")"), 500,
           R"({"error":"*payload*"})"},
          {"payload that is no JSON", Post("branch/No" + info, "{"), 500,
           R"({"error":"*payload*"})"},
          {"no payload", Post("branch/No" + info, ""), 500, R"({"error":"*payload*"})"},
          {"no payload, by GET", Get("branch/No" + info), 500, R"({"error":"*payload*"})"},
          {"unknown name", Post("branch/Nobody" + info, "1"), 400, "Nobody"},
          {"name by case", Post("branch/no" + info, "1"), 400, "no"},
          {"unknown name, by GET", Get("branch/Nobody" + info), 400, "Nobody"},
          {"no gid", Post("branch/No?trans_type=saga&branch_id=01&op=action", "1"), 400, "gid"},
          {"no type", Post("branch/No?gid=g&branch_id=01&op=action", "1"), 400, "trans_type"},
          {"no id", Post("branch/No?gid=g&trans_type=saga&op=action", "1"), 400, "branch_id"},
          {"no op", Post("branch/No?gid=g&trans_type=saga&branch_id=01", "1"), 400, "op"},
          {"empty gid", Post("branch/No?gid=&trans_type=saga&branch_id=01&op=action", "1"), 400,
           "gid"},
          {"odd type", Post("branch/No?gid=g&trans_type=x&branch_id=01&op=action", "1"), 400,
           "trans_type"},
          {"odd op", Post("branch/No?gid=g&trans_type=saga&branch_id=01&op=x", "1"), 400, "op"},
          {"no name", Post("branch" + info, "1"), 404, kNotFound},
          {"by PUT", Request("PUT", "branch/No" + info, "", "1"), 404, kNotFound},
          {"escaped",
           Post("branch/%4Fut?gid=g%201%26&trans_type=saga&branch_id=02"
                "&op=compensate&x=y",
                "null"),
           200, kDone},
      });
  CHECK(seen == "null g 1& saga 02 compensate");
}
