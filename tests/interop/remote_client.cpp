/// Our builders as a client of a coordinator elsewhere; run.py starts that, ours or the Go server, and calls
/// `remote_client URL ours|go`. The branches are functions of this program, served by a dtm::Server of its own.
/// Needs: dtm/http.hpp. Prints a line for each scenario, `ok NAME` or `FAILED NAME: WHY`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <httplib.h>

#include <dtm/http.hpp>

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Calls = std::vector<std::string>;

void Expect(bool good, const std::string& what) {
  if (!good) throw std::runtime_error("expected: " + what);
}

/// Records who called what; answers as the payload says.
class Branches {
 public:
  explicit Branches(dtm::Coordinator& tm) {
    action = tm.Register<std::string>("Action",
                                      [this](const std::string& how, const dtm::BranchInfo& info) {
                                        const int n = Note(info);
                                        if (how == "no") return dtm::Result::Failure("not today");
                                        if (how == "later" && n == 1) return dtm::Result::Ongoing();
                                        if (how == "broken" && n == 1)
                                          throw std::runtime_error("for a moment");
                                        return dtm::Result::Success();
                                      });
    undo = tm.Register<std::string>(
        "Undo", [this](const std::string&, const dtm::BranchInfo& info) { Note(info); });
    was_it_committed = tm.Register<nlohmann::json>(
        "WasItCommitted", [this](const nlohmann::json&, const dtm::BranchInfo& info) {
          Note(info);
          const std::lock_guard<std::mutex> lock(mutex_);
          return committed_.count(info.gid) > 0 ? dtm::Result::Success()
                                                : dtm::Result::Failure("never committed");
        });
  }
  /// Branches that call a coordinator themselves.
  void Use(dtm::Coordinator& tm, dtm::RemoteCoordinator& remote) {
    outer = tm.Register<std::string>(
        "Outer", [this, &remote](const std::string& how, const dtm::BranchInfo& info) {
          Note(info);
          dtm::Tcc(remote, info).CallBranch(how, action, undo, undo);
        });
    // As a database with XA would: prepares, and then registers itself.
    xa = tm.Register<nlohmann::json>(
        "Xa", [this, &remote](const nlohmann::json& how, const dtm::BranchInfo& info) {
          Note(info);
          if (info.op != dtm::Op::kAction) return dtm::Result::Success();
          if (how == "no") return dtm::Result::Failure("not today");
          dtm::Step step;
          step.branch_id = info.branch_id;
          step.action = step.compensate = remote.UrlOfLocal(xa.name, xa.registered_with);
          remote.RegisterBranch(info.gid, info.trans_type, step);
          return dtm::Result::Success();
        });
  }
  void Commit(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    committed_.insert(gid);
  }

  Calls Of(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Calls calls;
    for (const auto& call : calls_) {
      if (call.first == gid) calls.push_back(call.second);
    }
    return calls;
  }

  dtm::LocalBranch<std::string> action, undo, outer;
  dtm::LocalBranch<nlohmann::json> was_it_committed, xa;

  /// Returns how often this branch was called.
  int Note(const dtm::BranchInfo& info) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::pair<std::string, std::string> call = {info.gid, Letter(info.op) + info.branch_id};
    calls_.push_back(call);
    return static_cast<int>(std::count(calls_.begin(), calls_.end(), call));
  }

 private:
  static std::string Letter(dtm::Op op) {
    switch (op) {
      case dtm::Op::kAction: return "a";
      case dtm::Op::kCompensate: return "c";
      case dtm::Op::kTry: return "t";
      case dtm::Op::kConfirm:
      case dtm::Op::kCommit: return "y";
      case dtm::Op::kCancel:
      case dtm::Op::kRollback: return "n";
      case dtm::Op::kMsg: return "q";
      default: return "?";
    }
  }

  std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> calls_;
  std::set<std::string> committed_;
};

std::string Joined(const Calls& calls) {
  std::string text;
  for (const std::string& call : calls) text += (text.empty() ? "" : " ") + call;
  return text;
}

struct Client {
  dtm::RemoteCoordinator& remote;
  Branches& branches;
  bool is_go;
  std::string url;  ///< of the coordinator's API
  dtm::WorkflowHandle<std::string> flow;
  // The Go server polls every 3 s and waits at least 10 s after an error.
  seconds patience() const { return seconds(is_go ? 60 : 20); }

  dtm::Saga Saga(const std::string& gid, const std::vector<std::string>& how) const {
    dtm::Saga saga = dtm::NewSaga(remote, gid);
    for (const std::string& step : how) saga.Add(branches.action, branches.undo, step);
    return saga;
  }

