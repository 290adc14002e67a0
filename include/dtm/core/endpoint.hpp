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

/// The answer to something asked of a coordinator: a result, or the error that Submit would throw.
struct Answer {
  TransResult result;
  std::exception_ptr error;

  /// The result, or throws the error.
  const TransResult& Get() const {
    if (error) std::rethrow_exception(error);
    return result;
  }
};
using AnswerCallback = std::function<void(const Answer&)>;

/// A workflow as its coordinator knows it.
struct WorkflowState {
  Status status = Status::kPrepared;
  std::string reason;  ///< why it failed
  std::string result;  ///< what it returned
  TransOptions
      options;  ///< for its calls, as far as they are told: request_timeout, branch_headers
  std::vector<Step> recorded;  ///< its steps so far: branch_id, op, payload = the answer, failed
  std::string workflow{};      ///< its name; empty: not told
  std::string data{};          ///< what it was started with
};

/// A call that the initiator makes itself: the try of a tcc, the action of an xa, the step of a workflow.
struct InitiatorCall {
  BranchInfo info;
  std::string url;      ///< or `local:` and the name of a function
  std::string payload;  ///< the body; empty = GET, but for xa
  TransOptions options;
  /// Told to the branch, so that it can register more branches (tcc), or where it is asked to commit (xa).
  bool tell_coordinator = false;
  std::string phase2_url;
};

/// What changes something throws InDoubtError if the change may or may not be stored (no answer, or the store began to
/// fail: the same again settles it), and StoreError if it is not.
class Endpoint {
 public:
  virtual ~Endpoint() = default;

  virtual std::string NewGid() = 0;

  /// Hands over a transaction; returns once it is durable, or with `wait_result` once it has ended
  /// or must wait for a timer.
  /// @throws InDoubtError   no answer: it may be stored. Submit the same again.
  /// @throws RejectedError  refused (other content under this gid); nothing was changed. BadInput, a kind of it: a limit
  ///                        or a form, so that it can never be accepted as it is.
  /// @throws FailureError   this transaction was rolled back.
  /// @throws StoreError     the coordinator's store failed; nothing was stored.
  virtual TransResult Submit(Definition definition) = 0;

  /// The same, and waits up to `timeout` for the end. Never throws FailureError: look at the
  /// result.
  virtual TransResult SubmitAndWait(Definition definition, Duration timeout) = 0;

  /// Submit, without waiting: `callback` gets what Submit would have returned or thrown.
  /// @throws RejectedError  refused at once; the callback is not called.
  virtual void SubmitAsync(Definition definition, AnswerCallback callback) = 0;

  /// Stores a transaction that runs when it is submitted under the same gid: a message, whose steps these
  /// are, or a tcc or xa, whose branches are registered one by one.
  /// @throws as Submit
  virtual TransResult Prepare(Definition definition) = 0;

  /// Rolls back what was prepared. Returns once that is decided.
  /// @throws RejectedError  it is submitted or has ended, is unknown, or of another type.
  virtual void Abort(const std::string& gid, TransType type, const std::string& reason) = 0;

  /// Adds a branch to a prepared tcc (action = confirm, compensate = cancel) or xa, or records a step of a
  /// workflow; durable when it returns. The same again is accepted.
  /// @throws RejectedError  it is not prepared (any more), or the branch is registered otherwise.
  virtual void RegisterBranch(const std::string& gid, TransType type, Step step) = 0;

  /// Stores a workflow, or finds the stored one: then it tells what has happened to it. A definition without name or
  /// data says nothing of them.
  /// @throws RejectedError  the gid is another type's, another workflow's, or was started with other data.
  virtual WorkflowState PrepareWorkflow(Definition definition) = 0;

  /// The same of one that is stored, for whoever is told to go on with it; stores nothing.
  /// @throws RejectedError  as PrepareWorkflow, or it is not stored: that was a mistake, or came too late.
  virtual WorkflowState ResumeWorkflow(Definition definition) = 0;

  /// The end of a workflow: kSucceed, or kFailed and why. The same status again is accepted.
  virtual void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                              const std::string& result) = 0;

  /// Calls a branch here and now, without the coordinator's retries. A success carries the answer's body.
  /// @throws RejectedError  the url is none that can be called.
  virtual Result CallBranch(const InitiatorCall& call) = 0;

  /// The url by which this coordinator reaches a function of this process.
  /// @throws LogicError  it cannot reach it.
  virtual std::string UrlOfLocal(const std::string& name, std::uint64_t owner) const = 0;
};

/// A new gid of that coordinator. The name is the Go client's; in a C++ program it throws.
inline std::string MustGenGid(Endpoint& endpoint) { return endpoint.NewGid(); }

}  // namespace v1
}  // namespace dtm
