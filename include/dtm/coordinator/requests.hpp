/// How what a program asks gets into the inbox, and its answer back.
/// Needs: std. Threads: thread-safe; the waiting ones drive the loop if no thread does.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <dtm/coordinator/branch_caller.hpp>
#include <dtm/coordinator/driver.hpp>
#include <dtm/coordinator/inbox.hpp>
#include <dtm/coordinator/topics.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/error.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/validate.hpp>

namespace dtm {
inline namespace v1 {

class Requests {
 public:
  explicit Requests(Driver& driver) : driver_(driver) {}

  Waiter SubmitWaiter(const Definition& definition) const {
    Waiter waiter;
    waiter.failure_is_error = true;
    if (definition.options.wait_result) {
      waiter.when = AnswerWhen::kSettled;
      waiter.deadline = driver_.clock->Now() + kLongestWaitResult;
    }
    return waiter;
  }

  /// @throws RejectedError  it cannot be carried out; nothing was changed.
  void Enqueue(Definition definition, Waiter waiter, bool prepare) {
    definition.prepared_first = prepare;
    topics::Expand(definition, *driver_.store);
    std::string problem = Problem(definition);
    if (problem.empty() && prepare) problem = PrepareProblem(definition);
    if (!problem.empty()) throw RejectedError(problem);
    const auto shared = std::make_shared<Definition>(std::move(definition));
    Submission submission{shared, std::move(waiter), prepare};
    if (driver_.inbox.Push(std::move(submission))) return;
    Refused("gid '" + shared->gid + "' was not stored: ");
  }

  TransResult EnqueueAndWait(Definition definition, Waiter waiter, bool prepare) {
    return driver_.WaitFor([&](ReplyCallback answer) {
      waiter.callback = std::move(answer);
      Enqueue(std::move(definition), std::move(waiter), prepare);
    });
  }

  TransResult Ask(Command command) {
    return driver_.WaitFor([&](ReplyCallback answer) {
      command.waiter.when =
          command.kind == Command::Kind::kWait ? AnswerWhen::kFinished : AnswerWhen::kStored;
      command.waiter.callback = std::move(answer);
      Push(std::move(command));
    });
  }

  /// A command that the loop answers with a value.
  template <typename T>
  T AskFor(Command command, std::function<void(T, std::exception_ptr)> Command::*answer_to) {
    const auto box = std::make_shared<T>();
    driver_.WaitFor([&](const ReplyCallback& answer) {
      command.*answer_to = [box, answer](T value, const std::exception_ptr& error) {
        *box = std::move(value);
        answer({{}, error});
      };
      Push(std::move(command));
    });
    return std::move(*box);
  }

  /// Runs the work inside the next commit; returns what it returned, once that is durable.
  Result RunWork(std::function<Result(WorkContext&)> work) {
    const auto box = std::make_shared<Result>();
    driver_.WaitFor([&](const ReplyCallback& answer) {
      QueuedWork queued{std::move(work),
                        [box, answer](const Result& result, const std::exception_ptr& error) {
                          try {
                            *box = result;
                          } catch (const std::bad_alloc&) {
                            return answer({{}, std::current_exception()});
                          }
                          answer({{}, error});
                        }};
      if (!driver_.inbox.Push(std::move(queued))) Refused("");
    });
    return std::move(*box);
  }

 private:
  static constexpr Duration kLongestWaitResult = std::chrono::seconds(6);

  void Push(Command command) {
    if (!driver_.inbox.Push(std::move(command))) throw LogicError("the coordinator was stopped");
  }

  [[noreturn]] void Refused(const std::string& who) {
    if (driver_.inbox.Closed()) throw LogicError(who + "the coordinator was stopped");
    const Options& options = driver_.options;
    throw BusyError(who + "too much is waiting to be stored, " +
                    std::to_string(options.max_waiting_submissions) + " submissions or " +
                    std::to_string(InboxBytes(options)) +
                    " bytes (an eighth of max_memory_bytes); submit it again later");
  }

  Driver& driver_;
};

}  // namespace v1
}  // namespace dtm
