/// A coordinator elsewhere, as builders see it: this library in another process, or the Go server.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2, §11.1, Rule B.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/of_this_process.hpp>
#include <dtm/base/text.hpp>
#include <dtm/base/thread_pool.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/http/calls/call_once.hpp>
#include <dtm/http/remote/http_connection.hpp>
#include <dtm/http/remote/query.hpp>
#include <dtm/http/remote/remote_requests.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/registration.hpp>
#include <dtm/http/wire/reply_rule.hpp>
#include <dtm/http/wire/write_transaction.hpp>

namespace dtm {
inline namespace v1 {

/// Without a complete reply within RemoteOptions::timeout a request throws InDoubtError. In a forked child every method that
/// sends something throws LogicError, and the destructor touches nothing: the connections are the parent's.
class RemoteCoordinator : public Endpoint {
 public:
  /// `url` is that of the API: "http://localhost:36789/api/dtmsvr". Nothing is sent yet.
  /// A user and password in it are sent with every request (unless there is a token), but not to branches.
  /// @throws Error  it is not a URL; LogicError: an option is out of range.
  explicit RemoteCoordinator(const std::string& url, RemoteOptions options = {})
      : options_(std::move(options)), own_("remote coordinator", url, options_) {}
  /// Takes at most the timeout of one request. Submissions that wait in SubmitAsync are not sent any more; they get a
  /// RejectedError.
  ~RemoteCoordinator() override {
    if (!own_.Here()) return;
    own_.Get().stopping = true;
    own_.Get().pool.Stop();
  }
  RemoteCoordinator(const RemoteCoordinator&) = delete;
  RemoteCoordinator& operator=(const RemoteCoordinator&) = delete;

  /// Made here, in dtm's form, without a request.
  std::string NewGid() override {
    const auto now = std::chrono::system_clock::now();
    Own& own = own_.Get();
    const std::lock_guard<std::mutex> lock(own.mutex);
    return own.gids.Make(std::chrono::time_point_cast<Duration>(now));
  }

  TransResult Submit(Definition definition) override {
    Check(definition, SubmitProblem(definition));
    const Exchanged reply =
        Requests().Post("/submit", definition.gid, wire::EncodeTransaction(definition));
    if (Requests().SaysYes(definition.gid, reply)) {
      const bool ended = definition.options.wait_result;
      return {definition.gid, ended ? Status::kSucceed : Status::kSubmitted, {}};
    }
    const std::string message = RemoteRequests::MessageOf(reply);
    if (SaidIn(reply).rejected) throw RemoteRequests::Refused(definition.gid, message);
    return Settle(definition, message);
  }

  /// Polls the coordinator, which does not call back.
  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    const SteadyTime end = Later(Now(), timeout);
    const std::string gid = definition.gid;
    definition.options.wait_result = false;
    try {
      (void)Submit(std::move(definition));
    } catch (const FailureError&) {  // it was submitted before; the query tells how it ended
    }
    return RemoteRequests::InDoubtIfRefused(gid, [&] { return WaitUntil(gid, end); });
  }

  /// Submits on one of a few threads, and calls the callback there, even while this object is being destroyed.
  /// @throws BusyError  20,000 submissions or 32 MiB of them are waiting already.
  void SubmitAsync(Definition definition, AnswerCallback callback) override {
    Check(definition, SubmitProblem(definition));
    const std::string gid = definition.gid;
    const std::size_t bytes = BytesOf(definition);
    auto job = [this, definition = std::move(definition), callback = std::move(callback)] {
      Answer reply;
      try {
        if (own_.Get().stopping) {
          throw RejectedError(
              "gid '" + definition.gid +
              "' was not sent, the RemoteCoordinator was destroyed before; submit it again");
        }
        reply.result = Submit(definition);
      } catch (...) {
        reply.error = std::current_exception();
      }
      try {
        callback(reply);
      } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody left to tell
      }
    };
    if (!own_.Get().pool.Run(std::move(job), bytes)) {
      throw BusyError("gid '" + gid + "' was not sent: too much is waiting to be sent, " +
                      std::to_string(kMaxWaiting) + " submissions or " +
                      std::to_string(kMaxWaitingBytes) + " bytes; submit it again later");
    }
  }

  TransResult Prepare(Definition definition) override {
    Check(definition, PrepareProblem(definition));
    DoneOrRefused("/prepare", definition.gid, wire::EncodeTransaction(definition));
    return {definition.gid, Status::kPrepared, {}};
  }

  void Abort(const std::string& gid, TransType type, const std::string& reason) override {
    Definition definition;
    definition.gid = gid;
    definition.type = type;
    const nlohmann::ordered_json why = {
        {wire::kRollbackReason, Truncated(reason, kMaxReasonBytes)}};
    const Exchanged reply =
        Requests().Post("/abort", gid, wire::EncodeTransaction(definition, why));
    const bool decided = Requests().SaysYes(gid, reply) || reply.status == 425;  // wait_result
    if (!decided) throw RemoteRequests::Refused(gid, RemoteRequests::MessageOf(reply));
  }

  void RegisterBranch(const std::string& gid, TransType type, Step step) override {
    const std::string problem = RegistrationProblem(gid, type, step);
    if (!problem.empty()) throw BadInput(problem);
    DoneOrRefused("/registerBranch", gid, wire::EncodeRegistration({gid, type, std::move(step)}));
  }

