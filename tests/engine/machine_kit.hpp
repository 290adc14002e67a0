/// What the tests of msg, tcc, xa and workflow share: transactions written as text, a table of
/// (state, event -> effects, new state), and a player of whole stories. Rows are written as in saga_kit.hpp.
/// Needs: Catch2. Threads: one.
///
/// A transaction:  "msg 2 concurrent delay=50 timeout=60 interval=5 local noquery empty=d1 failed=2"
/// Its rows, by name:  msg, workflow: q d1 d2 ...;  tcc, xa: c1 a1 c2 a2 ... (c undoes, a does)
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/engine/advance.hpp>

namespace machine_kit {

using dtm::Result;
using dtm::Status;
using dtm::Transaction;
using dtm::TransType;
using dtm::engine::Context;
using dtm::engine::Effects;
using dtm::engine::Event;
using dtm::engine::EventKind;
using saga_kit::Answer;
using saga_kit::Happens;
using saga_kit::kStart;
using saga_kit::seconds;

inline constexpr Status kPrepared = Status::kPrepared, kSubmitted = Status::kSubmitted,
                        kAborting = Status::kAborting, kSucceed = Status::kSucceed,
                        kFailed = Status::kFailed;

/// Every kind of answer.
inline const std::vector<Result>& Answers() {
  static const std::vector<Result> answers = {
      Result::Success(), Result::Failure("no money"), Result::Ongoing("not yet"),
      Result::Error("connection lost"), Result::NotSent("no free slot")};
  return answers;
}

inline std::size_t RowOf(TransType type, const std::string& name) {
  if (!dtm::HasQueryRow(type)) return saga_kit::RowOf(name);
  return name == "q" ? dtm::kQueryRow : dtm::DeliveryOf(std::stoul(name.substr(1)) - 1);
}

inline std::string NameOfRow(TransType type, std::size_t row) {
  if (!dtm::HasQueryRow(type)) return saga_kit::NameOfRow(row);
  return row == dtm::kQueryRow ? "q" : "d" + std::to_string(row);
}

inline dtm::Definition Make(const std::string& text) {
  dtm::Definition made;
  made.gid = "gid-of-the-test";
  const std::vector<std::string> words = saga_kit::Split(text, ' ');
  for (const TransType type :
       {TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    if (words.at(0) == Name(type)) made.type = type;
  }
  made.steps.resize(std::stoul(words.at(1)));
  std::string prefix = "http://bank/";
  std::vector<std::string> empty;
  std::size_t failed = 0;
  bool query = dtm::HasQueryRow(made.type);
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string key = word.substr(0, word.find('='));
    const std::string value = word.substr(word.find('=') + 1);
    if (key == "concurrent") {
      made.concurrent = true;
    } else if (key == "local") {
      prefix = dtm::kLocalPrefix;
    } else if (key == "noquery") {
      query = false;
    } else if (key == "delay") {
      made.delay = seconds(std::stoi(value));
    } else if (key == "timeout") {
      made.options.timeout_to_fail = seconds(std::stoi(value));
    } else if (key == "interval") {
      made.options.retry_interval = seconds(std::stoi(value));
    } else if (key == "empty") {
      empty = saga_kit::Split(value, ',');
    } else if (key == "failed") {
      failed = std::stoul(value);
    } else {
      throw std::invalid_argument("no such word: " + word);
    }
  }
  if (query) made.query_prepared = prefix + "q";
  for (std::size_t i = 0; i < made.steps.size(); ++i) {
    dtm::Step& step = made.steps[i];
    const std::string number = std::to_string(i + 1);
    step.payload = "{\"step\":" + number + "}";
    if (made.type == TransType::kWorkflow) {
      step.branch_id = dtm::NumberOf(i);
      step.op = dtm::Op::kAction;
      step.failed = i + 1 == failed;
    } else {
      step.action = prefix + (made.type == TransType::kMsg ? "d" : "a") + number;
      if (made.type != TransType::kMsg) step.compensate = prefix + "c" + number;
    }
  }
  for (const std::string& name : empty) {
    dtm::Step& step = made.steps[dtm::StepOf(made.type, RowOf(made.type, name))];
    (name[0] == 'c' ? step.compensate : step.action).clear();
  }
  return made;
}

inline std::string Calls(TransType type, const std::vector<std::size_t>& calls) {
  std::string text;
  for (const std::size_t row : calls) text += (text.empty() ? "" : " ") + NameOfRow(type, row);
  return text;
}

/// One line of a table. The transaction was created 100 s ago, unless At says something else.
struct Case {
  std::string name, text;
  bool is_new = false, was_stuck = false, may_call = true, ends_stuck = false;
  Status before = Status::kSubmitted, after = Status::kSubmitted;
  std::string rows_before, rows_after, calls, timer = "-", refused, reason, result;
  int age = 100;
  Event event;

