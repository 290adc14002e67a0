/// The relay between an outbox and its coordinator, with outboxes in memory: nothing is lost, what can never be taken holds
/// nobody up, and a database that fails is asked again.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/dtm.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

/// What the threads of a test ring when something has changed.
class Bell {
 public:
  void Ring() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++times_;
    }
    rung_.notify_all();
  }
  /// Waits until it is so; asks without a lock, since those who ring may hold what it needs.
  template <typename So>
  void Until(const So& so) {
    for (unsigned seen = Times(); !so(); seen = Times()) {
      std::unique_lock<std::mutex> lock(mutex_);
      REQUIRE(rung_.wait_for(lock, std::chrono::seconds(60), [&] { return times_ != seen; }));
    }
  }

 private:
  unsigned Times() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return times_;
  }
  std::mutex mutex_;
  std::condition_variable rung_;
  unsigned times_ = 0;
};

struct Rows {
  std::mutex mutex;
  std::vector<dtm::Definition> waiting;
  std::vector<std::string> problems;
  int fail = 0;        ///< so many times the database does not answer
  int fail_after = 0;  ///< so many times it breaks after the page was taken
  int asked = 0;
  std::set<std::string> stores;  ///< for which was asked
  Bell bell;
};

class MemorySource : public dtm::OutboxSource {
 public:
  explicit MemorySource(Rows& rows) : rows_(rows) {}
  std::size_t Relay(const std::string& store, std::size_t limit, const Take& take) override {
    const std::size_t count = Page(store, limit, take);
    rows_.bell.Ring();
    return count;
  }
  Oldest LookAtOldest(const std::string&) override { return {}; }
  std::string Name() const override { return "'memory'"; }

 private:
  std::size_t Page(const std::string& store, std::size_t limit, const Take& take) {
    const std::lock_guard<std::mutex> lock(rows_.mutex);
    ++rows_.asked;
    rows_.stores.insert(store);
    if (rows_.fail-- > 0) throw dtm::StoreError("no connection");
    const std::size_t count = (std::min)(limit, rows_.waiting.size());
    const auto end = rows_.waiting.begin() + static_cast<std::ptrdiff_t>(count);
    const std::vector<Verdict> verdicts =
        take(std::vector<dtm::Definition>(rows_.waiting.begin(), end));
    if (rows_.fail_after-- > 0) throw dtm::StoreError("connection lost");
    std::vector<dtm::Definition> stay;
    for (std::size_t i = 0; i < count; ++i) {
      if (verdicts[i].kind == Verdict::Kind::kRefused) rows_.problems.push_back(verdicts[i].why);
      if (verdicts[i].kind == Verdict::Kind::kLater) stay.push_back(rows_.waiting[i]);
    }
    rows_.waiting.erase(rows_.waiting.begin(), end);
    rows_.waiting.insert(rows_.waiting.begin(), stay.begin(), stay.end());
    return count;
  }
  Rows& rows_;
};

dtm::Definition SagaOf(const std::string& gid, const std::string& payload = "1") {
  dtm::Definition saga;
  saga.gid = gid;
  dtm::Step step;
  step.action = "local:count";
  step.payload = payload;
  saga.steps.push_back(std::move(step));
  return saga;
}

struct World {
  explicit World(Rows& rows, std::size_t max_waiting = 0) {
    if (max_waiting > 0) options.max_waiting_submissions = max_waiting;
    options.log = [this, &rows](dtm::LogLevel, const std::string& line) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        lines += line + "\n";
      }
      rows.bell.Ring();
    };
    tm = std::make_unique<dtm::Coordinator>(dir / "dtm.db", options);
    tm->Register<int>("count", [this, &rows](int) {
      ++count;
      rows.bell.Ring();
    });
    tm->Start();
    tm->Relay(std::make_unique<MemorySource>(rows), std::chrono::milliseconds(1));
  }
  std::string Log() {
    const std::lock_guard<std::mutex> lock(mutex);
    return lines;
  }
  dtm_test::TempDir dir;
  std::mutex mutex;
  std::string lines;
  std::atomic<int> count{0};
  dtm::Options options;
  std::unique_ptr<dtm::Coordinator> tm;
};

bool Empty(Rows& rows) {
  const std::lock_guard<std::mutex> lock(rows.mutex);
  return rows.waiting.empty();
}

}  // namespace

TEST_CASE("every row is submitted once, in pages") {
  Rows rows;
  for (int i = 0; i < 1000; ++i) rows.waiting.push_back(SagaOf("g" + std::to_string(i)));
  World world(rows);
  rows.bell.Until([&] { return Empty(rows) && world.count == 1000; });
  CHECK(rows.problems.empty());
  CHECK(world.tm->Wait("g999", std::chrono::seconds(5)).Succeeded());
}