  void Ends(const dtm::Saga& saga, const char* status, const std::string& calls) const {
    Is(saga.SubmitAndWait(patience()), status, calls);
  }
  void Ends(const std::string& gid, const char* status, const std::string& calls) const {
    Is(remote.Wait(gid, patience()), status, calls);
  }
  dtm::Msg Msg(const std::string& gid, const std::vector<std::string>& how) const {
    dtm::Msg message = dtm::NewMsg(remote, gid);
    for (const std::string& step : how) message.Add(branches.action, step);
    return message.SetRetryInterval(seconds(1));
  }

 private:
  void Is(const dtm::TransResult& result, const char* status, const std::string& calls) const {
    Expect(Name(result.status) == std::string(status),
           std::string(status) + ", it is " + Name(result.status) + " " + result.reason);
    const std::string made = Joined(branches.Of(result.gid));
    Expect(made == calls, "the calls " + calls + ", there were " + made);
  }
};

template <typename Error, typename Function>
void Throws(const Function& function, const std::string& what) {
  try {
    function();
  } catch (const Error&) {
    return;
  }
  throw std::runtime_error("expected: " + what);
}

void Repeats(const Client& client) {
  const std::string gid = MustGenGid(client.remote);
  const dtm::Saga saga = client.Saga(gid, {"ok"});
  client.Ends(saga, "succeed", "a01");
  (void)saga.Submit();  // safe at any time
  Throws<dtm::RejectedError>(
      [&] {
        client.Saga(gid, {"ok", "ok"}).Submit();
      },
      "other content refused");
  const dtm::Saga failed = client.Saga(MustGenGid(client.remote), {"no"});
  client.Ends(failed, "failed", "a01 c01");
  Throws<dtm::FailureError>([&] { failed.Submit(); }, "FailureError for what was rolled back");
}

void WaitResult(const Client& client) {
  const auto saga = [&](const char* how) {
    return client.Saga(MustGenGid(client.remote), {how}).SetWaitResult();
  };
  Expect(saga("ok").Submit().Succeeded(), "succeed");
  Throws<dtm::FailureError>([&] { saga("no").Submit(); }, "FailureError");
  Expect(!saga("later").SetRetryInterval(seconds(30)).Submit().Finished(), "unfinished");
}

void Crash(const Client& client) {
  std::vector<dtm::Saga> sagas;
  for (int i = 0; i < 20; ++i) {
    sagas.push_back(client.Saga(MustGenGid(client.remote), {"ok", i % 2 == 0 ? "later" : "ok"})
                        .SetRetryInterval(seconds(1)));
    (void)sagas.back().Submit();
  }
  std::puts("crash");
  std::fflush(stdout);
  Throws<dtm::InDoubtError>(
      [&] {
        for (int i = 0; i < 100000; ++i) (void)sagas[0].Submit();
      },
      "InDoubtError while the coordinator is away");
  std::string line;
  std::getline(std::cin, line);
  for (const dtm::Saga& saga : sagas) {
    Expect(saga.SubmitAndWait(client.patience()).Succeeded(), "succeed after the crash");
  }
}

void Message(const Client& client) {
  const std::string gid = MustGenGid(client.remote);
  dtm::Msg message = client.Msg(gid, {"ok", "later", "ok"});
  message.Prepare(client.branches.was_it_committed);
  message.Prepare(client.branches.was_it_committed);  // may be repeated
  Expect(client.branches.Of(gid).empty(), "nothing called before Submit");
  (void)message.Submit();
  client.Ends(gid, "succeed", "a01 a02 a02 a03");
  (void)message.Submit();

  const std::string aborted = MustGenGid(client.remote);
  dtm::Msg other = client.Msg(aborted, {"ok"});
  other.Prepare(client.branches.was_it_committed);
  client.remote.Abort(aborted, dtm::TransType::kMsg, "changed my mind");
  client.Ends(aborted, "failed", "");
  Throws<dtm::FailureError>([&] { (void)other.Submit(); }, "FailureError for what was aborted");
}

