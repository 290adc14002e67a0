/// Every public method from any thread, in every mode, also while Start and Stop are called: nobody hangs, everybody is
/// answered once. What it is really for is the thread sanitizer.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>
#include <tests/support/temp_dir.hpp>

using dtm::Coordinator;
using dtm::Definition;
using dtm::Result;
using dtm::TransType;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Answers calls by URL on a thread of its own.
class EchoCaller : public dtm::BranchCaller {
 public:
  EchoCaller() : thread_([this] { Main(); }) {}
  ~EchoCaller() override { EchoCaller::Stop(); }
  void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& call : calls) calls_.emplace_back(std::move(call), &results);
    changed_.notify_all();
  }
  void Stop() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Main() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !calls_.empty(); });
      if (stopping_) return;
      auto calls = std::exchange(calls_, {});
      lock.unlock();
      for (auto& entry : calls) entry.second->Done(std::move(entry.first), Result::Success());
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<dtm::BranchCall, dtm::BranchResults*>> calls_;
  bool stopping_ = false;
  std::thread thread_;
};

Definition SagaOf(const std::string& gid, const std::vector<std::string>& urls) {
  Definition definition;
  definition.gid = gid;
  definition.options.retry_interval = seconds(1);
  for (const auto& url : urls) definition.steps.push_back({url, "", "1"});
  return definition;
}

Definition Typed(TransType type, const std::string& gid) {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  if (type == TransType::kWorkflow) definition.query_prepared = "local:A";
  return definition;
}

/// How the coordinator is driven.
enum class Mode { kThread, kPoll, kCallers, kStartedLater };

class Crowd {
 public:
  Crowd(Mode mode, std::unique_ptr<dtm::Store> store) : mode_(mode) {
    dtm::Options options = dtm_test::Quiet();
    options.retry_interval = milliseconds(20);
    options.alert_retry_limit = 1;
    options.on_alert = [this](const dtm::Alert&) { ++alerts_; };
    options.on_event = [this](const dtm::Event&) { ++events_; };
    options.on_span = [this](const dtm::Span&) { ++spans_; };
    options.max_in_memory = 50;
    tm_ = std::make_unique<Coordinator>(std::move(store), options);
    tm_->Register<int>("A", [](const int&) {});
    tm_->Register<int>("Fails", [this](const int&) -> Result {
      return ++calls_ % 2 == 0 ? Result::Success() : Result::Error("not now");
    });
    tm_->Register<int>("Submits", [this](const int&) {
      tm_->SubmitAsync(SagaOf(tm_->NewGid(), {"local:A"}), {});
    });
    tm_->RegisterInTransaction<int>("T", [](sqlite3*, const int&) {});
  }

