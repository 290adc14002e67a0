/// The N-th allocation of the thread that drives the coordinator fails, and another one soon after it, for every N of a
/// scenario: the coordinator goes on, everybody is answered once, and what was accepted ends, with its effects once.
/// `allocation_test [distances]`: the second failure comes 0, 1, ... further allocations later. A program of its own,
/// since operator new is everybody's.
/// Needs: the test kit, POSIX (alarm). Threads: one.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "tests/support/quiet.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/survival/failing_new.hpp"
#include <dtm/dtm.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace {

using namespace std::chrono_literals;
using dtm::Definition;
using dtm::Result;
using dtm::TransType;

/// Which allocations fail: one after so many, then one after so many more; negative: none.
struct Failures {
  long first = -1;
  long then = -1;
};

/// Those of a part of the scenario; what is left is for the next part.
class Failing {
 public:
  explicit Failing(Failures& failures) : failures_(failures) {
    failing_new::left = failures.first;
    failing_new::between = failures.then;
  }
  ~Failing() {
    failures_ = {failing_new::left, failing_new::between};
    failing_new::left = failing_new::between = -1;
  }
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;

 private:
  Failures& failures_;
};

struct Asked {
  Definition definition;
  int answers = 0;
  bool accepted = false;
};

Definition Saga(const std::string& gid, const std::string& action) {
  Definition definition;
  definition.gid = gid;
  definition.steps = {{"local:Ok", "local:Ok", "1"}, {action, "local:Ok", "2"}};
  return definition;
}

Definition Tcc(const std::string& gid) {
  Definition tcc;
  tcc.gid = gid;
  tcc.type = TransType::kTcc;
  return tcc;
}

std::vector<Asked> Everything(bool with_sql) {
  std::vector<Asked> all;
  const auto add = [&all](Definition definition) { all.push_back({std::move(definition)}); };
  add(Saga("plain", "local:Ok"));
  add(Saga("undone", "local:No"));
  add(Saga("by-url", "http://branch"));
  add(Saga("again", "local:Later"));
  if (with_sql) add(Saga("in-commit", "local:tx/Write"));
  add(Saga("plain", "local:Ok"));  // a repeat
  Definition msg = Saga("msg", "local:Ok");
  msg.type = TransType::kMsg;
  for (dtm::Step& step : msg.steps) step.compensate.clear();
  add(msg);
  add(Tcc("tcc"));  // prepared before
  return all;
}

void Note(sqlite3* db, const std::string& what) {
  if (db == nullptr) return;
  const std::string sql = "INSERT INTO notes VALUES ('" + what + "')";
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    throw dtm::Error(sqlite3_errmsg(db));
  }
}

/// One life of a coordinator in which allocations fail.
class Run {
 public:
  Run(Failures failures, const std::shared_ptr<dtm::Store>& store)
      : failures_(failures),
        with_sql_(dynamic_cast<dtm::SqliteStore*>(store.get()) != nullptr),
        kit_([this](dtm::Coordinator& tm) { Register(tm); }, dtm_test::Quiet(), store),
        all_(Everything(with_sql_)) {
    kit_.Branches().On("http://branch", {{Result::Error("down"), {}, false}});
    kit_->Transact([this](dtm::Tx& tx) {
      if (!with_sql_) return;
      sqlite3_exec(tx.Db(), "CREATE TABLE notes(what TEXT)", nullptr, nullptr, nullptr);
    });
    for (const char* gid : {"old0", "old1", "old2"}) {  // what a previous run left
      kit_.Branches().On("http://old", {dtm::testing::ScriptedAnswer::Silence()});
      kit_->Submit(Saga(gid, "http://old"));
    }
    kit_.Settle();
    (void)kit_->Prepare(all_.back().definition);
    kit_->RegisterBranch("tcc", TransType::kTcc, {"local:Ok", "local:Ok", "1", "01"});
    kit_.Crash();
  }

