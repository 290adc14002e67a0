/// docs/http_api.md as a table: every endpoint and method, and what a repeat means in every status.
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_client.hpp"
#include <dtm/base/version.hpp>

using dtm_test::Api;
using dtm_test::CheckRows;
using dtm_test::Get;
using dtm_test::Json;
using dtm_test::kDone;
using dtm_test::kNotFound;
using dtm_test::Post;
using dtm_test::Request;
using dtm_test::Row;
using dtm_test::Saga;
using dtm_test::Step;

namespace {

const std::string kWait = R"(,"wait_result":true)";

std::string Submit(const std::string& gid, const std::string& more = {}) {
  return Post("submit", Saga(gid, more));
}
std::string Prepare(const std::string& gid, const std::string& more = {}) {
  return Post("prepare", Saga(gid, more));
}
std::string Abort(const std::string& gid, const std::string& more = {}) {
  return Post("abort", Saga(gid, more));
}
std::string OnlyGid(const std::string& path, const std::string& gid) {
  return Post(path, R"({"gid":")" + gid + R"("})");
}
std::string ForceStop(const std::string& gid) { return OnlyGid("forceStop", gid); }
/// Of branch 01.
std::string Skip(const std::string& gid, const std::string& op, const std::string& more) {
  return Post("skipBranch",
              R"({"gid":")" + gid + R"(","branch_id":"01","op":")" + op + "\"" + more + "}");
}

/// A transaction as the query shows it.
Json Shown(const Api& api, const std::string& gid) {
  return api.Ask(Get("query?gid=" + gid)).Parsed()["transaction"];
}
/// Asking with this gives the status.
std::string Query(const std::string& gid) { return Get("query?gid=" + gid); }
std::string Status(const std::string& status) {
  return R"({"branches":[*],"transaction":{*"status":")" + status + R"("*}})";
}

}  // namespace

