/// Workflows: a transaction as a C++ function, whose steps are recorded, so that it can be run again from where a
/// crash stopped it.
/// Needs: nlohmann/json. Threads: thread-safe; a gid runs once at a time. Protocol: §4.5, §11.7.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/callable.hpp>
#include <dtm/base/error.hpp>
#include <dtm/base/payload.hpp>
#include <dtm/client/branch_args.hpp>
#include <dtm/client/workflow_function.hpp>
#include <dtm/client/workflow_run.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

/// A registered workflow, to be started. Copies are cheap and refer to the same workflow.
template <typename T>
class WorkflowHandle {
 public:
  /// What the user's function comes to: it returns the result as text.
  using Function = std::function<std::string(Workflow&, const T&)>;

  /// See RegisterWorkflow.
  WorkflowHandle(Endpoint& endpoint, std::string name, Function function)
      : shared_(std::make_shared<Shared>(endpoint, std::move(name), std::move(function))) {}

  /// Runs the workflow in this thread, or returns its result if it has run before. If the process dies, the
  /// coordinator resumes it where its name is registered. The request_timeout and branch_headers of `options` are for its
  /// URL calls too; but a dtm::Server elsewhere does not pass the headers on when the workflow is resumed. There is no
  /// deadline for the whole.
  /// @throws InDoubtError   the coordinator gave no answer; execute it again.
  /// @throws FailureError   it was rolled back, perhaps because it returned more than 256 KiB or exceeded another limit.
  /// @throws RejectedError  the gid belongs to another transaction or workflow, or was started with other data; nothing
  /// is run.
  /// @throws LogicError     the recorded steps are not those that it does now (see Workflow), or it is running already.
  /// @throws what a step threw: the workflow is undecided, and the coordinator will run it again (after OngoingError at
  /// the retry interval).
  std::string Execute(const std::string& gid, const T& data, TransOptions options = {}) const {
    const Running running(*shared_, gid);
    if (!running.Alone()) throw LogicError("gid '" + gid + "' is running in this process already");
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    definition.workflow = shared_->name;
    definition.query_prepared = shared_->resume_url;
    const nlohmann::json given = branch_args::Json(data);
    definition.data = branch_args::Text(gid, "the workflow", given);
    definition.options = options;
    return Run(std::move(definition), given, data, std::move(options));
  }

  /// The coordinator calls this to resume it; `given` is the data that it was started with.
  Result Resume(const std::string& gid, const nlohmann::json& given) const {
    const Running running(*shared_, gid);
    if (!running.Alone()) return Result::Ongoing("it is running in this process");
    Definition definition;
    definition.gid = gid;
    definition.type = TransType::kWorkflow;
    definition.workflow = shared_->name;
    (void)Run(std::move(definition), given, DataOf(given), std::nullopt);
    return Result::Success();
  }

  /// The URL or function by which the coordinator resumes it; RegisterWorkflow sets it.
  void ResumeAt(const std::string& url) { shared_->resume_url = url; }
  /// As it was registered.
  const std::string& Name() const { return shared_->name; }

 private:
  struct Shared {
    Shared(Endpoint& endpoint_in, std::string name_in, Function function_in)
        : endpoint(endpoint_in), name(std::move(name_in)), function(std::move(function_in)) {}
    Endpoint& endpoint;
    const std::string name;
    const Function function;
    std::string resume_url;
    std::mutex mutex;
    std::set<std::string> running;
  };

  /// One run of a gid at a time in this process.
  class Running {
   public:
    Running(Shared& shared, const std::string& gid) : shared_(shared), gid_(gid) {
      const std::lock_guard<std::mutex> lock(shared_.mutex);
      alone_ = shared_.running.insert(gid_).second;
    }
    ~Running() {
      if (!alone_) return;
      const std::lock_guard<std::mutex> lock(shared_.mutex);
      shared_.running.erase(gid_);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    bool Alone() const { return alone_; }

   private:
    Shared& shared_;
    const std::string gid_;
    bool alone_ = false;
  };