TEST_CASE(
    "a connection that breaks before the rows are removed: they come again, and nothing runs "
    "twice") {
  Rows rows;
  rows.fail = 2;
  rows.fail_after = 3;
  for (int i = 0; i < 10; ++i) rows.waiting.push_back(SagaOf("g" + std::to_string(i)));
  World world(rows);
  rows.bell.Until([&] { return Empty(rows) && world.count == 10; });
  CHECK(rows.asked >= 6);
  CHECK_THAT(world.Log(), ContainsSubstring("outbox 'memory': cannot be relayed now") &&
                              ContainsSubstring("no connection"));
  rows.bell.Until([&] { return world.Log().find("is read again") != std::string::npos; });
  CHECK(world.tm->Stop(std::chrono::seconds(5)));
  CHECK(world.count == 10);
}

TEST_CASE("what can never be taken is marked, and the others go on") {
  Rows rows;
  rows.waiting = {SagaOf("good1"), SagaOf("bad gid\n"), SagaOf("same", "1"), SagaOf("same", "2"),
                  SagaOf("good2")};
  World world(rows);
  rows.bell.Until([&] { return Empty(rows) && world.count == 3; });
  CHECK(rows.problems.size() == 2);
  CHECK_THAT(world.Log(), ContainsSubstring("a row was refused"));
}

TEST_CASE("a coordinator that takes a few at a time gets them all") {
  Rows rows;
  for (int i = 0; i < 100; ++i) rows.waiting.push_back(SagaOf("g" + std::to_string(i)));
  World world(rows, 3);
  rows.bell.Until([&] { return Empty(rows) && world.count == 100; });
  CHECK(rows.problems.empty());
}

TEST_CASE("Stop in a callback of the coordinator is refused, and the relay goes on") {
  Rows rows;
  World world(rows);
  std::promise<std::string> refused;
  dtm::NewSaga(*world.tm, "stops")
      .Add(world.tm->Register<int>("one", [](int) {}), dtm::kNoBranch, 1)
      .SubmitAsync([&](const dtm::Answer&) {
        try {
          (void)world.tm->Stop(std::chrono::seconds(1));
          refused.set_value("not refused");
        } catch (const dtm::LogicError& error) {
          refused.set_value(error.what());
        }
      });
  CHECK(refused.get_future().get() != "not refused");
  {
    const std::lock_guard<std::mutex> lock(rows.mutex);
    rows.waiting.push_back(SagaOf("later"));
  }
  rows.bell.Until([&] { return Empty(rows); });
}

TEST_CASE("the store has one name, which a restart keeps and no other store has") {
  Rows rows;
  dtm_test::TempDir dir;
  for (const char* file : {"a.db", "a.db", "b.db"}) {
    dtm::Coordinator tm(dir / file);
    tm.Start();
    const int asked = rows.asked;
    for (int relay = 0; relay < 2; ++relay) {
      tm.Relay(std::make_unique<MemorySource>(rows), std::chrono::milliseconds(1));
    }
    rows.bell.Until([&] {
      const std::lock_guard<std::mutex> lock(rows.mutex);
      return rows.asked >= asked + 10;
    });
    CHECK(tm.Stop(std::chrono::seconds(5)));
    CHECK(rows.stores.size() == (file == std::string("b.db") ? 2 : 1));
    CHECK(rows.stores.count(tm.ListValues("coordinator", "store").values.at(0).value) == 1);
  }
}

TEST_CASE("Stop ends the relay, and a coordinator without Stop does as well") {
  Rows rows;
  {
    World world(rows);
    CHECK(world.tm->Stop(std::chrono::seconds(5)));
    const int asked = rows.asked;
    rows.waiting.push_back(SagaOf("late"));
    CHECK(rows.asked == asked);
    CHECK_THROWS_AS(world.tm->Relay(std::make_unique<MemorySource>(rows)), dtm::LogicError);
  }
  CHECK(!Empty(rows));
  World world(rows);
  rows.bell.Until([&] { return Empty(rows); });
}

TEST_CASE("a relay is refused without a source, or with an interval out of range") {
  Rows rows;
  World world(rows);
  CHECK_THROWS_AS(world.tm->Relay(nullptr), dtm::LogicError);
  CHECK_THROWS_AS(world.tm->Relay(std::make_unique<MemorySource>(rows), std::chrono::hours(1)),
                  dtm::LogicError);
}

TEST_CASE("a program that polls relays too") {
  Rows rows;
  rows.waiting = {SagaOf("g")};
  dtm_test::TempDir dir;
  std::atomic<int> count{0};
  dtm::Coordinator tm(dir / "dtm.db");
  tm.Register<int>("count", [&](int) { ++count; });
  tm.Relay(std::make_unique<MemorySource>(rows), std::chrono::milliseconds(1));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (count == 0) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    tm.Poll();
  }
  CHECK(tm.Stop(std::chrono::seconds(5)));
}
