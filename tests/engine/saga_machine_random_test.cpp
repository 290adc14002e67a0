/// Thousands of random sagas with random answers, crashes, commands and clocks; the invariants
/// S1-S6, G3, G5 and G11 (docs/protocol.md, appendix B) are checked from outside: from a log of what was called,
/// when, and what was answered. Fixed seeds; the log of a saga that breaks one is printed.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/saga_machine.hpp>

using dtm::Duration;
using dtm::Op;
using dtm::Result;
using dtm::Status;
using dtm::Time;
using dtm::engine::EventKind;
using namespace saga_kit;

namespace {

/// How often something happened over all sagas, so that the test knows that it tests something.
struct Counts {
  int succeeded = 0, rolled_back = 0, forced = 0, crashes = 0, crashes_aborting = 0,
      crashes_with_url_out = 0, timeouts = 0, limits = 0, cancelled = 0, set_back = 0, calls = 0,
      prepared = 0, prepared_waits = 0, ended_prepared = 0, stopped_unsent = 0, repaired = 0,
      repairs_refused = 0, repaired_undone = 0;
};

class World {
 public:
  World(std::uint32_t seed, Counts& counts) : random_(seed), counts_(counts) {
    definition_ = RandomSaga();
    rows_.resize(2 * definition_.steps.size());
  }

  void Run() {
    t_ = NewTransaction(definition_);
    Must(dtm::Problem(definition_).empty(), "the test made a saga that is refused");
    Turn(Happens(Beginning()));
    for (int turn = 0; !stored_ || !IsFinal(stored_->status); ++turn) {
      Must(turn < 3000, "it does not end");
      chaos_ = turn < 60;
      Next();
    }
    CheckEnd();
  }

  const std::string& Log() const { return log_; }

 private:
  struct Call {
    std::size_t row = 0;
    Time ends{};  ///< when it is answered; in this world's own time, which never jumps
    Result answer;
    bool had_run = false;         ///< its row, before this call
    Time might_have_run_until{};  ///< the same
  };
  /// What is known about a row from outside.
  struct Seen {
    int sent = 0;
    bool counted = false;    ///< a crash between commit and release: counted, never sent
    bool succeeded = false;  ///< SUCCESS or repaired, and the coordinator stored it
    bool repaired = false;
    bool failed = false;            ///< FAILURE of an action, stored
    bool ran = false;               ///< something was really executed
    bool out = false;               ///< called by this run
    Time may_run_until{};           ///< a call may be executing until then
    std::optional<Time> may_retry;  ///< not called again before this
    bool unsent = false;            ///< its last call was not sent
    std::uint32_t errors = 0;       ///< in a row
  };

  bool Chance(int percent) { return std::uniform_int_distribution<>(0, 99)(random_) < percent; }
  int Pick(int low, int high) { return std::uniform_int_distribution<>(low, high)(random_); }
  Duration Between(Duration low, Duration high) {
    return Duration(
        std::uniform_int_distribution<Duration::rep>(low.count(), high.count())(random_));
  }

