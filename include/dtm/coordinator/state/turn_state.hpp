/// What the four stages of the loop share: the transactions in memory and what has happened to them
/// since the last commit.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/store_health.hpp>
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/coordinator/state/between_stages.hpp>
#include <dtm/coordinator/state/elsewhere.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/loader.hpp>
#include <dtm/coordinator/state/reports.hpp>
#include <dtm/coordinator/state/room.hpp>
#include <dtm/coordinator/state/timers.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/advance.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// With this bit a version is one that no record has.
inline constexpr std::uint64_t kNoVersion = std::uint64_t{1} << 63;

/// The transactions in memory, how the store does, what is counted and logged; and, for each stage, what the others
/// leave to it.
class TurnState : public Answers {
 public:
  TurnState(Store& store_in, const Options& options_in)
      : store(store_in),
        options(options_in),
        elsewhere(store_in, options_in.max_waiting_submissions) {
    context.retry_interval = options.retry_interval;
    context.request_timeout = options.request_timeout;
    context.timeout_to_fail = options.timeout_to_fail;
    if (IsShared()) context.function_limit = options.function_limit;
    if (options.on_alert) context.alert_after = (std::max)(options.alert_retry_limit, 1U);
  }

  /// Gives the event to the machine, and keeps the effects in `active` until the record is durable. Returns why the event
  /// was refused, or nothing. Without memory the stored record takes its place, and the events since are applied again.
  /// @throws std::bad_alloc  nothing was changed, not even `event`; or it is new, and the sweep refuses it.
  std::string Advance(ActiveTransaction& active, engine::Event&& event) {
    Transaction& transaction = active.transaction;
    MakeReady(active);
    if (transaction.unreadable) return "its stored record is damaged: " + transaction.last_error;
    out_.clear();
    for (const Branch& branch : transaction.branches) out_.push_back(branch.in_flight ? 1 : 0);
    engine::Effects effects;
    try {
      AdvanceNow(active, event, effects);
    } catch (const std::bad_alloc&) {
      if (active.Fresh()) {
        Untouch(active);
        Forget(to_commit.dirty, active);
        active.dirty = false;
        throw;
      }
      for (std::size_t i = 0; i < out_.size() && i < transaction.branches.size(); ++i) {
        transaction.branches[i].in_flight = out_[i] != 0;
      }
      active.events.push_back({std::move(event), nullptr, context.now});
      // The next commit finds a conflict, and the stored record takes the place of this one.
      transaction.version |= kNoVersion;
      if (!std::exchange(active.dirty, true)) to_commit.dirty.push_back(&active);
    }
    return std::move(effects.refused);
  }

  /// Reserves the memory that Advance needs: after that it throws nothing, unless the transaction is new.
  void MakeReady(ActiveTransaction& active) {
    Touch(active);
    MakeRoom(active.events);
    MakeRoom(to_commit.dirty);
    out_.reserve(active.transaction.branches.size());
  }

  /// Without room it starts no calls: it leaves memory, and is loaded when there is room.
  void AdvanceIfRoom(ActiveTransaction& active, engine::EventKind kind, bool has_room) {
    const bool may_call = std::exchange(context.may_call, context.may_call && has_room);
    try {
      Advance(active, {kind, 0, {}});
    } catch (...) {
      context.may_call = may_call;
      throw;
    }
    context.may_call = may_call;
  }

  /// Something of it is to be released: calls, timers, answers.
  void Touch(ActiveTransaction& active) {
    if (active.touched) return;
    to_release.touched.push_back(&active);
    active.touched = true;  // not before it is in the list
  }

  void AddWaiter(ActiveTransaction& active, Waiter&& waiter) {
    if (!waiter.promise.Open()) return;
    LimitWait(active, waiter);
    ArmBefore(active, waiter.deadline);  // also if no commit works and nothing is released
    Touch(active);
    active.waiters.push_back(std::move(waiter));
  }