/// The local commit answers, or says no, or gives no answer and is asked for.
void DoAndSubmit(const Client& client) {
  Branches& branches = client.branches;
  const auto run = [&](const auto& business) {
    const std::string gid = MustGenGid(client.remote);
    client.Msg(gid, {"ok"}).DoAndSubmit(branches.was_it_committed, [&](const dtm::BranchInfo& who) {
      Expect(who.gid == gid && who.branch_id == "00", "the identity of the local step");
      business(gid);
    });
    return gid;
  };
  client.Ends(run([&](const std::string& gid) { branches.Commit(gid); }), "succeed", "a01");
  client.Ends(run([&](const std::string& gid) {
                branches.Commit(gid);
                throw std::runtime_error("no answer");
              }),
              "succeed", "q00 a01");
  std::string last;
  Throws<dtm::FailureError>(
      [&] {
        run([&](const std::string& gid) {
          last = gid;
          throw dtm::FailureError("no");
        });
      },
      "FailureError of the business");
  client.Ends(last, "failed", "");
  Throws<std::runtime_error>(
      [&] {
        run([&](const std::string& gid) {
          last = gid;
          throw std::runtime_error("no answer");
        });
      },
      "what the business threw");
  client.Ends(last, "failed", "q00");
}

/// The initiator dies before Submit.
void QueryBack(const Client& client) {
  const std::string yes = MustGenGid(client.remote), no = MustGenGid(client.remote);
  for (const std::string& gid : {yes, no}) {
    client.Msg(gid, {"ok"}).SetTimeoutToFail(seconds(1)).Prepare(client.branches.was_it_committed);
  }
  client.branches.Commit(yes);
  client.Ends(yes, "succeed", "q00 a01");
  client.Ends(no, "failed", "q00");
}

void Topic(const Client& client) {
  const std::string topic = "orders-" + MustGenGid(client.remote);
  Throws<dtm::Error>(
      [&] {
        (void)dtm::NewMsg(client.remote, MustGenGid(client.remote))
            .AddTopic(topic, std::string("ok"))
            .Submit();
      },
      "a topic without subscribers refused");
  const std::size_t path = client.url.find("/api/");
  httplib::Client http(client.url.substr(0, path));
  const std::string branch =
      client.remote.UrlOfLocal(client.branches.action.name, client.branches.action.registered_with);
  for (const char* shop : {"1", "2"}) {
    const std::string target = client.url.substr(path) + "/subscribe?topic=" + topic +
                               "&remark=r&url=" + dtm::PercentEncoded(branch + "?shop=" + shop);
    const auto answer = http.Get(target);
    Expect(answer && answer->status == 200, "subscribed: " + (answer ? answer->body : "no answer"));
  }
  const std::string gid = MustGenGid(client.remote);
  dtm::Msg message = dtm::NewMsg(client.remote, gid).AddTopic(topic, std::string("ok"));
  for (int i = 0;; ++i) {  // Go looks every few seconds for new subscribers
    try {
      (void)message.Submit();
      break;
    } catch (const dtm::Error&) {
      if (i == 100) throw;
      std::this_thread::sleep_for(milliseconds(100));
    }
  }
  Expect(client.remote.Wait(gid, client.patience()).Succeeded(), "succeed");
  Expect(client.branches.Of(gid).size() == 2, "both subscribers called");
}

void Delay(const Client& client) {
  const std::string gid = MustGenGid(client.remote);
  const auto begin = std::chrono::steady_clock::now();
  dtm::Msg message = client.Msg(gid, {"ok"}).SetDelay(seconds(3));
  message.Prepare(client.branches.was_it_committed);
  (void)message.Submit();
  while (client.branches.Of(gid).empty()) {
    const auto waited = std::chrono::steady_clock::now() - begin;
    Expect(waited < client.patience(), "called in the end");
    std::this_thread::sleep_for(milliseconds(20));
  }
  // Go counts in whole seconds.
  Expect(
      std::chrono::steady_clock::now() - begin > seconds(client.is_go ? 2 : 3) - milliseconds(50),
      "not called before its delay");
  client.Ends(gid, "succeed", "a01");
}

/// Runs a tcc of branches that behave like this; returns its gid.
template <typename Wrong>
std::string RunTcc(const Client& client, const std::vector<std::string>& how, const char* what) {
  const std::string gid = MustGenGid(client.remote);
  Branches& b = client.branches;
  Throws<Wrong>(
      [&] {
        dtm::TccGlobalTransaction(client.remote, gid, [&](dtm::Tcc& tcc) {
          for (const std::string& step : how) tcc.CallBranch(step, b.action, b.undo, b.undo);
        });
      },
      what);
  return gid;
}

void Tcc(const Client& client) {
  Branches& b = client.branches;
  const std::string gid = MustGenGid(client.remote);
  dtm::TransOptions options;
  options.wait_result = true;
  const dtm::TransResult result =
      dtm::TccGlobalTransaction(client.remote, gid, options, [&](dtm::Tcc& tcc) {
        for (const char* how : {"ok", "ok"}) {
          tcc.CallBranch(std::string(how), b.action, b.undo, b.undo);
        }
      });
  Expect(result.Succeeded(), "succeed at once");
  client.Ends(gid, "succeed", "t01 t02 y02 y01");
}