  WorkflowState PrepareWorkflow(Definition definition) override {
    Check(definition);
    const Exchanged reply =
        Requests().Post("/prepareWorkflow", definition.gid, wire::EncodeTransaction(definition));
    if (reply.status != 200) Requests().Refuse("gid '" + definition.gid + "'", reply);
    if (auto state = wire::DecodeWorkflow(reply.body)) return std::move(*state);
    throw Requests().NotOfDtm(definition.gid, reply);
  }

  WorkflowState ResumeWorkflow(Definition definition) override {
    if (!QueryTransaction(Requests(), definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override {
    CheckEnd(status);
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    const nlohmann::ordered_json extra =
        wire::WorkflowEndJson({status, Truncated(reason, kMaxReasonBytes), result});
    DoneOrRefused("/submit", gid, wire::EncodeTransaction(definition, {{wire::kReqExtra, extra}}));
  }

  /// On a connection of its own, with the request timeout of the call (3 s).
  Result CallBranch(const InitiatorCall& call) override {
    const std::string where = Requests().Where();
    if (!call.url.empty()) CheckCallable(call);
    return CallOnce(call, options_.url_in_branches.empty() ? where : options_.url_in_branches,
                    options_.tls);
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw LogicError("function '" + name.substr(std::string(kInTransactionPrefix).size()) +
                       "' runs inside the commit of its own coordinator, so the one at " +
                       Requests().Where() + " cannot call it; use Register for it");
    }
    if (options_.branch_url.empty()) {
      throw LogicError("function '" + name + "' cannot be called by the coordinator at " +
                       Requests().Where() +
                       "; set RemoteOptions::branch_url to the branch endpoint of a dtm::Server of "
                       "this program");
    }
    return options_.branch_url + "/" + PercentEncoded(name);
  }

  /// Waits up to `timeout` for the end; returns the status at that time.
  /// @throws InDoubtError   the coordinator did not reply.
  /// @throws RejectedError  there is no such transaction.
  TransResult Wait(const std::string& gid, Duration timeout) {
    return WaitUntil(gid, Later(Now(), timeout));
  }

 private:
  /// `besides`: what else is wrong with it.
  static void Check(const Definition& definition, const std::string& besides = {}) {
    if (!besides.empty()) throw RejectedError(besides);
    const std::string problem = Problem(definition);
    if (!problem.empty()) throw BadInput(problem);
  }

  /// A request that is either done or refused.
  void DoneOrRefused(const char* path, const std::string& gid, std::string body) {
    const Exchanged reply = Requests().Post(path, gid, std::move(body));
    if (Requests().SaysYes(gid, reply)) return;
    if (reply.status == 425)
      throw Requests().NotOfDtm(gid, reply);  // nothing here waits for an end
    throw RemoteRequests::Refused(gid, RemoteRequests::MessageOf(reply));
  }

  static constexpr std::size_t kAsyncThreads = 32;
  static constexpr std::size_t kMaxWaiting = 20000;
  static constexpr std::size_t kMaxWaitingBytes = std::size_t{32} << 20;

  static SteadyTime Now() { return std::chrono::steady_clock::now(); }

  /// A coordinator that is busy is asked again at the time that it says, but not after `end`.
  TransResult WaitUntil(const std::string& gid, SteadyTime end) {
    Duration pause = std::chrono::milliseconds(2);
    for (;;) {
      const auto left = [end] { return std::chrono::duration_cast<Duration>(end - Now()); };
      Duration wait = pause;
      try {
        const std::optional<ToldTransaction> stored = QueryTransaction(Requests(), gid);
        if (!stored) throw RejectedError("there is no transaction with gid '" + gid + "'");
        if (stored->result.Finished() || left() <= Duration(0)) return stored->result;
        wait = (std::min)(wait, left() + Duration(1));
      } catch (const BusyError& error) {
        wait = (std::max)(wait, error.retry_after);
        if (wait > left()) throw;
      }
      std::this_thread::sleep_for(wait);
      pause = (std::min)(pause * 2, Duration(std::chrono::milliseconds(200)));
    }
  }

  /// A "no" of the Go server may mean that the transaction was rolled back, has succeeded before, is not finished
  /// yet, or that another one has its gid. A query shows which.
  TransResult Settle(const Definition& definition, const std::string& message) {
    const std::string& gid = definition.gid;
    if (own_.Get().stopping) {
      throw InDoubtError("gid '" + gid + "' may or may not be stored, nobody asks any more: " +
                         message + "; submit it again");
    }
    const std::optional<ToldTransaction> stored =
        RemoteRequests::InDoubtIfRefused(gid, [&] { return QueryTransaction(Requests(), gid); });
    if (!stored) throw RemoteRequests::Refused(gid, message);
    if (RegistersSteps(definition.type) && stored->result.status == Status::kAborting) {
      throw RejectedError("gid '" + gid + "' is rolled back already: " + message);
    }
    if (!stored->MayBe(definition, Requests())) {
      throw RejectedError("gid '" + gid +
                          "' exists with other content: use a new gid, or submit exactly what was "
                          "submitted first (the coordinator says: " +
                          message + ")");
    }
    if (stored->result.Failed()) {
      throw FailureError(RolledBack(stored->result));
    }
    return stored->result;
  }

  struct Own {
    Own(const std::string& url, const RemoteOptions& options)
        : requests(url, options), pool(kAsyncThreads, kMaxWaiting, kMaxWaitingBytes) {}
    RemoteRequests requests;
    std::mutex mutex;
    GidGenerator gids;
    std::atomic<bool> stopping{false};
    ThreadPool pool;
  };

  RemoteRequests& Requests() const { return own_.Get().requests; }

  const RemoteOptions options_;
  OfThisProcess<Own> own_;
};

}  // namespace v1
}  // namespace dtm
