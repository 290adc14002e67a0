/// The embedded coordinator as builders see it: the operations of operations.hpp in their blocking form, and the calls
/// that an initiator makes itself.
/// Needs: std, store. Threads: every method is thread-safe. Protocol: §2.2, as a C++ interface.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/base/os.hpp>
#include <dtm/coordinator/hooks/hooks.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/operations.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/coordinator/tx.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/observe/span.hpp>
#include <dtm/observe/trace_context.hpp>

namespace dtm {
inline namespace v1 {

/// What a Coordinator is for builders: the Endpoint in this process.
class EmbeddedEndpoint : public Operations {
 public:
  /// Stops, and waits for functions that are running.
  ~EmbeddedEndpoint() override { StopForGood(); }

  TransResult Submit(Definition definition) override {
    if (definition.options.wait_result) CheckMayBlock("Submit with wait_result");
    return Await(
        [&](AnswerCallback answer) { SubmitAsync(std::move(definition), std::move(answer)); });
  }

  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    CheckMayBlock("SubmitAndWait");
    return Await([&](AnswerCallback answer) {
      SubmitAndWaitAsync(std::move(definition), timeout, std::move(answer));
    });
  }

  TransResult Prepare(Definition definition) override {
    return Await(
        [&](AnswerCallback answer) { PrepareAsync(std::move(definition), std::move(answer)); });
  }

  void Abort(const std::string& gid, TransType type, const std::string& reason) override {
    Await([&](AnswerCallback answer) {
      AbortAsync(gid, type, reason, WaitResult::kIgnored, std::move(answer));
    });
  }

  void RegisterBranch(const std::string& gid, TransType type, Step step) override {
    Await([&](AnswerCallback answer) {
      RegisterBranchAsync(gid, type, std::move(step), std::move(answer));
    });
  }

  WorkflowState PrepareWorkflow(Definition definition) override {
    const Transaction stored =
        AwaitValue<Transaction>([&](const ValueCallback<Transaction>& answer) {
          PrepareWorkflowAsync(std::move(definition), answer);
        });
    const Definition& found = *stored.definition;
    return {stored.status, stored.reason,  stored.result, found.options,
            found.steps,   found.workflow, found.data};
  }

  WorkflowState ResumeWorkflow(Definition definition) override {
    if (!Checked().store->Load(definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override {
    Await([&](AnswerCallback answer) {
      FinishWorkflowAsync(gid, status, reason, result, std::move(answer));
    });
  }

  Result CallBranch(const InitiatorCall& call) override {
    if (call.url.empty()) return Result::Success();  // there is nothing to call
    Driver& driver = Checked();
    Hooks& hooks = driver.hooks;
    if (!hooks.spans.Wanted()) return CallBranchIn(call, nullptr);
    const auto span =
        std::make_shared<const CallSpan>(CallSpan{hooks.span_ids.Next(), driver.clock->Now(), 0});
    Result result = CallBranchIn(call, span);
    const BranchCall made = BareCall(call);
    hooks.spans.Tell({std::make_shared<const Span>(
        SpanOf(*made.definition, made.row, *span, result, driver.clock->Now()))});
    return result;
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const override {
    if (registered_with != identity_) {
      throw LogicError("function '" + name +
                       "' is registered with another coordinator; register it "
                       "with the one the transaction is submitted to");
    }
    return kLocalPrefix + name;
  }

  /// Runs a registered function in this thread, for a transaction of a coordinator elsewhere.
  /// @throws RejectedError  no function has this name.
  Result CallFunction(const std::string& name, const std::string& payload, const BranchInfo& info) {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw BadInput("'" + name +
                     "' runs inside the commit of this coordinator, so no other one can call it; "
                     "use Register for it");
    }
    BranchFunction function = Checked().functions.Find(name);
    if (!function) throw BadInput("no branch function is registered as '" + name + "'");
    return CatchAsResult([&] { return function(payload, Caller(info)); });
  }

 protected:
  /// Owns `driver`.
  explicit EmbeddedEndpoint(std::unique_ptr<Driver> driver)
      : Operations(std::move(driver)), identity_(RandomIdentity()) {}

  /// A branch function that waits for a transaction could wait for itself.
  void CheckMayBlock(const char* what) const {
    if (Checked().functions.OnBranchThread()) {
      throw LogicError(
          std::string(what) +
          " inside a branch function could wait for itself; use Submit or SubmitAsync");
    }
  }

  /// Runs `work` inside a commit of the coordinator, and waits for that.
  Result RunWork(std::function<Result(TransactContext&)> work) {
    return AwaitValue<Result>(
        [&](ValueCallback<Result> answer) { RunWorkAsync(std::move(work), std::move(answer)); });
  }

  /// See Coordinator::Transact.
  void RunTransact(callable::Ref<Result(Tx&)> function) {
    Driver& driver = Checked();
    const auto thrown = std::make_shared<std::exception_ptr>();
    const Result result = RunWork([&, thrown](TransactContext& context) -> Result {
      *thrown = nullptr;
      Tx tx(*this, driver, context);
      try {
        return function(tx);
      } catch (...) {
        *thrown = std::current_exception();
        throw;
      }
    });
    // Moved, so that the last reference is the caller's: the exception may be read here while the loop frees its own.
    if (*thrown) std::rethrow_exception(std::exchange(*thrown, nullptr));
    if (result.kind == Result::Kind::kFailure) throw FailureError(result.text);
    if (result.kind != Result::Kind::kSuccess) throw Error(result.text);
  }

  /// `span`: null if it is none.
  Result CallBranchIn(const InitiatorCall& call, const std::shared_ptr<const CallSpan>& span) {
    if (RunsInTransaction(call.url)) return CallInTransaction(call, span);
    if (IsLocal(call.url)) {
      BranchInfo info = call.info;
      const auto trace = ContextOfCall(info.gid, call.options, span.get());
      if (trace) Put(*trace, info);
      return CallFunction(call.url.substr(kLocalPrefixSize), call.payload, info);
    }
    const std::string problem = Checked().urls.Problem(call.url);
    if (!problem.empty()) throw RejectedError("gid '" + call.info.gid + "': " + problem);
    return Checked().CallOnce(call, span);
  }

  /// Without what a branch by URL is told besides.
  static BranchCall BareCall(InitiatorCall direct) {
    direct.phase2_url.clear();
    return ToBranchCall(direct, {}, {});
  }

  /// A function inside a commit that the initiator calls itself: it gets a commit of its own.
  Result CallInTransaction(const InitiatorCall& direct, std::shared_ptr<const CallSpan> span) {
    BranchCall call = BareCall(direct);
    call.span = std::move(span);
    const auto functions = &Checked().transaction_functions;
    return RunWork([call, functions](TransactContext& context) {
      return functions->Run(call, context.connection);
    });
  }

  /// What tells its functions from those of other coordinators.
  std::uint64_t Identity() const { return identity_; }

 private:
  static std::uint64_t RandomIdentity() {
    std::uint64_t identity = 0;
    os::FillRandom(&identity, sizeof identity);
    return identity;
  }

  const std::uint64_t identity_;
};

}  // namespace v1
}  // namespace dtm