  static T DataOf(const nlohmann::json& given) {
    if constexpr (payload::kReadable<T>) {  // else RegisterWorkflow has reported it
      try {
        return given.template get<T>();
      } catch (const nlohmann::json::exception& error) {
        throw Error(std::string("its data is not what the workflow takes: ") + error.what());
      }
    }
    throw LogicError("its data cannot be read");
  }

  /// The Go server does not compare, so this does.
  void CheckSame(const std::string& gid, const WorkflowState& state,
                 const nlohmann::json& given) const {
    if (state.workflow.empty() && state.data.empty()) return;  // it is not told
    if (state.workflow != shared_->name) {
      throw RejectedError("gid '" + gid + "' is the workflow '" + state.workflow + "', not '" +
                          shared_->name + "'; nothing was run. Use a new gid");
    }
    const nlohmann::json stored =
        nlohmann::json::parse(state.data.empty() ? "null" : state.data, nullptr, false);
    if (stored != given) {
      throw RejectedError("gid '" + gid +
                          "' was started with other data than it is run with now; " +
                          "nothing was run. Use a new gid, or the data it was started with");
    }
  }

  /// `options`: nothing if it is resumed, then it has the stored ones.
  std::string Run(Definition definition, const nlohmann::json& given, const T& data,
                  std::optional<TransOptions> options) const {
    Endpoint& endpoint = shared_->endpoint;
    const std::string gid = definition.gid;
    WorkflowState state = options ? endpoint.PrepareWorkflow(std::move(definition))
                                  : endpoint.ResumeWorkflow(std::move(definition));
    CheckSame(gid, state, given);
    if (options) state.options = std::move(*options);
    if (state.status == Status::kSucceed) return state.result;
    if (state.status == Status::kFailed) throw FailureError(state.reason);
    Workflow workflow(endpoint, gid, state);
    std::string result;
    try {
      try {
        result = shared_->function(workflow, data);
      } catch (const FailureError&) {
        throw;
      } catch (...) {  // what stopped it counts, whatever the function made of it
        workflow.ledger_.CheckNotRefused();
        workflow.ledger_.CheckKept({});
        throw;
      }
      workflow.ledger_.CheckKept(result);
    } catch (const FailureError& error) {
      workflow.RunCallbacks(false);
      endpoint.FinishWorkflow(gid, Status::kFailed, error.what(), {});
      if (dynamic_cast<const BeyondLimit*>(&error) == nullptr) throw;
      throw FailureError(error.what());  // of another workflow it would be a failed step like any
    }
    workflow.RunCallbacks(true);
    endpoint.FinishWorkflow(gid, Status::kSucceed, {}, result);
    return result;
  }

  std::shared_ptr<Shared> shared_;
};

/// Registers a workflow: `function(Workflow&, const T&)`, which returns nothing or a text, its result. The name is
/// stored: register the same name after a restart, and workflows that a crash interrupted continue. `functions` is the
/// Coordinator of this program, which runs the workflow when `endpoint` resumes it: the same coordinator, or, for one
/// elsewhere, a coordinator that a dtm::Server serves.
/// @throws LogicError  the name is taken, the function is empty, or `endpoint` cannot reach `functions`.
template <typename T, typename Functions, typename Function>
WorkflowHandle<T> RegisterWorkflow(Endpoint& endpoint, Functions& functions,
                                   const std::string& name, Function function) {
  if (callable::Empty(function)) {
    throw LogicError("the workflow '" + name + "' is an empty function");
  }
  WorkflowHandle<T> handle(endpoint, name, workflow_function::Erase<T>(std::move(function)));
  const auto resume = functions.template RegisterResume<nlohmann::json>(
      name, [handle](const nlohmann::json& given, const BranchInfo& info) -> Result {
        return handle.Resume(info.gid, given);
      });
  handle.ResumeAt(endpoint.UrlOfLocal(resume.name, resume.registered_with));
  return handle;
}
/// The same, where the coordinator of this program is also the endpoint.
template <typename T, typename Coordinator, typename Function>
WorkflowHandle<T> RegisterWorkflow(Coordinator& tm, const std::string& name, Function function) {
  return RegisterWorkflow<T>(tm, tm, name, std::move(function));
}

}  // namespace v1
}  // namespace dtm