TEST_CASE("every endpoint and method") {
  const Api api;
  const std::string pong = R"({"msg":"pong"})";
  const std::string version = R"({"version":"v)" + std::string(dtm::kVersion) + R"("})";
  const std::string gid = R"({"dtm_result":"SUCCESS","gid":"*"})";
  const std::string none = R"({"has_remaining":false,"succeed_count":0})";
  const std::string no_gid = R"({"message":"no gid specified"})";
  const std::string empty = R"({"branches":[],"transaction":null})";
  const std::string timeline =
      R"({"transaction":{*"gid":"e1"*},"branches":[*],"runs":[{"process":"*","begin_time":"2*Z"}],)"
      R"("attempts":[*],"entries":[*]})";
  const std::string no_timeline =
      R"({"transaction":null,"branches":[],"runs":[],"attempts":[],"entries":[]})";
  const std::string nodes =
      api.AtTwoNodes()
          ? R"({"nodes":[{"name":"0","url":"","app":"dtm-server","member":true,"silent_ms":*},)"
            R"({"name":"1","url":"","app":"dtm-server","member":true,"silent_ms":*}]})"
          : R"({"nodes":[{"name":"*","url":"","app":"main","member":true,"silent_ms":0,"self":true}]})";
  std::vector<Row> rows = {
      {"ping", Get("/api/ping"), 200, pong},
      {"ping by POST", Post("/api/ping", ""), 200, pong},
      {"ping by POST with a body", Post("/api/ping", "anything"), 200, pong},
      {"ping by PUT", Request("PUT", "/api/ping"), 200, pong},
      {"ping by PATCH", Request("PATCH", "/api/ping"), 200, pong},
      {"ping by DELETE", Request("DELETE", "/api/ping"), 200, pong},
      {"ping by OPTIONS", Request("OPTIONS", "/api/ping"), 200, pong},
      {"ping by HEAD", Request("HEAD", "/api/ping"), 200, ""},
      {"ping with a query", Get("/api/ping?a=b"), 200, pong},
      {"version", Get("version"), 200, version},
      {"version with a query", Get("version?x"), 200, version},
      {"newGid", Get("newGid"), 200, gid},
      {"submit", Submit("e1"), 200, kDone},
      {"prepare", Prepare("e2"), 200, kDone},
      {"abort", Abort("e2"), 200, kDone},
      {"prepare another", Prepare("e3"), 200, kDone},
      {"forceStop", ForceStop("e3"), 200, kDone},
      {"resetNextCronTime of a finished one", OnlyGid("resetNextCronTime", "e3"), 200, kDone},
      {"submit one that waits", Submit("e4", Step("http://b/wait") + kWait), 425, ""},
      {"resetNextCronTime", OnlyGid("resetNextCronTime", "e4"), 200, kDone},
      {"resetNextCronTime of none", OnlyGid("resetNextCronTime", "e5"), 400, "e5"},
      {"resetCronTime", Get("resetCronTime"), 200, none},
      {"resetCronTime by POST", Post("resetCronTime", ""), 200, none},
      {"resetCronTime in full", Get("resetCronTime?timeout=200&limit=7"), 200, none},
      {"resetCronTime, not a number", Get("resetCronTime?timeout=abc"), 400,
       R"({"message":"convert to int error: abc"})"},
      {"resetCronTime, not a count", Get("resetCronTime?limit=1x"), 400,
       R"({"message":"convert to int error: 1x"})"},
      {"query", Query("e1"), 200, Status("succeed")},
      {"query of none", Query("none"), 200, empty},
      {"query without gid", Get("query"), 400, no_gid},
      {"query with an empty gid", Get("query?gid="), 400, no_gid},
      {"query with another key", Get("query?GID=e1"), 400, no_gid},
      {"query with a semicolon", Get("query?;"), 400, no_gid},
      {"explain", Get("explain?gid=e1"), 200, R"({"text":"*e1*"})"},
      {"explain without gid", Get("explain"), 400, no_gid},
      {"timeline", Get("timeline?gid=e1"), 200, timeline},
      {"timeline of none", Get("timeline?gid=none"), 200, no_timeline},
      {"timeline without gid", Get("timeline"), 400, no_gid},
      {"nodes", Get("nodes"), 200, nodes},
      {"nodes with a query", Get("nodes?x"), 200, nodes},
      {"overview", Get("overview"), 200, R"({*"unfinished":1,*})"},
      {"all of none", Get("all?gid=none"), 200, R"({"next_position":"","transactions":null})"},
      {"branch without gid", Post("branch/x?trans_type=saga&branch_id=01&op=action", "{}"), 400,
       "gid"},
  };
  for (const char* path : {"version", "newGid", "query?gid=e1", "explain?gid=e1", "timeline?gid=e1",
                           "all", "nodes", "overview", "/api/metrics"}) {
    for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
      rows.push_back({"wrong method", Request(method, path), 404, kNotFound});
    }
    rows.push_back({"HEAD is another method", Request("HEAD", path), 404, ""});
  }
  for (const char* path :
       {"submit", "prepare", "abort", "forceStop", "resetNextCronTime", "skipBranch"}) {
    for (const char* method : {"GET", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
      rows.push_back({"wrong method", Request(method, path), 404, kNotFound});
    }
  }
  for (const char* path : {"/",
                           "/api",
                           "/api/",
                           "/api/dtmsvr",
                           "/api/dtmsvr/",
                           "/API/ping",
                           "/api/Ping",
                           "/api/pingx",
                           "Version",
                           "versions",
                           "newgid",
                           "query/e1",
                           "ping",
                           "metrics",
                           "/version",
                           "/metrics",
                           "scanKVs",
                           "subscribes?topic=t&url=u",
                           "/api/dtmsvr/../ping",
                           "/api/./ping",
                           "//api/ping",
                           "/api//ping",
                           "version/",
                           "version%00",
                           "version%0d%0a",
                           "/admin/",
                           "/index.html",
                           "/favicon.ico",
                           "/etc/passwd",
                           "/../../etc/passwd"}) {
    rows.push_back({"unknown path", Get(path), 404, kNotFound});
  }
  for (const char* path : {"Submit", "submit/", "registerMsgBranch", "topic/t", "SUBMIT",
                           "/api/json-rpc/", "/submit", "resetCronTime/x"}) {
    rows.push_back({"unknown path", Post(path, Saga("never")), 404, kNotFound});
  }
  CheckRows(api, rows);
  const std::string a = api.Ask(Get("newGid")).Parsed()["gid"];
  const std::string b = api.Ask(Get("newGid")).Parsed()["gid"];
  CHECK(a != b);
  CHECK(a.size() == 22);
}

