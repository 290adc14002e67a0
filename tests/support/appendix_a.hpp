/// The protocol's Appendix A as one table: what an initiator does, and what has to be seen then. Who plays it says how
/// the initiator reaches the coordinator: tests/http/appendix_a_program.hpp by the API, as a program in any language, at one
/// coordinator or at two on one store, tests/coordinator/appendix_a_test.cpp by the builders. Where an end differs from the Go server's, a comment says so.
/// Needs: Catch2, the test kit. Threads: one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/testing/scripted_branches.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace appendix_a {

using dtm::Result;
using dtm::TransType;
using std::chrono::hours;
using std::chrono::seconds;

/// A saga of two (branches a1, c1, a2, c2) or a message of two (1, 2; who is asked: q).
struct Order {
  TransType type = TransType::kSaga;
  dtm::TransOptions options{};
  bool concurrent = false;
  bool ordered = false;  ///< the second after the first
  bool empty_urls = false;
  bool old_style = false;  ///< payloads in the steps; only the API knows them
  bool to_topic = false;   ///< one step, to the topic t
  bool json_rpc = false;
  seconds delay{0};
  std::string gid = "g";
};

/// A tcc or xa. Branches are try<id>, confirm<id>, cancel<id>, or xa<id>.
struct Global {
  TransType type = TransType::kTcc;
  int branches = 2;
  bool nested = false;     ///< the try of 02 has a branch 0201 below it
  bool second_no = false;  ///< the try or action of 02 says kNo
  seconds pause{0};        ///< between 01 and 02
};
const std::string kNo = "no money FAILURE";  // as a branch says it at the Go client

/// Answers are "" (accepted), "no" (refused, or rolled back) and "ongoing" (not finished yet).
class House {
 public:
  virtual ~House() = default;
  virtual std::string Submit(const Order& order) = 0;
  virtual std::string Prepare(const Order& order) = 0;
  virtual std::string Run(const Global& global) = 0;
  virtual std::string ForceStop() = 0;
  /// Two steps, in `steps` when they run; the result, or an answer. The second is `ongoing` so many times.
  virtual std::string Workflow(int ongoing) = 0;
  /// What the coordinator calls if the workflow stopped in the middle: runs it again.
  virtual void ResumeIfAsked() = 0;
  virtual std::string Topic(const std::string& verb, const std::string& url) = 0;
  /// Tries up to `limit` of those that wait for longer than 500 s: how many, and "more" if there are.
  virtual std::string Reset(std::size_t limit) = 0;
  virtual std::string Reason() = 0;
  /// Status and rows, such as "failed S S S F".
  virtual std::string Seen() = 0;
  virtual void Pass(dtm::Duration time) = 0;
  virtual dtm::Coordinator& Tm() = 0;  ///< of several, one
  virtual dtm::testing::ScriptedBranches& Branches() = 0;

  void On(const std::string& branch, const std::vector<Result>& results) {
    for (const Result& result : results) Branches().On("http://b/" + branch, result);
  }
  /// The last parts of the urls, in the order of their calls.
  std::string Called() {
    std::string text;
    for (const std::string& url : Branches().Urls()) text += url.substr(9) + " ";
    return text;
  }

  std::string steps;
};

struct Case {
  const char* name;
  void (*play)(House& house);
};

inline Order Saga() { return {}; }
inline Order Ordered() {
  Order order;
  order.concurrent = order.ordered = true;
  return order;
}
inline Order Concurrent() {
  Order order;
  order.concurrent = true;
  return order;
}
inline Order Message() {
  Order order;
  order.type = TransType::kMsg;
  return order;
}
inline Order Waiting(int retry_limit) {
  Order order;
  order.options.wait_result = true;
  order.options.retry_limit = retry_limit;
  return order;
}
inline Order Every(int interval) {
  Order order;
  order.options.retry_interval = seconds(interval);
  return order;
}

