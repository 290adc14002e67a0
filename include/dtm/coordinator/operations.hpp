/// What may be asked of a coordinator, by C++, HTTP or JSON-RPC alike, with the rules that need no stored record. The others
/// are in the loop: commands/commands.hpp for transactions that exist, engine/resubmission.hpp for those that are submitted again.
/// Needs: std, store. Threads: every method is thread-safe, and none waits for a commit. Protocol: §2.2, §2.3, §6.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/command_operations.hpp>
#include <dtm/coordinator/loop/driver.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/parts/topics.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/gid.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/core/validate.hpp>
#include <dtm/engine/resubmission.hpp>
#include <dtm/store/peers.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {

/// The methods with a callback. What can be refused at once is thrown (RejectedError and its kinds; LogicError: stopped, or
/// a forked child), and then the callback is not called. Else it is called once, with what the method without Async returns
/// or throws: before this method returns, or on a thread of the coordinator, so it must not wait.
class Operations : public CommandOperations {
 public:
  // A new transaction, or the same again.

  std::string NewGid() override {
    const Time now = Checked().clock->Now();
    const std::lock_guard<std::mutex> lock(gid_mutex_);
    return gids_.Make(now);
  }

  /// With `wait_result` the answer comes at the end, at a wait for a timer, or after 6 s: perhaps with an unfinished status.
  void SubmitAsync(Definition definition, AnswerCallback callback) override {
    CheckSubmittable(definition);
    Waiter waiter;
    waiter.failure_is_error = true;
    waiter.promise = std::move(callback);
    if (definition.options.wait_result) waiter.WaitForResult(Checked().clock->Now());
    Enqueue(std::move(definition), std::move(waiter), false);
  }

