/// The queue of calls without threads, sockets or time.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/calls/call_queue.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::CallQueue;
using dtm_test::CallTo;
using dtm_test::Ms;
using Kind = dtm::Result::Kind;

namespace {

const dtm::SteadyTime kStart{std::chrono::hours(1)};
const dtm::transport::HeldBytes kRoom{std::size_t{64} << 20};

CallQueue::Job JobTo(const std::string& url, Ms timeout = Ms(1000)) {
  return {CallTo(url, "{}", timeout), nullptr};
}

/// The URL of the call that goes out now; "" if none may.
std::string TakeOne(CallQueue& queue, dtm::SteadyTime now = kStart) {
  CallQueue::Host* host = queue.Next();
  return host == nullptr ? "" : queue.Take(*host, now).job.call.Url();
}

struct Checked {
  dtm::SteadyTime next;
  std::vector<CallQueue::Ended> answers;
};

Checked Check(CallQueue& queue, dtm::SteadyTime now, std::size_t limit = 1000) {
  Checked checked;
  checked.next = queue.Check(now, limit, checked.answers);
  return checked;
}

}  // namespace

TEST_CASE("options out of their range are refused with their name") {
  using Options = dtm::HttpBranchOptions;
  const auto refused = [](const char* says, void (*set)(Options&)) {
    Options options;
    set(options);
    CAPTURE(says);
    CHECK_THROWS_AS(CallQueue(options, kRoom), dtm::LogicError);
    CHECK_THROWS_WITH(CallQueue(options, kRoom), ContainsSubstring(says));
  };
  refused("limits.total is 0;", [](Options& o) { o.limits.total = 0; });
  refused("limits.total is 2147483647;", [](Options& o) { o.limits.total = 2147483647; });
  refused("limits.per_host is -1;", [](Options& o) { o.limits.per_host = -1; });
  refused("limits.silent_host is 0;", [](Options& o) { o.limits.silent_host = 0; });
  refused("limits.silent_after is 0;", [](Options& o) { o.limits.silent_after = 0; });
  refused("max_waiting is 0;", [](Options& o) { o.max_waiting = 0; });
  refused("keep_idle is -1 s;", [](Options& o) { o.keep_idle = std::chrono::seconds(-1); });
  refused("keep_idle is ", [](Options& o) { o.keep_idle = (dtm::Duration::max)(); });
}

TEST_CASE("a call whose deadline no clock reaches waits its turn") {
  CallQueue queue({}, kRoom);
  CallQueue::Job job = JobTo("http://a/1");
  job.call.timeout = (dtm::Duration::max)();
  CHECK_FALSE(queue.Push(std::move(job), kStart));
  CHECK(TakeOne(queue, kStart + std::chrono::hours(1)) == "http://a/1");
}

TEST_CASE("hosts take turns") {
  CallQueue queue({}, kRoom);
  for (const char* url : {"http://a/1", "http://a/2", "http://a/3", "http://b/1", "http://c/1"}) {
    CHECK_FALSE(queue.Push(JobTo(url), kStart));
  }
  for (const char* url : {"http://a/1", "http://b/1", "http://c/1", "http://a/2", "http://a/3"}) {
    CHECK(TakeOne(queue) == url);
  }
  CHECK(queue.Next() == nullptr);
}

TEST_CASE("a host at its limit is passed over until a call ends") {
  dtm::HttpBranchOptions options;
  options.limits.per_host = 1;
  CallQueue queue(options, kRoom);
  for (const char* url : {"http://a/1", "http://a/2", "http://b/1"}) {
    queue.Push(JobTo(url), kStart);
  }
  CallQueue::Host* a = queue.Next();
  REQUIRE(a != nullptr);
  queue.Take(*a, kStart);
  CHECK(TakeOne(queue) == "http://b/1");
  CHECK(queue.Next() == nullptr);
  queue.Return(*a, false, kStart);
  CHECK(TakeOne(queue) == "http://a/2");
}

TEST_CASE("a large call waits until there is room in memory, and a small one does not") {
  dtm::transport::HeldBytes held(100000);
  CallQueue queue({}, held);
  const std::string large(20000, 'x');
  std::size_t others = 0;
  held.Change(others, 50001);
  queue.Push({CallTo("http://a/large", large, Ms(1000)), nullptr}, kStart);
  CHECK(queue.Next() == nullptr);
  queue.Push(JobTo("http://b/small"), kStart);
  CHECK(TakeOne(queue) == "http://b/small");
  CHECK(queue.Next() == nullptr);
  held.Change(others, 50000);
  CHECK(TakeOne(queue) == "http://a/large");
}

