/// What may be asked of a coordinator about a transaction that exists, and about those that wait. The rules that need its record
/// are in the loop, see commands/commands.hpp.
/// Needs: std, store. Threads: every method is thread-safe, and none waits for a commit. Protocol: §2.2, §2.3.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/driven_endpoint.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>

namespace dtm {
inline namespace v1 {

/// See Operations.
class CommandOperations : public DrivenEndpoint {
 public:
  void RegisterBranchAsync(const std::string& gid, TransType type, Step step,
                           AnswerCallback callback) {
    Refuse(RegistrationProblem(gid, type, step));
    for (const std::string* url : {&step.action, &step.compensate}) {
      if (type != TransType::kWorkflow) RefuseOf(gid, Checked().urls.WithoutCaller(*url));
    }
    Command command = About(gid, Command::Kind::kAddBranch);
    command.type = type;
    command.step = std::move(step);
    Push(std::move(command), std::move(callback));
  }

  void FinishWorkflowAsync(const std::string& gid, Status status, const std::string& reason,
                           const std::string& result, AnswerCallback callback) {
    CheckEnd(status);
    Command command = About(gid, Command::Kind::kFinish);
    command.type = TransType::kWorkflow;
    command.status = status;
    command.reason = reason;
    command.data = result;
    Push(std::move(command), std::move(callback));
  }

  /// Refused if the transaction has another type than `type`. If its wait_result is set and counts, the answer comes as that
  /// of a submit does, and is OngoingError if it has not ended.
  void AbortAsync(const std::string& gid, std::optional<TransType> type, const By& by,
                  WaitResult wait_result, AnswerCallback callback) {
    Command command = About(gid, Command::Kind::kCancel, by);
    command.wait_result = wait_result;
    command.type = type;
    Push(std::move(command), std::move(callback));
  }
  void AbortAsync(const std::string& gid, std::optional<TransType> type, const std::string& reason,
                  WaitResult wait_result, AnswerCallback callback) {
    AbortAsync(gid, type, By{{}, reason}, wait_result, std::move(callback));
  }

  void ForceStopAsync(const std::string& gid, const By& by, AnswerCallback callback) {
    Push(About(gid, Command::Kind::kForceStop, by), std::move(callback));
  }
  void ForceStopAsync(const std::string& gid, AnswerCallback callback) {
    ForceStopAsync(gid, By{}, std::move(callback));
  }

  void RetryNowAsync(const std::string& gid, const By& by, AnswerCallback callback) {
    Push(About(gid, Command::Kind::kRetryNow, by), std::move(callback));
  }
  void RetryNowAsync(const std::string& gid, AnswerCallback callback) {
    RetryNowAsync(gid, By{}, std::move(callback));
  }

  /// See Coordinator::Skip.
  void SkipAsync(const std::string& gid, const std::string& branch_id, Op op, const By& by,
                 AnswerCallback callback) {
    const std::string why = Truncated(Printable(by.why), kMaxJournalText);
    if (Trimmed(why).empty()) {
      throw BadInput("gid '" + gid + "' was not changed: say why branch " + Printable(branch_id) +
                     " " + Name(op) + " counts as done; it is kept, so that others can follow");
    }
    Command command = About(gid, Command::Kind::kSkip, By{by.who, why});
    command.step.branch_id = branch_id;
    command.step.op = op;
    Push(std::move(command), std::move(callback));
  }

  void WaitAsync(const std::string& gid, Duration timeout, AnswerCallback callback) {
    Command command = About(gid, Command::Kind::kWait);
    command.waiter.when = AnswerWhen::kFinished;
    command.waiter.deadline = TimeIn(timeout);
    Push(std::move(command), std::move(callback));
  }

  void ExplainAsync(const std::string& gid, ValueCallback<std::string> callback) {
    Command command = About(gid, Command::Kind::kExplain);
    command.explained = std::make_shared<std::string>();
    AnswerCallback answer = AnswerWith(command.explained, std::move(callback));
    Push(std::move(command), std::move(answer));
  }

  void ListWaitingAsync(Duration wait, std::size_t limit,
                        ValueCallback<std::vector<std::string>> callback) {
    Command command = About({}, Command::Kind::kListWaiting);
    command.after = TimeIn(wait);
    command.limit = limit;
    command.listed = std::make_shared<std::vector<std::string>>();
    AnswerCallback answer = AnswerWith(command.listed, std::move(callback));
    Push(std::move(command), std::move(answer));
  }

 protected:
  ~CommandOperations() override = default;
  using DrivenEndpoint::DrivenEndpoint;

  static Command About(const std::string& gid, Command::Kind kind) {
    Command command;
    command.kind = kind;
    command.gid = gid;
    return command;
  }
  static Command About(const std::string& gid, Command::Kind kind, const By& by) {
    Command command = About(gid, kind);
    command.reason = by.why;
    command.who = Truncated(Printable(by.who), kMaxJournalWho);
    return command;
  }

  Time TimeIn(Duration wait) const { return Later(Checked().clock->Now(), wait); }

  /// A callback that adds the value that is there by then.
  template <typename T>
  static AnswerCallback AnswerWith(std::shared_ptr<T> value, ValueCallback<T> callback) {
    return [value, callback](const Answer& reply) { callback(*value, reply.error); };
  }
  static void Refuse(const std::string& problem) {
    if (!problem.empty()) throw BadInput(problem);
  }

 private:
  void Push(Command command, AnswerCallback callback = {}) {
    command.waiter.promise = std::move(callback);
    if (!Checked().inbox.Push(std::move(command))) throw LogicError("the coordinator was stopped");
  }
};

}  // namespace v1
}  // namespace dtm
