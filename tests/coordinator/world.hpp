/// A world around a coordinator: clients, branches and crashes, and a checker that looks at all of it from outside.
/// Needs: the test kit. Threads: one thread.
///
/// A test says what happens, runs it, and asks for what went wrong:
///
///   World world;
///   world.Script("a", 0, Op::kAction, {Result::Ongoing(), Result::Error("lost")});  // then Success
///   world.Submit(NewDefinition("a", 3));      // a saga of three steps
///   world.kit.Store().FailOnce(5, StoreFault::kDefinite);
///   world.Run(minutes(10));                   // virtual time: a few milliseconds
///   world.Crash();                            // kill -9, and a new coordinator on the same records
///   world.Run(hours(2));
///   CHECK(world.Violations().empty());
///
/// - Clients are honest: one repeats its submission until it has a definite answer (Submit), or prepares first and
///   submits later (Prepare). After a crash they submit again what was not accepted.
/// - Branches are URLs named after (gid, step, op), or, with `local`, one function for all of them. They return what
///   Script says, call by call, and then Success. Each call is recorded with its time and its result.
/// - The checker knows nothing of the engine. It compares three things: what was called and when (Call), what clients were
///   answered, and what is stored. After each turn LookAtTurn checks that a call was stored before it was sent, and that
///   nothing is called after the end. In the end CheckSaga checks the rules of docs/protocol.md, Appendix B: an accepted
///   saga has ended; one that succeeded had every action succeed, and no compensation; one that failed has compensated
///   all that may have run; actions start in their order and compensations in the reverse; nothing is called twice at a
///   time, again after a definite result, or before its interval. Only a crash excuses a repeat, since results on their
///   way are lost. CheckJournal compares the journal with the record.
/// - A violation is a sentence; the first twenty are kept.
///
/// Turns (turns.hpp) is smaller: the loop alone, where a test decides what arrives in which turn.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/journal_problems.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/dtm.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace world {

using dtm::Definition;
using dtm::Duration;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::Time;
using dtm::testing::ScriptedAnswer;

/// One call, with the result that the branch returned.
struct Call {
  Time at{};
  Time answered{};  ///< when the branch was done with it, or the caller gave up
  dtm::BranchInfo info;
  Result result;
};

inline std::string Key(const std::string& gid, std::size_t step, Op op) {
  return gid + "/" + dtm::NumberOf(step) + "/" + dtm::Name(op);
}
inline std::string Key(const dtm::BranchInfo& info) {
  return info.gid + "/" + info.branch_id + "/" + dtm::Name(info.op);
}

inline std::vector<ScriptedAnswer> Times(std::size_t n, Result result, Duration after = {}) {
  return std::vector<ScriptedAnswer>(n, ScriptedAnswer{std::move(result), after, false});
}

/// A saga whose branches are URLs named after (gid, step, op), or one function for all of them.
inline Definition NewDefinition(const std::string& gid, std::size_t steps, bool concurrent = false,
                                bool local = false) {
  Definition definition;
  definition.gid = gid;
  definition.concurrent = concurrent;
  for (std::size_t i = 0; i < steps; ++i) {
    const auto url = [&](Op op) { return local ? "local:branch" : "http://" + Key(gid, i, op); };
    definition.steps.push_back({url(Op::kAction), url(Op::kCompensate), "{}"});
  }
  return definition;
}

class World {
 public:
  explicit World(dtm::Options options = {})
      : options_(Telling(dtm_test::Quiet(std::move(options)))),
        inner(std::make_shared<dtm::MemoryStore>()),
        kit([this](dtm::Coordinator& tm) { Register(tm); }, options_, inner) {}

  /// What the branch returns, call by call; afterwards Success.
  void Script(const std::string& gid, std::size_t step, Op op,
              std::vector<ScriptedAnswer> answers) {
    kit.Branches().On("http://" + Key(gid, step, op), answers);
    scripts_[Key(gid, step, op)] = std::move(answers);
  }

  /// A client that repeats its submission until it has a definite answer.
  void Submit(const Definition& definition) {
    definitions_[definition.gid] = definition;
    TrySubmit(definition.gid);
  }

  /// A client that prepares it and goes on, whatever the answer is: its submit settles it.
  void Prepare(const Definition& definition) {
    try {
      const auto result = kit->Prepare(definition);
      if (StatusOf(definition.gid) != result.status) {
        Violated(definition.gid + " was prepared and that is not stored");
      }
    } catch (const dtm::InDoubtError&) {
      doubted_.insert(definition.gid);
    } catch (const dtm::StoreError&) {
      if (StatusOf(definition.gid)) Violated(definition.gid + " was refused and is stored");
    }
  }

