/// A coordinator as a client sees it: in this process, or elsewhere.
/// Needs: std. Threads: implementations are thread-safe. Protocol: §2.2.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// The coordinator's answer to what was asked: a result, or the error that Submit would throw.
struct Answer {
  TransResult result;
  std::exception_ptr error;

  /// The result, or throws the error.
  const TransResult& Get() const {
    if (error) std::rethrow_exception(error);
    return result;
  }
};
/// Gets the answer to one submission; must not throw.
using AnswerCallback = std::function<void(const Answer&)>;

/// A registered function as a builder sees it. Returned by Coordinator::Register; cheap to copy. `T` is the payload type,
/// so builders refuse another type at compile time.
template <typename T>
struct LocalBranch {
  std::string name;
  std::uint64_t registered_with = 0;  ///< the identity of a coordinator
};

/// A workflow as its coordinator knows it.
struct WorkflowState {
  Status status = Status::kPrepared;
  std::string reason;  ///< why it failed
  std::string result;  ///< what it returned
  TransOptions
      options;  ///< for its calls, if the coordinator reports them: request_timeout, branch_headers
  std::vector<Step> recorded;  ///< its steps so far: branch_id, op, payload = the result, failed
  std::string workflow{};      ///< its name; empty: not reported
  std::string data{};          ///< what it was started with
};

/// A call that the initiator makes itself: the try of a tcc, the action of an xa, the step of a workflow.
struct InitiatorCall {
  BranchInfo info;
  std::string url;      ///< or `local:` and the name of a function
  std::string payload;  ///< the body; empty = GET, but for xa
  TransOptions options;
  /// Tells the branch the coordinator's URL, so that it can register itself (xa) or branches below it (tcc).
  bool tell_coordinator = false;
  std::string phase2_url;
};

/// The names of the query parameters that tell a branch so (protocol §3).
inline constexpr const char kCoordinatorParameter[] = "dtm";
inline constexpr const char kPhase2UrlParameter[] = "phase2_url";

/// Every method that changes something throws InDoubtError if the change may be stored or not (no answer, or the store
/// began to fail; doing the same again settles it), and StoreError if it is certainly not stored. An embedded coordinator
/// answers within its commit, or after 3 s if its store fails; a remote one within RemoteOptions::timeout (10 s).
class Endpoint {
 public:
  virtual ~Endpoint() = default;

  /// A gid that nobody has used; see MustGenGid.
  virtual std::string NewGid() = 0;

  /// Submits a transaction. Returns once it is durable, or with `wait_result` once it has ended or must wait
  /// for a timer, after 6 s at the latest.
  /// @throws InDoubtError   no answer: it may be stored. Submit the same again.
  /// @throws RejectedError  refused (other content under this gid); nothing was changed. Its kind BadInput: a limit is
  ///                        exceeded or a value is malformed, so it can never be accepted as it is.
  /// @throws FailureError   this transaction was rolled back.
  /// @throws StoreError     the coordinator's store failed; nothing was stored.
  virtual TransResult Submit(Definition definition) = 0;

  /// The same, and waits up to `timeout` for the end. Throws as Submit, but never FailureError: the returned
  /// status says so.
  virtual TransResult SubmitAndWait(Definition definition, Duration timeout) = 0;

  /// Submit, without waiting: `callback` gets what Submit would have returned or thrown.
  /// @throws RejectedError  refused at once; the callback is not called.
  virtual void SubmitAsync(Definition definition, AnswerCallback callback) = 0;

  /// Stores a transaction that runs when it is submitted under the same gid: a message with its steps, or a tcc
  /// or xa, whose branches are registered one by one.
  /// @throws as Submit
  virtual TransResult Prepare(Definition definition) = 0;

  /// Rolls a prepared transaction back. Returns once that is decided.
  /// @throws InDoubtError   no answer: it may be decided. Abort again.
  /// @throws RejectedError  it is submitted, has ended, is unknown, or has another type.
  virtual void Abort(const std::string& gid, TransType type, const std::string& reason) = 0;

  /// Adds a branch to a prepared tcc (action = confirm, compensate = cancel) or xa, or records a step of a
  /// workflow; durable when it returns. The same again is accepted.
  /// @throws InDoubtError   no answer: it may be registered. Register it again.
  /// @throws RejectedError  the transaction is not prepared (any more), or this branch is registered with other content.
  virtual void RegisterBranch(const std::string& gid, TransType type, Step step) = 0;

  /// Stores a workflow, or finds the stored one and returns how far it has come. Name and data are compared if the
  /// definition has them.
  /// @throws InDoubtError   no answer: it may be stored. Prepare it again.
  /// @throws RejectedError  the gid belongs to another type or workflow, or was started with other data.
  virtual WorkflowState PrepareWorkflow(Definition definition) = 0;

  /// The same for a stored workflow that has to be resumed; stores nothing.
  /// @throws InDoubtError   no answer.
  /// @throws RejectedError  as PrepareWorkflow; or it is not stored: the call was a mistake, or came too late.
  virtual WorkflowState ResumeWorkflow(Definition definition) = 0;

  /// Ends a workflow: kSucceed, or kFailed and why. The same status again is accepted.
  /// @throws InDoubtError   no answer: it may be stored. Finish it again.
  /// @throws RejectedError  it is unknown, or has ended with another status.
  virtual void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                              const std::string& result) = 0;

  /// Calls a branch at once, without the coordinator's retries, and waits for the result, at most
  /// `call.options.request_timeout` (3 s by default). The text of a success is the body of the reply.
  /// @throws RejectedError  the url cannot be called.
  virtual Result CallBranch(const InitiatorCall& call) = 0;

  /// The url by which this coordinator calls a function of this process.
  /// @throws LogicError  it cannot call it.
  virtual std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const = 0;
};

/// A new gid, made here without asking. The name is the Go client's.
inline std::string MustGenGid(Endpoint& endpoint) { return endpoint.NewGid(); }

}  // namespace v1
}  // namespace dtm
