/// Our builders as a client of a coordinator elsewhere; run.py starts that, ours or the Go server, and calls
/// `remote_client URL ours|go`. The branches are functions of this program, served by a dtm::Server of its own.
/// Needs: dtm/http.hpp. Prints a line for each scenario, `ok NAME` or `FAILED NAME: WHY`.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

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
  }

  Calls Of(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Calls calls;
    for (const auto& call : calls_) {
      if (call.first == gid) calls.push_back(call.second);
    }
    return calls;
  }

  dtm::LocalBranch<std::string> action, undo;

 private:
  /// Returns how often this branch was called.
  int Note(const dtm::BranchInfo& info) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::pair<std::string, std::string> call = {
        info.gid, std::string(info.op == dtm::Op::kAction ? "a" : "c") + info.branch_id};
    calls_.push_back(call);
    return static_cast<int>(std::count(calls_.begin(), calls_.end(), call));
  }

  std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> calls_;
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
  // The Go server polls every 3 s and waits at least 10 s after an error.
  seconds patience() const { return seconds(is_go ? 60 : 20); }

  dtm::Saga Saga(const std::string& gid, const std::vector<std::string>& how) const {
    dtm::Saga saga = dtm::NewSaga(remote, gid);
    for (const std::string& step : how) saga.Add(branches.action, branches.undo, step);
    return saga;
  }

  void Ends(const dtm::Saga& saga, const char* status, const std::string& calls) const {
    const dtm::TransResult result = saga.SubmitAndWait(patience());
    Expect(Name(result.status) == std::string(status),
           std::string(status) + ", it is " + Name(result.status) + " " + result.reason);
    const std::string made = Joined(branches.Of(saga.Gid()));
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
  const Client client{remote, branches, std::string(argv[2]) == "go"};

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
      {"crash", [&] { Crash(client); }},
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