  /// Lets time pass, looking at everything after each turn. `stop` is asked after each turn.
  void Run(Duration duration, const std::function<bool()>& stop = {}) {
    const Time end = kit.Clock().Now() + duration;
    for (int turns = 0; turns < 200000; ++turns) {
      const Duration sleep = kit->Poll();
      LookAtTurn();
      if (stop && stop()) return;
      if (sleep == Duration(0)) continue;
      if (kit.Clock().Now() >= end) return;
      kit.Clock().MoveTowards((std::min)(end, kit.Clock().Now() + sleep));
    }
    Violated("the coordinator does not come to rest");
  }

  void Crash() {
    crashes_.push_back(kit.Clock().Now());
    ++run_;
    kit.Crash();
    for (const auto& entry : definitions_) {
      if (accepted_.count(entry.first) == 0) TrySubmit(entry.first);
    }
  }

  bool AllFinal() const {
    return std::all_of(definitions_.begin(), definitions_.end(), [this](const auto& entry) {
      const auto stored = inner->Load(entry.first);
      return stored && dtm::IsFinal(stored->status);
    });
  }

  std::optional<Status> StatusOf(const std::string& gid) const {
    const auto stored = inner->Load(gid);
    if (!stored) return std::nullopt;
    return stored->status;
  }

  std::size_t CallsOf(const std::string& gid, std::size_t step, Op op) {
    Collect();
    const auto found = by_key_.find(Key(gid, step, op));
    return found == by_key_.end() ? 0 : found->second.size();
  }

  std::size_t Calls() {
    Collect();
    std::size_t calls = 0;
    for (const auto& entry : by_key_) calls += entry.second.size();
    return calls;
  }

  /// All that was wrong. Call it when everything has had the time to end.
  const std::vector<std::string>& Violations() {
    Run(std::chrono::seconds(2));  // its last commit may be in doubt until the store is tried again
    Collect();
    for (const auto& entry : definitions_) CheckSaga(entry.second);
    return violations_;
  }

  const dtm::Options options_;
  const std::shared_ptr<dtm::MemoryStore> inner;
  std::map<std::string, std::vector<dtm::Event>> events;  ///< that were told, by gid
  dtm::testing::TestCoordinator kit;

 private:
  void Violated(std::string what) {
    if (violations_.size() < 20) violations_.push_back(std::move(what));
  }

  dtm::Options Telling(dtm::Options options) {
    options.on_event = [this](const dtm::Event& event) { events[event.gid].push_back(event); };
    return options;
  }

  void Register(dtm::Coordinator& tm) {
    tm.Register<nlohmann::json>("branch",
                                [this](const nlohmann::json&, const dtm::BranchInfo& info) {
                                  Call call{kit.Clock().Now(), kit.Clock().Now(), info, {}};
                                  call.result = Answer(info).result;
                                  const Result result = call.result;
                                  Add(std::move(call));
                                  return result;
                                });
  }

  ScriptedAnswer Answer(const dtm::BranchInfo& info) const {
    const auto script = scripts_.find(Key(info));
    const auto calls = by_key_.find(Key(info));
    const std::size_t n = calls == by_key_.end() ? 0 : calls->second.size();
    return script == scripts_.end() || n >= script->second.size() ? ScriptedAnswer{}
                                                                  : script->second[n];
  }

  void Add(Call call) {
    fresh_.insert(call.info.gid);
    by_key_[Key(call.info)].push_back(std::move(call));
  }

  /// Collects the calls that the scripted URLs got.
  void Collect() {
    const auto& calls = kit.Branches().Calls();
    for (; collected_ < calls.size(); ++collected_) {
      const auto& seen = calls[collected_];
      if ("http://" + Key(seen.info) != seen.url)
        Violated("a call went to a wrong url " + seen.url);
      const ScriptedAnswer answer = Answer(seen.info);
      const Duration timeout = TimeoutOf(definitions_.at(seen.info.gid));
      const bool silent = answer.never || answer.after > timeout;
      Add({seen.at, seen.at + (silent ? timeout : answer.after), seen.info,
           silent ? Result::Error("no answer") : answer.result});
    }
  }

  Duration TimeoutOf(const Definition& definition) const {
    const auto own = definition.options.request_timeout;
    return own.count() > 0 ? Duration(own) : options_.request_timeout;
  }
  Duration IntervalOf(const Definition& definition) const {
    const auto own = definition.options.retry_interval;
    if (own.count() > 0) return own;
    const auto timeout = definition.options.timeout_to_fail;
    return timeout.count() > 0 ? (std::min)(Duration(timeout), options_.retry_interval)
                               : options_.retry_interval;
  }

