/// The first two stages of a turn: take what arrived, and step the transactions it concerns.
/// Needs: std, engine, store. Threads: the thread that drives the loop.
/// Protocol: §2.3 (what a repeat means), with the differences of the README.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dtm/coordinator/board.hpp>
#include <dtm/coordinator/commands.hpp>
#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/not_stored.hpp>
#include <dtm/coordinator/topics.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/prefetch.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/machine.hpp>
#include <dtm/engine/repeat.hpp>

namespace dtm {
inline namespace v1 {

class Collect {
 public:
  Collect(Board& board, Inbox& inbox) : board_(board), inbox_(inbox), commands_(board) {}

  /// Returns whether anything had arrived or was due.
  bool Run() {
    mail_.ended.swap(board_.ended);
    inbox_.Take(mail_);
    bool something = !mail_.Empty() || board_.SomethingAgain();
    std::vector<std::pair<std::string, engine::EventKind>> again;
    again.swap(board_.again);
    for (const auto& entry : again) {
      if (Live* live = board_.lives.Find(entry.first)) StepAgain(*live, entry.second);
    }
    TakeAnswers();
    obeyed_ = 0;
    if (!board_.returned.empty() || !board_.again_commands.empty()) TakeAgain();
    TakeSubmissions();
    for (Command& command : mail_.commands) Guarded(command);
    for (QueuedWork& work : mail_.works) OrInDoubt([&] { OnWork(work); });
    mail_.Clear();
    while (Live* live = board_.timers.TakeDue(board_.context.now)) {
      live->armed = kNever;
      ForSure([&] { OnTimer(*live); });
      something = true;
    }
    return something;
  }

  /// Stored records that could not be read so far; 101 are that many or more.
  std::size_t Damaged() const { return damaged_.size(); }

  /// Whether something is not as it should be since no memory was left; asked once.
  bool Incomplete() { return std::exchange(incomplete_, false); }

  /// Takes unfinished transactions from the store, as far as there is room.
  /// @throws StoreError
  void Load() {
    if (board_.Full() || !board_.context.may_call) return;
    const Time now = board_.context.now;
    if (recovery_began_ == Time{}) recovery_began_ = now;
    std::vector<Transaction> page = board_.loader.NextPage(board_.store, now, !board_.HalfFull(),
                                                           board_.Room(), board_.RoomBytes());
    try {
      for (Transaction& stored : page) Load(std::move(stored));
    } catch (...) {
      board_.loader.LeaveBehind(now);  // the rest of the page
      throw;
    }
    if (recovering_ && board_.loader.HasSeenAll()) {
      board_.news.Recovered(recovered_, now - recovery_began_);
      recovering_ = false;
    }
  }

 private:
  static constexpr std::size_t kDamagedNamed = 100;

  void Load(Transaction&& stored) {
    if (board_.lives.Find(stored.definition->gid) != nullptr) return;
    if (stored.unreadable) LogDamaged(stored);
    if (stored.unreadable || stored.stuck) return;  // it waits for people, and takes no room
    board_.Bring(std::move(stored));
    ++recovered_;
  }

  /// Once each, as far as anybody would read.
  void LogDamaged(const Transaction& stored) {
    if (damaged_.size() > kDamagedNamed || !damaged_.insert(stored.row).second) return;
    board_.Log(LogLevel::kError, damaged_.size() <= kDamagedNamed
                                     ? engine::Explain(stored, board_.context.now)
                                     : "more stored records are damaged; a query or Explain of "
                                       "each says so");
  }

  void TakeAnswers() {
    std::vector<Answer>& answers = mail_.answers;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (i + kLiveAhead < answers.size()) {
        board_.lives.PrefetchAt(answers[i + kLiveAhead].call.place, PrefetchLive);
      }
      if (i + kPartsAhead < answers.size()) {
        board_.lives.PrefetchAt(answers[i + kPartsAhead].call.place, PrefetchParts);
      }
      OnAnswer(answers[i]);
    }
  }

  void TakeAgain() {
    for (Submission& submission : std::exchange(board_.returned, {})) Guarded(submission);
    for (Command& command : std::exchange(board_.again_commands, {})) Guarded(command);
  }

  void TakeSubmissions() {
    std::vector<Submission>& submissions = mail_.submissions;
    for (std::size_t i = 0; i < submissions.size(); ++i) {
      if (i + kLiveAhead < submissions.size()) {
        Prefetch<LinesOf(sizeof(Definition))>(submissions[i + kLiveAhead].definition.get());
      }
      if (i + kPartsAhead < submissions.size()) {
        const Definition& soon = *submissions[i + kPartsAhead].definition;
        Prefetch<1>(soon.gid.data());
        Prefetch<LinesOf(2 * sizeof(Step))>(soon.steps.data());
      }
      Guarded(submissions[i]);
    }
  }

  void Guarded(Submission& submission) {
    OrInDoubt([&] { OnSubmission(submission); });
    Live* live = incomplete_ ? board_.lives.Find(submission.definition->gid) : nullptr;
    if (live != nullptr && live->Fresh() && !live->dirty) board_.RemoveFresh(*live);
  }
  /// What it is for may have to be loaded: without room one is obeyed in a turn, and the others in the next.
  void Guarded(Command& command) {
    OrInDoubt([&] {
      const bool full = board_.Overfull() && board_.health.MayTry(board_.context.now);
      const bool loads = command.waiter.promise.Open() && !command.explained && !command.listed;
      const bool next_turn = full && obeyed_++ > 0 && loads;
      next_turn ? board_.again_commands.push_back(std::move(command)) : commands_.Do(command);
    });
  }

  /// What no memory is left for is dropped, which answers it, and the others of the turn go on.
  template <typename Function>
  void OrInDoubt(const Function& function) {
    try {
      function();
    } catch (const std::bad_alloc&) {
      incomplete_ = true;
    }
  }

  /// What would be waited for for ever if it did not happen, see Inbox::Done. Without memory it changes nothing.
  template <typename Function>
  void ForSure(const Function& function) {
    for (;;) {
      try {
        return function();
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  void OnAnswer(Answer& answer) {
    Live* live = board_.lives.At(answer.call.place, answer.call.life);
    if (live == nullptr) return;  // it has ended meanwhile, and its gid may have been given again
    engine::Event event{engine::EventKind::kResult, answer.call.branch, std::move(answer.result)};
    try {
      board_.Step(*live, std::move(event));
    } catch (const std::bad_alloc&) {  // it comes again
      inbox_.Done(std::move(answer.call), std::move(event.result));
    }
  }

  void OnTimer(Live& live) {
    if (live.timer <= board_.context.now) board_.Step(live, {engine::EventKind::kTimer, 0, {}});
    board_.Touch(live);  // the time of a waiter may be over
    if (!board_.health.Good() || board_.health.WaitsForLock()) {
      AnswerExpired(live);
      board_.ArmWaiters(live);
    }
  }

  /// Its record may have been replaced by the stored one: what had happened to it happens again.
  void StepAgain(Live& live, engine::EventKind kind) {
    std::vector<Stepped> events = std::exchange(live.events, {});
    ForSure([&] {
      board_.StepIfRoom(live, kind, kind != engine::EventKind::kLoaded || !board_.Overfull());
    });
    for (Stepped& event : events) {
      ForSure([&] { board_.Step(live, std::move(event)); });
    }
  }

  /// While nothing can be released, nobody waits longer than asked: the answer is the stored status, but for those who
  /// wait for a change.
  void AnswerExpired(Live& live) {
    const std::string& gid = live.transaction.definition->gid;
    const auto expired = std::stable_partition(
        live.waiters.begin(), live.waiters.end(),
        [this](const Waiter& waiter) { return waiter.deadline > board_.context.now; });
    for (auto waiter = expired; waiter != live.waiters.end(); ++waiter) {
      AnswerAsStored(board_, *waiter, gid,
                     "the store cannot be written: " + board_.health.Problem());
    }
    live.waiters.erase(expired, live.waiters.end());
  }

  void OnSubmission(Submission& submission) {
    const std::string& gid = submission.definition->gid;
    submission.waiter.submits = !submission.prepare;
    if (!board_.MayUseStore())
      return NotTaken(submission, "the store is failing: " + board_.health.Problem());
    if (Live* live = board_.lives.Find(gid)) return OnSubmittedAgain(*live, submission);
    std::exception_ptr refused;
    try {
      refused = ProblemOfNew(*submission.definition);
    } catch (const StoreError& error) {  // it cannot be read now; what came with it goes on
      return NotTaken(submission, error.what());
    }
    if (refused) return submission.waiter.Refuse(refused);
    const bool full = board_.Full();
    Transaction transaction;
    transaction.definition = submission.definition;
    Live& live = board_.lives.Add(std::move(transaction), submission.bytes);
    board_.AddWaiter(live, std::move(submission.waiter));
    board_.StepIfRoom(
        live, submission.prepare ? engine::EventKind::kPrepared : engine::EventKind::kSubmitted,
        !full);
  }

  void NotTaken(Submission& submission, const std::string& why) {
    submission.waiter.Refuse(dtm::NotTaken(board_, submission.definition->gid, why));
  }

  /// @throws StoreError
  std::exception_ptr ProblemOfNew(const Definition& definition) const {
    try {
      topics::CheckNew(definition);
      return nullptr;
    } catch (const RejectedError&) {
      return board_.store.Load(definition.gid) ? nullptr : std::current_exception();
    }
  }

  void OnSubmittedAgain(Live& live, Submission& submission) {
    if (live.Fresh()) return OnSubmittedTwiceInATurn(live, submission);
    const engine::Repeat repeat =
        engine::OnRepeat(live.transaction, *submission.definition, submission.prepare);
    std::string refused = repeat.refused;
    if (repeat.kind == engine::Repeat::Kind::kPromote) {
      Definition merged = engine::Promoted(*live.transaction.definition, *submission.definition);
      refused = Problem(merged);
      if (refused.empty()) refused = OrdersProblem(merged);
      if (refused.empty()) {
        board_.MakeReady(live);
        board_.lives.Redefine(live, std::move(merged));
        board_.StepIfRoom(live, engine::EventKind::kSubmitted, !board_.Overfull());
      }
    }
    if (!refused.empty()) return submission.waiter.Refuse(Board::Rejected(refused));
    board_.AddWaiter(live, std::move(submission.waiter));
  }

  /// What no commit has taken yet decides nothing: it may lose its gid to a stored record, or not
  /// become durable.
  void OnSubmittedTwiceInATurn(Live& live, Submission& submission) {
    const Definition& first = *live.transaction.definition;
    const bool same =
        first.prepared_first == submission.prepare && SameContent(first, *submission.definition);
    if (same) return board_.AddWaiter(live, std::move(submission.waiter));
    board_.returned.push_back(std::move(submission));
  }

  void OnWork(QueuedWork& work) {
    if (!board_.MayUseStore()) {
      return work.promise.Keep({{}, StoreFailing(board_, "the work was not run")});
    }
    board_.works.push_back(std::move(work));
  }

  Board& board_;
  Inbox& inbox_;
  Commands commands_;
  Mail mail_;
  bool incomplete_ = false;
  std::size_t obeyed_ = 0;          // commands, in this turn
  std::set<std::int64_t> damaged_;  // rows of which the log has told
  bool recovering_ = true;          // until all that an earlier life left was found
  Time recovery_began_{};
  std::size_t recovered_ = 0;
};

}  // namespace v1
}  // namespace dtm