void TccFails(const Client& client) {
  client.Ends(RunTcc<dtm::FailureError>(client, {"ok", "no"}, "FailureError of the try"), "failed",
              "t01 t02 n02 n01");
  client.Ends(RunTcc<dtm::Error>(client, {"broken"}, "the error of the try"), "failed", "t01 n01");
}

void TccNested(const Client& client) {
  Branches& b = client.branches;
  for (const bool good : {true, false}) {
    const std::string gid = MustGenGid(client.remote);
    try {
      dtm::TccGlobalTransaction(client.remote, gid, [&](dtm::Tcc& tcc) {
        tcc.CallBranch(std::string("ok"), b.outer, b.undo, b.undo);
        tcc.CallBranch(std::string(good ? "ok" : "no"), b.action, b.undo, b.undo);
      });
      Expect(good, "the try said no");
    } catch (const dtm::FailureError&) {
      Expect(!good, "no FailureError");
    }
    client.Ends(gid, good ? "succeed" : "failed",
                good ? "t01 t0101 t02 y02 y0101 y01" : "t01 t0101 t02 n02 n0101 n01");
  }
}

/// The timeout comes while the initiator is still at work.
void TccTimeout(const Client& client) {
  Branches& b = client.branches;
  const std::string gid = MustGenGid(client.remote);
  dtm::TransOptions options;
  options.timeout_to_fail = seconds(1);
  Throws<dtm::RejectedError>(
      [&] {
        dtm::TccGlobalTransaction(client.remote, gid, options, [&](dtm::Tcc& tcc) {
          tcc.CallBranch(std::string("ok"), b.action, b.undo, b.undo);
          (void)client.remote.Wait(gid, client.patience());
          tcc.CallBranch(std::string("ok"), b.action, b.undo, b.undo);
        });
      },
      "no branch accepted after the timeout");
  client.Ends(gid, "failed", "t01 n01");
}

void Xa(const Client& client) {
  for (const bool good : {true, false}) {
    const std::string gid = MustGenGid(client.remote);
    try {
      dtm::XaGlobalTransaction(client.remote, gid, [&](dtm::Xa& xa) {
        for (const char* how : {"ok", "ok", good ? "ok" : "no"}) {
          xa.CallBranch(nlohmann::json(how), client.branches.xa);
        }
      });
      Expect(good, "a branch said no");
    } catch (const dtm::FailureError&) {
      Expect(!good, "no FailureError");
    }
    client.Ends(gid, good ? "succeed" : "failed",
                good ? "a01 a02 a03 y01 y02 y03" : "a01 a02 a03 n01 n02");
  }
}

/// What it does is in main.
void Workflow(const Client& client) {
  const std::string gid = MustGenGid(client.remote);
  for (int i = 0; i < 2; ++i) {
    Expect(client.flow.Execute(gid, "ok") == "did it <ü>", "its result, also the second time");
  }
  client.Ends(gid, "succeed", "a01 a02 y02");
  const std::string failed = MustGenGid(client.remote);
  for (int i = 0; i < 2; ++i) {
    Throws<dtm::FailureError>([&] { (void)client.flow.Execute(failed, "no"); }, "FailureError");
  }
  client.Ends(failed, "failed", "a01 a02 n01");
}

/// A step gives no answer at first: the coordinator has the workflow run again, and what was done is not done twice.
void WorkflowResumed(const Client& client) {
  dtm::TransOptions options;
  options.retry_interval = seconds(1);
  for (const auto& [how, says] : {std::pair<const char*, const char*>{"later", "not finished yet"},
                                  {"broken", "no definite answer"}}) {
    const std::string gid = MustGenGid(client.remote);
    Throws<dtm::Error>([&, how = how] { (void)client.flow.Execute(gid, how, options); }, says);
    client.Ends(gid, "succeed", "a01 a02 a02 y02");
    Expect(client.flow.Execute(gid, how) == "did it <ü>", "the result of the run that succeeded");
  }
}

void CrashServer() {
  std::puts("crash");
  std::fflush(stdout);
  std::string line;
  std::getline(std::cin, line);
}

