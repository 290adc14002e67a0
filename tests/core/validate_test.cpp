/// Limits and refusals (protocol §12, W22): each limit at its border, and the
/// sentence.
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/validate.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Problem;
using std::chrono::seconds;

namespace {

Definition Steps(std::size_t count) {
  Definition saga;
  saga.gid = "g";
  saga.steps.assign(count, {"http://a/b", "", "1"});
  return saga;
}

Definition With(bool concurrent, std::map<int, std::vector<int>> orders, std::size_t steps = 3) {
  Definition saga = Steps(steps);
  saga.concurrent = concurrent;
  saga.orders = std::move(orders);
  return saga;
}

}  // namespace

TEST_CASE("validate: gids") {
  const auto problem = [](const std::string& gid) {
    Definition saga = Steps(1);
    saga.gid = gid;
    return Problem(saga);
  };
  for (const char* gid : {"a", "with space", "quote'\"", "gr\xC3\xBC\xC3\x9F", "%/?#&=<>"}) {
    CAPTURE(gid);
    CHECK(problem(gid).empty());
  }
  CHECK(problem(std::string(128, 'g')).empty());
  CHECK_THAT(problem(std::string(129, 'g')), ContainsSubstring("129") && ContainsSubstring("128"));
  CHECK_THAT(problem(""), ContainsSubstring("empty"));
  for (const char* gid : {"a\nb", "a\rb", "a;b", "a\tb", "a\x1F", "a\x7F"}) {
    CAPTURE(gid);
    CHECK_THAT(problem(gid), ContainsSubstring("control character or ';'"));
    CHECK(problem(gid).find_first_of("\n\r\t") == std::string::npos);
  }
  CHECK_FALSE(problem(std::string("a\0b", 3)).empty());
  CHECK_THAT(problem("a\xFF"), ContainsSubstring("UTF-8"));
}

TEST_CASE("validate: number of steps, also none") {
  CHECK(Problem(Steps(0)).empty());
  CHECK(Problem(Steps(1000)).empty());
  CHECK_THAT(Problem(Steps(1001)), ContainsSubstring("1001 steps") && ContainsSubstring("1000"));
}

TEST_CASE("validate: urls and payloads, each at its limit") {
  for (std::string dtm::Step::*url : {&dtm::Step::action, &dtm::Step::compensate}) {
    Definition saga = Steps(2);
    saga.steps[1].*url = "http://a/" + std::string(2048 - 9, 'u');
    CHECK(Problem(saga).empty());
    saga.steps[1].*url += 'u';
    CHECK_THAT(Problem(saga), ContainsSubstring("gid 'g'") && ContainsSubstring("step 1") &&
                                  ContainsSubstring("2049") && ContainsSubstring("2048"));
    saga.steps[1].*url = "http://a/\xFF";
    CHECK_THAT(Problem(saga), ContainsSubstring("UTF-8"));
    (saga.steps[1].*url).clear();
    CHECK(Problem(saga).empty());
  }
  Definition saga = Steps(1);
  saga.steps[0].payload = std::string(256 * 1024, 'p');
  CHECK(Problem(saga).empty());
  saga.steps[0].payload += 'p';
  CHECK_THAT(Problem(saga), ContainsSubstring("payload of step 0") && ContainsSubstring("262145"));
}

TEST_CASE("validate: everything together is at most 1 MiB") {
  Definition saga = Steps(5);
  for (dtm::Step& step : saga.steps) step = {"", "", std::string(200 * 1024, 'p')};
  saga.steps[4].payload.resize(224 * 1024);
  REQUIRE(Problem(saga).empty());
  saga.steps[1].payload.resize(saga.steps[1].payload.size() - 8);
  saga.steps[0].action = "http://a/";
  CHECK_THAT(Problem(saga), ContainsSubstring("1048577") && ContainsSubstring("1048576"));
  saga.steps[0].action.clear();
  saga.steps[1].payload.resize(saga.steps[1].payload.size() + 8);
  REQUIRE(Problem(saga).empty());
  saga.options.branch_headers["h"] = "";
  CHECK_FALSE(Problem(saga).empty());
}

