/// Topics: who subscribes to them, what of it is stored, and how a message is expanded to its subscribers.
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/coordinator/parts/topics.hpp>
#include <dtm/store/memory.hpp>
#include <dtm/store/sqlite/sqlite_store.hpp>
#include <dtm/testing/test_coordinator.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::MemoryStore;
using dtm::Result;
using dtm::Time;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using Texts = std::vector<std::string>;
namespace topics = dtm::topics;

namespace {

const Time kNow{std::chrono::seconds(1700000000)};

/// Work in a batch of its own; what it says, "" for success.
template <typename Work>
std::string Do(dtm::Store& store, const Work& work) {
  store.Begin();
  const Result result = store.Run([&](const dtm::WorkContext&) { return work(); });
  store.Commit();
  return result.kind == Result::Kind::kSuccess ? "" : result.text;
}
std::string Change(dtm::Store& store, const std::string& topic, const topics::Change& change) {
  return Do(store, [&] { return topics::ChangeIn(store, topic, change, kNow); });
}
std::string Subscribe(dtm::Store& store, const std::string& topic, const std::string& url) {
  return Change(store, topic, [&](auto& stored, Time now) {
    return topics::Subscribe(stored, topic, {url, "why"}, now);
  });
}
std::string Unsubscribe(dtm::Store& store, const std::string& topic, const std::string& url) {
  return Change(store, topic, [&](auto& stored, Time now) {
    return topics::Unsubscribe(stored, topic, url, now);
  });
}
std::string Delete(dtm::Store& store, const std::string& topic) {
  return Change(store, topic, [&](auto& stored, Time) { return topics::Delete(stored, topic); });
}
void PutText(dtm::Store& store, const std::string& topic, const std::string& text) {
  dtm::KeyValue value;
  value.category = topics::kCategory;
  value.key = topic;
  value.value = text;
  (void)Do(store, [&] {
    store.PutValue(value);
    return Result::Success();
  });
}

Definition Message(const Texts& actions) {
  Definition message;
  message.gid = "m";
  message.type = dtm::TransType::kMsg;
  for (const std::string& action : actions) message.steps.push_back({action, "", "p"});
  return message;
}

/// As "01-01 url of topic".
Texts Expanded(Definition message, dtm::Store& store) {
  topics::Expand(message, store);
  Texts steps;
  for (const dtm::Step& step : message.steps) {
    CHECK(step.payload == "p");
    steps.push_back(step.branch_id + " " + step.action +
                    (step.topic.empty() ? "" : " of " + step.topic));
  }
  return steps;
}

/// While it lives: the operations of SQLite's machine that connections opened meanwhile take to read values.
class StepsForValues {
 public:
  StepsForValues() { sqlite3_auto_extension(reinterpret_cast<void (*)()>(&Watch)); }
  ~StepsForValues() { sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(&Watch)); }
  StepsForValues(const StepsForValues&) = delete;
  StepsForValues& operator=(const StepsForValues&) = delete;
  int Since() const { return std::exchange(Count(), 0); }

 private:
  static int& Count() {
    static int count = 0;
    return count;
  }
  static int Watch(sqlite3* db, const char**, const void*) {
    return sqlite3_trace_v2(db, SQLITE_TRACE_PROFILE, &Trace, nullptr);
  }
  static int Trace(unsigned, void*, void* statement, void*) {
    auto* const done = static_cast<sqlite3_stmt*>(statement);
    if (std::string(sqlite3_sql(done)).find("FROM dtm_kv") == std::string::npos) return 0;
    Count() += sqlite3_stmt_status(done, SQLITE_STMTSTATUS_VM_STEP, 1);
    return 0;
  }
};

}  // namespace