  /// What was wrong.
  std::string Go() {
    failing_new::failed = 0;
    (void)Poll();  // finds what is old, before anything new
    for (Asked& asked : all_) {
      kit_->SubmitAsync(asked.definition, [&asked](const dtm::Answer& reply) {
        ++asked.answers;
        asked.accepted = reply.error == nullptr;
      });
      if (&asked - all_.data() == 3) (void)Poll();
    }
    (void)Poll();
    Ask();
    const dtm::Time end = kit_.Clock().Now() + 3h;
    for (int turns = 0; kit_.Clock().Now() < end && turns < 20000; ++turns) {
      const dtm::Time next = Poll();
      if (next > kit_.Clock().Now()) kit_.Clock().MoveTowards(std::min(next, end));
    }
    failed = failing_new::failed;
    return Wrong();
  }

  int failed = 0;

 private:
  void Register(dtm::Coordinator& tm) {
    tm.Register<int>("Ok", [](const int&) {});
    tm.Register<int>("No", [](const int&) { return Result::Failure("no"); });
    tm.Register<int>("Later", [this](const int&) {
      return std::exchange(later_, false) ? Result::Ongoing() : Result::Success();
    });
    const auto write =
        tm.RegisterInTransaction<int>("Write", [](sqlite3* db, const int&) { Note(db, "branch"); });
    workflow_ = dtm::RegisterWorkflow<int>(tm, "wf", [this, write](dtm::Workflow& wf, const int&) {
      const auto seat =
          wf.NewBranch().OnRollback([] {}).Do([] { return std::string("the last row"); });
      if (with_sql_) wf.NewBranch().Call(write, 1);
      return seat;
    });
  }

  dtm::Time Poll() {
    const Failing failing(failures_);
    return dtm::Later(kit_.Clock().Now(), kit_->Poll());
  }

  enum class Told { kDone, kNotDone, kInDoubt };

  template <typename Function>
  Told Tell(const Function& function) {
    const Failing failing(failures_);
    try {
      function();
      return Told::kDone;
    } catch (const dtm::InDoubtError&) {
      return Told::kInDoubt;
    } catch (const dtm::Error&) {
      return Told::kNotDone;
    } catch (const std::bad_alloc&) {  // of our own part
      return Told::kInDoubt;
    }
  }

  /// In doubt: the same is asked again.
  template <typename Function>
  Told Again(const Function& function) {
    Told told = Tell(function);
    for (int n = 0; n < 3 && told == Told::kInDoubt; ++n) told = Tell(function);
    return told;
  }

  /// Those who wait for their answer.
  void Ask() {
    transact_ = Tell([&] {
      kit_->Transact([&](dtm::Tx& tx) {
        if (with_sql_) Note(tx.Db(), "transact");
        tx.Submit(Saga("of-transact", "local:Ok"));
      });
    });
    workflow_told_ = Tell([&] { (void)workflow_->Execute("wf", 1); });
    tcc_ = Again([&] { (void)kit_->Prepare(Tcc("tcc-2")); });
    for (const char* branch : {"01", "02"}) {
      if (tcc_ != Told::kDone) continue;
      tcc_ = Again([&] {
        kit_->RegisterBranch("tcc-2", TransType::kTcc, {"local:Ok", "local:Ok", "1", branch});
      });
    }
    if (tcc_ == Told::kDone) tcc_ = Again([&] { (void)kit_->Submit(Tcc("tcc-2")); });
    aborted_ = Tell([&] {
      (void)kit_->Prepare(Tcc("aborted"));
      kit_->Abort("aborted", TransType::kTcc, "no");
    });
    const std::function<void()> commands[] = {
        [&] { (void)kit_->SubmitAndWait(Saga("waited", "local:Ok"), 10s); },
        [&] { (void)kit_->Wait("plain", 1s); },
        [&] { (void)kit_->Explain("again"); },
        [&] { (void)kit_->ListWaiting(0s, 10); },
        [&] { (void)kit_->List(); },
        [&] { kit_->RetryNow("again"); },
        [&] {
          kit_->Skip("again", "01", dtm::Op::kCompensate, {"ann", "a long enough reason"});
        },
        [&] { kit_->Cancel("by-url"); },
        [&] { kit_->ForceStop("by-url"); },
        [&] { kit_->Subscribe("topic", "http://branch"); },
        [&] { kit_->DeleteTopic("topic"); }};
    for (const auto& command : commands) (void)Tell(command);
  }

