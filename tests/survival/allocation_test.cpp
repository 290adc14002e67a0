/// The N-th allocation of the thread that drives the coordinator fails, for every N of a scenario: the coordinator goes
/// on, everybody is answered, and what was accepted ends. A program of its own, since operator new is everybody's.
/// Needs: the test kit. Threads: one.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "tests/support/temp_dir.hpp"
#include <dtm/dtm.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace {

thread_local long allocations_left = -1;  // until one fails; negative: none does
thread_local bool failed = false;

bool FailsNow() {
  if (allocations_left < 0) return false;
  if (allocations_left-- > 0) return false;
  failed = true;
  return true;
}

}  // namespace

void* operator new(std::size_t size) {
  if (FailsNow()) throw std::bad_alloc();
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return FailsNow() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

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

/// One run; returns what was wrong. `fail_at`: which allocation fails.
std::string Run(long fail_at, const std::shared_ptr<dtm::Store>& store, bool& reached) {
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
  for (int i = 0; i < 3; ++i) {  // what an earlier life left
    kit.Branches().On("http://old", {dtm::testing::ScriptedAnswer::Silence()});
    kit->Submit(Saga("old" + std::to_string(i), "http://old"));
  }
  kit.Settle();
  std::vector<Asked> all = Everything(dynamic_cast<dtm::SqliteStore*>(store.get()) != nullptr);
  (void)kit->Prepare(all.back().definition);
  kit->RegisterBranch("tcc", TransType::kTcc, {"local:Ok", "local:Ok", "1", "01"});
  kit.Crash();
  failed = false;
  const auto poll = [&] {
    allocations_left = fail_at;
    dtm::Time next{};
    try {
      next = dtm::Later(kit.Clock().Now(), kit->Poll());
    } catch (...) {
      allocations_left = -1;
      throw;
    }
    if (allocations_left >= 0) fail_at = allocations_left;
    if (failed) fail_at = -1;
    allocations_left = -1;
    return next;
  };
  (void)poll();  // finds what is old, before anything new
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
  reached = failed;
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
  for (int i = 0; i < 3; ++i) {
    const std::string gid = "old" + std::to_string(i);
    const auto stored = kit->Query(gid);
    if (!stored || stored->status != Status::kSucceed) {
      wrong += "after the restart: " + kit->Explain(gid) + "; ";
    }
  }
  return wrong;
}

int RunAll(const char* name, const std::function<std::shared_ptr<dtm::Store>(long)>& make) {
  int problems = 0;
  long n = 0;
  for (bool reached = true; reached && problems < 10; ++n) {
    std::string wrong;
    try {
      wrong = Run(n, make(n), reached);
    } catch (const std::exception& error) {
      wrong = std::string("thrown: ") + error.what();
    }
    if (wrong.empty()) continue;
    ++problems;
    std::printf("%s: allocation %ld fails: %s\n", name, n, wrong.c_str());
  }
  std::printf("%s: %ld allocations, %d problems\n", name, n - 1, problems);
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
