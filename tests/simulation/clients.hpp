/// Honest clients of several coordinators: each asks one of them, any, and asks again, another one perhaps, until it has a definite
/// answer. Some abandon what they began, and the coordinators have to end it.
/// Needs: the test kit. Threads: one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/audit.hpp"
#include "tests/simulation/cluster.hpp"

namespace simulation {

class Clients {
 public:
  Clients(Cluster& cluster, Audit& audit)
      : cluster_(cluster), audit_(audit), random_(cluster.random) {
    cluster.branch = [this](const dtm::BranchCall& call) { return Answer(call); };
  }

  /// One more transaction, of any type.
  void Begin() {
    const std::string gid = "g" + std::to_string(known.size());
    Known& client = known[gid];
    dtm::Definition& definition = client.definition;
    definition.gid = gid;
    const dtm::TransType types[] = {dtm::TransType::kSaga, dtm::TransType::kSaga,
                                    dtm::TransType::kMsg,  dtm::TransType::kTcc,
                                    dtm::TransType::kXa,   dtm::TransType::kWorkflow};
    definition.type = types[random_.Below(6)];
    if (random_.OneIn(4)) definition.options.wait_result = true;
    switch (definition.type) {
      case dtm::TransType::kSaga: return BeginSaga(client);
      case dtm::TransType::kMsg: return BeginMessage(client);
      case dtm::TransType::kTcc:
      case dtm::TransType::kXa: return BeginBranches(client);
      case dtm::TransType::kWorkflow: return BeginWorkflow(client);
    }
  }

  /// By somebody who knows only the gid: what comes of it, comes of it.
  void Meddle() {
    if (known.empty()) return;
    auto client = known.begin();
    std::advance(client, random_.Below(static_cast<int>(known.size())));
    const std::string gid = client->first;
    const int what = random_.Below(6);
    if (what >= 4) return Skip(client->second);
    if (client->second.definition.type != dtm::TransType::kSaga && what < 2) return;
    if (what < 2) client->second.forced = true;
    Once([gid, what](dtm::Coordinator& tm, const dtm::AnswerCallback& answer) {
      switch (what) {
        case 0: return tm.ForceStopAsync(gid, answer);
        case 1: return tm.AbortAsync(gid, {}, "changed my mind", dtm::WaitResult::kIgnored, answer);
        case 2: return tm.RetryNowAsync(gid, answer);
        default: return tm.WaitAsync(gid, seconds(1), answer);
      }
    });
  }

  /// Somebody says that a branch is done, any.
  void Skip(const Known& client) {
    const std::string gid = client.definition.gid;
    const dtm::TransType type = client.definition.type;
    const auto step = static_cast<std::size_t>(random_.Below(3));
    const std::size_t row = dtm::HasQueryRow(type) ? dtm::DeliveryOf(step)
                            : random_.OneIn(2)     ? dtm::CompensateOf(step)
                                                   : dtm::ActionOf(step);
    audit_.MaySkip(gid, row);
    Once([gid, branch = dtm::NumberOf(step), op = dtm::OpOf(type, row)](
             dtm::Coordinator& tm, const dtm::AnswerCallback& answer) {
      tm.SkipAsync(gid, branch, op, {"somebody", "by hand"}, answer);
    });
  }

  /// Everybody knows what became of it.
  bool AllAnswered() const { return waiting_ == 0; }

  std::map<std::string, Known> known;
  int accepted = 0, refused = 0, asked_again = 0;

 private:
  enum class Outcome { kDone, kFailed, kRefused };
  using Ask = std::function<void(dtm::Coordinator&, dtm::AnswerCallback)>;
  using Then = std::function<void(Outcome, const dtm::TransResult&)>;

  static std::string Url(const std::string& gid, const std::string& rest) {
    return "http://" + gid + "/" + rest;
  }

  /// Asks until there is a definite answer.
  void UntilAnswered(const Ask& ask, const Then& then) {
    ++waiting_;
    Try(ask, [this, then](Outcome outcome, const dtm::TransResult& result) {
      --waiting_;
      then(outcome, result);
    });
  }