  void Must(bool holds, const std::string& what) const {
    if (!holds) throw std::runtime_error(what);
  }
  void Note(const std::string& what) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now_ - kStart);
    log_ += std::to_string(ms.count()) + " ms: " + what + "\n";
  }

  dtm::Definition RandomSaga() {
    const int steps = Chance(3) ? 0 : Pick(1, 5);
    dtm::Definition saga = Saga(std::to_string(steps));
    saga.concurrent = Chance(50);
    for (dtm::Step& step : saga.steps) {
      for (std::string* url : {&step.action, &step.compensate}) {
        if (Chance(40)) *url = dtm::kLocalPrefix + url->substr(url->rfind('/') + 1);
        if (Chance(10)) url->clear();
      }
    }
    std::vector<int> order;  // a saga of concurrent steps may run in any order without cycles
    for (int i = 0; i < steps; ++i) order.push_back(i);
    if (saga.concurrent) std::shuffle(order.begin(), order.end(), random_);
    for (int i = 1; i < steps && Chance(60); ++i) {
      for (int before = 0; before < i; ++before) {
        if (Chance(30)) {
          saga.orders[order[std::size_t(i)]].push_back(order[std::size_t(before)]);
        }
      }
    }
    if (Chance(30)) saga.options.timeout_to_fail = seconds(Pick(1, 90));
    if (Chance(30)) saga.options.retry_limit = Pick(1, 4);
    if (Chance(30)) saga.options.retry_interval = seconds(Pick(1, 20));
    if (Chance(30)) saga.options.request_timeout = seconds(Pick(1, 20));
    for (std::size_t i = 0; i < saga.steps.size(); ++i) log_ += Describe(saga, i);
    log_ += "timeout " + std::to_string(saga.options.timeout_to_fail.count()) + ", limit " +
            std::to_string(saga.options.retry_limit) + ", interval " +
            std::to_string(saga.options.retry_interval.count()) + ", request " +
            std::to_string(saga.options.request_timeout.count()) + "\n";
    error_percent_ = Pick(0, 40);
    failure_percent_ = Chance(50) ? 0 : Pick(1, 40);
    crash_percent_ = Chance(50) ? 0 : Pick(1, 10);
    command_percent_ = Chance(70) ? 0 : Pick(1, 5);
    repair_percent_ = Chance(75) ? 0 : Pick(1, 20);
    saga.prepared_first = Chance(25);
    return saga;
  }

  static std::string Describe(const dtm::Definition& saga, std::size_t step) {
    std::string text = std::string(saga.concurrent ? "concurrent" : "sequential") + " step " +
                       std::to_string(step) + ": '" + saga.steps[step].action + "' '" +
                       saga.steps[step].compensate + "' after";
    const auto order = saga.orders.find(static_cast<int>(step));
    if (order != saga.orders.end()) {
      for (const int before : order->second) text += " " + std::to_string(before);
    }
    return text + "\n";
  }

  Duration Interval() const {
    const dtm::TransOptions& options = definition_.options;
    if (options.retry_interval.count() > 0) return options.retry_interval;
    const bool short_timeout =
        options.timeout_to_fail.count() > 0 && options.timeout_to_fail < seconds(10);
    return short_timeout ? options.timeout_to_fail : seconds(10);
  }
  /// A caller holds a call back for at most one timeout, and gives it another.
  Duration LongestUrlCall() const {
    const seconds timeout = definition_.options.request_timeout;
    return 2 * (timeout.count() > 0 ? timeout : seconds(3));
  }
  const std::string& Url(std::size_t row) const { return UrlOf(definition_, row); }
  Time EngineNow() const { return now_ - set_back_; }

  // --- The coordinator: step, commit, release, and crashes between them.

  EventKind Beginning() const {
    return definition_.prepared_first ? EventKind::kPrepared : EventKind::kSubmitted;
  }

  void Turn(const dtm::engine::Event& event) {
    dtm::engine::Context context;
    context.now = EngineNow();
    context.may_call = !stopping_;
    const Status before = t_.status;
    effects_ = dtm::engine::SagaMachine::Advance(t_, event, context);
    Must(!t_.stuck, "it got stuck: " + t_.last_error);
    refused_ = !effects_.refused.empty();
    if (chaos_ && Chance(crash_percent_)) return Crash("before the commit");
    if (effects_.changed) {
      Must(!stored_ || !IsFinal(stored_->status), "a final transaction was changed");
      stored_ = Stored(t_);
      Committed(before, event);
    }
    if (chaos_ && Chance(crash_percent_)) {
      for (const std::size_t row : effects_.calls) rows_[row].counted = true;
      return Crash("after the commit");
    }
    for (const std::size_t row : effects_.calls) Send(row);
  }

  void Committed(Status before, const dtm::engine::Event& event) {
    const bool prepared = before == Status::kPrepared;
    if (prepared && event.kind == EventKind::kSubmitted) ++counts_.prepared;
    if (prepared && IsFinal(t_.status)) ++counts_.ended_prepared;
    if ((prepared || before == Status::kSubmitted) && t_.status != before) {
      Note(std::string("is ") + Name(t_.status) + " " + t_.reason);
      const seconds timeout = definition_.options.timeout_to_fail;
      timed_out_ |= timeout.count() > 0 && EngineNow() >= t_.created + timeout;
    }
    if (event.kind == EventKind::kRepair && !refused_) Repaired(rows_[event.row]);
    if (event.kind == EventKind::kCancel) cancelled_ = true;
    if (event.kind == EventKind::kForceStop) forced_ = true;
    const bool cancelled_again = event.kind == EventKind::kCancel && before == Status::kAborting;
    if (event.kind == EventKind::kRetryNow || cancelled_again) {
      for (Seen& row : rows_) {
        row.may_retry.reset();
        row.errors = 0;
      }
    }
    if (event.kind == EventKind::kRegistered && rows_[event.row].unsent) {
      rows_[event.row].may_retry.reset();
    }
    if (event.kind != EventKind::kResult) return;
    Seen& row = rows_[event.row];
    row.unsent = event.result.kind == Result::Kind::kNotSent;
    const bool action = dtm::OpOf(dtm::TransType::kSaga, event.row) == Op::kAction;
    if (event.result.kind == Result::Kind::kSuccess) {
      row.succeeded = true;
    } else if (action && event.result.kind == Result::Kind::kFailure) {
      row.failed = true;
    } else {
      NoteWait(row, event.result.kind);
      if (action && before == Status::kSubmitted && event.result.kind != Result::Kind::kNotSent) {
        ++inconclusive_;
        const int limit = definition_.options.retry_limit;
        Must(limit == 0 || inconclusive_ <= limit + 1, "it retried beyond the limit");
      }
    }
  }

  void Repaired(Seen& row) {
    Must(!row.succeeded, "what had succeeded was repaired");
    Must(!row.out && row.may_run_until <= now_, "a row was repaired while its call may be running");
    row.succeeded = row.repaired = true;
    ++counts_.repaired;
  }

  /// Errors in a row wait twice as long each time. What did not begin because of a stop had waited already.
  void NoteWait(Seen& row, Result::Kind kind) {
    const bool unsent = kind == Result::Kind::kNotSent;
    if (unsent && stopping_) {
      ++counts_.stopped_unsent;
      return;
    }
    Duration wait = Interval();
    if (kind == Result::Kind::kOngoing) row.errors = 0;
    if (!unsent && kind != Result::Kind::kOngoing) {
      for (std::uint32_t n = 0; n < row.errors; ++n) {
        wait = (std::min)(2 * wait, Duration(std::chrono::hours(1)));
      }
      ++row.errors;
    }
    row.may_retry = now_ + wait;
  }

  void Crash(const std::string& when) {
    Note("crash " + when);
    ++counts_.crashes;
    if (stored_ && stored_->status == Status::kAborting) ++counts_.crashes_aborting;
    for (const Call& call : out_) {
      Seen& row = rows_[call.row];
      if (dtm::IsLocal(Url(call.row))) {
        row.may_run_until = {};  // it died with the process
      } else if (call.ends > now_) {
        ++counts_.crashes_with_url_out;
      }
    }
    for (Seen& row : rows_) row.out = false;
    out_.clear();
    stopping_ = false;
    now_ += Between(Duration(0), Chance(50) ? seconds(1) : seconds(30));
    if (Chance(10)) {
      set_back_ += Between(Duration(0), std::chrono::hours(24));
      ++counts_.set_back;
    }
    if (stored_) {
      t_ = *stored_;
      Turn(Happens(EventKind::kLoaded));
    } else {
      t_ = NewTransaction(definition_);
      Turn(Happens(Beginning()));
    }
  }

  /// Stored by a prepare: nothing happens by itself, and at last its submit comes.
  void WaitForSubmit() {
    Must(effects_.timer == dtm::kNever && out_.empty(), "prepared, it waits for something else");
    Must(stored_->due == dtm::kNever, "prepared, a restart would drive it");
    ++counts_.prepared_waits;
    if (!chaos_ || Chance(60)) return Turn(Happens(EventKind::kSubmitted));
    now_ += Between(Duration(0), seconds(40));
    static const EventKind kinds[] = {EventKind::kTimer, EventKind::kLoaded, EventKind::kRetryNow};
    Turn(Happens(kinds[Pick(0, 2)]));
    Must(t_.status == Status::kPrepared, "a prepared one was set going without its submit");
  }

  // --- The branches.

  void Send(std::size_t index) {
    const std::string name = NameOfRow(index);
    Note("call " + name);
    ++counts_.calls;
    Seen& row = rows_[index];
    Must(!stopping_, "a call while it stops");
    Must(!Url(index).empty(), "S6: a branch without url was called");
    Must(!IsFinal(stored_->status), "G3: a call after the end");
    Must(!row.out, "G5: two calls of " + name);
    Must(!row.succeeded, name + " had succeeded already");
    Must(!row.may_retry || now_ >= *row.may_retry, "G11: " + name + " was retried too early");
    if (dtm::OpOf(dtm::TransType::kSaga, index) == Op::kAction) {
      CheckAction(index);
    } else {
      CheckCompensation(index);
    }
    ++row.sent;
    row.out = true;

    Call call;
    call.row = index;
    call.answer = RandomAnswer();
    const bool sent = call.answer.kind != Result::Kind::kNotSent;
    const Duration longest = dtm::IsLocal(Url(index)) ? Duration(seconds(40)) : LongestUrlCall();
    const Duration quick = std::chrono::milliseconds(5);
    call.ends = now_ + Between(Duration(0), Chance(50) ? quick : longest);
    call.had_run = row.ran;
    call.might_have_run_until = row.may_run_until;
    if (sent) {
      row.ran = true;
      row.may_run_until = (std::max)(row.may_run_until, call.ends);
    }
    out_.push_back(call);
  }

  void CheckAction(std::size_t index) const {
    Must(stored_->status == Status::kSubmitted, "an action was called while not submitted");
    Must(!rows_[index].failed, "S4: a failed action was called again");
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      Must(dtm::OpOf(dtm::TransType::kSaga, i) == Op::kAction || rows_[i].sent == 0,
           "S5: an action after a compensation");
    }
    const std::size_t step = dtm::StepOf(dtm::TransType::kSaga, index);
    for (std::size_t before = 0; before < definition_.steps.size(); ++before) {
      const std::size_t action = dtm::ActionOf(before);
      if (!ComesBefore(before, step) || Url(action).empty()) continue;
      Must(rows_[action].succeeded, "S3: " + NameOfRow(index) + " before " + NameOfRow(action));
    }
  }

  void CheckCompensation(std::size_t index) const {
    Must(stored_->status == Status::kAborting, "S1: a compensation while not aborting");
    const std::size_t step = dtm::StepOf(dtm::TransType::kSaga, index);
    const Seen& action = rows_[dtm::ActionOf(step)];
    Must(action.sent > 0 || action.counted || action.repaired || Url(dtm::ActionOf(step)).empty(),
         "a step that never ran is compensated");
    for (std::size_t i = 0; i < rows_.size(); ++i) {  // it may not even have begun
      if (dtm::OpOf(dtm::TransType::kSaga, i) == Op::kCompensate) continue;
      Must(!rows_[i].out, "S5: an action is out");
      Must(rows_[i].may_run_until <= now_, "S5: an action of a previous run may be running");
    }
    for (std::size_t after = 0; after < definition_.steps.size(); ++after) {
      const Seen& other = rows_[dtm::ActionOf(after)];
      if (!ComesBefore(step, after) || (!other.ran && !other.repaired)) continue;
      Must(IsUndone(after), "S3: " + NameOfRow(index) + " before the compensation of step " +
                                std::to_string(after + 1));
    }
  }

  bool ComesBefore(std::size_t before, std::size_t step) const {
    if (!definition_.concurrent && before < step) return true;
    const auto order = definition_.orders.find(static_cast<int>(step));
    if (order == definition_.orders.end()) return false;
    return std::count(order->second.begin(), order->second.end(), static_cast<int>(before)) > 0;
  }
  bool IsUndone(std::size_t step) const {
    const std::size_t row = dtm::CompensateOf(step);
    return Url(row).empty() || rows_[row].succeeded;
  }

  Result RandomAnswer() {
    if (chaos_ && Chance(failure_percent_)) return Result::Failure("no");
    if (chaos_ && Chance(error_percent_)) {
      switch (Pick(0, 3)) {
        case 0: return Result::Ongoing();
        case 1: return Result::NotSent("no slot");
        default: return Result::Error("lost");
      }
    }
    return Result::Success();
  }

  // --- What happens next.

  void Next() {
    if (chaos_ && Chance(command_percent_)) return Command();
    if (chaos_ && Chance(repair_percent_)) return Repair();
    if (chaos_ && Chance(crash_percent_)) return Crash("");
    if (t_.status == Status::kPrepared && !stopping_) return WaitForSubmit();
    const auto first = std::min_element(
        out_.begin(), out_.end(), [](const Call& a, const Call& b) { return a.ends < b.ends; });
    const Time timer = effects_.timer == dtm::kNever ? dtm::kNever : effects_.timer + set_back_;
    if (first != out_.end() && first->ends <= timer) {
      const Call call = *first;
      out_.erase(first);
      now_ = (std::max)(now_, call.ends);
      rows_[call.row].out = false;
      static const char* const kinds[] = {"SUCCESS", "FAILURE", "ONGOING", "error", "not sent"};
      Note(NameOfRow(call.row) + " answers " + kinds[static_cast<int>(call.answer.kind)]);
      return Turn(Answer(call.row, call.answer));
    }
    if (timer != dtm::kNever && !stopping_) {
      now_ = (std::max)(now_, timer);
      return Turn(Happens(EventKind::kTimer));
    }
    Must(stopping_, "it waits for nothing");
    Crash("(stopped)");
  }

  /// Somebody says that a row is done, any.
  void Repair() {
    if (rows_.empty()) return;
    dtm::engine::Event event = Happens(EventKind::kRepair);
    event.row = static_cast<std::size_t>(Pick(0, static_cast<int>(rows_.size()) - 1));
    event.result.text = "by hand";
    Note("repair " + NameOfRow(event.row));
    refused_ = false;
    Turn(event);
    counts_.repairs_refused += refused_;
  }

  void Command() {
    switch (Pick(0, 9)) {
      case 0: Note("force stop"); return Turn(Happens(EventKind::kForceStop));
      case 1:
      case 2: Note("cancel"); return Turn(Happens(EventKind::kCancel));
      case 3:
      case 4: Note("retry now"); return Turn(Happens(EventKind::kRetryNow));
      case 5: return Stop();
      case 6:
      case 7: {
        dtm::engine::Event event = Happens(EventKind::kRegistered);
        if (rows_.empty()) return;
        event.row = static_cast<std::size_t>(Pick(0, static_cast<int>(rows_.size()) - 1));
        Note("registered " + NameOfRow(event.row));
        return Turn(event);
      }
      default: return Turn(Happens(EventKind::kTimer));  // for nothing
    }
  }

  /// Of the functions that are called some had not begun, and never will.
  void Stop() {
    Note("stopping");
    stopping_ = true;
    for (Call& call : out_) {
      if (!dtm::IsLocal(Url(call.row)) || Chance(50)) continue;
      Seen& row = rows_[call.row];
      call.answer = Result::NotSent("stopping");
      call.ends = now_;
      row.ran = call.had_run;
      row.may_run_until = call.might_have_run_until;
    }
  }

  void CheckEnd() {
    const Status end = stored_->status;
    if (forced_) {
      Must(end == Status::kFailed, "a forced stop ends as failed");
      ++counts_.forced;
    } else if (end == Status::kSucceed) {
      ++counts_.succeeded;
      for (std::size_t row = 0; row < rows_.size(); ++row) {
        const bool action = dtm::OpOf(dtm::TransType::kSaga, row) == Op::kAction;
        if (action) Must(rows_[row].succeeded || Url(row).empty(), "S1: an action did not succeed");
        if (!action) Must(rows_[row].sent == 0, "S1: a compensation was called");
      }
    } else {
      ++counts_.rolled_back;
      // Who cancels may say nothing.
      Must(!stored_->reason.empty() || cancelled_, "it does not say why it was rolled back");
      bool failed = false;
      for (std::size_t step = 0; step < definition_.steps.size(); ++step) {
        const Seen& action = rows_[dtm::ActionOf(step)];
        failed |= action.failed;
        if (action.ran) Must(IsUndone(step), "S2: an action that may have run is not compensated");
        if (action.repaired) Must(IsUndone(step), "a repaired action is not compensated");
        counts_.repaired_undone += action.repaired;
      }
      const int limit = definition_.options.retry_limit;
      const bool exhausted = limit > 0 && inconclusive_ > limit;
      Must(failed || timed_out_ || exhausted || cancelled_, "it was rolled back for no cause");
      counts_.timeouts += !failed && timed_out_;
      counts_.limits += !failed && !timed_out_ && exhausted;
      counts_.cancelled += cancelled_;
    }
    dtm::engine::Context context;
    for (const EventKind kind : {EventKind::kLoaded, EventKind::kResult, EventKind::kTimer,
                                 EventKind::kCancel, EventKind::kForceStop, EventKind::kRegistered,
                                 EventKind::kRetryNow, EventKind::kRepair}) {
      context.now = EngineNow() + std::chrono::hours(100);
      const auto effects = dtm::engine::SagaMachine::Advance(t_, Happens(kind), context);
      Must(!effects.changed && effects.calls.empty() && effects.timer == dtm::kNever &&
               t_.status == end,
           "G3: a final transaction changed");
    }
  }

  std::mt19937 random_;
  Counts& counts_;
  int error_percent_ = 0, failure_percent_ = 0, crash_percent_ = 0, command_percent_ = 0,
      repair_percent_ = 0;
  std::string log_;
  dtm::Definition definition_;
  dtm::Transaction t_;
  std::optional<dtm::Transaction> stored_;
  dtm::engine::Effects effects_;
  std::vector<Seen> rows_;
  std::deque<Call> out_;
  Time now_ = kStart;
  Duration set_back_{};  ///< of the wall clock, at restarts
  int inconclusive_ = 0;
  bool chaos_ = true, stopping_ = false, forced_ = false, cancelled_ = false, timed_out_ = false,
       refused_ = false;
};

