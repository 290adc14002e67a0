/// Whatever leaves memory without having ended is found again: a few gids that are submitted again and again to a
/// loop with hardly any memory, on a store that fails at every position, with restarts between.
/// DTM_SEEDS=300000 in the environment runs so many seeds instead of those of every day (from DTM_FIRST on), DTM_SQLITE=1
/// with files.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <tests/coordinator/turns.hpp>

using dtm::Command;
using dtm::Definition;
using dtm::Result;
using dtm::Status;
using dtm::Time;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// One process: all of it is lost with a crash.
struct Life {
  Life(const dtm::Options& options, const std::shared_ptr<dtm::Store>& inner,
       const std::shared_ptr<dtm::testing::VirtualTime>& time,
       dtm::testing::ScriptedBranches& branches)
      : store(inner),
        clock(time),
        inbox(1000, std::size_t{1} << 30),
        functions(1, 1),
        hooks(clock, options),
        urls(branches.NewCaller()),
        loop(store, clock, inbox, functions, *urls, transaction_functions, hooks, options) {
    transaction_functions.Register("tx/branch", [](const dtm::WorkContext&, const std::string&,
                                                   const auto&) { return Result::Success(); });
  }
  ~Life() {
    urls->Stop();
    store.Rollback();
  }

  dtm::testing::FailingStore store;
  dtm::testing::VirtualClock clock;
  dtm::Inbox inbox;
  dtm::ProgramFunctions functions;
  dtm::TransactionFunctions transaction_functions;
  dtm::Hooks hooks;
  std::unique_ptr<dtm::BranchCaller> urls;
  dtm::Loop loop;
};

/// How often something happened over all seeds: a test that tests nothing is noticed.
struct Counts {
  int accepted = 0, refused = 0, in_doubt = 0, crashes = 0, ended = 0, rolled_back = 0;
};

class Repeats {
 public:
  Repeats(std::uint64_t seed, Counts& counts)
      : random_(seed),
        counts_(counts),
        inner_(MakeStore()),
        time_(std::make_shared<dtm::testing::VirtualTime>()),
        branches_(time_) {
    options_.log = [this](dtm::LogLevel level, const std::string& text) {
      // What the loop has to repair is a mistake of ours, though nothing is lost by it.
      if (level == dtm::LogLevel::kError &&
          text.find("nothing would have gone on") != std::string::npos)
        Violated(text);
    };
    const std::size_t memory[] = {1, 2, 3, 5, 100, 100};
    options_.max_in_memory = memory[Below(6)];
    if (OneIn(4)) options_.max_memory_bytes = static_cast<std::size_t>(100 + Below(8000));
    const int gids = 3 + Below(8);
    for (int i = 0; i < gids; ++i)
      definitions_.push_back(RandomDefinition("g" + std::to_string(i)));
    Start();
  }

  std::vector<std::string> Run() {
    for (int round = 4 + Below(12); round > 0; --round) {
      for (int n = Below(5); n > 0; --n) Ask();
      if (OneIn(2)) life_->store.FailOnce(1 + static_cast<std::uint64_t>(Below(12)), RandomFault());
      if (OneIn(6)) life_->store.FailAlways(RandomFault());
      if (OneIn(8)) life_->store.FailAlways(StoreFault::kNone);
      if (OneIn(8)) life_->store.Lock(OneIn(2));
      if (OneIn(8)) life_->store.FailReading(OneIn(3));
      for (int turns = Below(6); turns > 0; --turns) Turn();
      if (OneIn(6)) {
        ++counts_.crashes;
        if (OneIn(3)) StopGracefully();
        Start();
        if (OneIn(2)) RepeatAtOnce();
      } else if (OneIn(2)) {
        Pass(milliseconds(OneIn(3) ? Below(20000) : Below(50)));
      }
    }
    life_->store.FailAlways(StoreFault::kNone);
    life_->store.Lock(false);
    life_->store.FailReading(false);
    if (OneIn(2)) {  // the last thing to happen: no later repeat finds what this loses
      if (OneIn(2)) Start();
      RepeatAtOnce();
    }
    life_->store.FailOnce(1, StoreFault::kNone);
    calls_before_end_ = branches_.Calls().size();
    Pass(hours(1), [this] { return AllEnded(); });
    CheckEnd();
    return std::move(violations_);
  }

