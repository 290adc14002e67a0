/// Several coordinators on one store in memory, in one thread and in virtual time, and what happens to them: processes that are
/// stopped, killed, restarted, cut off or slow, at any statement that they send; a database that is away; statements that are
/// refused, lost, or done later than their sender believes; clocks that differ, and that of the database jumps.
/// Needs: the test kit. Threads: one thread.
///
/// A process has two threads that use the store: the loop and the beats. When one of them is to wait, all others go on meanwhile,
/// inside of its call (RunUntil, which nests): so a wait lasts at least as long as the waits that began inside of it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/audit.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/dtm.hpp>
#include <dtm/testing/shared_memory_store.hpp>

namespace simulation {

using dtm::Duration;
using dtm::Time;
using dtm::testing::SharedMemoryStatement;
using dtm::testing::SharedMemoryTables;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr Duration kLease = milliseconds(1200);

/// A mistake that the checks have to find.
enum class Fault {
  kNone,
  kNoFence,
  kBlindWrite,
  kNoLeaseCheck,
  kHeirDoesNotWait,
  kUncountedClaim,
  kWallClock
};

struct FaultyTables : SharedMemoryTables {
  FaultyTables(Fault planted, const dtm::testing::VirtualTime& now) : fault(planted), time(now) {}
  Time Clock() const override { return time.Now() + ahead; }
  bool PassesFence(std::int64_t member, std::int64_t epoch) const override {
    return fault == Fault::kNoFence || SharedMemoryTables::PassesFence(member, epoch);
  }
  bool IsVersion(const Row& row, std::int64_t version) const override {
    return fault == Fault::kBlindWrite || SharedMemoryTables::IsVersion(row, version);
  }
  void Claim(Row& row, std::int64_t heir) const override {
    SharedMemoryTables::Claim(row, heir);
    if (fault == Fault::kUncountedClaim) --row.version;
  }
  const Fault fault;
  const dtm::testing::VirtualTime& time;
  Duration ahead{};  ///< the server's clock
  int jumps = 0;     ///< of that
};

class Random {
 public:
  explicit Random(std::uint64_t seed) : random_(seed) {}
  int Below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }
  Duration UpTo(Duration longest) {
    return milliseconds(Below(static_cast<int>(longest / milliseconds(1)) + 1));
  }

 private:
  std::mt19937_64 random_;
};

class Cluster {
 public:
  /// One life of a coordinator.
  struct Process {
    std::size_t place = 0;
    int life = 0;
    Duration booted{};      ///< so long before it began
    Duration wall_ahead{};  ///< its wall clock
    Duration time_ahead{};  ///< its time, when it began
    Duration lease = kLease;
    std::unique_ptr<dtm::Coordinator> tm;
    dtm::SharedStore* store = nullptr;                ///< that of `tm`
    bool loop_is_busy = false, beat_is_busy = false;  ///< in a call
    bool dead = false;
    Time stopped_until{};  ///< all its threads
    Time cut_until{};      ///< from the database
    Time next{};           ///< when its loop has something to do
    std::uint64_t Owner() const { return store == nullptr ? 0 : store->Owner(); }
  };