  void TrySubmit(const std::string& gid) {
    const auto repeat = [this, gid, run = run_] {
      kit.Clock().At(kit.Clock().Now() + std::chrono::milliseconds(100), [this, gid, run] {
        if (run == run_ && accepted_.count(gid) == 0) TrySubmit(gid);
      });
    };
    kit->SubmitAsync(definitions_.at(gid), [this, gid, repeat, run = run_](const dtm::Answer& r) {
      if (run != run_) return;  // its client has died with that process
      try {
        const dtm::TransResult& result = r.Get();
        const auto stored = inner->Load(gid);
        if (!stored) return Violated(gid + " was accepted and is not stored");
        if (stored->status != result.status) Violated(gid + " was answered what is not stored");
        accepted_.insert(gid);
      } catch (const dtm::FailureError&) {
        if (StatusOf(gid) != Status::kFailed) Violated(gid + ": FailureError without a rollback");
        accepted_.insert(gid);
      } catch (const dtm::StoreError&) {
        const bool stored = StatusOf(gid).value_or(Status::kPrepared) != Status::kPrepared;
        if (stored && accepted_.count(gid) == 0 && run_ == 0 && !doubted_.count(gid)) {
          Violated(gid + " was refused as not stored, and is stored");
        }
        repeat();
      } catch (const dtm::InDoubtError&) {
        doubted_.insert(gid);
        repeat();
      } catch (const std::exception& error) {
        Violated(gid + " was refused: " + error.what());
      }
    });
  }

  /// Store before send: each call that was sent is counted in the record.
  void LookAtTurn() {
    Collect();
    for (const std::string& gid : std::exchange(fresh_, {})) {
      const auto stored = inner->Load(gid);
      if (!stored) {
        Violated(gid + " is called and not stored");
        continue;
      }
      if (finals_.count(gid) > 0) Violated(gid + " had ended and is called");
      for (std::size_t i = 0; i < stored->branches.size(); ++i) {
        const auto calls = by_key_.find(
            Key(gid, dtm::StepOf(dtm::TransType::kSaga, i), dtm::OpOf(dtm::TransType::kSaga, i)));
        const std::size_t made = calls == by_key_.end() ? 0 : calls->second.size();
        if (made > stored->branches[i].tries) Violated(calls->first + " left before it was stored");
      }
    }
    for (const auto& entry : definitions_) {
      if (finals_.count(entry.first) > 0) continue;
      const auto status = StatusOf(entry.first);
      if (status && dtm::IsFinal(*status)) finals_[entry.first] = *status;
    }
  }

  const std::vector<Call>& CallsAt(const std::string& gid, std::size_t step, Op op) {
    return by_key_[Key(gid, step, op)];
  }
  bool CrashBetween(Time from, Time to) const {
    return std::any_of(crashes_.begin(), crashes_.end(),
                       [&](Time at) { return at >= from && at <= to; });
  }
  /// When a call first returned success; kNever if none did.
  static Time FirstSuccess(const std::vector<Call>& calls) {
    Time first = dtm::kNever;
    for (const Call& call : calls) {
      if (call.result.kind == Result::Kind::kSuccess) first = (std::min)(first, call.answered);
    }
    return first;
  }

  /// `before` succeeded before `then` was first called, if it was called at all.
  void CheckOrder(const std::string& gid, std::size_t before, std::size_t then, Op op) {
    const auto& later = CallsAt(gid, then, op);
    const auto& earlier = CallsAt(gid, before, op);
    if (later.empty() || (op == Op::kCompensate && CallsAt(gid, before, Op::kAction).empty()))
      return;
    const Definition& definition = definitions_.at(gid);
    const bool called = !dtm::UrlOf(definition, op == Op::kAction ? dtm::ActionOf(before)
                                                                  : dtm::CompensateOf(before))
                             .empty();
    if (called && FirstSuccess(earlier) > later.front().at) {
      Violated(Key(gid, then, op) + " was called before " + Key(gid, before, op) + " succeeded");
    }
  }

