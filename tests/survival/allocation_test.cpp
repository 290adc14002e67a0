/// The N-th allocation of the thread that drives the coordinator fails, for every N of a scenario, and then another one
/// soon after it: the coordinator goes on, everybody is answered, and what was accepted ends. A program of its own, since operator new is everybody's.
/// Needs: the test kit. Threads: one.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "failing_new.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/dtm.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace {

using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::TransType;

struct Asked {
  Definition definition;
  bool taken = false;
  int answers = 0;
  bool accepted = false;
};

Definition Saga(const std::string& gid, const std::string& action) {
  Definition definition;
  definition.gid = gid;
  definition.steps = {{"local:Ok", "local:Ok", "1"}, {action, "local:Ok", "2"}};
  return definition;
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
  Definition tcc;
  tcc.gid = "tcc";
  tcc.type = TransType::kTcc;
  add(tcc);  // prepared before
  return all;
}

/// One run; returns what was wrong. `fail_at`: which allocation fails; `then`: so many later another one, -1: none.
std::string Run(long fail_at, long then, const std::shared_ptr<dtm::Store>& store, bool& reached) {
  dtm::Options options;
  options.log = [](dtm::LogLevel, const std::string&) {};
  bool later = true;
  dtm::testing::TestCoordinator kit(
      [&](dtm::Coordinator& tm) {
        tm.Register<int>("Ok", [](const int&) {});
        tm.Register<int>("No", [](const int&) { return Result::Failure("no"); });
        tm.Register<int>("Later", [&later](const int&) {
          return std::exchange(later, false) ? Result::Ongoing() : Result::Success();
        });
        tm.RegisterInTransaction<int>("Write", [](sqlite3*, const int&) {});
      },
      options, store);
  kit.Branches().On("http://branch", {{Result::Error("down"), {}, false}});
  std::vector<Asked> all = Everything(dynamic_cast<dtm::SqliteStore*>(store.get()) != nullptr);
  (void)kit->Prepare(all.back().definition);
  kit->RegisterBranch("tcc", TransType::kTcc, {"local:Ok", "local:Ok", "1", "01"});
  failing_new::failed = 0;
  failing_new::between = then;
  const auto poll = [&] {
    failing_new::left = fail_at;
    dtm::Duration wait{};
    try {
      wait = kit->Poll();
    } catch (...) {
      failing_new::left = -1;
      throw;
    }
    fail_at = std::exchange(failing_new::left, -1);
    return dtm::Later(kit.Clock().Now(), wait);
  };
  for (Asked& asked : all) {
    kit->SubmitAsync(asked.definition, [&asked](const dtm::Reply& reply) {
      ++asked.answers;
      asked.accepted = reply.error == nullptr;
    });
    if (&asked - all.data() == 3) (void)poll();
  }
  const dtm::Time end = kit.Clock().Now() + std::chrono::hours(3);
  for (int turns = 0; kit.Clock().Now() < end && turns < 20000; ++turns) {
    const dtm::Time next = poll();
    if (next > kit.Clock().Now()) kit.Clock().MoveTowards(std::min(next, end));
  }
  reached = failing_new::failed > 0;
  std::string wrong;
  for (const Asked& asked : all) {
    const std::string& gid = asked.definition.gid;
    if (asked.answers != 1) {
      wrong += gid + " was answered " + std::to_string(asked.answers) + " times; ";
    }
    const auto stored = kit->Query(gid);
    if (asked.accepted && !stored) wrong += gid + " was accepted and is lost; ";
    if (asked.accepted && stored && !dtm::IsFinal(stored->status)) {
      wrong += gid + " was accepted and has not ended: " + kit->Explain(gid) + "; ";
    }
    if (stored && stored->stuck) wrong += gid + " is stuck; ";
  }
  return wrong;
}

int RunAll(const char* name, const std::function<std::shared_ptr<dtm::Store>(long)>& make) {
  int problems = 0;
  long runs = 0;
  for (const long then : {-1L, 0L, 1L, 2L, 5L}) {
    bool reached = true;
    for (long n = 0; reached && problems < 10; ++n) {
      std::string wrong;
      try {
        wrong = Run(n, then, make(runs++), reached);
      } catch (const std::exception& error) {
        wrong = std::string("thrown: ") + error.what();
      }
      if (wrong.empty()) continue;
      ++problems;
      std::printf("%s: allocation %ld fails, and another %ld later: %s\n", name, n, then,
                  wrong.c_str());
    }
  }
  std::printf("%s: %ld runs, %d problems\n", name, runs, problems);
  return problems;
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  int problems = RunAll("memory", [](long) { return std::make_shared<dtm::MemoryStore>(); });
  dtm_test::TempDir dir;
  problems += RunAll("sqlite", [&dir](long n) {
    return std::make_shared<dtm::SqliteStore>(dir / ("s" + std::to_string(n) + ".db"),
                                              dtm::Durability::kProcess);
  });
  return problems == 0 ? 0 : 1;
}