TEST_CASE("who waits longer than the timeout is not sent") {
  CallQueue queue({}, kRoom);
  queue.Push(JobTo("http://a/long", Ms(300)), kStart);
  queue.Push(JobTo("http://a/short", Ms(100)), kStart);
  CHECK(Check(queue, kStart).next == kStart + Ms(100));
  Checked checked = Check(queue, kStart + Ms(100));
  REQUIRE(checked.answers.size() == 1);
  CHECK(checked.answers[0].job.call.Url() == "http://a/short");
  CHECK(checked.answers[0].result.kind == Kind::kNotSent);
  CHECK(checked.next == kStart + Ms(300));

  // Also if a thread comes before the check.
  CallQueue::Host* host = queue.Next();
  REQUIRE(host != nullptr);
  const CallQueue::Taken taken = queue.Take(*host, kStart + Ms(300));
  REQUIRE(taken.too_late);
  CHECK(taken.too_late->kind == Kind::kNotSent);

  // What it has waited before it came counts.
  CallQueue::Job late = JobTo("http://a/late", Ms(100));
  late.call.late = Ms(70);
  queue.Push(std::move(late), kStart);
  CHECK(Check(queue, kStart).next == kStart + Ms(30));
  CHECK(Check(queue, kStart + Ms(30)).answers.size() == 1);
  CHECK(Check(queue, kStart + Ms(300)).answers.empty());
}

TEST_CASE("who waited too long is answered a few at a time") {
  CallQueue queue({}, kRoom);
  for (const char* url : {"http://a/1", "http://a/2", "http://b/1"}) queue.Push(JobTo(url), kStart);
  const auto late = kStart + std::chrono::hours(1);
  Checked checked = Check(queue, late, 2);
  CHECK(checked.answers.size() == 2);
  CHECK(checked.next <= late);
  checked = Check(queue, late, 2);
  CHECK(checked.answers.size() == 1);
  CHECK(checked.next > late);
}

TEST_CASE("one host fills at most half of the queue") {
  dtm::HttpBranchOptions options;
  options.max_waiting = 8;
  CallQueue queue(options, kRoom);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(queue.Push(JobTo("http://a/"), kStart));
  const auto refused = queue.Push(JobTo("http://a/"), kStart);
  REQUIRE(refused);
  CHECK(refused->kind == Kind::kNotSent);
  CHECK_THAT(refused->text, ContainsSubstring("too many calls wait for http://a"));
  CHECK_FALSE(queue.Push(JobTo("http://b/"), kStart));
}

TEST_CASE("what is no URL is answered at once") {
  CallQueue queue({}, kRoom);
  const auto refused = queue.Push(JobTo("http:///"), kStart);
  REQUIRE(refused);
  CHECK(refused->kind == Kind::kError);
  CHECK(queue.Next() == nullptr);
  const auto without_tls = queue.Push(JobTo("https://h/"), kStart);
  REQUIRE(without_tls);
  CHECK_THAT(without_tls->text,
             ContainsSubstring("<dtm/http/tls.hpp>") && ContainsSubstring("https://h"));
}

TEST_CASE("a host is forgotten when nothing is left of it, a dead one a minute later") {
  dtm::HttpBranchOptions options;
  options.limits.silent_after = 1;
  CallQueue queue(options, kRoom);
  // A host begins with the URL of the call that it was made for.
  const auto made_for = [&queue](const std::string& target) {
    queue.Push(JobTo("http://a" + target), kStart);
    CallQueue::Host* host = queue.Next();
    REQUIRE(host != nullptr);
    queue.Take(*host, kStart);
    return host;
  };
  CallQueue::Host* host = made_for("/1");
  Check(queue, kStart + std::chrono::hours(1));
  CHECK(made_for("/2") == host);
  queue.Return(*host, false, kStart);
  queue.Return(*host, false, kStart);
  Check(queue, kStart);
  host = made_for("/3");
  CHECK(host->Where().target == "/3");
  queue.Return(*host, true, kStart);
  const auto remembered = [&queue] { return queue.Load().hosts.size() == 1; };
  CHECK(Check(queue, kStart + std::chrono::seconds(59)).next == kStart + std::chrono::seconds(60));
  CHECK(remembered());
  Check(queue, kStart + std::chrono::seconds(60));
  CHECK_FALSE(remembered());
}

TEST_CASE("how busy it is, by host, and which hosts are limited") {
  dtm::HttpBranchOptions options;
  options.limits.per_host = 1;
  options.limits.silent_after = 2;
  CallQueue queue(options, kRoom);
  CHECK(queue.Load().hosts.empty());
  for (const char* url : {"http://a/1", "http://a/2", "http://b:8080/1"}) {
    queue.Push(JobTo(url), kStart);
  }
  CallQueue::Host* a = queue.Next();
  queue.Take(*a, kStart);
  const auto told = [&] {
    std::string text;
    dtm::CallLoad load = queue.Load();
    std::sort(load.hosts.begin(), load.hosts.end(),
              [](const auto& x, const auto& y) { return x.host < y.host; });
    for (const dtm::HostLoad& host : load.hosts) {
      text += host.host + " " + std::to_string(host.in_flight) + " " +
              std::to_string(host.waiting) + (host.limited ? " limited, " : ", ");
    }
    return std::to_string(load.in_flight) + " " + std::to_string(load.waiting) + ": " + text;
  };
  CHECK(told() == "1 2: http://a 1 1, http://b:8080 0 1, ");
  queue.Return(*a, true, kStart);
  queue.Take(*a, kStart);
  queue.Return(*a, true, kStart);
  CHECK(told() == "0 1: http://a 0 0 limited, http://b:8080 0 1, ");
}
