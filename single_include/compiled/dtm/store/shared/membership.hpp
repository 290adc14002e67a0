/// Generated from include/dtm/store/shared/membership.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../request_codec.hpp"
#include "database.hpp"
#include "members.hpp"
#include "server_clock.hpp"

// ---- dtm/store/shared/membership.hpp -----------------------------------------------------------

/// What keeps this coordinator a member of those that share a store, and what it knows: a thread, or a test that beats instead.
/// Needs: std. Threads: one of its own; all functions may be called by any thread, but Beat by one at a time.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// In the time since boot.
class BeatLease : public Lease {
 public:
  explicit BeatLease(Members::NowFunction now) : now_(std::move(now)) {}
  bool Holds() const override { return now_() < Duration(until_); }
  void Extend(Duration until) { until_ = until.count(); }
  void End() { until_ = 0; }

 private:
  const Members::NowFunction now_;
  std::atomic<Duration::rep> until_{0};
};

class Membership {
 public:
  /// `lease`: after so much silence others take over. `now`: the time since boot; another one in tests.
  Membership(Database& database, Duration lease, const Members::NowFunction& now)
      : database_(database), lease_(lease), now_(now), members_(lease, now), clock_(now) {}
  ~Membership() { Stop(); }

  std::uint64_t Owner() const { return owner_; }

  /// Before it joins. An answer that took long says little; then it is asked again.
  void LearnTime(Connection& connection) {
    for (int asked = 0; asked < kMostAsked; ++asked) {
      const Duration sent = now_();
      const auto time = connection.Run(Query::kTime, {});
      if (clock_.Learn(FromStored(time->Number(0, 0)), sent, now_()) <= kMostOff) return;
    }
  }

  /// From now on it is this member, whose joining was sent then.
  void Joined(const Members::Self& self, Duration sent) {
    const std::lock_guard<std::mutex> lock(mutex_);
    self_ = self;
    owner_ = self.member;
    fenced_ = is_forgotten_ = false;
    if (our_lease_ != nullptr)
      our_lease_->End();  // calls that were handed out under it do not begin
    our_lease_ = std::make_shared<BeatLease>(now_);
    our_lease_->Extend(sent + CallsFor(lease_));
  }

  /// Before other threads know of it.
  void Start() {
    beats_ = true;
    thread_ = std::thread([this] { BeatUntilStopped(); });
  }
  /// Without that thread: somebody will call Beat.
  void StartByHand() { beats_ = true; }
  bool Beats() const { return beats_; }