/// DTM_SEEDS: more, for a longer look.
std::uint32_t Seeds() {
  const char* const asked = std::getenv("DTM_SEEDS");
  return asked != nullptr ? static_cast<std::uint32_t>(std::stoul(asked)) : 8000;
}

}  // namespace

TEST_CASE("saga: random sagas, answers, crashes and clocks keep the invariants") {
  Counts counts;
  for (std::uint32_t seed = 1; seed <= Seeds(); ++seed) {
    World world(seed, counts);
    try {
      world.Run();
    } catch (const std::exception& error) {
      FAIL("seed " << seed << ": " << error.what() << "\n" << world.Log());
    }
  }
  CHECK(counts.succeeded > 2000);
  CHECK(counts.rolled_back > 2000);
  CHECK(counts.forced > 20);
  CHECK(counts.timeouts > 200);
  CHECK(counts.limits > 50);
  CHECK(counts.cancelled > 20);
  CHECK(counts.crashes > 2500);
  CHECK(counts.crashes_aborting > 500);
  CHECK(counts.crashes_with_url_out > 500);
  CHECK(counts.set_back > 300);
  CHECK(counts.calls > 30000);
  CHECK(counts.prepared > 1500);
  CHECK(counts.prepared_waits > counts.prepared + 500);
  CHECK(counts.ended_prepared > 50);
  CHECK(counts.stopped_unsent > 10);
  CHECK(counts.repaired > 300);
  CHECK(counts.repairs_refused > 300);
  CHECK(counts.repaired_undone > 15);
}