  /// All at once, until Stop has ended everything.
  void Run() {
    if (mode_ == Mode::kThread) {
      tm_->Use(std::make_unique<EchoCaller>());
      tm_->Start();
    }
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) threads.emplace_back([this, t] { Client(t); });
    if (mode_ == Mode::kPoll) {
      threads.emplace_back([this] {
        while (!stopped_) {
          Try([this] { (void)tm_->Poll(); });
          std::this_thread::yield();
        }
      });
    }
    if (mode_ != Mode::kThread) {
      Try([this] { tm_->Use(std::make_unique<EchoCaller>()); });
    }
    if (mode_ == Mode::kStartedLater) {
      AfterCalls(100);
      Try([this] { tm_->Start(); });
    }
    AfterCalls(300);
    std::thread second([this] { (void)tm_->Stop(seconds(10)); });
    CHECK(tm_->Stop(seconds(10)));
    stopped_ = true;
    second.join();
    for (auto& thread : threads) thread.join();
    CHECK(asked_ == answered_);
    CHECK_THROWS_AS(tm_->Submit(SagaOf("late", {})), dtm::LogicError);
  }

 private:
  void AfterCalls(std::size_t n) const {
    while (made_ < n) std::this_thread::yield();
  }

  template <typename Function>
  void Try(const Function& function) {
    try {
      function();
    } catch (const dtm::Error&) {  // too late, the wrong status, not in this mode
    }
  }

  void Client(unsigned number) {
    std::mt19937 random(number);
    const auto methods = Methods(number, random);
    while (!stopped_) {
      const auto& method = methods[random() % methods.size()];
      Try(method);
      ++made_;
    }
  }

  std::vector<std::function<void()>> Methods(unsigned number, std::mt19937& random) {
    const auto any = [&random] { return "g" + std::to_string(random() % 50); };
    const auto count = std::make_shared<int>(0);
    const auto fresh = [number, count] {
      return "n" + std::to_string(number) + "-" + std::to_string(++*count);
    };
    Coordinator& tm = *tm_;
    return {
        [&tm] { (void)tm.NewGid(); },
        [&tm, any] {
          tm.Submit(SagaOf(any(), {"local:A", "http://x/a"}));
        },
        [&tm, fresh] {
          (void)tm.SubmitAndWait(SagaOf(fresh(), {"local:A", "http://x/a"}), hours(1));
        },
        [&tm, fresh] { (void)tm.Submit(SagaOf(fresh(), {"local:T"})); },
        [&tm, fresh] {
          auto saga = SagaOf(fresh(), {"local:Fails"});
          saga.options.wait_result = true;
          (void)tm.Submit(saga);
        },
        [this, &tm, fresh] {
          ++asked_;
          try {
            tm.SubmitAsync(SagaOf(fresh(), {"local:Submits", "local:Fails"}),
                           [this](const dtm::Answer&) { ++answered_; });
          } catch (...) {
            --asked_;
            throw;
          }
        },
        [&tm, any] { tm.Prepare(Typed(TransType::kTcc, "t" + any())); },
        [&tm, any] {
          tm.RegisterBranch("t" + any(), TransType::kTcc, {"local:A", "local:A", "1"});
        },
        [&tm, any] { tm.Submit(Typed(TransType::kTcc, "t" + any())); },
        [&tm, any] { tm.Abort("t" + any(), TransType::kTcc, "no"); },
        [&tm, any] { (void)tm.PrepareWorkflow(Typed(TransType::kWorkflow, "w" + any())); },
        [&tm, any] { tm.FinishWorkflow("w" + any(), dtm::Status::kSucceed, "", "done"); },
        [&tm] {
          dtm::InitiatorCall call;
          call.info.gid = "direct";
          call.url = "local:A";
          call.payload = "1";
          (void)tm.CallBranch(call);
          call.url = "http://x/direct";
          (void)tm.CallBranch(call);
        },
        [&tm, fresh] { (void)tm.Register<int>(fresh(), [](const int&) {}); },
        [&tm, fresh] { (void)tm.RegisterInTransaction<int>(fresh(), [](sqlite3*, const int&) {}); },
        [&tm, fresh] {
          tm.Transact([&](dtm::Tx& tx) { tx.Submit(SagaOf(fresh(), {"local:A"})); });
        },
        [&tm] { (void)tm.Poll(); },
        [this, &tm] {
          if (!stopped_) (void)tm.Counted();
        },
        [&tm, any] { (void)tm.Query(any()); },
        [&tm] { (void)tm.List(); },
        [&tm, any] { (void)tm.Wait(any(), milliseconds(5)); },
        [&tm, any] { (void)tm.Explain(any()); },
        [&tm, any] { tm.Cancel(any()); },
        [&tm, any] { tm.ForceStop("t" + any()); },
        [&tm, any] { tm.RetryNow(any()); },
        [&tm, any] {
          tm.Skip(any(), "01", dtm::Op::kCompensate, {"", "why"});
        },
        [&tm] { (void)tm.ListWaiting(milliseconds(1), 5); },
        [&tm] { tm.Subscribe("topic", "http://x/topic"); },
        [&tm] { tm.Unsubscribe("topic", "http://x/topic"); },
        [&tm] { tm.DeleteTopic("topic"); },
        [&tm] { (void)tm.ListValues("topics"); },
        [&tm] { (void)tm.Settings().max_in_memory; },
    };
  }

  const Mode mode_;
  std::unique_ptr<Coordinator> tm_;
  std::atomic<std::size_t> made_{0};
  std::atomic<std::size_t> asked_{0};
  std::atomic<std::size_t> answered_{0};
  std::atomic<int> calls_{0};
  std::atomic<int> alerts_{0};
  std::atomic<int> events_{0};
  std::atomic<int> spans_{0};
  std::atomic<bool> stopped_{false};
};

}  // namespace

TEST_CASE("any thread: every method in every mode, also while it starts and stops") {
  const Mode mode = GENERATE(Mode::kThread, Mode::kPoll, Mode::kCallers, Mode::kStartedLater);
  const bool file = GENERATE(false, true);
  CAPTURE(static_cast<int>(mode), file);
  const dtm_test::TempDir dir;
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    std::unique_ptr<dtm::Store> store = std::make_unique<dtm::MemoryStore>();
    if (file) {
      store = std::make_unique<dtm::SqliteStore>(dir / ("store" + std::to_string(round) + ".db"),
                                                 dtm::Durability::kProcess);
    }
    Crowd(mode, std::move(store)).Run();
  }
}