TEST_CASE("validate: branch headers") {
  Definition saga = Steps(1);
  std::map<std::string, std::string>& headers = saga.options.branch_headers;
  for (int i = 0; i < 32; ++i) headers["name" + std::to_string(i)] = "value";
  CHECK(Problem(saga).empty());
  headers["one-more"] = "value";
  CHECK_THAT(Problem(saga), ContainsSubstring("33 branch headers") && ContainsSubstring("32"));
  headers = {{"name", std::string(4092, 'v')}};
  CHECK(Problem(saga).empty());
  headers["name"] += 'v';
  CHECK_THAT(Problem(saga), ContainsSubstring("4097") && ContainsSubstring("4096"));
  for (const std::string& bad :
       {std::string("a\rb"), std::string("a\nb"), std::string("a\0b", 3)}) {
    headers = {{"name", bad}};
    CHECK_THAT(Problem(saga), ContainsSubstring("line break or NUL"));
    headers = {{bad, "value"}};
    CHECK_THAT(Problem(saga), ContainsSubstring("line break or NUL"));
    CHECK(Problem(saga).find_first_of(std::string("\r\n\0", 3)) == std::string::npos);
  }
}

TEST_CASE("validate: options") {
  for (seconds dtm::TransOptions::*option :
       {&dtm::TransOptions::timeout_to_fail, &dtm::TransOptions::request_timeout,
        &dtm::TransOptions::retry_interval}) {
    Definition saga = Steps(1);
    for (const int good : {0, 1, 86400}) {
      saga.options.*option = seconds(good);
      CHECK(Problem(saga).empty());
    }
    for (const int bad : {-1, 86401}) {
      saga.options.*option = seconds(bad);
      CHECK_THAT(Problem(saga),
                 ContainsSubstring(std::to_string(bad) + " s") && ContainsSubstring("86400"));
    }
    saga.options.*option = (seconds::max)();
    CHECK_FALSE(Problem(saga).empty());
    saga.options.*option = (seconds::min)();
    CHECK_FALSE(Problem(saga).empty());
  }
  Definition saga = Steps(1);
  for (const int good : {0, 1, 1000000}) {
    saga.options.retry_limit = good;
    CHECK(Problem(saga).empty());
  }
  for (const int bad : {-1, 1000001}) {
    saga.options.retry_limit = bad;
    CHECK_THAT(Problem(saga), ContainsSubstring("retry_limit is " + std::to_string(bad)));
  }
}

TEST_CASE("validate: each problem names its option") {
  Definition saga = Steps(1);
  saga.options.timeout_to_fail = seconds(-1);
  CHECK_THAT(Problem(saga), ContainsSubstring("timeout_to_fail"));
  saga = Steps(1);
  saga.options.request_timeout = seconds(-1);
  CHECK_THAT(Problem(saga), ContainsSubstring("request_timeout"));
  saga = Steps(1);
  saga.options.retry_interval = seconds(-1);
  CHECK_THAT(Problem(saga), ContainsSubstring("retry_interval"));
}

