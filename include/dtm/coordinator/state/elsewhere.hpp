/// What was asked here about transactions that other coordinators on the store drive: who waits for their end, and requests
/// that the others have to obey. One statement every 100 ms looks after all of it.
/// Needs: std, store. Threads: the thread that drives the loop.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/state/peer_messages.hpp>
#include <dtm/core/in_words.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/engine/resubmission.hpp>
#include <dtm/store/peers.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class Elsewhere {
 public:
  /// `most`: so many may wait.
  Elsewhere(Store& store, std::size_t most) : store_(store), peers_(store.Shared()), most_(most) {}

  /// Answers when it has ended, or at the time that `waiter` set, whoever drives it.
  void Watch(const std::string& gid, Waiter&& waiter, Time now) {
    if (!waiter.promise.Open()) return;
    if (waiters_ >= most_) {
      return waiter.Refuse(Made<BusyError>([&] {
        return "too many wait for transactions of other coordinators, " + std::to_string(most_) +
               "; ask query for gid '" + gid + "'";
      }));
    }
    waiter.again = nullptr;
    LookAt((std::min)(waiter.deadline, now + kEvery), now);
    watched_[gid].push_back(std::move(waiter));
    ++waiters_;
  }

  /// Asks the one that drives it to obey the command; its answer is the answer. The coordinator that takes over from it may
  /// obey as well, so this waits for longer than that takes.
  /// @throws StoreError  nothing was asked.
  void Ask(Command&& command, Time now) {
    const std::int64_t id = peers_->Ask(RequestFor(command));
    LookAt(now + kEvery, now);
    asked_.emplace(id, Asked{std::move(command), now + kLongestReply, false});
  }

  /// What others ask of this one.
  void Hear(std::vector<Command>& reissue) {
    for (const Request& request : peers_->Asked()) {
      if (request.kind > Request::Kind::kSkip) {
        Answers::Protected([&] { peers_->Reply(request.id, NotKnown(request)); });
        continue;
      }
      Command command = CommandFor(request);
      const bool skips = command.kind == Command::Kind::kSkip;
      command.waiter.promise = [peers = peers_, id = request.id, skips](const Answer& answer) {
        peers->Reply(id, skips && !answer.error ? kSkipped : ReplyOf(answer));
      };
      reissue.push_back(std::move(command));
    }
  }

  /// It was stopped here, and the one that drove it does not know. If that cannot be told, it finds out at its next write.
  void TellOwner(const Transaction& transaction) {
    if (peers_ == nullptr || transaction.owner == 0 || transaction.owner == store_.Owner()) return;
    Answers::Protected([&] {
      (void)peers_->Ask(
          {0, Request::Kind::kLook, transaction.definition->gid, {}, transaction.owner});
    });
  }

  /// A line for people: who drives it.
  std::string DrivenBy(const Transaction& stored) const {
    if (IsFinal(stored.status)) return {};
    if (stored.owner == 0) return "\nno coordinator has taken it up yet";
    const std::optional<Peer> peer = peers_->Find(stored.owner);
    if (peer && WaitsForApp(stored.owner)) {
      return "\nit calls functions of app '" + peer->node.app +
             "', and none of its coordinators is alive: it waits until one runs";
    }
    if (!peer) return "\nthe coordinator that drove it is gone; another one takes it over";
    if (stored.owner == store_.Owner()) return "\ndriven by this node, " + peer->node.name;
    const std::string name =
        peer->node.name + (peer->node.url.empty() ? "" : " (" + peer->node.url + ")");
    if (!peer->is_member) return "\nnode " + name + " drove it and is gone; another takes it over";
    return "\ndriven by node " + name +
           (peer->silent ? ", seen " + engine::Seconds(*peer->silent) + " s ago" : "");
  }

  /// When to look the next time; kNever: nobody waits.
  Time Next() const { return next_; }

  /// Looks, if it is time. Commands that have to be obeyed here, after all, go into `reissue`.
  void Look(Time now, std::vector<Command>& reissue) {
    if (now < next_) return;
    next_ = now + kEvery;
    try {
      TakeReplies(now, reissue);
      LookAtWatched(now);
    } catch (const StoreError&) {  // the next look may work; nobody waits longer than asked
      AnswerExpired(now);
    }
    if (watched_.empty() && asked_.empty()) next_ = kNever;
  }

  /// Nobody waits any longer: the answer is the status that is stored.
  void AnswerAll(const std::string& why) {
    next_ = kNever;
    waiters_ = 0;
    for (auto& [gid, waiters] : std::exchange(watched_, {})) {
      AnswerThose(gid, waiters, why, [](const Waiter&) { return true; });
    }
    for (auto& [id, asked] : std::exchange(asked_, {})) {
      asked.command.waiter.Refuse(InDoubt(asked.command.gid, why));
    }
  }

 private:
  struct Asked {
    Command command;
    Time until;
    bool taken_up;
  };

  void LookAt(Time time, Time now) {
    if (next_ == kNever) next_ = now + kEvery;
    next_ = (std::min)(next_, time);
  }

  static std::exception_ptr InDoubt(const std::string& gid, const std::string& why) {
    return Made<InDoubtError>([&] {
      return "gid '" + gid + "' may or may not have been changed: " + why + "; ask for it again";
    });
  }

  void TakeReplies(Time now, std::vector<Command>& reissue) {
    if (asked_.empty()) return;
    std::vector<std::int64_t> ids;
    for (const auto& entry : asked_) ids.push_back(entry.first);
    for (const auto& [id, reply] : peers_->TakeReplies(ids)) {
      const auto place = asked_.find(id);
      if (place == asked_.end()) continue;
      Command command = std::move(place->second.command);
      asked_.erase(place);
      OnReply(std::move(command), reply, now);
    }
    for (auto place = asked_.begin(); place != asked_.end();) {
      Asked& asked = place->second;
      const bool over = asked.until <= now && GiveUp(place->first, asked, now, reissue);
      place = over ? asked_.erase(place) : std::next(place);
    }
  }

  void OnReply(Command&& command, const std::string& reply, Time now) {
    if (const std::exception_ptr error = ErrorOf(reply)) return command.waiter.Refuse(error);
    if (command.kind == Command::Kind::kSkip && reply != kSkipped) {
      return command.waiter.Refuse(Made<RejectedError>([&] {
        return "gid '" + command.gid +
               "' was not changed: the coordinator that drives it is of an earlier version of dtm, "
               "which skips no branches; replace it, then ask again";
      }));
    }
    const std::optional<Transaction> stored = store_.Load(command.gid);
    if (!stored) return command.waiter.Refuse(InDoubt(command.gid, "its record is gone"));
    if (command.wait_result != WaitResult::kCounts || !stored->definition->options.wait_result) {
      return command.waiter.Give(ResultOf(*stored));
    }
    command.waiter.WaitForResult(now);
    command.waiter.ongoing_is_error = true;
    Watch(command.gid, std::move(command.waiter), now);
  }

  /// True: it was answered.
  bool GiveUp(std::int64_t id, Asked& asked, Time now, std::vector<Command>& reissue) {
    Command& command = asked.command;
    const std::string& gid = command.gid;
    if (!peers_->Withdraw(id, asked.taken_up)) {  // somebody obeys it at this moment
      if (!asked.taken_up) return asked.taken_up = true, asked.until = now + kLongestReply, false;
      command.waiter.Refuse(InDoubt(gid, "the coordinator that drives it does not answer"));
      return true;
    }
    const std::optional<Transaction> stored = store_.Load(gid);
    const bool here = !stored || IsFinal(stored->status) || stored->owner == store_.Owner();
    if (here) {
      reissue.push_back(std::move(command));
    } else {
      command.waiter.Refuse(Made<StoreError>([&] {
        return "gid '" + gid +
               "' was not changed: no coordinator that drives it has answered; ask again later";
      }));
    }
    return true;
  }

  /// So many in one statement; the others with the next ones, in turn.
  void LookAtWatched(Time now) {
    std::vector<std::string> gids;
    auto from = watched_.upper_bound(last_);
    if (from == watched_.end()) from = watched_.begin();
    for (; from != watched_.end() && gids.size() < kPage; ++from) gids.push_back(from->first);
    if (gids.empty()) return;
    const bool all = gids.size() == watched_.size();
    last_ = all ? std::string() : gids.back();
    std::map<std::string, std::optional<Time>> due;
    for (const Progress& found : peers_->Look(gids)) due.emplace(found.gid, found.due);
    for (const std::string& gid : gids) {
      const auto found = due.find(gid);
      if (found == due.end()) {
        AnswerIf(gid, "its record is gone", [](const Waiter&) { return true; });
        continue;
      }
      const bool ended = !found->second.has_value();
      const bool settled = ended || *found->second > now;
      AnswerIf(gid, "it cannot be read", [&](const Waiter& waiter) {
        return ended || (settled && waiter.when == AnswerWhen::kSettled) || waiter.deadline <= now;
      });
    }
    if (!all) AnswerExpired(now);
    for (const auto& entry : watched_) {
      for (const Waiter& waiter : entry.second) next_ = (std::min)(next_, waiter.deadline);
    }
  }

  void AnswerExpired(Time now) {
    for (auto place = asked_.begin(); place != asked_.end();) {
      Command& command = place->second.command;
      const bool over = place->second.until + kLongestReply <= now;
      if (over) command.waiter.Refuse(InDoubt(command.gid, "the store cannot be read"));
      place = over ? asked_.erase(place) : std::next(place);
    }
    std::vector<std::string> gids;
    for (const auto& entry : watched_) gids.push_back(entry.first);
    for (const std::string& gid : gids) {
      AnswerIf(gid, "the store cannot be read",
               [now](const Waiter& waiter) { return waiter.deadline <= now; });
    }
  }

  template <typename Wanted>
  void AnswerIf(const std::string& gid, const std::string& why, const Wanted& wanted) {
    const auto place = watched_.find(gid);
    std::vector<Waiter>& waiters = place->second;
    const std::size_t before = waiters.size();
    AnswerThose(gid, waiters, why, wanted);
    waiters_ -= before - waiters.size();
    if (waiters.empty()) watched_.erase(place);
  }

  /// Those that are wanted leave `waiters`.
  template <typename Wanted>
  void AnswerThose(const std::string& gid, std::vector<Waiter>& waiters, const std::string& why,
                   const Wanted& wanted) {
    const auto first = std::stable_partition(waiters.begin(), waiters.end(),
                                             [&](const Waiter& waiter) { return !wanted(waiter); });
    if (first == waiters.end()) return;
    std::optional<Transaction> stored;
    try {
      stored = store_.Load(gid);
    } catch (const StoreError&) {  // NOLINT(bugprone-empty-catch): then it is not known
    }
    for (auto waiter = first; waiter != waiters.end(); ++waiter) {
      const bool told = stored && (!waiter->submits || engine::ShowsSubmit(*stored));
      if (told) {
        waiter->Give(ResultOf(*stored));
      } else {
        waiter->Refuse(InDoubt(gid, stored ? std::string("it is ") + Name(stored->status) : why));
      }
    }
    waiters.erase(first, waiters.end());
  }

  static constexpr Duration kEvery = std::chrono::milliseconds(100);
  static constexpr Duration kLongestReply = std::chrono::seconds(5);
  static constexpr std::size_t kPage = 1000;

  Store& store_;
  Peers* const peers_;
  const std::size_t most_;
  std::map<std::string, std::vector<Waiter>> watched_;
  std::string last_;  ///< of them, that were looked at
  std::size_t waiters_ = 0;
  std::map<std::int64_t, Asked> asked_;
  Time next_ = kNever;
};

}  // namespace v1
}  // namespace dtm