inline const std::vector<Case>& Cases() {
  static const std::vector<Case> kCases = {
      {"a saga of two, all fine",
       [](House& house) {
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.Seen() == "succeed P S P S");
         CHECK(house.Called() == "a1 a2 ");
       }},
      {"a saga of two with empty urls",
       [](House& house) {
         Order order;
         order.empty_urls = true;
         CHECK(house.Submit(order) == "");
         CHECK(house.Seen() == "succeed P S P S");
         CHECK(house.Called() == "");
       }},
      {"the second action of a saga fails",
       [](House& house) {
         house.On("a2", {Result::Failure("no such account")});
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.Seen() == "failed S S S F");
         CHECK_THAT(house.Reason(), Catch::Matchers::ContainsSubstring("no such account"));
       }},
      {"the second action of a concurrent saga fails, after the first",
       [](House& house) {
         house.On("a2", {Result::Failure("no such account")});
         CHECK(house.Submit(Ordered()) == "");
         CHECK(house.Seen() == "failed S S S F");
         CHECK_THAT(house.Reason(), Catch::Matchers::ContainsSubstring("no such account"));
       }},
      {"the second action fails, and the first compensation errors",
       [](House& house) {
         house.On("a2", {Result::Failure("no")});
         house.On("c2", {Result::Error("boom")});
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.Seen() == "aborting P S P F");
         house.Pass(seconds(13));
         CHECK(house.Seen() == "failed S S S F");
       }},
      {"the first action of a saga is ONGOING once",
       [](House& house) {
         house.On("a1", {Result::Ongoing()});
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.Seen() == "submitted P P P P");
         house.Pass(seconds(11));
         CHECK(house.Seen() == "succeed P S P S");
       }},
      {"the first action of a concurrent saga is ONGOING once",
       [](House& house) {
         house.On("a1", {Result::Ongoing()});
         CHECK(house.Submit(Concurrent()) == "");
         CHECK(house.Seen() == "submitted P P P S");
         house.Pass(seconds(11));
         CHECK(house.Seen() == "succeed P S P S");
       }},
      {"the first action of a concurrent saga fails, and the second waits for it",
       [](House& house) {
         house.On("a1", {Result::Failure("no")});
         CHECK(house.Submit(Ordered()) == "");
         CHECK(house.Seen() == "failed S F P P");
         CHECK(house.Called() == "a1 c1 ");
       }},
      {"the time of a saga is over while its first action is ONGOING",
       [](House& house) {
         house.On("a1", std::vector<Result>(1000, Result::Ongoing()));
         Order order;
         order.options.timeout_to_fail = seconds(1800);
         CHECK(house.Submit(order) == "");
         house.Pass(seconds(1799));
         CHECK(house.Seen() == "submitted P P P P");
         house.Pass(seconds(2));
         CHECK(house.Seen() == "failed S P P P");
         CHECK(house.Reason() == "Timeout after 1800 seconds");
       }},
      {"as many errors as the limit of retries allows",
       [](House& house) {
         house.On("a2", std::vector<Result>(3, Result::Error("boom")));
         CHECK(house.Submit(Waiting(3)) == "ongoing");  // Go: tries again at once (W21)
         house.Pass(hours(1));
         CHECK(house.Seen() == "succeed P S P S");
       }},
      {"more errors than the limit of retries allows",
       [](House& house) {
         house.On("a2", std::vector<Result>(3, Result::Error("boom")));
         CHECK(house.Submit(Waiting(1)) == "ongoing");  // Go: an error at once (W21)
         house.Pass(hours(1));
         CHECK(house.Seen() == "failed S S S P");
         CHECK(house.Reason() == "RetryCount is greater than RetryLimit, RetryLimit: 1");
         CHECK(house.Submit(Waiting(1)) == "no");
       }},
      {"a saga is submitted again",
       [](House& house) {
         house.On("a1", {Result::Ongoing()});
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.Seen() == "submitted P P P P");
         house.Pass(seconds(11));
         CHECK(house.Submit(Saga()) == "");  // Go: an error; here the same again never is
         CHECK(house.Submit(Ordered()) == "no");
         CHECK(house.Called() == "a1 a1 a2 ");
       }},
      {"an error at a retry interval of 150 s",  // Go: after 2 x 150 s
       [](House& house) {
         house.On("a1", {Result::Error("boom")});
         CHECK(house.Submit(Every(150)) == "");
         house.Pass(seconds(149));
         CHECK(house.Seen() == "submitted P P P P");
         house.Pass(seconds(32));
         CHECK(house.Seen() == "succeed P S P S");
       }},
      {"ONGOING at a retry interval of 150 s",
       [](House& house) {
         house.On("a1", {Result::Ongoing()});
         CHECK(house.Submit(Every(150)) == "");
         house.Pass(seconds(149));
         CHECK(house.Seen() == "submitted P P P P");
         house.Pass(seconds(2));
         CHECK(house.Seen() == "succeed P S P S");
       }},
      {"payloads of the old style",
       [](House& house) {
         Order order;
         order.old_style = true;
         CHECK(house.Submit(order) == "");
         CHECK(house.Seen() == "succeed P S P S");
         CHECK(house.Tm().Query("g")->definition->steps[0].payload == "1");
       }},
      {"a message of two",
       [](House& house) {
         house.Branches().On("http://b/1", {{Result::Success(), seconds(1)}});
         CHECK(house.Submit(Message()) == "");
         CHECK(house.Called() == "1 ");
         house.Pass(seconds(2));
         CHECK(house.Seen() == "succeed S S");
         CHECK(house.Called() == "1 2 ");
       }},
      {"a concurrent message of two",
       [](House& house) {
         house.Branches().On("http://b/1", {{Result::Success(), seconds(1)}});
         Order order = Message();
         order.concurrent = true;
         CHECK(house.Submit(order) == "");
         CHECK(house.Called() == "1 2 ");
         house.Pass(seconds(2));
         CHECK(house.Seen() == "succeed S S");
       }},
      {"a message to a topic of two urls",
       [](House& house) {
         CHECK(house.Topic("subscribe", "http://b/1") == "");
         CHECK(house.Topic("subscribe", "http://b/2") == "");
         Order order = Message();
         order.to_topic = true;
         CHECK(house.Submit(order) == "");
         CHECK(house.Seen() == "succeed S S");
         CHECK(house.Called() == "1 2 ");
       }},
      {"a message to a topic that nobody subscribed to",
       [](House& house) {
         Order order = Message();
         order.to_topic = true;
         CHECK(house.Submit(order) == "no");
         CHECK(house.Seen() == "none");
       }},
      {"who prepared the message says ONGOING, then SUCCESS, and its second branch is ONGOING once",
       [](House& house) {
         house.On("q", {Result::Ongoing()});
         house.On("2", {Result::Ongoing()});
         CHECK(house.Prepare(Message()) == "");
         house.Pass(seconds(36));
         CHECK(house.Seen() == "prepared P P");
         house.Pass(seconds(10));
         CHECK(house.Seen() == "submitted S P");
         house.Pass(seconds(11));
         CHECK(house.Seen() == "succeed S S");
         CHECK(house.Called() == "q q 1 2 2 ");
       }},
      {"who prepared the message says FAILURE",
       [](House& house) {
         house.On("q", {Result::Failure("never was")});
         CHECK(house.Prepare(Message()) == "");
         house.Pass(hours(1));
         CHECK(house.Seen() == "failed P P");
         CHECK(house.Called() == "q ");
         CHECK(house.Submit(Message()) == "no");
       }},
      {"a message is prepared again, after its prepare and after its submit",
       [](House& house) {
         CHECK(house.Prepare(Message()) == "");
         CHECK(house.Prepare(Message()) == "");
         CHECK(house.Submit(Message()) == "");
         CHECK(house.Prepare(Message()) == "no");
         CHECK(house.Called() == "1 2 ");
       }},
      {"a message with a delay of 10 s",
       [](House& house) {
         Order order = Message();
         order.delay = seconds(10);
         CHECK(house.Submit(order) == "");
         house.Pass(seconds(8));
         CHECK(house.Seen() == "submitted P P");
         CHECK(house.Called() == "");
         house.Pass(seconds(4));
         CHECK(house.Seen() == "succeed S S");
       }},
      {"a branch of a message answers JSON-RPC errors of any code",
       [](House& house) {
         house.On("1",
                  {Result::Error("-23"), Result::Failure("-32901"), Result::Ongoing("-32902")});
         Order order = Message();
         order.json_rpc = true;
         CHECK(house.Submit(order) == "");
         CHECK(house.Seen() == "submitted P P");
         house.Pass(hours(1));
         CHECK(house.Seen() == "succeed S S");
         CHECK(house.Called() == "1 1 1 1 2 ");
       }},
      {"a tcc of two",
       [](House& house) {
         CHECK(house.Run({}) == "");
         CHECK(house.Seen() == "succeed P S P S");
         CHECK(house.Called() == "confirm02 confirm01 ");
       }},
      {"a tcc with a nested third",
       [](House& house) {
         Global global;
         global.nested = true;
         CHECK(house.Run(global) == "");
         CHECK(house.Seen() == "succeed P S P S P S");
         CHECK(house.Called() == "confirm0201 confirm02 confirm01 ");
       }},
      {"the second try of a tcc fails, and the first cancel is ONGOING once",
       [](House& house) {
         house.On("cancel01", {Result::Ongoing()});
         Global global;
         global.second_no = true;
         CHECK(house.Run(global) == "no");
         CHECK(house.Seen() == "aborting P P S P");
         house.Pass(seconds(11));
         CHECK(house.Seen() == "failed S P S P");
         CHECK_THAT(house.Reason(), Catch::Matchers::ContainsSubstring("FAILURE"));
       }},
      {"a tcc is timed out after one registration, the second branch comes too late",
       [](House& house) {
         Global global;
         global.pause = seconds(36);
         CHECK(house.Run(global) == "no");
         CHECK(house.Seen() == "failed S P");
         CHECK(std::regex_match(house.Reason(), std::regex("Timeout after \\d+ seconds")));
       }},
      {"an xa of two",  // one that was committed behind the coordinator's back answers the same
       [](House& house) {
         Global global;
         global.type = TransType::kXa;
         CHECK(house.Run(global) == "");
         CHECK(house.Seen() == "succeed P S P S");
         CHECK(house.Called() == "xa01 xa02 ");
         for (const auto& call : house.Branches().Calls()) CHECK(call.info.op == dtm::Op::kCommit);
       }},
      {"the second branch of an xa fails, only the first is registered",
       [](House& house) {
         Global global;
         global.type = TransType::kXa;
         global.second_no = true;
         CHECK(house.Run(global) == "no");
         CHECK(house.Seen() == "failed S P");
         CHECK(house.Branches().Calls().at(0).info.op == dtm::Op::kRollback);
       }},
      {"a commit of an xa is ONGOING once",
       [](House& house) {
         house.On("xa01", {Result::Ongoing()});
         Global global;
         global.type = TransType::kXa;
         global.branches = 1;
         CHECK(house.Run(global) == "");
         CHECK(house.Seen() == "submitted P P");
         house.Pass(seconds(11));
         CHECK(house.Seen() == "succeed P S");
         CHECK(house.Called() == "xa01 xa01 ");
       }},
      {"forceStop while it is submitted",
       [](House& house) {
         house.On("a2", {Result::Ongoing()});
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.ForceStop() == "");
         house.Pass(hours(1));
         CHECK(house.Seen() == "failed P S P P");
         CHECK(house.Called() == "a1 a2 ");
       }},
      {"forceStop after success",
       [](House& house) {
         CHECK(house.Submit(Saga()) == "");
         CHECK(house.ForceStop() == "no");
         CHECK(house.Seen() == "succeed P S P S");
       }},
      {"a workflow is executed twice, with its result",
       [](House& house) {
         CHECK(house.Workflow(0) == "done");
         CHECK(house.Workflow(0) == "done");
         CHECK(house.steps == "12");
         CHECK(house.Seen() == "succeed S S");
       }},
      {"a workflow is ONGOING in the middle, and is resumed after what it had done",
       [](House& house) {
         CHECK(house.Workflow(1) == "ongoing");
         CHECK(house.Seen() == "prepared S");
         house.Pass(seconds(11));
         house.ResumeIfAsked();
         CHECK(house.Seen() == "succeed S S");
         CHECK(house.steps == "122");
         CHECK(house.Workflow(0) == "done");
         CHECK(house.steps == "122");
       }},
      {"resetCronTime of all but one that wait",
       [](House& house) {
         for (const char* gid : {"g", "h", "i"}) {
           house.On("a1", {Result::Ongoing()});
           Order order = Every(1000);
           order.gid = gid;
           CHECK(house.Submit(order) == "");
         }
         CHECK(house.Reset(2) == "2 more");
         const std::vector<std::string> urls = house.Branches().Urls();  // in any order
         CHECK(std::count(urls.begin(), urls.end(), "http://b/a1") == 5);
         CHECK(std::count(urls.begin(), urls.end(), "http://b/a2") == 2);
         CHECK(house.Reset(2) == "1");
       }},
      {"subscribed twice, left twice, and an unknown topic deleted",
       [](House& house) {
         CHECK(house.Topic("subscribe", "http://b/1") == "");
         CHECK(house.Topic("subscribe", "http://b/1") == "no");
         CHECK(house.Topic("unsubscribe", "http://b/1") == "");
         CHECK(house.Topic("unsubscribe", "http://b/1") == "no");
         CHECK(house.Topic("delete", "") == "no");
       }},
  };
  return kCases;
}

}  // namespace appendix_a