TEST_CASE("validate: branch orders") {
  CHECK(Problem(With(true, {{2, {0, 1}}})).empty());
  CHECK(Problem(With(true, {{0, {1}}, {1, {2}}})).empty());
  CHECK(Problem(With(true, {{2, {0, 0}}, {1, {}}})).empty());
  CHECK(Problem(With(false, {{2, {0}}})).empty());
  CHECK(Problem(With(true, {{1, {0}}, {2, {0}}, {3, {1, 2}}}, 4)).empty());

  for (const auto& orders : {std::map<int, std::vector<int>>{{3, {0}}},
                             {{0, {3}}},
                             {{-1, {0}}},
                             {{0, {-1}}},
                             {{2147483647, {0}}}}) {
    CHECK_THAT(Problem(With(true, orders)),
               ContainsSubstring("does not exist") && ContainsSubstring("counted from 0"));
  }
  for (const auto& orders : {std::map<int, std::vector<int>>{{1, {1}}},
                             {{0, {1}}, {1, {0}}},
                             {{0, {1}}, {1, {2}}, {2, {0}}}}) {
    CHECK_THAT(Problem(With(true, orders)), ContainsSubstring("cycle"));
  }
  // A sequential saga never starts a step before the one in front of it.
  CHECK_THAT(Problem(With(false, {{0, {1}}})), ContainsSubstring("cycle"));
  // An order of a step that is not there has nothing to wait for, but is a mistake all the same.
  CHECK_FALSE(Problem(With(true, {{7, {}}})).empty());
}

TEST_CASE("validate: branch orders have as many entries as can be looked at quickly") {
  const auto entries = [](std::size_t count) {
    std::map<int, std::vector<int>> orders = {{1, {0}}};
    orders[2].assign(count - 1, 1);
    return Problem(With(true, orders));
  };
  CHECK(entries(dtm::kMaxOrders).empty());
  CHECK_THAT(entries(dtm::kMaxOrders + 1),
             ContainsSubstring("10001") && ContainsSubstring("10000"));
}

TEST_CASE("validate: a thousand steps in a chain are checked without deep recursion") {
  std::map<int, std::vector<int>> chain;
  for (int i = 0; i < 999; ++i) chain[i] = {i + 1};
  CHECK(Problem(With(true, chain, 1000)).empty());
  chain[999] = {0};
  CHECK_THAT(Problem(With(true, chain, 1000)), ContainsSubstring("cycle"));
}

TEST_CASE("validate: only a message goes to a topic") {
  using dtm::TransType;
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    CAPTURE(Name(type));
    Definition definition = Steps(2);
    definition.type = type;
    definition.steps[1].action = "topic://T";
    const bool allowed = type == TransType::kMsg;
    CHECK(Problem(definition).empty() == allowed);
    if (!allowed)
      CHECK_THAT(Problem(definition),
                 ContainsSubstring("step 1 goes to a topic; only messages do"));
  }
}

TEST_CASE("validate: the delay of a message, at its limits") {
  Definition msg = Steps(1);
  msg.type = dtm::TransType::kMsg;
  for (const int good : {0, 1, 366 * 86400}) {
    msg.delay = seconds(good);
    CHECK(Problem(msg).empty());
  }
  for (const int bad : {-1, 366 * 86400 + 1}) {
    msg.delay = seconds(bad);
    CHECK_THAT(Problem(msg), ContainsSubstring("the delay is " + std::to_string(bad) + " s") &&
                                 ContainsSubstring("31622400"));
  }
  msg.delay = (seconds::max)();
  CHECK_FALSE(Problem(msg).empty());
  msg.delay = (seconds::min)();
  CHECK_FALSE(Problem(msg).empty());
}

TEST_CASE("validate: query_prepared, the workflow's name and its data, at their limits") {
  for (std::string Definition::*text : {&Definition::query_prepared, &Definition::workflow}) {
    Definition definition = Steps(0);
    definition.type = dtm::TransType::kWorkflow;
    definition.*text = "http://a/" + std::string(2048 - 9, 'u');
    CHECK(Problem(definition).empty());
    definition.*text += 'u';
    CHECK_THAT(Problem(definition),
               ContainsSubstring("query_prepared or the name") && ContainsSubstring("2049"));
    definition.*text = "\xFF";
    CHECK_THAT(Problem(definition), ContainsSubstring("UTF-8"));
  }
  Definition definition = Steps(0);
  definition.data = std::string(256 * 1024, 'd');
  CHECK(Problem(definition).empty());
  definition.data += 'd';
  CHECK_THAT(Problem(definition), ContainsSubstring("its data") && ContainsSubstring("262145"));
}