  Cluster(std::uint64_t seed, Fault fault, Audit& audit)
      : random(seed),
        time(std::make_shared<dtm::testing::VirtualTime>()),
        tables(std::make_shared<FaultyTables>(fault, *time)),
        audit_(audit),
        places_(static_cast<std::size_t>(2 + random.Below(4))),
        one_statement_in_(random.OneIn(4) ? 1000 : 30 + random.Below(150)),
        one_call_in_(fault == Fault::kHeirDoesNotWait ? 3
                     : random.OneIn(3)                ? 8
                                                      : 60) {
    audit_.Watch(*tables, *time);
    if (random.OneIn(4)) longest_jump_ = random.OneIn(12) ? Duration(hours(1)) : seconds(20);
    if (random.OneIn(4)) memory_ = static_cast<std::size_t>(1 + random.Below(5));
    for (std::size_t place = 0; place < places_.size(); ++place) StartLater(place, Duration(0));
  }
  ~Cluster() {
    faults = false;
    for (auto& process : places_) {
      if (process != nullptr) process->dead = true;
      process.reset();
    }
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  /// One that takes requests; null: none does.
  Process* Any() {
    std::vector<Process*> alive;
    for (const auto& process : places_) {
      if (process != nullptr && !process->dead && process->tm != nullptr)
        alive.push_back(process.get());
    }
    if (alive.empty()) return nullptr;
    return alive[static_cast<std::size_t>(random.Below(static_cast<int>(alive.size())))];
  }

  /// Lets time pass, with all that happens in it, but for what waits in a call.
  void RunUntil(Time end, const std::function<bool()>& enough = {}) {
    for (;;) {
      bool something = false;
      for (std::size_t place = 0; place < places_.size(); ++place) {
        if (places_[place] != nullptr) something = Step(place) || something;
      }
      if (enough && enough()) return;
      if (something) continue;
      if (time->Now() >= end) return;
      Time next = end;
      for (const auto& process : places_) {
        if (process == nullptr || process->loop_is_busy || process->dead) continue;
        next = (std::min)(
            next, (std::max)({process->next, process->stopped_until, time->Now() + Duration(1)}));
      }
      time->MoveTowards(next);
    }
  }

  /// What happens to a whole process or to the database now and then.
  void Disturb() {
    Process* const victim = Any();
    if (victim == nullptr) return;
    switch (random.Below(7)) {
      case 0:
      case 1: victim->stopped_until = time->Now() + SomeTime(); break;
      case 2: Kill(*victim); break;
      case 3: victim->cut_until = time->Now() + SomeTime(); break;
      case 4: database_away_until_ = time->Now() + random.UpTo(seconds(3)); break;
      case 5:
        if (!victim->loop_is_busy && victim->stopped_until <= time->Now()) Leave(*victim);
        break;
      default:
        if (longest_jump_ > Duration(0)) Jump();
        break;
    }
  }
  /// From now on nothing more happens to anybody.
  void Heal() {
    faults = false;
    for (const auto& process : places_) {
      if (process == nullptr) continue;
      process->cut_until = Time{};
      process->stopped_until = (std::min)(process->stopped_until, time->Now() + milliseconds(10));
    }
    database_away_until_ = Time{};
  }

  Random random;
  const std::shared_ptr<dtm::testing::VirtualTime> time;
  const std::shared_ptr<FaultyTables> tables;
  /// How a branch answers, and after how long.
  std::function<std::pair<dtm::Result, Duration>(const dtm::BranchCall&)> branch;
  bool faults = true;

 private:
  /// The clock of a process, as coordinators on a shared store have it. Once it is dead, time passes for nobody else.
  class ProcessClock : public dtm::Clock {
   public:
    ProcessClock(Cluster& cluster, Process& process) : cluster_(cluster), process_(process) {}
    Time Now() override { return (std::max)(last_, cluster_.TimeOf(process_)); }
    void Wait(std::condition_variable&, std::unique_lock<std::mutex>& lock, Time until) override {
      if (process_.dead) {
        last_ = (std::max)(Now(), until);
        return;
      }
      lock.unlock();
      const Duration wait = (std::min)(until - Now(), Duration(milliseconds(10)));
      cluster_.RunUntil(cluster_.time->Now() + wait);
      lock.lock();
    }

   private:
    Cluster& cluster_;
    Process& process_;
    Time last_{};
  };

  class Caller : public dtm::BranchCaller {
   public:
    Caller(Cluster& cluster, Process& process) : cluster_(cluster), process_(process) {}
    ~Caller() override { *alive_ = false; }
    void Call(std::vector<dtm::BranchCall> calls, dtm::BranchResults& results) override {
      const Time asked = cluster_.time->Now();
      for (const dtm::BranchCall& call : calls) Begin(call, asked, results);
    }
    void Stop() override { *alive_ = false; }

   private:
    void Begin(const dtm::BranchCall& call, Time asked, dtm::BranchResults& results) {
      if (cluster_.faults && cluster_.random.OneIn(cluster_.one_call_in_)) {
        cluster_.WaitIn(process_, cluster_.SomeTime(), true);
      }
      if (process_.dead || !*alive_) return;
      const bool careful = cluster_.tables->fault != Fault::kNoLeaseCheck;
      if (careful && !call.MayBegin()) return results.Done(call, dtm::LeaseOver());
      if (cluster_.time->Now() - asked + call.late >= call.timeout) {
        return results.Done(call, dtm::Result::NotSent("it is too late"));
      }
      auto [result, after] = cluster_.branch(call);
      const bool silent = after > call.timeout;
      if (silent) {
        result = dtm::Result::Error("no answer within its deadline");
        after = call.timeout;
      }
      cluster_.audit_.Called(call, static_cast<std::int64_t>(process_.Owner()), result, after);
      cluster_.time->At(cluster_.time->Now() + after,
                        [alive = alive_, &results, call, said = result] {
                          if (*alive) results.Done(call, said);
                        });
    }

    Cluster& cluster_;
    Process& process_;
    const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  };

  /// Mostly short, sometimes longer than a lease.
  Duration SomeTime() {
    // An heir that does not wait comes, and who is stopped still has its lease.
    if (tables->fault == Fault::kHeirDoesNotWait)
      return milliseconds(400) + random.UpTo(milliseconds(500));
    return random.OneIn(3) ? random.UpTo(seconds(4)) : random.UpTo(milliseconds(700));
  }

  void StartLater(std::size_t place, Duration after) {
    time->At(time->Now() + after, [this, place] { Start(place); });
  }

  void Start(std::size_t place) {
    if (places_[place] != nullptr) return;
    places_[place] = std::make_unique<Process>();
    Process& process = *places_[place];
    process.place = place;
    process.life = ++lives_;
    process.loop_is_busy = true;
    process.booted = seconds(random.Below(100000));
    process.wall_ahead = hours(place % 3) - hours(1);
    try {
      const Time since = time->Now();
      const int jumps = tables->jumps;
      if (tables->fault == Fault::kHeirDoesNotWait && place == 0) process.lease = kLease / 3;
      auto store = std::make_unique<dtm::SharedStore>(
          std::make_unique<dtm::testing::SharedMemoryDatabase>(
              tables,
              [this, &process](const SharedMemoryStatement& statement) {
                OnStatement(process, statement);
              }),
          process.lease,
          [this, booted = process.booted, since] { return booted + (time->Now() - since); });
      store->StartBeatingByHand();
      process.store = store.get();
      process.time_ahead = TimeOf(process) - time->Now();
      const Duration differs = process.time_ahead - tables->ahead;
      if (jumps == tables->jumps &&
          (differs > time->Now() - since || differs < since - time->Now())) {
        audit_.Violated("node " + std::to_string(process.Owner()) +
                        " does not have the time of the database");
      }
      process.tm = std::make_unique<dtm::Coordinator>(
          std::move(store), OptionsOf(process), std::make_unique<ProcessClock>(*this, process));
      process.tm->Use(std::make_unique<Caller>(*this, process));
    } catch (const dtm::StoreError&) {  // the database does not answer
      process.dead = true;
    }
    process.loop_is_busy = false;
    process.next = time->Now();
    if (!process.dead) BeatLater(process);
  }

  dtm::Options OptionsOf(Process& process) {
    dtm::Options options = dtm_test::Quiet();
    options.retry_interval = seconds(1);
    options.request_timeout = seconds(1);
    options.timeout_to_fail = seconds(5);
    options.max_in_memory = memory_;
    options.on_wake = [this, &process] { process.next = time->Now(); };
    options.log = [this, &process](dtm::LogLevel, const std::string& text) {
      audit_.Note("node " + std::to_string(process.Owner()) + " says: " + text);
      if (text.find("other coordinators go on with what this one drove") == 0) {
        audit_.Forgot(static_cast<std::int64_t>(process.Owner()));
      }
      if (text.find("nothing would have gone on") != std::string::npos) audit_.Violated(text);
    };
    return options;
  }

  /// True: it did something.
  bool Step(std::size_t place) {
    Process& process = *places_[place];
    if (process.loop_is_busy) return false;
    if (process.dead) {
      if (process.beat_is_busy) return false;
      places_[place].reset();
      StartLater(place, faults ? random.UpTo(seconds(3)) : Duration(0));
      return true;
    }
    if (process.stopped_until > time->Now() || process.next > time->Now()) return false;
    process.loop_is_busy = true;
    process.next = dtm::kNever;
    const Duration moved = TimeOf(process) - time->Now() - process.time_ahead;
    if (moved > kMostMoved || moved < -kMostMoved) {
      audit_.Violated("the time of node " + std::to_string(process.Owner()) + " jumped");
    }
    const Duration sleep = process.tm->Poll();
    process.loop_is_busy = false;
    process.next = (std::min)(process.next, time->Now() + sleep);
    if (++turns_ > kTooManyTurns) {
      if (turns_ == kTooManyTurns + 1) audit_.Violated("the coordinators do not come to rest");
      process.next = time->Now() + seconds(10);
    }
    return true;
  }

  Time TimeOf(const Process& process) const {
    const Time wall = time->Now() + process.wall_ahead;
    if (tables->fault == Fault::kWallClock) return wall;
    return process.store->SharedTime().value_or(wall);
  }
  void Jump() {
    const Duration by = random.UpTo(longest_jump_);
    tables->ahead += random.OneIn(2) ? by : -by;
    ++tables->jumps;
    audit_.clock_jumped = true;
    audit_.Note("the clock of the database is " + std::to_string(tables->ahead / milliseconds(1)) +
                " ms ahead");
  }

  void Kill(Process& process) {
    audit_.Note("kill of node " + std::to_string(process.Owner()));
    process.dead = true;
  }

  void Leave(Process& process) {
    audit_.Note("node " + std::to_string(process.Owner()) + " stops");
    process.loop_is_busy = true;
    (void)process.tm->Stop(random.UpTo(seconds(2)));
    process.loop_is_busy = false;
    process.dead = true;
  }

  void BeatLater(Process& process) { BeatLater(process, process.lease / 4); }
  void BeatLater(Process& process, Duration after) {
    time->At(time->Now() + after, [this, place = process.place, life = process.life] {
      Process* const owner = places_[place].get();
      if (owner == nullptr || owner->life != life || owner->dead) return;
      if (owner->stopped_until > time->Now())
        return BeatLater(*owner, owner->stopped_until - time->Now());
      owner->beat_is_busy = true;
      const bool more = owner->store->Beat();
      owner->beat_is_busy = false;
      if (!owner->dead) BeatLater(*owner, more ? Duration(1) : owner->lease / 4);
    });
  }

  /// This thread waits; `whole`: all of its process does.
  void WaitIn(Process& process, Duration duration, bool whole) {
    const Time end = time->Now() + duration;
    if (whole) process.stopped_until = (std::max)(process.stopped_until, end);
    RunUntil((std::max)(end, (std::min)(process.stopped_until, time->Now() + seconds(10))));
  }

  void OnStatement(Process& process, const SharedMemoryStatement& statement) {
    if (process.stopped_until > time->Now() && !process.dead) WaitIn(process, Duration(0), true);
    const auto away = [&] {
      return (std::max)(process.cut_until, database_away_until_) > time->Now();
    };
    if (away() && !process.dead && random.OneIn(2)) WaitIn(process, random.UpTo(seconds(1)), false);
    if (process.dead || away()) throw dtm::SqlError("the connection is lost", "");
    if (!faults || !random.OneIn(one_statement_in_)) return;
    switch (random.Below(8)) {
      case 0:
        if (statement.done) return;
        throw dtm::SqlError("the database refuses it", "40001");
      case 1:
      case 2:
        if (!statement.done && statement.copy) DoLater(process, statement.copy());
        throw dtm::SqlError("no answer in time", "");
      case 3: throw dtm::SqlError("the connection broke", "");
      case 4:
        if (random.OneIn(3)) Kill(process);
        break;
      default: {
        const Duration pause = SomeTime();  // in this order with every compiler
        WaitIn(process, pause, random.OneIn(2));
        break;
      }
    }
    if (process.dead) throw dtm::SqlError("the process is dead", "");
  }

  /// The database reads it later.
  void DoLater(const Process& process, std::function<void()> statement) {
    const auto me = static_cast<std::int64_t>(process.Owner());
    const auto* const node = tables->Find(me);
    const std::int64_t epoch = node == nullptr ? 0 : node->epoch;
    time->At(time->Now() + SomeTime(),
             [this, me, epoch, late = std::move(statement)] { audit_.Late(me, epoch, late); });
  }

  static constexpr int kTooManyTurns = 300000;
  static constexpr Duration kMostMoved = seconds(5);  // 100 µs each beat

  Audit& audit_;
  std::vector<std::unique_ptr<Process>> places_;
  const int one_statement_in_;  // something happens to one of so many
  const int one_call_in_;       // its process is stopped when it is about to be sent
  std::size_t memory_ = 20000;
  Duration longest_jump_{};  // of the database's clock
  Time database_away_until_{};
  int turns_ = 0;
  int lives_ = 0;
};

}  // namespace simulation