  void Try(const Ask& ask, const Then& then) {
    const auto open = std::make_shared<bool>(true);
    const auto again = [this, ask, then, open](Duration after) {
      if (!std::exchange(*open, false)) return;
      ++asked_again;
      cluster_.time->At(cluster_.time->Now() + after, [this, ask, then] { Try(ask, then); });
    };
    Cluster::Process* const process = cluster_.Any();
    if (process == nullptr) return again(milliseconds(200));
    audit_.Note("node " + std::to_string(process->Owner()) + " is asked");
    // Not answered for long: the process is stopped or dead.
    cluster_.time->At(cluster_.time->Now() + seconds(8), [again] { again(Duration(0)); });
    const auto on_answer = [this, then, open, again](const dtm::Answer& answer) {
      if (!*open) return;
      try {
        const dtm::TransResult& result = answer.Get();
        *open = false;
        audit_.Note(result.gid + " was answered " + dtm::Name(result.status));
        then(Outcome::kDone, result);
      } catch (const dtm::OngoingError&) {  // stored, and not ended yet
        *open = false;
        then(Outcome::kDone, {});
      } catch (const dtm::FailureError&) {
        *open = false;
        then(Outcome::kFailed, {});
      } catch (const dtm::BusyError&) {
        again(milliseconds(100));
      } catch (const dtm::RejectedError& error) {
        *open = false;
        audit_.Note(std::string("refused: ") + error.what());
        then(Outcome::kRefused, {});
      } catch (const std::exception& error) {
        audit_.Note(std::string("answered: ") + error.what());
        again(random_.UpTo(milliseconds(300)));
      }
    };
    try {
      ask(*process->tm, on_answer);
    } catch (const dtm::RejectedError& error) {
      audit_.Note(std::string("refused at once: ") + error.what());
      *open = false;
      then(Outcome::kRefused, {});
    } catch (const std::exception&) {  // it stops, or its store cannot be read
      again(random_.UpTo(milliseconds(300)));
    }
  }

  void Once(const Ask& ask) {
    Cluster::Process* const process = cluster_.Any();
    if (process == nullptr) return;
    try {
      ask(*process->tm, [](const dtm::Answer&) {});
    } catch (const std::exception&) {
    }
  }

  void After(Duration duration, std::function<void()> then) {
    ++waiting_;
    cluster_.time->At(cluster_.time->Now() + duration, [this, then = std::move(then)] {
      --waiting_;
      then();
    });
  }

  void Prepare(Known& client, const std::function<void()>& then) {
    dtm::Definition definition = client.definition;
    definition.prepared_first = true;
    UntilAnswered(
        [definition](dtm::Coordinator& tm, dtm::AnswerCallback answer) {
          tm.PrepareAsync(definition, std::move(answer));
        },
        [this, &client, then](Outcome outcome, const dtm::TransResult&) {
          // Refused: an earlier try of it was in doubt, and it has ended meanwhile.
          if (outcome != Outcome::kDone) return void(client.abandoned = true);
          client.prepared = true;
          After(random_.UpTo(seconds(1)), then);
        });
  }

  void Submit(Known& client) {
    const dtm::Definition definition = client.definition;
    UntilAnswered(
        [definition](dtm::Coordinator& tm, dtm::AnswerCallback answer) {
          tm.SubmitAsync(definition, std::move(answer));
        },
        [this, &client](Outcome outcome, const dtm::TransResult&) {
          if (outcome == Outcome::kRefused) {
            client.refused = true;
            ++refused;
            if (client.definition.type == dtm::TransType::kSaga)
              audit_.Violated(client.definition.gid + " was refused");
            return;
          }
          // A saga is accepted also if it is rolled back, in the end.
          client.accepted =
              outcome == Outcome::kDone || client.definition.type == dtm::TransType::kSaga;
          if (client.accepted) ++accepted;
          if (audit_.Find(client.definition.gid) == nullptr)
            audit_.Violated(client.definition.gid + " was accepted and is not stored");
        });
  }

  void Abort(Known& client) {
    client.aborts = true;
    const std::string gid = client.definition.gid;
    UntilAnswered(
        [gid](dtm::Coordinator& tm, dtm::AnswerCallback answer) {
          tm.AbortAsync(gid, {}, "no", dtm::WaitResult::kIgnored, std::move(answer));
        },
        [](Outcome, const dtm::TransResult&) {});
  }

  void BeginSaga(Known& client) {
    dtm::Definition& definition = client.definition;
    const int steps = 1 + random_.Below(4);
    definition.concurrent = random_.OneIn(3);
    for (int step = 0; step < steps; ++step) {
      const std::string number = std::to_string(step);
      definition.steps.push_back(
          {Url(definition.gid, number + "/do"), Url(definition.gid, number + "/undo"), "{}"});
    }
    if (definition.concurrent && steps > 2 && random_.OneIn(2)) definition.orders = {{2, {0, 1}}};
    if (random_.OneIn(6)) definition.options.timeout_to_fail = seconds(2 + random_.Below(5));
    Submit(client);
  }

  void BeginMessage(Known& client) {
    dtm::Definition& definition = client.definition;
    definition.query_prepared = Url(definition.gid, "ask");
    const int steps = 1 + random_.Below(3);
    for (int step = 0; step < steps; ++step) {
      definition.steps.push_back({Url(definition.gid, std::to_string(step) + "/do"), "", "{}"});
    }
    definition.concurrent = random_.OneIn(2);
    if (random_.OneIn(3)) return Submit(client);
    Prepare(client, [this, &client] {
      client.commits = !random_.OneIn(3);
      if (random_.OneIn(3)) return void(client.abandoned = true);
      *client.commits ? Submit(client) : Abort(client);
    });
  }