  void SubmitAndWaitAsync(Definition definition, Duration timeout, AnswerCallback callback) {
    CheckSubmittable(definition);
    Waiter waiter;
    waiter.when = AnswerWhen::kFinished;
    waiter.deadline = TimeIn(timeout);
    waiter.promise = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter), false);
  }

  void PrepareAsync(Definition definition, AnswerCallback callback) {
    Waiter waiter;
    waiter.promise = std::move(callback);
    Enqueue(std::move(definition), std::move(waiter), true);
  }

  /// Answers with its record. Reads the store.
  void PrepareWorkflowAsync(Definition definition, const ValueCallback<Transaction>& callback) {
    if (const std::optional<Transaction> stored = StoredWorkflow(definition)) {
      return callback(*stored, nullptr);
    }
    const auto asked = std::make_shared<const Definition>(definition);
    PrepareAsync(std::move(definition), [this, asked, callback](const Answer& reply) {
      std::optional<Transaction> stored;
      std::exception_ptr error = reply.error;
      try {
        if (!error) stored = StoredWorkflow(*asked);
        if (!error && !stored) {
          throw StoreError("gid '" + asked->gid + "' was removed at this moment; try again");
        }
      } catch (...) {
        error = std::current_exception();
      }
      if (!stored) stored.emplace();
      callback(*stored, error);
    });
  }

  // Topics.

  void SubscribeAsync(const std::string& topic, const std::string& url, const std::string& remark,
                      AnswerCallback callback) {
    Refuse(Checked().urls.Problem(url));
    ChangeTopic(
        topics::Problem(topic, url, remark), topic,
        [=](auto& stored, Time now) {
          return topics::Subscribe(stored, topic, {url, remark}, now);
        },
        std::move(callback));
  }
  void UnsubscribeAsync(const std::string& topic, const std::string& url, AnswerCallback callback) {
    ChangeTopic(
        topics::Problem(topic, url, {}), topic,
        [=](auto& stored, Time now) { return topics::Unsubscribe(stored, topic, url, now); },
        std::move(callback));
  }
  void DeleteTopicAsync(const std::string& topic, AnswerCallback callback) {
    ChangeTopic(
        {}, topic, [=](auto& stored, Time) { return topics::Delete(stored, topic); },
        std::move(callback));
  }

 protected:
  ~Operations() override = default;
  using CommandOperations::CommandOperations;

  /// Runs the work inside the next commit; the answer is what it returned, once that is durable.
  /// @throws LogicError  the store runs none.
  void RunWorkAsync(std::function<Result(TransactContext&)> work, ValueCallback<Result> callback) {
    CheckRunsWorks();
    QueuedWork queued{std::move(work), std::make_shared<Result>()};
    queued.promise = AnswerWith(queued.result, std::move(callback));
    if (!Checked().inbox.Push(std::move(queued))) NotTaken("");
  }

  void CheckRunsWorks() const {
    if (Checked().store->Shared() == nullptr) return;
    throw LogicError(
        "nothing of the program runs inside a commit of a store that several coordinators share: "
        "its "
        "SQL would keep all of them waiting. To store rows and a saga together, write both in a "
        "transaction of the program: dtm::PgOutbox or dtm::MysqlOutbox");
  }

 private:
  static void CheckSubmittable(const Definition& definition) {
    const std::string problem = SubmitProblem(definition);
    if (!problem.empty()) throw RejectedError(problem);
  }

  void Enqueue(Definition definition, Waiter waiter, bool prepare) {
    Driver& driver = Checked();
    definition.prepared_first = prepare;
    topics::CheckAndExpand(definition, *driver.store);
    RefuseOf(definition.gid, driver.urls.WithoutCaller(definition));
    const std::string problem = prepare ? PrepareProblem(definition) : std::string();
    if (!problem.empty()) throw RejectedError(problem);
    const auto shared = std::make_shared<Definition>(std::move(definition));
    if (driver.inbox.Push(Submission{shared, std::move(waiter), prepare})) return;
    NotTaken("gid '" + shared->gid + "' was not stored: ");
  }

  [[noreturn]] void NotTaken(const std::string& who) const {
    if (Checked().inbox.Closed()) throw LogicError(who + "the coordinator was stopped");
    const Options& options = Checked().options;
    throw BusyError(who + "too much is waiting to be stored, " +
                    std::to_string(options.max_waiting_submissions) + " submissions or " +
                    std::to_string(InboxBytes(options)) +
                    " bytes (an eighth of max_memory_bytes); submit it again later");
  }

  /// Nothing if the gid is free.
  std::optional<Transaction> StoredWorkflow(const Definition& asked) {
    std::optional<Transaction> stored = Checked().store->Load(asked.gid);
    if (!stored) return stored;
    if (stored->unreadable) throw RejectedError("gid '" + asked.gid + "': " + stored->last_error);
    if (stored->expired && stored->definition->type == TransType::kWorkflow) {
      throw RejectedError(
          "gid '" + asked.gid + "' has ended as " + Name(stored->status) +
          " and its result is no longer kept (keep_finished); nothing was run. Use a new gid");
    }
    const std::string problem = engine::OtherWorkflow(*stored->definition, asked);
    if (!problem.empty()) throw RejectedError(problem);
    return stored;
  }

  void ChangeTopic(const std::string& problem, const std::string& topic,
                   const topics::Change& change, AnswerCallback callback) {
    if (!problem.empty()) throw RejectedError(problem);
    Driver& driver = Checked();
    if (Peers* const peers = driver.store->Shared()) {  // at once, in this thread
      const Time now = driver.clock->Now();
      const Result result =
          peers->ChangeValue(topics::kCategory, topic,
                             [&](std::optional<KeyValue>& stored) { return change(stored, now); });
      if (result.kind != Result::Kind::kSuccess) throw RejectedError(result.text);
      return callback({});
    }
    RunWorkAsync(
        [&driver, topic, change](TransactContext&) {
          return topics::ChangeIn(*driver.store, topic, change, driver.clock->Now());
        },
        [callback = std::move(callback)](const Result& result, const std::exception_ptr& error) {
          const bool refused = !error && result.kind != Result::Kind::kSuccess;
          callback({{}, refused ? Answers::Rejected(result.text) : error});
        });
  }

  std::mutex gid_mutex_;
  GidGenerator gids_;
};

}  // namespace v1
}  // namespace dtm