  /// `waiter` asked for the last event of `active`. If that is refused when it is applied again, it is told.
  void Link(ActiveTransaction& active, Waiter& waiter) {
    if (!active.Fresh()) active.events.back().ask = waiter.ask = ++last_ask_;
  }

  /// While nothing can be released, those who wait still need a timer for their deadlines.
  void ArmWaiters(ActiveTransaction& active) {
    for (Waiter& waiter : active.waiters) {
      LimitWait(active, waiter);
      ArmBefore(active, (std::max)(waiter.deadline, context.now + Duration(1)));
    }
  }
  /// Nobody waits long for a failing store. Waiters of a new transaction are refused with it.
  void LimitWait(const ActiveTransaction& active, Waiter& waiter) const {
    if (waiter.when != AnswerWhen::kStored || active.Fresh()) return;
    waiter.deadline = (std::min)(waiter.deadline, context.now + kLongestWaitForStore);
  }
  void ArmBefore(ActiveTransaction& active, Time time) {
    if (time >= active.armed) return;
    timers.Move(active, active.armed, time);
    active.armed = time;
  }

  void ArmTimer(ActiveTransaction& active) {
    Time next = active.timer;
    for (const Waiter& waiter : active.waiters) next = (std::min)(next, waiter.deadline);
    timers.Move(active, active.armed, next);
    active.armed = next;
  }

  /// The one way out of memory, besides DropAll. The loader finds again what has not ended, and the earlier record, if
  /// there is one, of what no commit has taken. What waits for people is not loaded.
  void Remove(ActiveTransaction& active) {
    const Transaction& transaction = active.transaction;
    const bool as_stored = !active.dirty && !active.Fresh();
    if (!as_stored) {
      loader.LeaveBehind(context.now);
    } else if (!IsFinal(transaction.status) && !transaction.unreadable) {
      loader.LeaveBehind(transaction.due);
    }
    Free(active);
  }

  /// The gid of a new transaction turned out to be stored: that record takes its place, unless it has ended.
  /// @throws std::bad_alloc  nothing was changed.
  void Replace(ActiveTransaction& fresh, Transaction&& stored) {
    const bool goes_on = !IsFinal(stored.status) && MayDrive(stored);
    if (goes_on)
      to_collect.readvance.emplace_back(stored.definition->gid, engine::EventKind::kLoaded);
    Untouch(fresh);
    Free(fresh);
    if (goes_on) table.Add(std::move(stored));  // in the place that is free now
  }

  void Untouch(ActiveTransaction& active) {
    active.touched = false;
    Forget(to_release.touched, active);
  }

  void RemoveFresh(ActiveTransaction& active) {
    Untouch(active);
    Forget(to_commit.dirty, active);
    Remove(active);
  }

  /// Nothing in memory is ours any more, and calls that are out are forgotten with it.
  void DropAll() {
    to_collect.readvance.clear();
    to_commit.dirty.clear();
    to_commit.branch_works.clear();
    to_release.touched.clear();
    while (ActiveTransaction* active = table.Any()) Free(*active);
    loader.Restart();
  }

  /// This coordinator owns it, or will with its next write: of a prepared one no call is out, but perhaps to its initiator.
  /// While it is fenced it owns nothing, although its heir may not have written that yet.
  bool MayDrive(const Transaction& stored) const {
    return (stored.owner == store.Owner() && !fenced) ||
           (stored.status == Status::kPrepared && !stored.other_app);
  }

  ActiveTransaction& Bring(Transaction stored) {
    if (stored.owner != store.Owner()) engine::LeaveToInitiator(stored);
    ActiveTransaction& active = table.Add(std::move(stored));
    try {
      Advance(active, {engine::EventKind::kLoaded, 0, {}});
      return active;
    } catch (...) {
      Untouch(active);
      Remove(active);
      throw;
    }
  }
  bool IsShared() const { return store.Owner() != 0; }
  bool SomethingLeftOver() const {
    return !to_collect.readvance.empty() || !to_collect.resubmit.empty() ||
           !to_collect.reissue.empty();
  }