  void BeginBranches(Known& client) {
    Prepare(client, [this, &client] { Register(client, 1 + random_.Below(3), 0); });
  }
  void Register(Known& client, int branches, int next) {
    if (random_.OneIn(10)) return void(client.abandoned = true);
    if (next == branches) {
      if (random_.OneIn(4)) return Abort(client);
      return Submit(client);
    }
    dtm::Step step;
    step.branch_id = dtm::NumberOf(static_cast<std::size_t>(next));
    step.action = Url(client.definition.gid, step.branch_id + "/confirm");
    step.compensate = Url(client.definition.gid, step.branch_id + "/cancel");
    step.payload = "{}";
    Add(
        client, step,
        [this, &client, branches, next] {
          After(random_.UpTo(milliseconds(300)),
                [this, &client, branches, next] { Register(client, branches, next + 1); });
        },
        [this, &client] { Abort(client); });
  }
  void Add(Known& client, const dtm::Step& step, const std::function<void()>& then,
           const std::function<void()>& refused_then) {
    const std::string gid = client.definition.gid;
    const dtm::TransType type = client.definition.type;
    UntilAnswered(
        [gid, type, step](dtm::Coordinator& tm, dtm::AnswerCallback answer) {
          tm.RegisterBranchAsync(gid, type, step, std::move(answer));
        },
        [&client, step, then, refused_then](Outcome outcome, const dtm::TransResult&) {
          if (outcome != Outcome::kDone) return refused_then();
          client.registered.insert(step.branch_id);
          then();
        });
  }

  void BeginWorkflow(Known& client) {
    dtm::Definition& definition = client.definition;
    definition.options.wait_result = false;
    definition.query_prepared = Url(definition.gid, "resume");
    definition.workflow = "workflow";
    definition.data = "1";
    Prepare(client, [this, &client] { RunWorkflow(client, 0); });
  }
  /// From this step on; the same steps may be recorded by two runs at once.
  void RunWorkflow(Known& client, int next) {
    if (random_.OneIn(5)) return;  // this run ends here; it will be resumed
    if (next == 3) return Finish(client);
    dtm::Step step;
    step.branch_id = dtm::NumberOf(static_cast<std::size_t>(next));
    step.op = dtm::Op::kAction;
    step.payload = "done";
    Add(
        client, step,
        [this, &client, next] {
          After(random_.UpTo(milliseconds(300)),
                [this, &client, next] { RunWorkflow(client, next + 1); });
        },
        [] {});
  }
  void Finish(Known& client) {
    const std::string gid = client.definition.gid;
    const auto status = gid.back() % 3 == 0 ? dtm::Status::kFailed : dtm::Status::kSucceed;
    UntilAnswered(
        [gid, status](dtm::Coordinator& tm, dtm::AnswerCallback answer) {
          tm.FinishWorkflowAsync(gid, status, "why", "result", std::move(answer));
        },
        [this, &client, status](Outcome outcome, const dtm::TransResult&) {
          if (outcome != Outcome::kDone) return;
          client.finished = status;
          ++accepted;
        });
  }

  /// Of a branch, or of a client that is asked. Errors come only for a while.
  std::pair<dtm::Result, Duration> Answer(const dtm::BranchCall& call) {
    const dtm::BranchInfo info = call.Info();
    const Duration after =
        random_.OneIn(2) ? Duration(0) : random_.UpTo(milliseconds(random_.OneIn(4) ? 2500 : 400));
    Known& client = known.at(info.gid);
    if (info.op == dtm::Op::kResume) {
      After(after, [this, &client] { RunWorkflow(client, 0); });
      return {dtm::Result::Ongoing(), after};
    }
    if (info.op == dtm::Op::kMsg) {
      if (!client.commits && !client.abandoned) return {dtm::Result::Ongoing(), after};
      if (client.commits && *client.commits) return {dtm::Result::Success(), after};
      return {dtm::Result::Failure("rolled back"), after};
    }
    const std::string key = info.gid + info.branch_id + dtm::Name(info.op);
    if (cluster_.faults && random_.OneIn(5)) {
      return {random_.OneIn(2) ? dtm::Result::Error("busy") : dtm::Result::Ongoing(), after};
    }
    // What it said once it says again.
    const bool fails = info.trans_type == dtm::TransType::kSaga && info.op == dtm::Op::kAction &&
                       std::hash<std::string>{}(key) % 6 == 0;
    return {fails ? dtm::Result::Failure("no") : dtm::Result::Success(), after};
  }

  Cluster& cluster_;
  Audit& audit_;
  Random& random_;
  int waiting_ = 0;
};

}  // namespace simulation
