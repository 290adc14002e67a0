/// What builders ask of the embedded coordinator: the part of it that a remote one has too.
/// Needs: std, store. Threads: every method is thread-safe. Protocol: §2.2, as a C++ interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/coordinator/clock.hpp>
#include <dtm/coordinator/driver.hpp>
#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/options.hpp>
#include <dtm/coordinator/requests.hpp>
#include <dtm/coordinator/topics.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/local_branch.hpp>
#include <dtm/core/of_this_process.hpp>
#include <dtm/core/os.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/repeat.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

class EmbeddedEndpoint : public Endpoint {
 public:
  /// Stops, and waits for the functions that still run.
  ~EmbeddedEndpoint() override {
    if (driver_.Here()) driver_.Get().StopForGood();
  }
  EmbeddedEndpoint(const EmbeddedEndpoint&) = delete;
  EmbeddedEndpoint& operator=(const EmbeddedEndpoint&) = delete;

  std::string NewGid() override {
    const Time now = Checked().clock->Now();
    const std::lock_guard<std::mutex> lock(gid_mutex_);
    return gids_.Make(now);
  }

  TransResult Submit(Definition definition) override {
    if (definition.options.wait_result) CheckMayBlock("Submit with wait_result");
    CheckSubmittable(definition);
    Requests asking = Asking();
    Waiter waiter = asking.SubmitWaiter(definition);
    return asking.EnqueueAndWait(std::move(definition), std::move(waiter), false);
  }

  TransResult SubmitAndWait(Definition definition, Duration timeout) override {
    CheckMayBlock("SubmitAndWait");
    CheckSubmittable(definition);
    return Asking().EnqueueAndWait(std::move(definition),
                                   {AnswerWhen::kFinished, false, TimeIn(timeout), {}}, false);
  }

  void SubmitAsync(Definition definition, ReplyCallback callback) override {
    CheckSubmittable(definition);
    Requests asking = Asking();
    Waiter waiter = asking.SubmitWaiter(definition);
    waiter.callback = std::move(callback);
    asking.Enqueue(std::move(definition), std::move(waiter), false);
  }

  TransResult Prepare(Definition definition) override {
    return Asking().EnqueueAndWait(std::move(definition), {}, true);
  }

  void Abort(const std::string& gid, TransType type, const std::string& reason) override {
    Command command = About(gid, Command::Kind::kCancel);
    command.type = type;
    command.reason = reason;
    Asking().Ask(std::move(command));
  }

  void RegisterBranch(const std::string& gid, TransType type, Step step) override {
    const std::string problem = RegistrationProblem(gid, type, step);
    if (!problem.empty()) throw RejectedError(problem);
    Command command = About(gid, Command::Kind::kAddBranch);
    command.type = type;
    command.step = std::move(step);
    Asking().Ask(std::move(command));
  }

  WorkflowState PrepareWorkflow(Definition definition) override {
    const std::string gid = definition.gid;
    std::optional<Transaction> stored = Checked().store->Load(gid);
    if (!stored) {
      Prepare(definition);
      stored = Checked().store->Load(gid);
    }
    if (!stored) throw StoreError("gid '" + gid + "' was removed at this moment; try again");
    if (stored->unreadable) throw RejectedError("gid '" + gid + "': " + stored->last_error);
    if (stored->expired && stored->definition->type == TransType::kWorkflow) {
      throw RejectedError(
          "gid '" + gid + "' has ended as " + Name(stored->status) +
          " and its result is no longer kept (keep_finished); nothing was run. Use a new gid");
    }
    const Definition& found = *stored->definition;
    const std::string problem = engine::OtherWorkflow(found, definition);
    if (!problem.empty()) throw RejectedError(problem);
    return {stored->status, stored->reason, stored->result, found.options,
            found.steps,    found.workflow, found.data};
  }

  WorkflowState ResumeWorkflow(Definition definition) override {
    if (!Checked().store->Load(definition.gid))
      throw RejectedError(NothingToResume(definition.gid));
    return PrepareWorkflow(std::move(definition));
  }

  void FinishWorkflow(const std::string& gid, Status status, const std::string& reason,
                      const std::string& result) override {
    if (!IsFinal(status)) throw LogicError("a workflow ends as succeed or failed");
    Command command = About(gid, Command::Kind::kFinish);
    command.type = TransType::kWorkflow;
    command.status = status;
    command.reason = reason;
    command.data = result;
    Asking().Ask(std::move(command));
  }

  Result CallBranch(const DirectCall& call) override {
    if (call.url.empty()) return Result::Success();  // there is nothing to call
    if (RunsInTransaction(call.url)) return CallInTransaction(call);
    if (IsLocal(call.url)) {
      return CallFunction(call.url.substr(kLocalPrefixSize), call.payload, call.info);
    }
    CheckCallable(call);
    return Checked().CallNow(call);
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t owner) const override {
    if (owner != owner_) {
      throw LogicError("function '" + name +
                       "' is registered with another coordinator; register it "
                       "with the one the transaction is submitted to");
    }
    return kLocalPrefix + name;
  }

  /// Runs a registered function here and now, for a transaction of a coordinator elsewhere.
  /// @throws RejectedError  no function has this name.
  Result CallFunction(const std::string& name, const std::string& payload, const BranchInfo& info) {
    if (RunsInTransaction(kLocalPrefix + name)) {
      throw RejectedError(
          "'" + name +
          "' runs inside the commit of this coordinator, so no other one can call it; "
          "use Register for it");
    }
    BranchFunction function = Checked().functions.Find(name);
    if (!function) function = Checked().workflows.Find(name);
    if (!function) throw RejectedError("no branch function is registered as '" + name + "'");
    return Guarded([&] { return function(payload, Caller(info)); });
  }

 protected:
  explicit EmbeddedEndpoint(std::unique_ptr<Driver> driver)
      : owner_(RandomOwner()), driver_("coordinator", std::move(driver)) {}

  /// @throws LogicError  this is a forked child.
  Driver& Checked() const { return driver_.Get(); }
  Requests Asking() const { return Requests(Checked()); }

  /// A branch function that waits for a transaction may wait for itself.
  void CheckMayBlock(const char* what) const {
    if (Checked().functions.OnFunctionThread()) {
      throw LogicError(
          std::string(what) +
          " inside a branch function could wait for itself; use Submit or SubmitAsync");
    }
  }

  static void CheckSubmittable(const Definition& definition) {
    const std::string problem = SubmitProblem(definition);
    if (!problem.empty()) throw RejectedError(problem);
  }
  Time TimeIn(Duration wait) const { return Later(Checked().clock->Now(), wait); }

  /// What is called here and now has a commit of its own.
  Result CallInTransaction(DirectCall direct) {
    direct.phase2_url.clear();
    const BranchCall call = ToBranchCall(direct, {}, {});
    const auto functions = &Checked().functions;
    return Asking().RunWork([call, functions](WorkContext& context) {
      return functions->RunInTransaction(call, context.db);
    });
  }

  static Command About(const std::string& gid, Command::Kind kind) {
    Command command;
    command.kind = kind;
    command.gid = gid;
    return command;
  }

  std::uint64_t Owner() const { return owner_; }

 private:
  static std::uint64_t RandomOwner() {
    std::uint64_t owner = 0;
    os::FillRandom(&owner, sizeof owner);
    return owner;
  }

  const std::uint64_t owner_;
  std::mutex gid_mutex_;
  GidGenerator gids_;
  OfThisProcess<Driver> driver_;
};

}  // namespace v1
}  // namespace dtm