  void Log(LogLevel level, const std::string& text) const { LogTo(options, level, text); }
  bool MayUseStore() const {
    return health.MayTry(context.now) || (health.WaitsForLock() && !room.Full());
  }

  Store& store;
  const Options& options;
  engine::Context context;
  ActiveTable table;
  const Room room{table, options};
  Timers timers;
  Loader loader;
  StoreHealth health;
  bool fenced = false;  ///< until the store has recovered
  Time not_before{};    ///< of the next turn: of commits in doubt each has a time of its own
  Elsewhere elsewhere;
  ToCollect to_collect;
  ToCommit to_commit;
  ToRelease to_release;
  Reports reports{options, context, to_release};

 private:
  static void Forget(std::vector<ActiveTransaction*>& list, const ActiveTransaction& active) {
    list.erase(std::remove(list.begin(), list.end(), &active), list.end());
  }

  void AdvanceNow(ActiveTransaction& active, engine::Event& event, engine::Effects& effects) {
    Transaction& transaction = active.transaction;
    const bool was_stuck = transaction.stuck;
    const Status before = transaction.status;
    const bool has_result = event.kind == engine::EventKind::kResult;
    const std::size_t row = event.row;
    const std::uint32_t errors = has_result ? ErrorsOf(transaction, row) : 0;
    const std::uint64_t me = store.Owner();
    const bool outbox = !active.Fresh() && me != 0 && transaction.driver == 0;
    // Each run on a shared store has a number of its own; and the time there may go back a little, as clocks are brought together.
    const bool other_run =
        !active.Fresh() && !outbox &&
        (me != 0 ? transaction.driver != me : transaction.updated < context.started);
    if (active.held_calls.empty()) effects.calls.swap(active.held_calls);  // its memory
    try {
      effects = engine::Advance(transaction, event, context, std::move(effects));
    } catch (const std::exception& error) {
      if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) throw;
      transaction.stuck = true;
      transaction.due = kNever;
      transaction.last_error = error.what();
      effects.changed = true;  // or the record would count as stored
    }
    const std::uint32_t errors_now = has_result ? ErrorsOf(transaction, row) : 0;
    const std::uint32_t new_errors = errors_now > errors ? errors_now : 0;
    const bool stuck = transaction.stuck && !was_stuck;
    std::shared_ptr<const Alert> alert;
    if (effects.alert) alert = AlertOf(transaction, *effects.alert, transaction.last_error);
    if (active.held_calls.empty()) {
      active.held_calls.swap(effects.calls);
    } else {
      active.held_calls.insert(active.held_calls.end(), effects.calls.begin(), effects.calls.end());
    }
    // Nothing below can fail. The events of a new transaction are not applied again, so they are kept only for what they tell.
    const bool rolled_back = BeganToFail(before, transaction.status);
    if (rolled_back) active.rolled_back = true;
    if (!active.Fresh() || alert || has_result || stuck || TellsEntries(options)) {
      active.events.push_back({std::move(event), std::move(alert), context.now, effects.changed,
                               effects.changed && other_run, effects.changed && outbox, rolled_back,
                               stuck, IsFinal(transaction.status) && !IsFinal(before), new_errors,
                               !effects.refused.empty()});
    }
    if (effects.changed) {
      transaction.updated = context.now;
      transaction.driver = me;
      if (!std::exchange(active.dirty, true)) to_commit.dirty.push_back(&active);
    }
    active.timer = effects.timer;
  }

  /// A large definition is freed at once, since no limit counts what waits in `ended`.
  void Free(ActiveTransaction& active) {
    timers.Move(active, active.armed, kNever);
    const bool keep = active.bytes <= kSmallBytes && to_collect.ended.size() < MostEnded(options);
    std::shared_ptr<const Definition> definition = table.Remove(active);
    if (keep) Protected([&] { to_collect.ended.push_back(std::move(definition)); });
  }
  std::vector<char> out_;  // a member for its memory
  std::uint64_t last_ask_ = 0;
};

}  // namespace v1
}  // namespace dtm