  /// `told`: of what was asked by somebody who waited.
  void LookAt(const std::string& gid, Told told, std::string& wrong) {
    const auto stored = kit_->Query(gid);
    if (told == Told::kDone && !stored) wrong += gid + " was accepted and is lost; ";
    if (stored && !dtm::IsFinal(stored->status)) {
      wrong += gid + " has not ended: " + kit_->Explain(gid) + "; ";
    }
    if (stored && stored->stuck) wrong += gid + " is stuck; ";
  }

  int Notes(const std::string& what) {
    int notes = 0;
    kit_->Transact([&](dtm::Tx& tx) {
      const std::string sql = "SELECT 1 FROM notes WHERE what='" + what + "'";
      sqlite3_exec(
          tx.Db(), sql.c_str(),
          [](void* n, int, char**, char**) { return ++*static_cast<int*>(n), 0; }, &notes, nullptr);
    });
    return notes;
  }

  std::string Wrong() {
    std::string wrong;
    for (const Asked& asked : all_) {
      const std::string& gid = asked.definition.gid;
      if (asked.answers != 1) {
        wrong += gid + " was answered " + std::to_string(asked.answers) + " times; ";
      }
      LookAt(gid, asked.accepted ? Told::kDone : Told::kInDoubt, wrong);
    }
    for (const char* gid : {"old0", "old1", "old2"}) LookAt(gid, Told::kDone, wrong);
    LookAt("of-transact", transact_, wrong);
    LookAt("wf", workflow_told_, wrong);
    LookAt("tcc-2", tcc_, wrong);
    if (tcc_ == Told::kDone && kit_->Query("tcc-2")->branches.size() != 4) {
      wrong += "a branch of tcc-2 is lost; ";
    }
    LookAt("aborted", aborted_, wrong);
    LookAt("waited", Told::kInDoubt, wrong);
    if (transact_ == Told::kNotDone && kit_->Query("of-transact")) wrong += "Transact was done; ";
    if (!with_sql_) return wrong;
    if (Notes("transact") != (kit_->Query("of-transact") ? 1 : 0)) wrong += "Transact, halves; ";
    const auto saga = kit_->Query("in-commit");
    const auto workflow = kit_->Query("wf");
    // A crash between a step of a workflow and its record repeats the step, and so does a failed allocation.
    const int least = (saga && saga->status == dtm::Status::kSucceed ? 1 : 0) +
                      (workflow && workflow->status == dtm::Status::kSucceed ? 1 : 0);
    const int notes = Notes("branch");
    if (notes < least || notes > 2 + failed) {
      wrong += std::to_string(notes) + " notes of branches; ";
    }
    return wrong;
  }

  Failures failures_;
  const bool with_sql_;
  bool later_ = true;
  std::optional<dtm::WorkflowHandle<int>> workflow_;
  dtm::testing::TestCoordinator kit_;
  std::vector<Asked> all_;
  Told transact_{}, workflow_told_{}, tcc_{}, aborted_{};
};

char now[200];  // for who looks at a run that does not end

int RunAll(const char* name, long distances,
           const std::function<std::shared_ptr<dtm::Store>()>& make) {
  int problems = 0;
  long n = 0;
  long runs = 0;
  for (bool reached = true; reached && problems < 10; n += dtm_test::kStep) {
    for (long then = -1; then < distances && reached; ++then) {
      std::snprintf(now, sizeof now, "%s: allocation %ld fails, and %ld later another\n", name, n,
                    then);
      ::alarm(60);
      std::string wrong;
      try {
        Run run({n, then}, make());
        wrong = run.Go();
        reached = run.failed > 0;
      } catch (const std::exception& error) {
        wrong = std::string("thrown: ") + error.what();
      }
      ++runs;
      if (wrong.empty()) continue;
      ++problems;
      std::printf("%s   %s\n", now, wrong.c_str());
    }
  }
  std::printf("%s: %ld allocations, %ld runs, %d problems\n", name, n - dtm_test::kStep, runs,
              problems);
  return problems;
}