/// In the middle of each kind.
void CrashBetween(const Client& client) {
  Branches& b = client.branches;
  const std::string prepared = MustGenGid(client.remote), forgotten = MustGenGid(client.remote),
                    tcc_gid = MustGenGid(client.remote), flow = MustGenGid(client.remote);
  dtm::Msg message = client.Msg(prepared, {"ok"});
  message.Prepare(b.was_it_committed);
  client.Msg(forgotten, {"ok"}).SetTimeoutToFail(seconds(1)).Prepare(b.was_it_committed);
  b.Commit(forgotten);
  dtm::TransOptions options;
  options.retry_interval = seconds(1);
  Throws<dtm::Error>([&] { (void)client.flow.Execute(flow, "later", options); }, "no answer");
  dtm::TccGlobalTransaction(client.remote, tcc_gid, [&](dtm::Tcc& tcc) {
    tcc.CallBranch(std::string("ok"), b.action, b.undo, b.undo);
    CrashServer();
    tcc.CallBranch(std::string("ok"), b.action, b.undo, b.undo);
  });
  (void)message.Submit();
  client.Ends(tcc_gid, "succeed", "t01 t02 y02 y01");
  client.Ends(prepared, "succeed", "a01");
  Expect(client.remote.Wait(forgotten, client.patience()).Succeeded(), "delivered after the crash");
  client.Ends(flow, "succeed", "a01 a02 a02 y02");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: remote_client URL ours|go\n");
    return 2;
  }
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>());
  Branches branches(tm);
  tm.Start();
  dtm::Server server(tm);
  dtm::RemoteOptions options;
  options.branch_url =
      "http://127.0.0.1:" + std::to_string(server.Start("127.0.0.1", 0)) + "/api/dtmsvr/branch";
  dtm::RemoteCoordinator remote(argv[1], options);
  branches.Use(tm, remote);
  // The second step does what the data says; the first has something to undo, the second something to do at the end.
  const auto flow = dtm::RegisterWorkflow<std::string>(
      remote, tm, "flow", [&](dtm::Workflow& workflow, const std::string& how) {
        dtm::WorkflowBranch first = workflow.NewBranch();
        first.OnRollback(branches.undo, how);
        const std::string did = first.Do([&] {
          branches.Note({workflow.Gid(), dtm::TransType::kWorkflow, "01", dtm::Op::kAction, {}});
          return "did it <ü>";
        });
        dtm::WorkflowBranch second = workflow.NewBranch();
        second.OnRollback(branches.undo, how).OnCommit(branches.undo, how);
        second.Call(branches.action, how);
        return did;
      });
  const Client client{remote, branches, std::string(argv[2]) == "go", argv[1], flow};

  const auto gid = [&remote] { return MustGenGid(remote); };
  const std::vector<std::pair<const char*, std::function<void()>>> scenarios = {
      {"success",
       [&] {
         client.Ends(client.Saga(gid(), {"ok", "ok"}), "succeed", "a01 a02");
       }},
      {"rollback",
       [&] {
         client.Ends(client.Saga(gid(), {"ok", "no", "ok"}), "failed", "a01 a02 c02 c01");
       }},
      {"orders",
       [&] {
         client.Ends(client.Saga(gid(), {"ok", "ok"}).SetConcurrent().AddBranchOrder(0, {1}),
                     "succeed", "a02 a01");
       }},
      {"ongoing",
       [&] {
         client.Ends(client.Saga(gid(), {"later"}).SetRetryInterval(seconds(1)), "succeed",
                     "a01 a01");
       }},
      {"retry",
       [&] {
         client.Ends(client.Saga(gid(), {"broken"}).SetRetryInterval(seconds(1)), "succeed",
                     "a01 a01");
       }},
      {"repeats", [&] { Repeats(client); }},
      {"wait_result", [&] { WaitResult(client); }},
      {"msg", [&] { Message(client); }},
      {"msg_do_and_submit", [&] { DoAndSubmit(client); }},
      {"msg_query_back", [&] { QueryBack(client); }},
      {"msg_topic", [&] { Topic(client); }},
      {"msg_delay", [&] { Delay(client); }},
      {"tcc", [&] { Tcc(client); }},
      {"tcc_fails", [&] { TccFails(client); }},
      {"tcc_nested", [&] { TccNested(client); }},
      {"tcc_timeout", [&] { TccTimeout(client); }},
      {"xa", [&] { Xa(client); }},
      {"workflow", [&] { Workflow(client); }},
      {"workflow_resumed", [&] { WorkflowResumed(client); }},
      {"crash", [&] { Crash(client); }},
      {"crash_between", [&] { CrashBetween(client); }},
  };
  for (const auto& [name, run] : scenarios) {
    try {
      run();
      std::printf("ok %s\n", name);
    } catch (const std::exception& error) {
      std::printf("FAILED %s: %s\n", name, error.what());
    }
    std::fflush(stdout);
  }
  return 0;
}
