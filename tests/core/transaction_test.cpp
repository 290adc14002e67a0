/// The record: prefixes of urls, same content and its hash.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
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

namespace {

using dtm::TransType;
using Steps = std::vector<std::pair<std::string, std::string>>;

Definition Of(TransType type) {
  Definition definition;
  definition.gid = "g";
  definition.type = type;
  definition.steps = {{"http://a/Do", "http://a/Undo", "30"},
                      {"http://b/Do", "http://b/Undo", "31"}};
  definition.query_prepared = "http://q/Query";
  definition.data = "the data";
  definition.workflow = "wf";
  return definition;
}

dtm::Step Subscriber(const std::string& topic, const std::string& id, const std::string& url) {
  dtm::Step step{url, "", "1"};
  step.branch_id = id;
  step.topic = topic;
  return step;
}

Definition Message(std::vector<dtm::Step> steps) {
  Definition msg;
  msg.gid = "g";
  msg.type = TransType::kMsg;
  msg.steps = std::move(steps);
  return msg;
}

}  // namespace

TEST_CASE("transaction: topics by their prefix, and what registers its steps") {
  CHECK(dtm::IsTopic("topic://T"));
  CHECK(dtm::IsTopic("topic://"));
  for (const char* url : {"", "topic:/T", "Topic://T", "http://topic://T"})
    CHECK_FALSE(dtm::IsTopic(url));
  for (const TransType type : {TransType::kTcc, TransType::kXa, TransType::kWorkflow})
    CHECK(RegistersSteps(type));
  CHECK_FALSE(RegistersSteps(TransType::kSaga));
  CHECK_FALSE(RegistersSteps(TransType::kMsg));
}

TEST_CASE(
    "transaction: the submitted steps of a message: a topic is one, of none, one or more "
    "subscribers") {
  CHECK(SubmittedSteps(Message({})).empty());
  const Definition plain = Message({{"http://a", "", "1"}, {"http://a", "", "1"}});
  CHECK(SubmittedSteps(plain) == Steps{{"http://a", "1"}, {"http://a", "1"}});
  // Nobody had subscribed: the step is as it was submitted.
  CHECK(SubmittedSteps(Message({{"topic://T", "", "1"}})) == Steps{{"topic://T", "1"}});
  CHECK(SubmittedSteps(Message({Subscriber("topic://T", "01", "http://s1")})) ==
        Steps{{"topic://T", "1"}});
  CHECK(SubmittedSteps(Message({Subscriber("topic://T", "01-01", "http://s1"),
                                Subscriber("topic://T", "01-02", "http://s2"),
                                Subscriber("topic://T", "01-03", "http://s3")})) ==
        Steps{{"topic://T", "1"}});
}

TEST_CASE(
    "transaction: the same topic in two steps stays two, with another step between them or not") {
  const auto twice = [](bool between, bool many) {
    std::vector<dtm::Step> steps = {Subscriber("topic://T", many ? "01-01" : "01", "http://s1")};
    if (many) steps.push_back(Subscriber("topic://T", "01-02", "http://s2"));
    const std::string number = between ? "03" : "02";
    if (between) {
      steps.push_back({"http://a", "", "2"});
      steps.back().branch_id = "02";
    }
    steps.push_back(Subscriber("topic://T", many ? number + "-01" : number, "http://s1"));
    if (many) steps.push_back(Subscriber("topic://T", number + "-02", "http://s2"));
    return SubmittedSteps(Message(steps));
  };
  for (const bool many : {false, true}) {
    CHECK(twice(false, many) == Steps{{"topic://T", "1"}, {"topic://T", "1"}});
    CHECK(twice(true, many) == Steps{{"topic://T", "1"}, {"http://a", "2"}, {"topic://T", "1"}});
  }
}