  void CheckSaga(const Definition& definition) {
    const std::string& gid = definition.gid;
    const auto stored = inner->Load(gid);
    if (!stored) {
      if (accepted_.count(gid) > 0) Violated(gid + " was accepted and is lost");
      return;
    }
    if (!dtm::IsFinal(stored->status)) {
      return Violated(gid + " has not ended: " + kit->Explain(gid));
    }
    if (finals_.count(gid) > 0 && finals_[gid] != stored->status)
      Violated(gid + " changed its end");
    CheckJournal(*stored);
    const std::size_t steps = definition.steps.size();
    Time first_compensation = dtm::kNever;
    for (std::size_t step = 0; step < steps; ++step) {
      const auto& calls = CallsAt(gid, step, Op::kCompensate);
      if (!calls.empty()) first_compensation = (std::min)(first_compensation, calls.front().at);
    }
    for (std::size_t step = 0; step < steps; ++step) {
      const auto& actions = CallsAt(gid, step, Op::kAction);
      const auto& undos = CallsAt(gid, step, Op::kCompensate);
      for (const auto* calls : {&actions, &undos}) CheckRepeats(definition, *calls);
      for (const Call& call : actions) {
        if (call.at > first_compensation) {
          Violated(Key(call.info) + " was called after the first compensation");
        }
        if (call.answered > first_compensation) {
          Violated(Key(call.info) + " may have been running at the first compensation");
        }
      }
      if (stored->status == Status::kSucceed) {
        if (!undos.empty()) Violated(gid + " succeeded and was compensated");
        if (!definition.steps[step].action.empty() && FirstSuccess(actions) == dtm::kNever) {
          Violated(Key(gid, step, Op::kAction) + " never succeeded, but the saga did");
        }
      } else if (!actions.empty() && !definition.steps[step].compensate.empty() &&
                 FirstSuccess(undos) == dtm::kNever) {
        Violated(Key(gid, step, Op::kAction) + " may have run and was not compensated");
      }
      if (!definition.concurrent && step > 0) {
        CheckOrder(gid, step - 1, step, Op::kAction);
        CheckOrder(gid, step, step - 1, Op::kCompensate);
      }
      const auto order = definition.orders.find(static_cast<int>(step));
      if (order == definition.orders.end()) continue;
      for (const int before : order->second) {
        CheckOrder(gid, static_cast<std::size_t>(before), step, Op::kAction);
        CheckOrder(gid, step, static_cast<std::size_t>(before), Op::kCompensate);
      }
    }
  }

  void CheckJournal(const dtm::Transaction& stored) {
    const auto journal = inner->ReadJournal(stored.definition->gid);
    for (const std::string& problem :
         dtm_test::JournalProblems::Of(stored, journal, 0, crashes_.size())) {
      Violated(problem);
    }
    CheckEvents(stored, journal);
  }

  /// What was told is in the journal, in order and once; without a crash all of it was told.
  void CheckEvents(const dtm::Transaction& stored, const std::vector<dtm::JournalEntry>& journal) {
    const std::string& gid = stored.definition->gid;
    const std::vector<dtm::Event>& told = events[gid];
    const bool whole = std::none_of(
        journal.begin(), journal.end(),
        [](const dtm::JournalEntry& entry) { return entry.kind == dtm::JournalKind::kGap; });
    if (!whole) return;
    auto next = journal.begin();
    for (const dtm::Event& event : told) {
      next = std::find_if(next, journal.end(), [&](const dtm::JournalEntry& entry) {
        const dtm::Event same = dtm::EventOf(stored, entry);
        return same.time == event.time && same.kind == event.kind && same.op == event.op &&
               same.branch_id == event.branch_id && same.text == event.text;
      });
      if (next == journal.end()) {
        return Violated(gid + ": an event that the journal does not have: " + Name(event.kind));
      }
      ++next;
    }
    if (crashes_.empty() && told.size() != journal.size()) {
      Violated(gid + ": " + std::to_string(journal.size()) + " entries, and told are " +
               std::to_string(told.size()));
    }
  }

  /// One call at a time, no repeat after a definite result, no retry before its interval. Only a crash
  /// excuses a repeat, because results are lost.
  void CheckRepeats(const Definition& definition, const std::vector<Call>& calls) {
    for (std::size_t i = 1; i < calls.size(); ++i) {
      const Call& before = calls[i - 1];
      const Call& call = calls[i];
      if (CrashBetween(before.at, call.at)) continue;
      const std::string who = Key(call.info);
      const Result::Kind said = before.result.kind;
      if (call.at < before.answered) Violated(who + " was called twice at a time");
      if (said == Result::Kind::kSuccess) Violated(who + " succeeded and was called again");
      if (said == Result::Kind::kFailure && call.info.op == Op::kAction) {
        Violated(who + " failed and was called again");
      }
      if (call.at < before.answered + IntervalOf(definition)) {
        Violated(who + " was retried before its interval");
      }
    }
  }

  std::map<std::string, Definition> definitions_;
  std::map<std::string, std::vector<ScriptedAnswer>> scripts_;
  std::map<std::string, std::vector<Call>> by_key_;
  std::set<std::string> accepted_;
  std::set<std::string> doubted_;
  std::set<std::string> fresh_;
  std::map<std::string, Status> finals_;
  std::vector<Time> crashes_;
  std::vector<std::string> violations_;
  std::size_t collected_ = 0;
  int run_ = 0;
};

}  // namespace world