TEST_CASE("validate: the data counts for the whole, and a branch id has a limit") {
  Definition definition = Steps(4);
  for (dtm::Step& step : definition.steps) step = {"", "", std::string(200 * 1024, 'p')};
  definition.data = std::string(224 * 1024, 'd');
  REQUIRE(Problem(definition).empty());
  definition.data += 'd';
  CHECK_THAT(Problem(definition), ContainsSubstring("1048577"));
  Definition tcc = Steps(1);
  tcc.type = dtm::TransType::kTcc;
  tcc.steps[0].branch_id = std::string(2049, '0');
  CHECK_FALSE(Problem(tcc).empty());
  tcc.steps[0].branch_id = "\xFF";
  CHECK_THAT(Problem(tcc), ContainsSubstring("UTF-8"));
}

TEST_CASE("validate: a prepared message needs somebody to ask, others do not") {
  using dtm::TransType;
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    CAPTURE(Name(type));
    Definition definition = Steps(1);
    definition.type = type;
    CHECK(dtm::PrepareProblem(definition).empty() == (type != TransType::kMsg));
    definition.query_prepared = "http://q";
    CHECK(dtm::PrepareProblem(definition).empty());
  }
  Definition msg = Steps(1);
  msg.type = TransType::kMsg;
  CHECK_THAT(dtm::PrepareProblem(msg),
             ContainsSubstring("gid 'g'") && ContainsSubstring("query_prepared"));
  CHECK(Problem(msg).empty());  // to be submitted it needs nobody
}

TEST_CASE("validate: a url that nobody could call, of every type and in every place") {
  using dtm::TransType;
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    for (std::string dtm::Step::*url : {&dtm::Step::action, &dtm::Step::compensate}) {
      for (const char* bad : {"bank/TransIn", "http://", "http:///x", "ftp:///x", "h:80/x"}) {
        CAPTURE(Name(type), bad);
        Definition definition = Steps(2);
        definition.type = type;
        definition.steps[1].*url = bad;
        if (type == TransType::kWorkflow) {  // what was recorded is called by nobody
          CHECK(Problem(definition).empty());
        } else {
          CHECK_THAT(Problem(definition), ContainsSubstring("step 1") && ContainsSubstring(bad));
        }
        definition.steps[1].*url = "http://a/x";
        definition.query_prepared = bad;
        CHECK_THAT(Problem(definition),
                   ContainsSubstring("query_prepared") && ContainsSubstring(bad));
        if (type != TransType::kTcc && type != TransType::kXa) continue;
        dtm::Step step{"http://a", "http://a", "", "01", "", dtm::Op::kAction};
        CHECK(dtm::RegistrationProblem("g", type, step).empty());
        step.*url = bad;
        CHECK_THAT(dtm::RegistrationProblem("g", type, step), ContainsSubstring(bad));
      }
    }
  }
}

TEST_CASE("validate: a payload that no function could read, since it is nested too deeply") {
  const auto nested = [](std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  Definition saga = Steps(2);
  saga.steps[1] = {"local:F", "", nested(64)};
  CHECK(Problem(saga).empty());
  saga.steps[1].payload = nested(65);
  CHECK_THAT(Problem(saga), ContainsSubstring("gid 'g': the payload of step 1 is nested more than "
                                              "64 levels deep; no function could read it"));
  saga.steps[1] = {"http://a/b", "local:Undo", nested(65)};
  CHECK_FALSE(Problem(saga).empty());
  saga.steps[1] = {"http://a/b", "http://a/c", nested(65)};  // what services read is their business
  CHECK(Problem(saga).empty());

  Definition workflow = Steps(0);
  workflow.type = dtm::TransType::kWorkflow;
  workflow.workflow = "w";
  workflow.query_prepared = "local:w";
  workflow.data = nested(64);
  CHECK(Problem(workflow).empty());
  workflow.data = nested(65);
  CHECK_THAT(Problem(workflow), ContainsSubstring("its data is nested more than 64 levels deep"));
}