  /// One beat, and what follows from those of the others. True: the next one is to come at once.
  bool Beat() {
    try {
      if (connection_ == nullptr || !connection_->Works()) {
        connection_.reset();
        connection_ = database_.Connect();
      }
      const auto [self, app] = Self();
      const Members::Seen seen = members_.Beat(*connection_, self, app);
      Note(self, seen);
      NoteAsked(seen.asked ? AskedOf(self.member) : std::vector<Request>());
      Tell({});
      return seen.more;
    } catch (...) {  // nothing is called without a beat, and the next one comes soon
      ++failed_beats_;
      Tell(WhatWasThrown());
      return false;
    }
  }

  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      changed_ = {};
      tell_ = {};
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    connection_.reset();
  }

  Duration Now() const { return now_(); }
  /// On the thread that calls Joined.
  std::shared_ptr<const Lease> OurLease() const { return our_lease_; }
  bool IsFenced() const { return fenced_; }
  /// And why: the database is an older one.
  bool IsForgotten() const { return is_forgotten_; }
  /// See Store::SharedTime.
  Time ServerTime() const { return clock_.Now(); }
  std::uint64_t Takeovers() const { return takeovers_; }

  /// What calls functions of programs is taken over only from others of this app.
  void SetApp(const std::string& app) {
    const std::lock_guard<std::mutex> lock(mutex_);
    app_ = app;
  }

  // See Peers.
  std::uint64_t AskedTimes() const { return asked_times_; }
  std::vector<Request> Asked() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(asked_, {});
  }
  /// It may be asked again.
  void Forget(std::int64_t request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    heard_.erase(request);
  }
  std::vector<std::string> TakeNews() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(news_, {});
  }
  /// Since the last beat of this one that was seen; nothing: it is not known to be alive.
  std::optional<Duration> Silent(std::uint64_t member) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto other = alive_.find(static_cast<std::int64_t>(member));
    if (other == alive_.end()) return std::nullopt;
    return now_() - other->second;
  }
  /// But for `driven`.
  PeerCounts Counts() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {alive_.size() + (fenced_ ? 0 : 1), taken_over_, 0};
  }
  void OnTakeover(std::function<void()> changed) {
    const std::lock_guard<std::mutex> lock(mutex_);
    changed_ = std::move(changed);
  }

  /// See Store::OnSilence.
  void OnSilence(std::function<void(const std::string&)> tell) {
    const std::lock_guard<std::mutex> lock(mutex_);
    tell_ = std::move(tell);
  }
  SharingCounts Counted() const { return {failed_beats_, times_fenced_, times_forgotten_}; }

 private:
  /// A deadline has one request_timeout (default 3 s) to spare for what the clocks of two coordinators differ.
  static constexpr Duration kMostOff = std::chrono::milliseconds(100);
  static constexpr int kMostAsked = 5;

  /// And its app.
  std::pair<Members::Self, std::string> Self() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {self_, app_};
  }

  /// `why`: empty if it is heard. Only what is new is told.
  void Tell(const std::string& why) {
    std::function<void(const std::string&)> tell;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (why == silent_ || stopping_) return;
      silent_ = why;
      tell = tell_;
    }
    if (tell) tell(why);
  }

  void BeatUntilStopped() {
    for (bool more = false; Wait(more);) more = Beat();
  }

  /// Until the next beat. False: no more.
  bool Wait(bool at_once) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!at_once) wake_.wait_for(lock, lease_ / 4, [this] { return stopping_; });
    return !stopping_;
  }

  std::vector<Request> AskedOf(std::uint64_t member) {
    const auto rows = connection_->Run(Query::kAsked, {static_cast<std::int64_t>(member)});
    std::vector<Request> asked;
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      Request request;
      request.id = rows->Number(row, 0);
      request.gid = rows->View(row, 1);
      request.kind = static_cast<Request::Kind>(rows->Number(row, 2));
      codec::DecodeAsked(rows->View(row, 3), request);
      asked.push_back(std::move(request));
    }
    return asked;
  }

  /// Tells of those that were not heard yet, and of news.
  void NoteAsked(std::vector<Request> asked) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::set<std::int64_t> still;
    for (Request& request : asked) {
      still.insert(request.id);
      if (heard_.count(request.id) == 0) asked_.push_back(std::move(request));
    }
    heard_.swap(still);  // the others have their reply
    if (stopping_ || (asked_.empty() && news_.empty())) return;
    ++asked_times_;
    if (changed_) changed_();
  }

  void Note(const Members::Self& self, const Members::Seen& seen) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_ || !(self == self_)) return;  // of one that it was
    if (seen.is_member) {
      our_lease_->Extend(seen.until);
      clock_.Heard(seen.server_time, seen.heard);
    }
    taken_over_ += seen.taken;
    alive_ = members_.Alive();
    for (const auto& [app, number] : seen.left) {
      news_.push_back(
          std::to_string(number) +
          " unfinished transactions of a coordinator that is gone call functions of app '" + app +
          "'; they wait until a coordinator with that app runs");
    }
    const bool fenced = !seen.is_member && !fenced_;
    if (fenced) {
      is_forgotten_ = seen.is_forgotten;
      fenced_ = true;
      our_lease_->End();
      ++times_fenced_;
      if (seen.is_forgotten) ++times_forgotten_;
    }
    if (seen.taken == 0 && !fenced) return;
    ++takeovers_;
    if (changed_) changed_();
  }

  Database& database_;
  const Duration lease_;
  const Members::NowFunction now_;
  Members members_;                         // of who beats
  std::unique_ptr<Connection> connection_;  // the same
  ServerClock clock_;                       // the same
  std::atomic<std::uint64_t> owner_{0}, takeovers_{0}, asked_times_{0};
  std::atomic<std::uint64_t> failed_beats_{0}, times_fenced_{0}, times_forgotten_{0};
  std::atomic<bool> fenced_{false}, is_forgotten_{false};
  bool beats_ = false;
  std::mutex mutex_;  // guards what is below, and that what is above is of one member
  bool stopping_ = false;
  Members::Self self_;
  std::function<void(const std::string&)> tell_;
  std::string silent_;  ///< why; empty: it is heard
  std::shared_ptr<BeatLease> our_lease_;
  std::string app_;
  std::vector<Request> asked_;    // and not taken by the loop yet
  std::set<std::int64_t> heard_;  // what was asked at the last beat
  std::vector<std::string> news_;
  std::map<std::int64_t, Duration> alive_;  // the others, see Members
  std::uint64_t taken_over_ = 0;
  std::function<void()> changed_;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