TEST_CASE(
    "transaction: same content of a message is its submitted steps, its query-back and "
    "concurrency") {
  const Definition two = Message({Subscriber("topic://T", "01-01", "http://s1"),
                                  Subscriber("topic://T", "01-02", "http://s2")});
  CHECK(SameContent(two, Message({Subscriber("topic://T", "01", "http://s3")})));
  CHECK(SameContent(two, Message({{"topic://T", "", "1"}})));
  CHECK_FALSE(SameContent(two, Message({{"topic://U", "", "1"}})));
  CHECK_FALSE(SameContent(two, Message({{"topic://T", "", "2"}})));
  CHECK_FALSE(SameContent(two, Message({{"topic://T", "", "1"}, {"topic://T", "", "1"}})));
  std::vector<Definition> others(3, two);
  others[0].query_prepared = "http://q";
  others[1].concurrent = true;
  others[2].type = TransType::kSaga;
  for (const Definition& other : others) CHECK_FALSE(SameContent(two, other));
  Definition delayed = two;
  delayed.delay = std::chrono::seconds(5);
  CHECK(SameContent(two, delayed));
}

TEST_CASE("transaction: same content of tcc, xa and workflow is not what was registered since") {
  for (const TransType type : {TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    const Definition first = Of(type);
    Definition bare = first;
    bare.steps.clear();
    CHECK(SameContent(first, bare));
    std::vector<Definition> others(2, first);
    others[0].workflow = "another";
    others[1].data = "other data";
    for (const Definition& other : others) CHECK_FALSE(SameContent(first, other));
    Definition asked_elsewhere = first;
    asked_elsewhere.query_prepared = "http://q/Other";  // of tcc and xa only shown
    CHECK(SameContent(first, asked_elsewhere) == (type != TransType::kWorkflow));
    Definition written_otherwise = first;
    written_otherwise.custom_data = "{ }";
    CHECK(SameContent(first, written_otherwise));
  }
}

TEST_CASE(
    "transaction: the hash of a content is stored, so it never changes, and tells what SameContent "
    "tells") {
  using dtm::ContentHash;
  using dtm::Definition;
  Definition saga;
  saga.gid = "g";
  saga.steps = {{"http://a/1", "http://a/2", "{}"}, {"local:B", "", "1"}};
  CHECK(ContentHash(Definition{}) == 0x57A3E9BEC8B15E24u);
  CHECK(ContentHash(saga) == 0xBEEF42490A6E8825u);
  const std::vector<void (*)(Definition&)> changes = {
      [](Definition& d) { d.type = dtm::TransType::kMsg; },
      [](Definition& d) { d.type = dtm::TransType::kTcc; },
      [](Definition& d) { d.concurrent = true; },
      [](Definition& d) {
        d.orders = {{1, {0}}};
      },
      [](Definition& d) {
        d.orders = {{0, {}}};
      },
      [](Definition& d) { d.query_prepared = "q"; },
      [](Definition& d) { d.workflow = "q"; },
      [](Definition& d) { d.data = "q"; },
      [](Definition& d) { d.steps.pop_back(); },
      [](Definition& d) { std::swap(d.steps[0], d.steps[1]); },
      [](Definition& d) { d.steps[0].payload = "{} "; },
      [](Definition& d) { d.steps[1].compensate = "1"; },
      [](Definition& d) {
        d.steps[1] = {"local:", "B", "1"};
      },
      [](Definition& d) { d.options.retry_limit = 3; },
      [](Definition& d) { d.delay = std::chrono::seconds(1); },
      [](Definition& d) { d.prepared_first = true; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    INFO(i);
    Definition other = saga;
    changes[i](other);
    CHECK((ContentHash(other) == ContentHash(saga)) == dtm::SameContent(other, saga));
  }
  Definition topic, expanded;
  topic.type = expanded.type = dtm::TransType::kMsg;
  topic.steps = {{"topic://t", "", "1"}};
  expanded.steps = {{"http://s/1", "", "1", "01-01", "topic://t"},
                    {"http://s/2", "", "1", "01-02", "topic://t"}};
  CHECK(ContentHash(topic) == ContentHash(expanded));
}
