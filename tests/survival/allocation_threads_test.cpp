/// Allocations fail by chance in the threads of a coordinator that is in use: the loop's, the functions', those that
/// call URLs, that of alerts. No program ends, everybody is answered, and what was accepted ends.
/// Not in here: JSON arrays and objects, since nlohmann/json allocates in their destructor, which ends the program if
/// there is no memory.
/// `allocation_threads_test [first seed] [seeds]`
/// Needs: POSIX. Threads: many; those of the callers are spared, since a failure there is theirs.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "tests/http/raw_server.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/survival/failing_new.hpp"
#include <dtm/http.hpp>

namespace {

using namespace std::chrono_literals;
using dtm::Definition;
using dtm::Result;
using dtm::TransType;

struct Asked {
  std::string gid;
  std::atomic<int> answers{0};
  std::atomic<bool> accepted{false};
};

constexpr int kCallers = 4;
constexpr int kPerCaller = 14;

Definition Saga(const std::string& gid, const std::string& action, TransType type) {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  const std::string undo = type == TransType::kMsg ? "" : "local:Ok";
  definition.steps = {{"local:Ok", undo, "1"}, {action, undo, "2"}};
  return definition;
}

class Run {
 public:
  Run(std::unique_ptr<dtm::Store> store, std::string url, std::uint64_t seed)
      : url_(std::move(url)), seed_(seed), tm_(std::move(store), MakeOptions()) {
    tm_.Register<int>("Ok", [](const int&) {});
    tm_.Register<int>(
        "No", [](const int&) { return Result::Failure("there is no money left for this"); });
    tm_.Register<int>("Odd", [this](const int&) {
      if (odd_++ % 3 != 0) throw 42;
    });
    tm_.Register<int>("Slow", [](const int&) { std::this_thread::sleep_for(2ms); });
    if (in_sql) tm_.RegisterInTransaction<int>("Write", [](sqlite3*, const int&) {});
    workflow_ = dtm::RegisterWorkflow<int>(tm_, "wf", [this](dtm::Workflow& wf, const int&) {
      const std::string text =
          wf.NewBranch().OnRollback([] {}).Do([] { return std::string("a seat in the last row"); });
      wf.NewBranch().Do([this] {
        if (odd_++ % 5 == 0) throw 42;
      });
      return text;
    });
    if (!url_.empty()) tm_.Use(dtm::HttpBranches());
    tm_.Start();
  }

  /// What was wrong.
  std::string Go(long failures, std::uint64_t one_of) {
    failing_new::seed = seed_ + 1;
    failing_new::one_of = one_of;
    failing_new::budget = failures;
    std::vector<std::thread> callers;
    for (int caller = 0; caller < kCallers; ++caller) {
      callers.emplace_back([this, caller] {
        failing_new::spared = true;
        for (int i = 0; i < kPerCaller; ++i) {
          Ask((caller * 5 + i) % 10, std::to_string(caller) + "-" + std::to_string(i));
        }
        ++done_;
      });
    }
    std::string wrong;
    if (!Soon([this] { return done_ == kCallers; })) {
      std::printf("seed %lu: a caller got no answer: %s\n", static_cast<unsigned long>(seed_),
                  Doing().c_str());
      std::_Exit(1);
    }
    for (std::thread& caller : callers) caller.join();
    failed = failures - (std::max)(failing_new::budget.exchange(0), 0L);
    Soon([this] { return Unfinished().empty(); });
    wrong += Unfinished();
    for (const Asked& asked : asked_) {
      if (asked.answers != 1) {
        wrong += asked.gid + " was answered " + std::to_string(asked.answers) + " times; ";
      }
    }
    if (!tm_.Stop(10s)) wrong += "it does not stop; ";
    return wrong;
  }

  long failed = 0;

 private:
  dtm::Options MakeOptions() {
    dtm::Options options;
    options.retry_interval = 1ms;
    options.request_timeout = 500ms;
    options.alert_retry_limit = 1;
    options.log = [](dtm::LogLevel, const std::string&) { throw 42; };
    options.on_alert = [](const dtm::Alert&) { throw 42; };
    return options;
  }

