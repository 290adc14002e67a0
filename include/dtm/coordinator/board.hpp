/// What the four stages of the loop share: the transactions in memory and what has happened to them
/// since the last commit.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/live.hpp>
#include <dtm/coordinator/loader.hpp>
#include <dtm/coordinator/metrics.hpp>
#include <dtm/coordinator/news.hpp>
#include <dtm/coordinator/options.hpp>
#include <dtm/coordinator/replies.hpp>
#include <dtm/coordinator/store_health.hpp>
#include <dtm/coordinator/timers.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/step.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Board : public Replies {
 public:
  Board(Store& store_in, const Options& options_in)
      : store(store_in), options(options_in), news(options_in) {
    context.retry_interval = options.retry_interval;
    context.request_timeout = options.request_timeout;
    context.timeout_to_fail = options.timeout_to_fail;
    if (options.on_alert) context.alert_after = (std::max)(options.alert_retry_limit, 1U);
  }

  /// Asks the machine; what must follow is kept in `live` until its record is durable. Returns why the event was
  /// refused, or nothing. Without memory the stored record counts again, with what has happened since.
  /// @throws std::bad_alloc  nothing was changed, also not `event`; or it is new, and the sweep refuses it.
  std::string Step(Live& live, engine::Event&& event) {
    Transaction& transaction = live.transaction;
    MakeReady(live);
    if (transaction.unreadable) return "its stored record is damaged: " + transaction.last_error;
    out_.clear();
    for (const Branch& branch : transaction.branches) out_.push_back(branch.in_flight ? 1 : 0);
    engine::Effects effects;
    try {
      StepNow(live, event, effects);
    } catch (const std::bad_alloc&) {
      if (live.Fresh()) {
        Untouch(live);
        dirty.erase(std::remove(dirty.begin(), dirty.end(), &live), dirty.end());
        live.dirty = false;
        throw;
      }
      for (std::size_t i = 0; i < out_.size() && i < transaction.branches.size(); ++i) {
        transaction.branches[i].in_flight = out_[i] != 0;
      }
      live.events.push_back({std::move(event), nullptr});
      // Of no record: the next commit finds a conflict, and the stored record takes the place of this one.
      transaction.version |= std::uint64_t{1} << 63;
      if (!std::exchange(live.dirty, true)) dirty.push_back(&live);
    }
    return std::move(effects.refused);
  }

  /// Takes the memory that it may need to be stepped: after that Step throws nothing, unless it is new.
  void MakeReady(Live& live) {
    Touch(live);
    MakeRoom(live.events);
    MakeRoom(dirty);
    out_.reserve(live.transaction.branches.size());
  }

  /// Starts nothing without room: it leaves memory, and is loaded when there is.
  void StepIfRoom(Live& live, engine::EventKind kind, bool room) {
    const bool may_call = std::exchange(context.may_call, context.may_call && room);
    try {
      Step(live, {kind, 0, {}});
    } catch (...) {
      context.may_call = may_call;
      throw;
    }
    context.may_call = may_call;
  }

  /// Something of it is to be released: calls, timers, answers.
  void Touch(Live& live) {
    if (!std::exchange(live.touched, true)) touched.push_back(&live);
  }

  void AddWaiter(Live& live, Waiter&& waiter) {
    if (!waiter.promise.Open()) return;
    LimitWait(live, waiter);
    ArmBefore(live, waiter.deadline);  // also if no commit works and nothing is released
    Touch(live);
    live.waiters.push_back(std::move(waiter));
  }

  /// While nothing is released: the time of those who wait for it must not be forgotten.
  void ArmWaiters(Live& live) {
    for (Waiter& waiter : live.waiters) {
      LimitWait(live, waiter);
      ArmBefore(live, (std::max)(waiter.deadline, context.now + Duration(1)));
    }
  }
  /// A failing store keeps nobody; those of a new one are refused with it.
  void LimitWait(const Live& live, Waiter& waiter) const {
    if (waiter.when != AnswerWhen::kStored || live.Fresh()) return;
    waiter.deadline = (std::min)(waiter.deadline, context.now + kLongestWaitForStore);
  }
  void ArmBefore(Live& live, Time time) {
    if (time >= live.armed) return;
    timers.Move(live, live.armed, time);
    live.armed = time;
  }

  /// An event that is durable now.
  void Count(const Live& live, const Stepped& event) {
    if (event.alert) alerts.push_back(event.alert);
    if (event.kind != engine::EventKind::kResult) return;
    metrics.Answered(*live.transaction.definition, event.branch, event.result);
  }

  void ArmTimer(Live& live) {
    Time next = live.timer;
    for (const Waiter& waiter : live.waiters) next = (std::min)(next, waiter.deadline);
    timers.Move(live, live.armed, next);
    live.armed = next;
  }

  /// The one way out of memory. The loader finds again what has not ended, and, of what no commit has taken, the earlier
  /// record that may be in the store. Those that wait for people are left alone.
  void Remove(Live& live) {
    const Transaction& transaction = live.transaction;
    const bool as_stored = !live.dirty && !live.Fresh();
    if (!as_stored) {
      loader.LeaveBehind(context.now);
    } else if (!IsFinal(transaction.status) && !transaction.unreadable) {
      loader.LeaveBehind(transaction.due);
    }
    Free(live);
  }

  /// A new one turned out to be stored: that record takes its place, unless it has ended.
  /// @throws std::bad_alloc  nothing was changed.
  void Replace(Live& fresh, Transaction&& stored) {
    const bool goes_on = !IsFinal(stored.status);
    if (goes_on) again.emplace_back(stored.definition->gid, engine::EventKind::kLoaded);
    Untouch(fresh);
    Free(fresh);
    if (goes_on) lives.Add(std::move(stored));  // in the place that is free now
  }

  void Untouch(Live& live) {
    live.touched = false;
    touched.erase(std::remove(touched.begin(), touched.end(), &live), touched.end());
  }

  void RemoveFresh(Live& live) {
    Untouch(live);
    dirty.erase(std::remove(dirty.begin(), dirty.end(), &live), dirty.end());
    Remove(live);
  }

  Live& Bring(Transaction stored) {
    Live& live = lives.Add(std::move(stored));
    try {
      Step(live, {engine::EventKind::kLoaded, 0, {}});
      return live;
    } catch (...) {
      Untouch(live);
      Remove(live);
      throw;
    }
  }

  std::size_t Room() const { return Full() ? 0 : options.max_in_memory - lives.Count(); }
  std::size_t RoomBytes() const { return Full() ? 0 : LivesBytes(options) - lives.Bytes(); }
  bool Full() const {
    return lives.Count() >= options.max_in_memory || lives.Bytes() >= LivesBytes(options);
  }
  /// More are in memory than fit: one that was just added should not begin.
  bool Overfull() const {
    return lives.Count() > options.max_in_memory || lives.Bytes() > LivesBytes(options);
  }
  bool SomethingAgain() const {
    return !again.empty() || !returned.empty() || !again_commands.empty();
  }
  /// Transactions that only wait for a time may take half of the room.
  bool HalfFull() const {
    return lives.Count() >= options.max_in_memory / 2 || lives.Bytes() >= LivesBytes(options) / 2;
  }

  void Log(LogLevel level, const std::string& text) const { LogTo(options, level, text); }

  bool MayUseStore() const {
    return health.MayTry(context.now) || (health.WaitsForLock() && !Full());
  }

  Store& store;
  const Options& options;
  engine::Context context;
  Lives lives;
  Timers timers;
  Loader loader;
  StoreHealth health;
  Metrics metrics;
  News news;
  std::vector<Live*> touched;  ///< something waits for release
  std::vector<Live*> dirty;    ///< the next commit has to write them
  std::vector<std::pair<std::string, engine::EventKind>> again;  ///< to be stepped in the next turn
  std::vector<Submission> returned;     ///< met a stored record, which is in memory now: again
  std::vector<Command> again_commands;  ///< of one that no commit has taken yet: again
  std::set<std::string> in_doubt;       ///< submitted in a commit whose outcome is not known yet
  std::vector<std::shared_ptr<const Alert>> alerts;      ///< of what is durable
  std::vector<std::shared_ptr<const Definition>> ended;  ///< see Mail
  std::deque<QueuedWork> works;                          ///< user work for the next commits
  std::deque<BranchWork> branch_works;  ///< branches that run inside the next commits

 private:
  void StepNow(Live& live, engine::Event& event, engine::Effects& effects) {
    Transaction& transaction = live.transaction;
    const bool was_stuck = transaction.stuck;
    const Status before = transaction.status;
    const bool answer = event.kind == engine::EventKind::kResult;
    const std::uint32_t errors = answer ? ErrorsOf(transaction, event.branch) : 0;
    if (live.held_calls.empty()) effects.calls.swap(live.held_calls);  // its memory
    try {
      effects = engine::Step(transaction, event, context, std::move(effects));
    } catch (const std::exception& error) {
      if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) throw;
      transaction.stuck = true;
      transaction.due = kNever;
      transaction.last_error = error.what();
      effects.changed = true;  // or it would be believed to be stored
    }
    if (answer) {
      if (ErrorsOf(transaction, event.branch) > errors) {
        news.Error(transaction, errors + 1, context.now);
      } else if (event.result.no_handler &&
                 news.NobodyToCall(transaction, event.branch, context.now) && options.on_alert) {
        effects.alert = event.branch;
      }
    }
    if (transaction.stuck && !was_stuck) news.Stuck(transaction, context.now);
    std::shared_ptr<const Alert> alert;
    if (effects.alert) alert = AlertOf(transaction, *effects.alert);
    if (live.held_calls.empty()) {
      live.held_calls.swap(effects.calls);
    } else {
      live.held_calls.insert(live.held_calls.end(), effects.calls.begin(), effects.calls.end());
    }
    // Nothing below can fail. What nobody else knows of loses no compare-and-set: it is kept for what it tells.
    if (BeganToFail(before, transaction.status)) live.rolled_back = true;
    if (!live.Fresh() || alert) live.events.push_back({std::move(event), std::move(alert)});
    if (effects.changed) {
      transaction.updated = context.now;
      if (!std::exchange(live.dirty, true)) dirty.push_back(&live);
    }
    live.timer = effects.timer;
  }

  /// What is large is freed at once: until somebody frees `ended`, no limit counts it.
  void Free(Live& live) {
    timers.Move(live, live.armed, kNever);
    const bool keep = live.bytes <= kSmallBytes && ended.size() < MostEnded(options);
    std::shared_ptr<const Definition> definition = lives.Remove(live);
    if (keep) Protected([&] { ended.push_back(std::move(definition)); });
  }
  std::vector<char> out_;  // a member for its memory
};

}  // namespace v1
}  // namespace dtm