TEST_CASE("topics: subscribers are kept in order, as the text of the protocol, in versions") {
  MemoryStore store;
  CHECK(Subscribe(store, "t", "http://b/2") == "");
  CHECK(Subscribe(store, "t", "http://b/1") == "");
  CHECK(Subscribe(store, "other", "http://b/2") == "");
  const dtm::KeyValuePage page = store.ScanValues("topics", "t", 0, 10);
  REQUIRE(page.values.size() == 1);
  CHECK(page.values[0].value == R"([{"url":"http://b/2","remark":"why"},)"
                                R"({"url":"http://b/1","remark":"why"}])");
  CHECK(page.values[0].version == 2);
  CHECK(page.values[0].created == kNow);
  const auto all = topics::Subscribers(store, "t");
  REQUIRE(all.size() == 2);
  CHECK(all[0].url == "http://b/2");
  CHECK(all[0].remark == "why");
  CHECK(all[1].url == "http://b/1");
}

TEST_CASE("topics: kept in a file, whose tables are closed to works of the program") {
  const dtm_test::TempDir dir;
  dtm::SqliteStore store(dir / "t.db");
  for (const char* url : {"http://b/1", "http://b/2"}) {
    CHECK(Subscribe(store, "t", url) == "");
    // SQLite prepares all statements again after this.
    store.Begin();
    (void)store.Run([&](sqlite3* db) {
      sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS mine (a)", nullptr, nullptr, nullptr);
      return Result::Success();
    });
    store.Commit();
  }
  CHECK(topics::Subscribers(store, "t").size() == 2);
  CHECK(Unsubscribe(store, "t", "http://b/1") == "");
  CHECK(Delete(store, "t") == "");
  store.Begin();
  const Result denied = store.Run([&](sqlite3* db) {
    store.GetValue("topics", "t");  // the guard is back afterwards
    return sqlite3_exec(db, "DELETE FROM dtm_kv", nullptr, nullptr, nullptr) == SQLITE_OK
               ? Result::Success()
               : Result::Failure("denied");
  });
  store.Commit();
  CHECK(denied.text == "denied");
}

TEST_CASE("topics: what is refused, word by word") {
  MemoryStore store;
  CHECK(Unsubscribe(store, "t", "http://b/1") == "no such a topic");
  CHECK(Subscribe(store, "t", "http://b/1") == "");
  CHECK(Subscribe(store, "t", "http://b/1") == "this url exists");
  CHECK(Unsubscribe(store, "t", "http://b/2") == "no such an url ");
  CHECK(Unsubscribe(store, "t", "http://b/1") == "");
  CHECK(store.ScanValues("topics", "t", 0, 1).values.at(0).value == "[]");
  CHECK(Unsubscribe(store, "t", "http://b/1") == "this topic is empty");
  CHECK(Delete(store, "t") == "");
  CHECK_THAT(Delete(store, "t"), ContainsSubstring("'t'"));
  CHECK(topics::Problem("", "http://b/1", "") == "empty topic");
  CHECK(topics::Problem("t", "", "") == "empty url");
  CHECK(topics::Problem("t", "http://b/1", "") == "");
  CHECK(topics::Problem(std::string(128, 't'), std::string(2048, 'u'), std::string(1024, 'r')) ==
        "");
  CHECK(topics::Problem(std::string(129, 't'), "u", "") != "");
  CHECK(topics::Problem("t", std::string(2049, 'u'), "") != "");
  CHECK(topics::Problem("t", "u", std::string(1025, 'r')) != "");
  for (const char* broken : {"\xFF", "\xC3"}) {
    CHECK(topics::Problem(broken, "u", "") != "");
    CHECK(topics::Problem("t", broken, "") != "");
    CHECK(topics::Problem("t", "u", broken) != "");
  }
}

TEST_CASE("topics: a subscriber is removed as lists show it, if only one is shown so") {
  MemoryStore store;
  for (const char* url : {"http://a:1@b/x", "http://a:2@b/x", "http://a:1@b/y", "http://b/x",
                          "http://***@b/z", "http://a:1@b/z"}) {
    CHECK(Subscribe(store, "t", url) == "");
  }
  CHECK(Unsubscribe(store, "t", "http://***@b/y") == "");
  CHECK(Unsubscribe(store, "t", "http://***@b/y") == "no such an url ");
  const std::string refused = Unsubscribe(store, "t", "http://***@b/x");
  CHECK_THAT(refused,
             ContainsSubstring("2 subscribers of topic 't' are shown as 'http://***@b/x'") &&
                 ContainsSubstring("whole url") && !ContainsSubstring("a:1"));
  CHECK(Unsubscribe(store, "t", "http://a:1@b/x") == "");  // by its whole url
  CHECK(Unsubscribe(store, "t", "http://***@b/x") == "");
  CHECK(Unsubscribe(store, "t", "http://***@b/z") == "");  // somebody is called so
  const auto left = topics::Subscribers(store, "t");
  REQUIRE(left.size() == 2);
  CHECK(left[0].url == "http://b/x");
  CHECK(left[1].url == "http://a:1@b/z");
  CHECK(Unsubscribe(store, "t", "http://***@b/x") == "no such an url ");  // not who has no password
}

TEST_CASE("topics: a topic does not subscribe to a topic, which nobody would expand") {
  CHECK_THAT(topics::Problem("t", "topic://other", ""), ContainsSubstring("topic"));
  TestCoordinator kit;
  CHECK_THROWS_AS(kit->Subscribe("t", "topic://other"), dtm::RejectedError);
  CHECK(kit->ListValues("topics").values.empty());
}

TEST_CASE("topics: a topic takes as many subscribers as a transaction has steps") {
  MemoryStore store;
  store.Begin();
  std::vector<dtm::Subscriber> many(dtm::kMaxSteps - 1);
  for (std::size_t i = 0; i < many.size(); ++i) many[i].url = "http://b/" + std::to_string(i);
  store.PutValue(topics::ToStore("t", many, kNow));
  store.Commit();
  CHECK(Subscribe(store, "t", "last") == "");
  CHECK_THAT(Subscribe(store, "t", "too many"), ContainsSubstring("1000"));
  CHECK(topics::Subscribers(store, "t").size() == dtm::kMaxSteps);
}

TEST_CASE("topics: a message is expanded to the subscribers there are") {
  MemoryStore store;
  for (const char* url : {"http://b/1", "http://b/2"}) CHECK(Subscribe(store, "two", url) == "");
  CHECK(Subscribe(store, "one", "http://b/3") == "");
  CHECK(Subscribe(store, "none", "http://b/3") == "");
  CHECK(Unsubscribe(store, "none", "http://b/3") == "");
  CHECK(Expanded(Message({"http://b/0", "topic://two", "topic://one", "topic://two"}), store) ==
        Texts{"01 http://b/0", "02-01 http://b/1 of topic://two", "02-02 http://b/2 of topic://two",
              "03 http://b/3 of topic://one", "04-01 http://b/1 of topic://two",
              "04-02 http://b/2 of topic://two"});
  CHECK(Expanded(Message({"topic://none", "topic://never"}), store) ==
        Texts{"01 topic://none", "02 topic://never"});
  CHECK(Expanded(Message({"http://b/0"}), store) == Texts{" http://b/0"});  // nothing to do
  Definition saga = Message({"topic://two"});
  saga.type = dtm::TransType::kSaga;
  CHECK(Expanded(saga, store) == Texts{" topic://two"});
}

TEST_CASE("topics: the topic without a name is none, not any") {
  MemoryStore store;
  CHECK(Subscribe(store, "secret", "http://b/1") == "");
  CHECK(topics::Subscribers(store, "").empty());
  CHECK(Expanded(Message({"topic://"}), store) == Texts{"01 topic://"});
}

TEST_CASE("topics: the expansion of a message ends where its limit is") {
  MemoryStore store;
  store.Begin();
  std::vector<dtm::Subscriber> many(dtm::kMaxSteps);
  for (std::size_t i = 0; i < many.size(); ++i) many[i].url = "http://b/" + std::to_string(i);
  store.PutValue(topics::ToStore("t", many, kNow));
  store.Commit();
  Definition message = Message({"topic://t", "topic://t", "topic://t"});
  topics::Expand(message, store);
  CHECK(message.steps.size() > dtm::kMaxSteps);  // so it is refused
  CHECK(message.steps.size() <= dtm::kMaxSteps + 3);
  CHECK_THAT(dtm::Problem(message), ContainsSubstring("limit"));
  Definition large = Message({"topic://t", "topic://t"});
  for (dtm::Step& step : large.steps) step.payload.assign(100000, 'p');
  topics::Expand(large, store);
  CHECK(large.steps.size() <= dtm::kMaxDefinitionBytes / 100000 + 3);
  CHECK_THAT(dtm::Problem(large), ContainsSubstring("limit"));
  Definition fits = Message({"topic://t"});
  topics::Expand(fits, store);
  CHECK(dtm::Problem(fits) == "");
}

TEST_CASE("topics: a damaged list is a StoreError, whatever is damaged") {
  MemoryStore store;
  for (const char* text : {"", "{}", "[", "7", "[7]", "[null]", R"([{"url":7}])",
                           R"([{"url":"u","remark":[]}])", R"(["u"])"}) {
    CAPTURE(text);
    PutText(store, "t", text);
    CHECK_THROWS_AS(topics::Subscribers(store, "t"), dtm::StoreError);
    CHECK_THROWS_WITH(topics::Subscribers(store, "t"), ContainsSubstring("'t'"));
  }
  PutText(store, "t", R"([{"url":"u"}])");  // as an older dtm may have written it
  CHECK(topics::Subscribers(store, "t").at(0).remark.empty());
}

TEST_CASE("topics: through a coordinator they are durable when the call returns") {
  TestCoordinator kit;
  kit->Subscribe("t", "http://b/1", "first");
  kit->Subscribe("t", "http://b/2");
  CHECK_THROWS_WITH(kit->Subscribe("t", "http://b/2"), "this url exists");
  CHECK_THROWS_WITH(kit->Subscribe("", "http://b/2"), "empty topic");
  CHECK_THROWS_WITH(kit->Unsubscribe("t", ""), "empty url");
  CHECK_THROWS_WITH(kit->Unsubscribe("x", "http://b/2"), "no such a topic");
  kit.Crash();
  CHECK(kit->ListValues("topics", "t").values.at(0).version == 2);
  kit->Unsubscribe("t", "http://b/1");
  CHECK_THROWS_AS(kit->DeleteTopic("x"), dtm::RejectedError);
  kit.Crash();
  CHECK(kit->ListValues("topics").values.at(0).value == R"([{"url":"http://b/2","remark":""}])");
  kit->DeleteTopic("t");
  kit.Crash();
  CHECK(kit->ListValues("topics").values.empty());
  for (const std::size_t limit : {std::size_t{0}, dtm::kMaxListLimit + 1}) {
    CHECK_THROWS_AS(kit->ListValues("", "", 0, limit), dtm::RejectedError);
  }
}

TEST_CASE("topics: what is subscribed, removed and made again counts for the next message (W7)") {
  TestCoordinator kit;
  const auto sent = [&](const std::string& gid) {
    Definition message = Message({"topic://t"});
    message.gid = gid;
    const std::size_t before = kit.Branches().Urls().size();
    try {
      (void)kit->Submit(message);
    } catch (const dtm::RejectedError& error) {
      CHECK_THAT(error.what(), ContainsSubstring("topic not found: t"));
      return Texts{"refused"};
    }
    kit.Settle();
    Texts urls = kit.Branches().Urls();
    urls.erase(urls.begin(), urls.begin() + static_cast<std::ptrdiff_t>(before));
    return urls;
  };
  CHECK(sent("a") == Texts{"refused"});
  kit->Subscribe("t", "http://b/1");
  CHECK(sent("b") == Texts{"http://b/1"});
  kit->DeleteTopic("t");
  CHECK(sent("c") == Texts{"refused"});
  kit->Subscribe("t", "http://b/2");
  CHECK(sent("d") == Texts{"http://b/2"});
  kit->Unsubscribe("t", "http://b/2");
  CHECK(sent("e") == Texts{"refused"});
}

TEST_CASE("topics: a store that fails at any operation leaves the topic whole") {
  const auto fault =
      GENERATE(StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored);
  dtm::Options options;
  options.log = [](dtm::LogLevel, const std::string&) {};
  for (std::uint64_t operation = 1; operation <= 5; ++operation) {
    CAPTURE(operation);
    TestCoordinator kit({}, options);
    kit->Subscribe("t", "http://b/1");
    kit.Store().FailOnce(operation, fault);
    bool done = true;
    try {
      kit->Subscribe("t", "http://b/2");
    } catch (const dtm::Error&) {
      done = false;
    }
    const std::size_t now = topics::Parse(kit->ListValues("topics").values.at(0)).size();
    if (done) CHECK(now == 2);
    kit.Crash();
    const std::size_t later = topics::Parse(kit->ListValues("topics").values.at(0)).size();
    CHECK((later == 1 || later == 2));
    if (done) CHECK(later == 2);
    if (fault == StoreFault::kDefinite && !done) CHECK(later == 1);
    try {  // and settles it, whatever happened
      kit->Subscribe("t", "http://b/2");
    } catch (const dtm::RejectedError& error) {
      CHECK(error.what() == std::string("this url exists"));
    }
    CHECK(topics::Parse(kit->ListValues("topics").values.at(0)).size() == 2);
  }
}

TEST_CASE("topics: a message to one of 20 000 topics looks at that one only") {
  const dtm_test::TempDir dir;
  const StepsForValues steps;
  dtm::SqliteStore store(dir / "t.db");
  CHECK(Subscribe(store, "t", "http://b/1") == "");
  (void)steps.Since();
  const auto expand = [&store] { return Expanded(Message({"topic://t", "topic://t"}), store); };
  CHECK(expand() == Texts{"01 http://b/1 of topic://t", "02 http://b/1 of topic://t"});
  const int alone = steps.Since();
  CHECK(alone > 0);
  (void)Do(store, [&] {
    for (int i = 0; i < 20000; ++i) {
      dtm::KeyValue value;
      value.category = topics::kCategory;
      value.key = "t" + std::to_string(i);
      value.value = "[]";
      store.PutValue(value);
    }
    return Result::Success();
  });
  CHECK(Delete(store, "t") == "");
  CHECK(Subscribe(store, "t", "http://b/2") == "");  // the last row
  (void)steps.Since();
  CHECK(expand() == Texts{"01 http://b/2 of topic://t", "02 http://b/2 of topic://t"});
  CHECK(steps.Since() == alone);
}