 private:
  std::shared_ptr<dtm::Store> MakeStore() const {
    if (std::getenv("DTM_SQLITE") == nullptr) return std::make_shared<dtm::MemoryStore>();
    return std::make_shared<dtm::SqliteStore>(dir_ / "s.db", dtm::Durability::kProcess);
  }
  int Below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }
  StoreFault RandomFault() {
    const StoreFault faults[] = {StoreFault::kDefinite, StoreFault::kDefinite,
                                 StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored};
    return faults[Below(4)];
  }
  void Violated(const std::string& what) {
    if (violations_.size() < 10) violations_.push_back(what);
  }

  Definition RandomDefinition(const std::string& gid) {
    Definition definition =
        world::NewDefinition(gid, 1 + static_cast<std::size_t>(Below(3)), OneIn(3));
    if (OneIn(4)) {
      definition.type = dtm::TransType::kMsg;
      definition.query_prepared = "http://" + gid + "/query";
      for (dtm::Step& step : definition.steps) step.compensate.clear();
      if (OneIn(2)) definition.delay = seconds(Below(20));
    }
    for (dtm::Step& step : definition.steps) {
      if (OneIn(5)) step.action = "local:tx/branch";
      for (const std::string* url : {&step.action, &step.compensate}) {
        if (!dtm::IsLocal(*url))
          Script(*url, url == &step.action && definition.type == dtm::TransType::kSaga);
      }
    }
    if (OneIn(4)) {
      const dtm::TransType types[] = {dtm::TransType::kTcc, dtm::TransType::kXa,
                                      dtm::TransType::kWorkflow};
      definition.type = types[Below(3)];
      definition.concurrent = false;
      definition.delay = {};
      definition.query_prepared.clear();
      definition.steps.clear();
      if (definition.type == dtm::TransType::kWorkflow) {
        definition.query_prepared = "http://" + gid + "/resume";
        definition.workflow = "wf";
        definition.data = "1";
      } else if (OneIn(2)) {
        definition.options.timeout_to_fail = seconds(1 + Below(20));
      }
    }
    definition.options.retry_interval = seconds(1 + Below(10));
    if (OneIn(4)) definition.options.wait_result = true;
    return definition;
  }
  void Script(const std::string& url, bool action) {
    std::vector<ScriptedAnswer> answers;
    const auto after = [this] { return dtm::Duration(milliseconds(OneIn(2) ? 0 : Below(300))); };
    for (int n = Below(3); n > 0; --n) {
      answers.push_back(OneIn(2) ? ScriptedAnswer{Result::Error("busy"), after(), false}
                                 : ScriptedAnswer{Result::Ongoing(), after(), false});
    }
    if (action && OneIn(6)) answers.insert(answers.end(), 50, {Result::Failure("no"), {}, false});
    answers.push_back({Result::Success(), after(), false});
    branches_.On(url, std::move(answers));
  }

  /// Everybody is answered by its end.
  void StopGracefully() {
    life_->loop.StartNothingNew();
    for (int turns = 1 + Below(3); turns > 0; --turns) Turn();
    life_->loop.AnswerAll();
    for (const auto& entry : unanswered_) Violated("not answered by Stop: " + entry.second.what);
  }

  void Start() {
    life_.reset();
    ++lives_;
    unanswered_.clear();
    life_ = std::make_unique<Life>(options_, inner_, time_, branches_);
  }

  // --- What clients do.

  void Ask() {
    const Definition& definition =
        definitions_[static_cast<std::size_t>(Below(static_cast<int>(definitions_.size())))];
    if (RegistersSteps(definition.type) || definition.type == dtm::TransType::kWorkflow) {
      return AskRegistering(definition);
    }
    switch (Below(8)) {
      case 0:
        if (definition.type != dtm::TransType::kSaga || OneIn(2)) return Submit(definition, true);
        break;
      case 1: return Do(Command::Kind::kWait, definition.gid);
      case 2:
        return Do(OneIn(2) ? Command::Kind::kCancel : Command::Kind::kRetryNow, definition.gid);
      case 3: return Transact(definition);
      default: break;
    }
    Submit(definition, false);
  }

  void AskRegistering(const Definition& definition) {
    const bool workflow = definition.type == dtm::TransType::kWorkflow;
    switch (Below(8)) {
      case 0:
      case 1: return Submit(definition, true);
      case 2:
      case 3: return Do(Command::Kind::kAddBranch, definition.gid, workflow);
      case 4: return Do(Command::Kind::kWait, definition.gid);
      case 5:
        return Do(OneIn(3) ? Command::Kind::kForceStop : Command::Kind::kRetryNow, definition.gid);
      case 6:
        if (!workflow) return Do(Command::Kind::kCancel, definition.gid);
        return OneIn(3) ? Do(Command::Kind::kFinish, definition.gid) : Submit(definition, true);
      default: return Submit(definition, workflow);
    }
  }

  /// After a restart the clients repeat what they had no answer to, in the turns in which the loader reads it.
  void RepeatAtOnce() {
    if (OneIn(2)) Turn();
    for (const Definition& definition : definitions_) {
      if (OneIn(2)) Submit(definition, definition.type == dtm::TransType::kWorkflow);
    }
    life_->store.FailOnce(1 + static_cast<std::uint64_t>(Below(8)), RandomFault());
    Turn();
  }

  void Submit(Definition definition, bool prepare) {
    definition.prepared_first = prepare;
    dtm::Waiter waiter;
    const bool waits = definition.options.wait_result && !prepare;
    if (waits) {
      waiter.when = dtm::AnswerWhen::kSettled;
      waiter.deadline = time_->Now() + seconds(6);
    }
    const std::size_t id = asked_++;
    unanswered_[id] = {time_->Now(), "the submission of " + definition.gid};
    waiter.promise = [this, id, life = lives_, gid = definition.gid,
                      prepare](const dtm::Answer& reply) {
      if (life != lives_) return;  // told by a dying process to nobody
      Answered(id, "the submission of " + gid);
      OnReply(gid, prepare, reply);
    };
    const auto shared = std::make_shared<Definition>(std::move(definition));
    (void)life_->inbox.Push(dtm::Submission{shared, std::move(waiter), prepare});
  }

  void OnReply(const std::string& gid, bool prepare, const dtm::Answer& reply) {
    const std::optional<dtm::Transaction> stored = inner_->Load(gid);
    try {
      (void)reply.Get();
      ++counts_.accepted;
      if (!stored) return Violated(gid + " was accepted and is not stored");
      if (!prepare) accepted_.insert(gid);
    } catch (const dtm::StoreError& error) {
      ++counts_.refused;
      // A submit of what is prepared changes it; it may be told that this change is not stored.
      const bool is_there = stored && (prepare || stored->status != Status::kPrepared);
      if (is_there) Violated(gid + " is stored, and was refused: " + error.what());
    } catch (const dtm::InDoubtError&) {
      ++counts_.in_doubt;
    } catch (const dtm::RejectedError& error) {
      const std::string what = error.what();
      if (!prepare && what.find("exists") == std::string::npos &&
          what.find("cannot submit") == std::string::npos) {
        Violated(gid + " was rejected: " + error.what());
      }
    }
  }

  void Do(Command::Kind kind, const std::string& gid, bool workflow = false) {
    Command command;
    std::string branch;
    if (kind == Command::Kind::kAddBranch) {
      branch = dtm::NumberOf(static_cast<std::size_t>(Below(3)));
      const std::string url = "http://" + gid + "/" + branch;
      if (workflow) {
        command.step.branch_id = branch;
        command.step.op = dtm::Op::kAction;
      } else {
        command.step = {url, url + "/undo", "1", branch};
        for (const std::string& each : {url, url + "/undo"}) {
          if (OneIn(2))
            branches_.On(each,
                         {ScriptedAnswer{Result::Error("busy"), milliseconds(Below(300)), false}});
        }
      }
    }
    command.status = Status::kSucceed;
    command.kind = kind;
    command.gid = gid;
    command.waiter.deadline = time_->Now() + seconds(Below(5));
    if (kind == Command::Kind::kWait) command.waiter.when = dtm::AnswerWhen::kFinished;
    const std::size_t id = asked_++;
    unanswered_[id] = {time_->Now(),
                       "command " + std::to_string(static_cast<int>(kind)) + " for " + gid};
    command.waiter.promise = [this, id, life = lives_, gid, kind,
                              branch](const dtm::Answer& reply) {
      if (life != lives_) return;
      Answered(id, "a command for " + gid);
      if (reply.error) return;
      const auto stored = inner_->Load(gid);
      if (!stored) return Violated("a command was obeyed and nothing is stored: " + gid);
      const auto& steps = stored->definition->steps;
      if (!branch.empty() && std::none_of(steps.begin(), steps.end(), [&](const dtm::Step& step) {
            return step.branch_id == branch;
          })) {
        Violated(gid + ": branch " + branch + " was accepted and is not stored");
      }
      const bool ends = kind == Command::Kind::kForceStop || kind == Command::Kind::kFinish;
      if (ends && !IsFinal(stored->status)) Violated(gid + " was ended and that is not stored");
    };
    (void)life_->inbox.Push(std::move(command));
  }

  void Transact(const Definition& definition) {
    const auto shared = std::make_shared<Definition>(definition);
    const std::size_t id = asked_++;
    unanswered_[id] = {time_->Now(), "a work"};
    dtm::QueuedWork work;
    work.work = [shared](dtm::TransactContext& context) {
      if (context.exists(shared->gid)) return Result::Failure("it exists");
      context.submitted.push_back(shared);
      return Result::Success();
    };
    work.result = std::make_shared<Result>();
    work.promise = [this, id, life = lives_, gid = definition.gid,
                    result = work.result](const dtm::Answer& reply) {
      if (life != lives_) return;
      Answered(id, "a work");
      if (reply.error || result->kind != Result::Kind::kSuccess) return;
      if (!inner_->Load(gid)) return Violated(gid + " was accepted in a work and is not stored");
      accepted_.insert(gid);
    };
    (void)life_->inbox.Push(std::move(work));
  }

  void Answered(std::size_t id, const std::string& what) {
    if (unanswered_.erase(id) == 0) Violated(what + " was answered twice");
  }

  // --- Time.

  void Turn() {
    life_->loop.Turn();
    const Time now = time_->Now();
    for (const auto& entry : unanswered_) {
      // 6 s is the longest deadline, and 3 s what a change waits for the store.
      if (entry.second.since + seconds(8) < now) Violated("not answered: " + entry.second.what);
    }
  }

  void Pass(dtm::Duration duration, const std::function<bool()>& stop = {}) {
    const Time end = time_->Now() + duration;
    for (int turns = 0; turns < 20000; ++turns) {
      Turn();
      if (stop && stop()) return;
      const Time next = life_->loop.NextTurn();
      if (!life_->inbox.Empty() || next <= time_->Now()) continue;
      if (time_->Now() >= end) return;
      time_->MoveTowards((std::min)(end, next));
    }
    Violated("the loop does not come to rest");
  }

  bool AllEnded() const {
    return unanswered_.empty() &&
           std::all_of(definitions_.begin(), definitions_.end(),
                       [this](const Definition& definition) {
                         const auto stored = inner_->Load(definition.gid);
                         return !stored || IsFinal(stored->status) || Resumed(*stored) ||
                                (stored->status == Status::kPrepared &&
                                 stored->definition->type == dtm::TransType::kSaga);
                       });
  }

  /// Nobody ends it here; it goes on to be asked for.
  bool Resumed(const dtm::Transaction& stored) const {
    if (stored.definition->type != dtm::TransType::kWorkflow) return false;
    const auto& calls = branches_.Calls();
    return std::any_of(calls.begin() + static_cast<std::ptrdiff_t>(calls_before_end_), calls.end(),
                       [&](const auto& call) { return call.info.gid == stored.definition->gid; });
  }

  void CheckEnd() {
    if (!unanswered_.empty()) Violated("somebody was never answered");
    for (const Definition& definition : definitions_) {
      const auto stored = inner_->Load(definition.gid);
      if (!stored) {
        if (accepted_.count(definition.gid) > 0) Violated(definition.gid + " is lost");
        continue;
      }
      const bool waits_for_submit = stored->status == Status::kPrepared &&
                                    definition.type == dtm::TransType::kSaga &&
                                    accepted_.count(definition.gid) == 0;
      if (!IsFinal(stored->status) && !waits_for_submit && !Resumed(*stored)) {
        Violated("accepted, then never driven: " + dtm::engine::Explain(*stored, time_->Now()));
      }
      ++counts_.ended;
      counts_.rolled_back += stored->status == Status::kFailed;
    }
  }

  std::mt19937_64 random_;
  Counts& counts_;
  dtm::Options options_;
  dtm_test::TempDir dir_;
  const std::shared_ptr<dtm::Store> inner_;
  const std::shared_ptr<dtm::testing::VirtualTime> time_;
  dtm::testing::ScriptedBranches branches_;
  std::vector<Definition> definitions_;
  std::set<std::string> accepted_;
  struct Unanswered {
    Time since{};
    std::string what;
  };
  std::map<std::size_t, Unanswered> unanswered_;
  std::vector<std::string> violations_;
  std::size_t asked_ = 0;
  std::size_t calls_before_end_ = 0;
  int lives_ = 0;
  std::unique_ptr<Life> life_;
};

}  // namespace

TEST_CASE("loop: what leaves memory without having ended is found again, whatever fails") {
  const auto number = [](const char* name, std::uint64_t otherwise) {
    const char* wanted = std::getenv(name);
    return wanted == nullptr ? otherwise : std::strtoull(wanted, nullptr, 10);
  };
  const std::uint64_t seeds = number("DTM_SEEDS", 1500);
  Counts counts;
  int broken = 0;
  for (std::uint64_t seed = number("DTM_FIRST", 1); seed <= seeds && broken < 10; ++seed) {
    const std::vector<std::string> violations = Repeats(seed, counts).Run();
    CAPTURE(seed);
    CHECK(violations == std::vector<std::string>{});
    broken += !violations.empty();
  }
  CHECK(counts.accepted > 2000);
  CHECK(counts.refused > 500);
  CHECK(counts.in_doubt > 500);
  CHECK(counts.crashes > 500);
  CHECK(counts.ended > 2000);
  CHECK(counts.rolled_back > 200);
}