  void Ask(int what, const std::string& name) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      doing_[name[0] - '0'] = name + " kind " + std::to_string(what);
    }
    try {
      switch (what) {
        case 0: return Submit(Saga("plain-" + name, "local:Slow", TransType::kSaga));
        case 1: return Submit(Saga("undone-" + name, "local:No", TransType::kSaga));
        case 2: return Submit(Saga("odd-" + name, "local:Odd", TransType::kMsg));
        case 3:
          return Submit(Saga("url-" + name, url_.empty() ? "local:Ok" : url_, TransType::kSaga));
        case 4:
          return Submit(
              Saga("sql-" + name, in_sql ? "local:tx/Write" : "local:Ok", TransType::kSaga));
        case 5: return Tcc("tcc-" + name);
        case 6: {
          Accept("wf-" + name);
          (void)workflow_->Execute("wf-" + name, 1);
          return;
        }
        case 7: tm_.Transact([&](dtm::Tx& tx) { (void)tx; }); return;
        case 8:
          Accept("waited-" + name);
          (void)tm_.SubmitAndWait(Saga("waited-" + name, "local:Ok", TransType::kSaga), 300ms);
          return;
        default: Commands();
      }
    } catch (...) {  // an answer as well
    }
  }

  /// The outcome of a blocking submission: if it is stored it has to end.
  void Accept(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    maybe_.push_back(gid);
  }

  void Submit(Definition definition) {
    Asked* asked = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      asked_.emplace_back();
      asked = &asked_.back();
      asked->gid = definition.gid;
    }
    tm_.SubmitAsync(std::move(definition), [asked](const dtm::Answer& reply) {
      asked->accepted = reply.error == nullptr;
      ++asked->answers;
      throw 42;
    });
  }

  void Tcc(const std::string& gid) {
    Accept(gid);
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kTcc;
    definition.options.timeout_to_fail = 1s;
    tm_.Prepare(definition);
    tm_.RegisterBranch(gid, TransType::kTcc, {"local:Ok", "local:Ok", "1", "01"});
    tm_.Submit(definition);
  }

  void Commands() {
    std::string gid;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (asked_.empty()) return;
      gid = asked_.back().gid;
    }
    const std::function<void()> commands[] = {
        [&] { (void)tm_.Wait(gid, 20ms); },
        [&] { (void)tm_.Explain(gid); },
        [&] { (void)tm_.ListWaiting(0s, 100); },
        [&] { (void)tm_.List(); },
        [&] { tm_.RetryNow(gid); },
        [&] {
          tm_.Skip(gid, "01", dtm::Op::kCompensate, {"", "why"});
        },
        [&] { tm_.Cancel(gid); },
        [&] { (void)tm_.Measure(); }};
    for (const auto& command : commands) {
      try {
        command();
      } catch (...) {  // an answer as well
      }
    }
  }

  template <typename Condition>
  static bool Soon(const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(5ms);
    }
    return true;
  }

  std::string Unfinished() {
    std::string wrong;
    const auto look = [&](const std::string& gid, bool accepted) {
      const auto stored = tm_.Query(gid);
      if (!stored && accepted) wrong += gid + " was accepted and is lost; ";
      if (!stored || dtm::IsFinal(stored->status)) return;
      wrong += gid + " has not ended: " + tm_.Explain(gid) + "; ";
      try {
        tm_.RetryNow(gid);
      } catch (...) {  // it is prepared, or has just ended
      }
    };
    for (const Asked& asked : asked_) {
      look(asked.gid, asked.accepted);
      if (asked.answers == 0) wrong += asked.gid + " was not answered; ";
    }
    for (const std::string& gid : maybe_) look(gid, false);
    return wrong;
  }

  std::string Doing() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string all;
    for (const std::string& doing : doing_) all += doing + "; ";
    return all;
  }

 public:
  static inline bool in_sql = false;

 private:
  const std::string url_;
  const std::uint64_t seed_;
  std::atomic<int> odd_{1};
  std::atomic<int> done_{0};
  std::mutex mutex_;
  std::list<Asked> asked_;
  std::vector<std::string> maybe_;
  std::string doing_[kCallers];
  std::optional<dtm::WorkflowHandle<int>> workflow_;
  dtm::Coordinator tm_;
};

/// The URL of a branch in a process of its own, where no allocation fails; it ends with this one.
std::string BranchElsewhere() {
  int tell[2], alive[2];
  if (::pipe(tell) != 0 || ::pipe(alive) != 0) std::abort();
  char url[100] = {};
  if (::fork() != 0) {
    ::close(alive[0]);
    if (::read(tell[0], url, sizeof url - 1) <= 0) std::abort();
    return url;
  }
  ::close(alive[1]);
  dtm_test::RawServer server([](int fd, int) {
    while (!dtm_test::RawServer::ReadRequest(fd).empty()) {
      dtm_test::RawServer::Write(fd, dtm_test::RawServer::Ok());
    }
  });
  const std::string where = server.Url();
  if (::write(tell[1], where.data(), where.size()) < 0) std::abort();
  (void)!::read(alive[0], url, 1);
  std::_Exit(0);
}

}  // namespace

int main(int count, char** arguments) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  failing_new::spared = true;
  const std::uint64_t first = count > 1 ? std::stoul(arguments[1]) : 1;
  const std::uint64_t seeds = count > 2 ? std::stoul(arguments[2]) : 8;
  const std::string branch = BranchElsewhere();
  dtm_test::TempDir dir;
  int problems = 0;
  long failed = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    Run::in_sql = seed % 2 == 0;
    std::unique_ptr<dtm::Store> store;
    if (Run::in_sql) {
      store = std::make_unique<dtm::SqliteStore>(dir / ("s" + std::to_string(seed) + ".db"),
                                                 dtm::Durability::kProcess);
    } else {
      store = std::make_unique<dtm::MemoryStore>();
    }
    Run run(std::move(store), seed % 3 == 0 ? "" : branch, seed);
    const std::string wrong = run.Go(60, 10 + seed % 5 * 20);
    failed += run.failed;
    if (wrong.empty()) continue;
    ++problems;
    std::printf("seed %lu: %s\n", static_cast<unsigned long>(seed), wrong.c_str());
  }
  std::printf("%ld allocations failed, %d problems\n", failed, problems);
  return problems == 0 && failed > 0 ? 0 : 1;
}