TEST_CASE("what a repeat means in every stored status") {
  const Api api;
  const std::string held = Step("http://b/wait", "http://b/wait", R"({"n":1})");
  const std::string other = Step("http://b/wait", "http://b/wait", R"({"n":2})");
  const std::string fails = Step("http://b/fail", "http://b/wait");
  const std::string reason = R"(,"rollback_reason":"because <of> & me")";
  const std::string why = R"(,"why":"paid by hand")";
  const std::string on_submitted =
      R"({"dtm_result":"FAILURE","message":"gid 'gid-s': current status 'submitted', cannot prepare. FAILURE","rejected":true})";
  CheckRows(
      api,
      {
          {"abort of none", Abort("a<b>&c"), 400, "a<b>&c"},
          {"forceStop of none", ForceStop("none"), 400, "none"},
          {"skipBranch of none", Skip("none", "action", why), 400, "none"},

          {"prepare", Prepare("gid-p", held), 200, kDone},
          {"it is prepared", Query("gid-p"), 200, Status("prepared")},
          {"prepared: prepare, same", Prepare("gid-p", held), 200, kDone},
          {"prepared: prepare, same but for an option",
           Prepare("gid-p", held + R"(,"retry_limit":3)"), 200, kDone},
          {"prepared: prepare, other", Prepare("gid-p", other), 409, "gid-p"},
          {"prepared: prepare, other count", Prepare("gid-p"), 409, "gid-p"},
          {"prepared: submit without steps", Submit("gid-p", R"(,"retry_interval":7)" + kWait), 425,
           ""},
          {"it is submitted", Query("gid-p"), 200, Status("submitted")},
          {"prepare another", Prepare("gid-p2", Step("http://b/ok", "http://b/wait")), 200, kDone},
          {"prepared: abort", Abort("gid-p2", reason), 200, kDone},
          {"it is failed", Query("gid-p2"), 200, Status("failed")},
          {"and another", Prepare("gid-p3", held), 200, kDone},
          {"prepared: skipBranch", Skip("gid-p3", "action", why), 409, "it is prepared"},
          {"prepared: forceStop", ForceStop("gid-p3"), 200, kDone},
          {"it is failed too", Query("gid-p3"), 200, Status("failed")},

          {"submit", Submit("gid-s", held + kWait), 425, ""},
          {"submitted: submit, same", Submit("gid-s", held), 200, kDone},
          {"submitted: same, other option", Submit("gid-s", held + R"(,"retry_limit":9)"), 200,
           kDone},
          {"submitted: same, top-level concurrent is ignored",
           Submit("gid-s", held + R"(,"concurrent":true)"), 200, kDone},
          {"submitted: same, odd custom_data is ignored",
           Submit("gid-s", held + R"(,"custom_data":"{\"x\":1}")"), 200, kDone},
          {"submitted: submit, other payload", Submit("gid-s", other), 409, "gid-s"},
          {"submitted: submit, other url", Submit("gid-s", Step("http://b/x")), 409, "gid-s"},
          {"submitted: submit, no steps", Submit("gid-s"), 409, "gid-s"},
          {"submitted: submit, concurrent",
           Submit("gid-s", held + R"(,"custom_data":"{\"concurrent\":true}")"), 409, "gid-s"},
          {"submitted: prepare, same", Prepare("gid-s", held), 409, on_submitted},
          {"submitted: prepare, other", Prepare("gid-s", other), 409, on_submitted},
          {"submitted with wait_result: abort", Abort("gid-s", reason), 425,
           "is aborting and goes on"},
          {"it is aborting", Query("gid-s"), 200, Status("aborting")},

          {"aborting: submit, same", Submit("gid-s", held), 200, kDone},
          {"aborting: submit, other", Submit("gid-s", other), 409, "gid-s"},
          {"aborting: prepare", Prepare("gid-s", held), 409, "'aborting'"},
          {"aborting: abort", Abort("gid-s"), 425, "is aborting and goes on"},
          {"aborting: resetNextCronTime", OnlyGid("resetNextCronTime", "gid-s"), 200, kDone},
          {"aborting: forceStop", ForceStop("gid-s"), 200, kDone},
          {"it was stopped", Query("gid-s"), 200, Status("failed")},
          {"a failed action", Submit("gid-s2", fails + kWait), 425, ""},
          {"it is aborting", Query("gid-s2"), 200, Status("aborting")},
          {"aborting: skipBranch, of an action", Skip("gid-s2", "action", why), 409,
           "it is aborting, and branch 01 action"},
          {"aborting: skipBranch", Skip("gid-s2", "compensate", why), 200, kDone},
          {"it is failed", Query("gid-s2"), 200, Status("failed")},
          {"submit what waits", Submit("gid-s4", held + kWait), 425, ""},
          {"skipBranch without why", Skip("gid-s4", "action", ""), 400, "say why"},
          {"skipBranch, why is blank", Skip("gid-s4", "action", R"(,"why":" ")"), 400, "say why"},
          {"skipBranch, why is a number", Skip("gid-s4", "action", R"(,"why":1)"), 400, "'why'"},
          {"skipBranch, who is a number", Skip("gid-s4", "action", R"(,"who":1)" + why), 400,
           "'who'"},
          {"skipBranch, no such op", Skip("gid-s4", "undo", why), 400, "op 'undo' is none of"},
          {"skipBranch, another op", Skip("gid-s4", "confirm", why), 400, "no branch 01 confirm"},
          {"skipBranch without op",
           Post("skipBranch", R"({"gid":"gid-s4","branch_id":"01","why":"x"})"), 400,
           "op '' is none of"},
          {"skipBranch without branch",
           Post("skipBranch", R"({"gid":"gid-s4","op":"action","why":"x"})"), 400,
           "no branch  action"},
          {"skipBranch, a number",
           Post("skipBranch", R"({"gid":"gid-s4","branch_id":1,"op":"action"})"), 400, "branch_id"},
          {"submitted: skipBranch", Skip("gid-s4", "action", R"(,"who":"ann")" + why), 200, kDone},
          {"it succeeded", Query("gid-s4"), 200, Status("succeed")},
          {"succeed: skipBranch", Skip("gid-s4", "action", why), 409, "succeed|gid-s4"},
          {"submit one more", Submit("gid-s3", held + kWait), 425, ""},
          {"submitted: forceStop", ForceStop("gid-s3"), 200, kDone},
          {"it was stopped", Query("gid-s3"), 200, Status("failed")},

          {"submit what succeeds", Submit("gid-u", Step("http://b/ok") + kWait), 200, kDone},
          {"succeed: submit, same", Submit("gid-u", Step("http://b/ok")), 200, kDone},
          {"succeed: submit, same and wait", Submit("gid-u", Step("http://b/ok") + kWait), 200,
           kDone},
          {"succeed: submit, other", Submit("gid-u", Step("http://b/no")), 409, "gid-u"},
          {"succeed: prepare", Prepare("gid-u", Step("http://b/ok")), 409, "'succeed'"},
          {"succeed: abort", Abort("gid-u"), 409, "succeed|gid-u"},
          {"succeed: forceStop", ForceStop("gid-u"), 409, "succeed|gid-u"},
          {"it succeeded", Query("gid-u"), 200, Status("succeed")},

          {"submit what fails", Submit("gid-f", Step("http://b/fail") + kWait), 409, "no money"},
          {"failed: submit, same", Submit("gid-f", Step("http://b/fail")), 409, ""},
          {"failed: submit, other", Submit("gid-f", Step("http://b/ok")), 409, "gid-f"},
          {"failed: prepare", Prepare("gid-f", Step("http://b/fail")), 409, "'failed'"},
          {"failed: abort", Abort("gid-f"), 409, "failed|gid-f"},
          {"failed: forceStop", ForceStop("gid-f"), 409, "failed|gid-f"},
          {"failed: skipBranch", Skip("gid-f", "compensate", why), 409, "failed|gid-f"},
          {"it failed", Query("gid-f"), 200, Status("failed")},
      });
  const Json promoted = Shown(api, "gid-p");
  CHECK(promoted["steps"] == Json::parse("{" + held.substr(1) + "}")["steps"]);
  CHECK(promoted["retry_interval"] == 7);
  CHECK(Shown(api, "gid-p2")["rollback_reason"] == "because <of> & me");
  CHECK(Shown(api, "gid-s")["rollback_reason"] == "because <of> & me");
  // Only what is stored has a type, and that is saga: 400 or 409, but it is not aborted.
  const int status = api.Ask(Post("abort", R"({"gid":"gid-p","trans_type":"tcc"})")).status;
  CHECK((status == 400 || status == 409));
  CHECK(Shown(api, "gid-p")["status"] == "submitted");
}