/// A commit fails, and no memory is left to say why: what ran in it is undone before the next answer is taken.
int CommitBrokenOff() {
  int problems = 0;
  for (std::uint64_t operation = 1; operation < 5; ++operation) {
    for (long n = 0; n < 30; ++n) {
      const dtm_test::TempDir dir;
      dtm::Options options;
      options.log = [](dtm::LogLevel, const std::string&) {};
      dtm::testing::TestCoordinator kit(
          [](dtm::Coordinator& tm) {
            tm.RegisterInTransaction<int>("Write", [](sqlite3*, const int&) {});
          },
          options, std::make_shared<dtm::SqliteStore>(dir / "s.db", dtm::Durability::kProcess));
      kit.Branches().On("http://first", {{Result::Success(), 1s, false}});
      kit.Branches().On("http://slow", {{Result::Success(), 1005ms, false}});
      Definition saga;
      saga.gid = "saga";
      saga.concurrent = true;
      saga.steps = {
          {"http://slow", "", "1"}, {"http://first", "", "1"}, {"local:tx/Write", "", "1"}};
      saga.orders = {{2, {1}}};
      kit->Submit(saga);
      kit.Settle();
      kit.Clock().MoveTowards(kit.Clock().Now() + 1s);
      kit.Store().FailOnce(operation, dtm::testing::StoreFault::kInDoubtNotStored);
      failing_new::left = n;
      (void)kit->Poll();
      failing_new::left = -1;
      kit.Clock().MoveTowards(kit.Clock().Now() + 5ms);  // the slow one answers
      kit.Advance(60s);
      kit.Store().FailOnce(1, dtm::testing::StoreFault::kNone);
      if (kit->Query("saga")->status == dtm::Status::kSucceed) continue;
      ++problems;
      std::printf("operation %d, allocation %ld: %s\n", static_cast<int>(operation), n,
                  kit->Explain("saga").c_str());
    }
  }
  return problems;
}

/// More results, or timers, come in one turn than ever before; what fails then does not wait for the sweep.
int ManyInOneTurn() {
  constexpr std::size_t kSagas = 20;
  int problems = 0;
  for (const char* when : {"results", "timers"}) {
    for (long n = 0, failed = 1; failed > 0; n += dtm_test::kStep) {
      dtm::Options options;
      options.log = [](dtm::LogLevel, const std::string&) {};
      dtm::testing::TestCoordinator kit([](dtm::Coordinator&) {}, options);
      std::vector<dtm::testing::ScriptedAnswer> script(kSagas, {Result::Ongoing(), 1s, false});
      script.push_back({Result::Success(), 0s, false});
      kit.Branches().On("http://slow", script);
      for (std::size_t i = 0; i < kSagas; ++i) {
        Definition saga;
        saga.gid = "saga-" + std::to_string(i);
        saga.options.retry_interval = 1s;
        saga.steps = {{"http://slow", "", "1"}};
        kit->SubmitAsync(std::move(saga), [](const dtm::Answer&) {});
        (void)kit->Poll();
      }
      kit.Clock().MoveTowards(kit.Clock().Now() + 1s);
      if (when == std::string("timers")) {
        while (kit->Poll() == dtm::Duration(0)) {
        }
        kit.Clock().MoveTowards(kit.Clock().Now() + 1s);
      }
      failing_new::failed = 0;
      failing_new::left = n;
      (void)kit->Poll();
      failing_new::left = -1;
      failed = failing_new::failed;
      kit.Advance(10s);
      for (std::size_t i = 0; i < kSagas; ++i) {
        const std::string gid = "saga-" + std::to_string(i);
        if (kit->Query(gid)->status == dtm::Status::kSucceed) continue;
        if (++problems > 5) continue;
        std::printf("%s: allocation %ld: %s\n", when, n, kit->Explain(gid).c_str());
      }
    }
  }
  return problems;
}

}  // namespace

int main(int count, char** arguments) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const long distances = count > 1 ? std::atol(arguments[1]) : 2;
  std::signal(SIGALRM, [](int) {
    (void)!::write(1, now, std::char_traits<char>::length(now));
    (void)!::write(1, "   does not end\n", 16);
    std::_Exit(1);
  });
  int problems = RunAll("memory", distances, [] { return std::make_shared<dtm::MemoryStore>(); });
  long files = 0;
  std::unique_ptr<dtm_test::TempDir> dir;
  problems += RunAll("sqlite", distances, [&] {
    if (files++ % 100 == 0) dir = std::make_unique<dtm_test::TempDir>();
    return std::make_shared<dtm::SqliteStore>(*dir / ("s" + std::to_string(files) + ".db"),
                                              dtm::Durability::kProcess);
  });
  problems += CommitBrokenOff();
  problems += ManyInOneTurn();
  return problems == 0 ? 0 : 1;
}