  Case(std::string what, std::string definition)
      : name(std::move(what)), text(std::move(definition)) {}

  TransType Type() const { return Make(text).type; }
  Case& New() { return is_new = true, *this; }
  Case& In(Status status, std::string rows) {
    return before = status, rows_before = std::move(rows), *this;
  }
  Case& WasStuck() { return was_stuck = true, *this; }
  Case& MayNotCall() { return may_call = false, *this; }
  Case& At(int since_created) { return age = since_created, *this; }
  Case& On(EventKind kind) { return event = Happens(kind), *this; }
  Case& On(EventKind kind, const char* row) {
    event = Happens(kind);
    return event.row = RowOf(Type(), row), *this;
  }
  Case& On(const char* row, Result answer) {
    return event = Answer(RowOf(Type(), row), std::move(answer)), *this;
  }
  Case& Cancel(std::string why) {
    event = Happens(EventKind::kCancel);
    return event.result = Result::Failure(std::move(why)), *this;
  }
  Case& Finish(Result how, std::string data) {
    event = Happens(EventKind::kFinish);
    event.result = std::move(how);
    return event.data = std::move(data), *this;
  }
  Case& Gives(Status status, std::string rows) {
    return after = status, rows_after = std::move(rows), *this;
  }
  Case& Calls(std::string rows) { return calls = std::move(rows), *this; }
  Case& Timer(std::string seconds_from_now) { return timer = std::move(seconds_from_now), *this; }
  Case& Refused(std::string why) { return refused = std::move(why), *this; }
  Case& Because(std::string why) { return reason = std::move(why), *this; }
  Case& Returns(std::string what) { return result = std::move(what), *this; }
  Case& EndsStuck() { return ends_stuck = true, *this; }
};

inline std::string StoredText(const Transaction& t) {
  std::string text = std::string(Name(t.status)) + " " + t.reason + " " + t.last_error + " " +
                     t.result + " " + std::to_string(t.retry_count) + (t.stuck ? " stuck " : " ");
  for (const dtm::Time time : {t.created, t.finished, t.due}) {
    text += std::to_string(time.time_since_epoch().count()) + " ";
  }
  for (const dtm::Branch& row : t.branches) {
    text += std::string(Name(row.status)) + " " + std::to_string(row.tries) + " " +
            std::to_string(row.errors) + " " +
            std::to_string(row.next_try.time_since_epoch().count()) + " " +
            std::to_string(row.deadline.time_since_epoch().count()) + "; ";
  }
  return text;
}

/// Only its submit or its end can be next: there is nobody to ask.
inline bool WaitsForInitiatorOnly(const Transaction& t) {
  return t.status == kPrepared && t.definition->type == TransType::kWorkflow &&
         t.definition->query_prepared.empty();
}

/// What holds after every step, whatever happened.
inline void CheckAlways(const Transaction& before, const Transaction& after, const Effects& effects,
                        const Event& event, const Context& context) {
  const bool out = std::any_of(after.branches.begin(), after.branches.end(),
                               [](const dtm::Branch& row) { return row.in_flight; });
  const bool ended = IsFinal(after.status);
  if (ended || after.stuck || WaitsForInitiatorOnly(after)) {
    CHECK(effects.timer == dtm::kNever);
    CHECK(effects.calls.empty());
    CHECK(after.due == dtm::kNever);
  } else if (out || !context.may_call) {
    CHECK(after.due <= context.now);  // after a crash it is looked at at once
  } else {
    CHECK(after.due == effects.timer);
    CHECK(effects.timer > context.now);
    CHECK(effects.timer < dtm::kNever);
  }
  CHECK((after.finished != dtm::Time{}) == (ended && !IsFinal(before.status)));
  if (ended && !IsFinal(before.status)) CHECK(after.finished == context.now);
  if (ended) CHECK_FALSE(out);
  for (const std::size_t row : effects.calls) {
    CHECK(after.branches.at(row).in_flight);
    CHECK(context.may_call);
    const std::string& url = UrlOf(*after.definition, row);
    CHECK_FALSE(url.empty());
    CHECK(after.branches[row].deadline ==
          (dtm::IsLocal(url) ? dtm::Time{} : context.now + 2 * context.request_timeout));
  }
  const bool differs = StoredText(before) != StoredText(after);
  if (differs && event.kind != EventKind::kLoaded) CHECK(effects.changed);
  if (!effects.calls.empty()) CHECK(effects.changed);
  if (!differs && event.kind != EventKind::kRetryNow && event.kind != EventKind::kBranchAdded) {
    CHECK_FALSE(effects.changed);  // nothing to write
  }
  // It asked for everything it needs: looking again finds nothing.
  Transaction again = after;
  const Effects more = dtm::engine::Advance(again, Happens(EventKind::kTimer), context);
  CHECK_FALSE(more.changed);
  CHECK(more.calls.empty());
  CHECK(more.timer == effects.timer);
}

inline void CheckTimer(const std::string& expected, const Effects& effects, dtm::Time now) {
  if (expected == "-") {
    CHECK(effects.timer == dtm::kNever);
  } else if (expected[0] == 'e') {
    const seconds wait(10 << (std::stoi(expected.substr(1)) - 1));
    CHECK(effects.timer >= now + wait);
    CHECK(effects.timer <= now + wait + wait / 5);
  } else {
    CHECK(effects.timer == now + seconds(std::stoi(expected)));
  }
}

inline std::string PairOf(TransType type, bool is_new, Status status, const Event& event) {
  const auto name = [](EventKind kind) {
    switch (kind) {
      case EventKind::kSubmitted: return "submitted";
      case EventKind::kPrepared: return "prepared";
      case EventKind::kLoaded: return "loaded";
      case EventKind::kResult: return "result";
      case EventKind::kTimer: return "timer";
      case EventKind::kBranchAdded: return "branch added";
      case EventKind::kCancel: return "cancel";
      case EventKind::kFinish: return "finish";
      case EventKind::kForceStop: return "force stop";
      case EventKind::kRegistered: return "registered";
      case EventKind::kRetryNow: return "retry now";
      case EventKind::kRepair: return "repair";
    }
    return "?";
  };
  static const char* const results[] = {"SUCCESS", "FAILURE", "ONGOING", "error", "not sent"};
  std::string pair = is_new ? "new" : Name(status);
  pair += std::string(" + ") + name(event.kind);
  if (event.kind == EventKind::kResult) {
    pair += " " + NameOfRow(type, event.row).substr(0, 1);
  }
  if (event.kind == EventKind::kResult || event.kind == EventKind::kFinish) {
    pair += std::string(" ") + results[static_cast<int>(event.result.kind)];
  }
  return pair;
}

/// Every pair of a status and an event of `kinds`; kResult with each kind of answer of each kind of row.
inline std::set<std::string> AllPairs(TransType type, const std::vector<Status>& statuses,
                                      const std::vector<EventKind>& kinds) {
  std::set<std::string> pairs;
  for (const Status status : statuses) {
    for (const EventKind kind : kinds) pairs.insert(PairOf(type, false, status, Happens(kind)));
    for (const Result& answer : Answers()) {
      for (const std::size_t row : {std::size_t{0}, std::size_t{1}}) {
        pairs.insert(PairOf(type, false, status, Answer(row, answer)));
      }
    }
  }
  return pairs;
}

/// Runs the lines; they have to reach all these pairs, and exactly these transitions.
inline void CheckTable(const std::vector<Case>& table, const std::set<std::string>& all_pairs,
                       const std::set<std::string>& all_transitions) {
  using Catch::Matchers::ContainsSubstring;
  std::set<std::string> pairs, transitions;
  for (const Case& line : table) {
    const std::string pair = PairOf(line.Type(), line.is_new, line.before, line.event);
    CAPTURE(line.name, line.text, line.rows_before, pair);
    Context context;
    context.now = kStart + seconds(line.is_new ? 0 : line.age);
    context.may_call = line.may_call;
    Transaction before = saga_kit::NewTransaction(Make(line.text));
    if (!line.is_new) {
      before.status = line.before;
      before.created = kStart;
      before.branches = saga_kit::Rows(line.rows_before, context.now);
      before.stuck = line.was_stuck;
      const bool waits = IsFinal(line.before) || line.was_stuck || WaitsForInitiatorOnly(before);
      before.due = waits ? dtm::kNever : kStart;
    }
    Transaction after = before;
    const Effects effects = dtm::engine::Advance(after, line.event, context);

    CHECK(std::string(Name(after.status)) == Name(line.after));
    CHECK(saga_kit::InText(after.branches, context.now) == line.rows_after);
    CHECK(Calls(line.Type(), effects.calls) == line.calls);
    CHECK(after.stuck == line.ends_stuck);
    CHECK(after.created == kStart);
    CHECK(after.result == line.result);
    CheckTimer(line.timer, effects, context.now);
    CheckAlways(before, after, effects, line.event, context);
    CHECK(effects.refused.empty() == line.refused.empty());
    CHECK_THAT(effects.refused, ContainsSubstring(line.refused));
    CHECK(after.reason.empty() == line.reason.empty());
    CHECK_THAT(after.reason, ContainsSubstring(line.reason));

    pairs.insert(pair);
    transitions.insert((line.is_new ? "new" : std::string(Name(before.status))) + " -> " +
                       Name(after.status));
    if (before.stuck || after.stuck) {
      transitions.insert(std::string(before.stuck ? "stuck" : "not stuck") + " -> " +
                         (after.stuck ? "stuck" : "not stuck"));
    }
  }
  CHECK(transitions == all_transitions);
  for (const std::string& pair : all_pairs) {
    CAPTURE(pair);
    CHECK(pairs.count(pair) == 1);
  }
}

/// Nothing happens to what has ended, whatever comes; commands are refused. `refusing` besides.
inline void AddEnds(std::vector<Case>& cases, const std::string& text, const std::string& rows_ok,
                    const std::string& rows_failed, const std::vector<EventKind>& quiet) {
  for (const Status status : {kSucceed, kFailed}) {
    const std::string rows = status == kSucceed ? rows_ok : rows_failed;
    const auto add = [&](const Event& event, const char* refused) {
      Case line(std::string("final ") + Name(status), text);
      line.In(status, rows).Gives(status, rows).Refused(refused);
      line.event = event;
      cases.push_back(line);
    };
    for (const Result& answer : Answers()) {
      add(Answer(0, answer), "");
      add(Answer(1, answer), "");
    }
    for (const EventKind kind : quiet) add(Happens(kind), "");
    for (const EventKind kind :
         {EventKind::kCancel, EventKind::kForceStop, EventKind::kRetryNow, EventKind::kRepair}) {
      add(Happens(kind),
          status == kSucceed ? "already ended as succeed" : "already ended as failed");
    }
  }
}

/// Drives one transaction: every call is answered with what is scripted for its row (then with SUCCESS), and when
/// nothing is out the clock goes to the next timer.
struct Play {
  Transaction t;
  Context context;
  Effects effects;
  std::map<std::string, std::deque<Result>> answers;
  std::deque<std::size_t> out;
  std::string log;                                     // "q d1 d2"
  std::map<std::string, std::vector<dtm::Time>> sent;  // when each row was called

