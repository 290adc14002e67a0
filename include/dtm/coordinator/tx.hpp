/// A transaction of the program's database that the coordinator commits, together with what is submitted in it.
/// Needs: std, store. Threads: the thread that drives the loop, during Transact.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/parts/topics.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/core/work_context.hpp>

namespace dtm {
inline namespace v1 {

/// The function of Coordinator::Transact gets this: the connection to write through, and an endpoint for sagas and
/// messages that are stored by the same commit. Do not keep it.
class Tx : public Endpoint {
 public:
  /// See Coordinator::Transact.
  Tx(Endpoint& coordinator, Driver& driver, TransactContext& context)
      : coordinator_(coordinator), driver_(driver), context_(context) {}

  /// The store's connection: a sqlite3* with SQLite. BEGIN, COMMIT, ROLLBACK and the dtm_ tables are denied. Finalize your
  /// statements before the function returns: after a failure of the store there is a new connection.
  const WorkContext& Db() const { return context_.connection; }

  /// A new gid, of the coordinator.
  std::string NewGid() override { return coordinator_.NewGid(); }

  /// Submits a saga or a message; it is stored if and only if the rows are.
  /// @throws RejectedError  a limit, or the gid exists: let it pass, and nothing is stored.
  TransResult Submit(Definition definition) override {
    const std::string gid = definition.gid;
    const bool fits = definition.type == TransType::kSaga || definition.type == TransType::kMsg;
    if (!fits || definition.options.wait_result) {
      throw LogicError(
          "gid '" + gid +
          "': inside Transact only sagas and messages are submitted, and nobody waits");
    }
    topics::CheckAndExpand(definition, *driver_.store);
    topics::CheckNew(definition);
    RefuseOf(gid, driver_.urls.WithoutCaller(definition));
    bool taken = context_.exists(gid);
    for (const auto& other : context_.submitted) taken = taken || other->gid == gid;
    if (taken) throw RejectedError("gid '" + gid + "' exists already; nothing was changed");
    context_.submitted.push_back(std::make_shared<Definition>(std::move(definition)));
    return {gid, Status::kSubmitted, {}};
  }

  std::string UrlOfLocal(const std::string& name, std::uint64_t registered_with) const override {
    return coordinator_.UrlOfLocal(name, registered_with);
  }

  // What would wait for the commit that this is part of.
  TransResult SubmitAndWait(Definition, Duration) override { Waits("SubmitAndWait"); }
  void SubmitAsync(Definition, AnswerCallback) override { Waits("SubmitAsync"); }
  TransResult Prepare(Definition) override { Waits("Prepare"); }
  void Abort(const std::string&, TransType, const std::string&) override { Waits("Abort"); }
  void RegisterBranch(const std::string&, TransType, Step) override { Waits("RegisterBranch"); }
  WorkflowState PrepareWorkflow(Definition) override { Waits("PrepareWorkflow"); }
  WorkflowState ResumeWorkflow(Definition) override { Waits("ResumeWorkflow"); }
  void FinishWorkflow(const std::string&, Status, const std::string&, const std::string&) override {
    Waits("FinishWorkflow");
  }
  Result CallBranch(const InitiatorCall&) override { Waits("CallBranch"); }

 private:
  [[noreturn]] static void Waits(const char* what) {
    throw LogicError(std::string(what) +
                     " inside Transact would wait for the commit it is part of; use Submit");
  }

  Endpoint& coordinator_;
  Driver& driver_;
  TransactContext& context_;
};

}  // namespace v1
}  // namespace dtm