  explicit Play(const std::string& text) : t(saga_kit::NewTransaction(Make(text))) {
    context.now = kStart;
  }

  TransType Type() const { return t.definition->type; }
  void Happen(const Event& event) {
    effects = dtm::engine::Advance(t, event, context);
    for (const std::size_t row : effects.calls) {
      const std::string name = NameOfRow(Type(), row);
      log += (log.empty() ? "" : " ") + name;
      sent[name].push_back(context.now);
      out.push_back(row);
    }
  }
  void Happen(EventKind kind) { Happen(Happens(kind)); }
  void AnswerRow(const char* row, Result answer) {
    const std::size_t index = RowOf(Type(), row);
    out.erase(std::remove(out.begin(), out.end(), index), out.end());
    Happen(Answer(index, std::move(answer)));
  }
  void AnswerOne() {
    const std::size_t row = out.front();
    out.pop_front();
    std::deque<Result>& script = answers[NameOfRow(Type(), row)];
    Result result = Result::Success();
    if (!script.empty()) {
      result = script.front();
      script.pop_front();
    }
    Happen(Answer(row, result));
  }
  void ToTimer() {
    REQUIRE(effects.timer < dtm::kNever);
    REQUIRE(effects.timer > context.now);
    context.now = effects.timer;
    Happen(EventKind::kTimer);
  }
  /// The same at a time that the machine did not ask for.
  void LookAt(seconds since_start) {
    context.now = kStart + since_start;
    Happen(EventKind::kTimer);
  }
  void Run() {
    for (int turns = 0; !IsFinal(t.status); ++turns) {
      REQUIRE(turns < 1000);
      out.empty() ? ToTimer() : AnswerOne();
    }
  }
  /// The process dies and comes back after `later`, with what the store has.
  void Restart(seconds later) {
    for (dtm::Branch& row : t.branches) {
      row.in_flight = row.unsent = false;
      row.previous_deadline = dtm::Time{};
    }
    out.clear();
    context.now += later;
    Happen(EventKind::kLoaded);
  }
  /// One more branch is registered.
  void Register() {
    dtm::Definition larger = *t.definition;
    const std::size_t count = larger.steps.size() + 1;
    larger.steps = Make(std::string(Name(Type())) + " " + std::to_string(count)).steps;
    t.definition = std::make_shared<dtm::Definition>(std::move(larger));
    Happen(EventKind::kBranchAdded);
  }
  double Gap(const char* row, std::size_t n) const {
    const std::vector<dtm::Time>& times = sent.at(row);
    return std::chrono::duration<double>(times.at(n + 1) - times.at(n)).count();
  }
};

}  // namespace machine_kit
