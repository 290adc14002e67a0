/// The loop without a coordinator around it: what a test pushes arrives in one turn, in this order.
/// Needs: Catch2, the test kit. Threads: one thread.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

namespace turns {

/// A reply in words: the status, or which error and what it says.
inline std::string InWords(const dtm::Answer& reply) {
  try {
    return Name(reply.Get().status);
  } catch (const dtm::FailureError& error) {
    return std::string("FailureError: ") + error.what();
  } catch (const dtm::RejectedError& error) {
    return std::string("RejectedError: ") + error.what();
  } catch (const dtm::InDoubtError& error) {
    return std::string("InDoubtError: ") + error.what();
  } catch (const dtm::StoreError& error) {
    return std::string("StoreError: ") + error.what();
  } catch (const std::exception& error) {
    return std::string("another error: ") + error.what();
  }
}

class Turns {
 public:
  explicit Turns(std::shared_ptr<dtm::Store> inner = std::make_shared<dtm::MemoryStore>())
      : options_(dtm_test::Quiet()),
        time(std::make_shared<dtm::testing::VirtualTime>()),
        branches(time),
        store(std::move(inner)),
        clock_(time),
        inbox_(1000, std::size_t{1} << 30),
        functions_(1, 1),
        hooks_(clock_, options_),
        urls_(branches.NewCaller()),
        loop(store, clock_, inbox_, functions_, *urls_, transaction_functions_, hooks_, options_) {}
  ~Turns() { urls_->Stop(); }

  /// Returns the place of its answer in `answers`, where "" is: not answered yet.
  std::size_t Prepare(dtm::Definition definition) {
    definition.prepared_first = true;
    return Push(std::move(definition), {}, true);
  }
  std::size_t Submit(dtm::Definition definition) {
    dtm::Waiter waiter;
    waiter.failure_is_error = true;
    if (definition.options.wait_result) waiter.when = dtm::AnswerWhen::kSettled;
    return Push(std::move(definition), std::move(waiter), false);
  }

  /// A branch of a tcc.
  std::size_t Register(const std::string& gid, const std::string& branch) {
    dtm::Command command;
    command.kind = dtm::Command::Kind::kAddBranch;
    command.gid = gid;
    command.step.branch_id = branch;
    command.step.action = "http://" + branch + "/confirm";
    command.step.compensate = "http://" + branch + "/cancel";
    const std::size_t place = NewPlace(command.waiter);
    CHECK(inbox_.Push(std::move(command)));
    return place;
  }

  std::size_t Ask(dtm::Command::Kind kind, const std::string& gid) {
    dtm::Command command;
    command.kind = kind;
    command.gid = gid;
    if (kind == dtm::Command::Kind::kWait) command.waiter.when = dtm::AnswerWhen::kFinished;
    const std::size_t place = NewPlace(command.waiter);
    CHECK(inbox_.Push(std::move(command)));
    return place;
  }

  std::size_t Ask(dtm::Command command) {
    const std::size_t place = NewPlace(command.waiter);
    CHECK(inbox_.Push(std::move(command)));
    return place;
  }

  bool Push(dtm::Command command) { return inbox_.Push(std::move(command)); }

  /// Turns until there is nothing to do at this moment.
  void Settle() {
    for (int turn = 0; turn < 1000; ++turn) {
      loop.Turn();
      if (inbox_.Empty() && loop.NextTurn() > time->Now()) return;
    }
    FAIL("the loop does not come to rest");
  }

  /// "" if it is not stored.
  std::string Status(const std::string& gid) {
    const auto stored = store.Load(gid);
    return stored ? Name(stored->status) : "";
  }

  std::vector<std::string> answers;

 private:
  const dtm::Options options_;

 public:
  const std::shared_ptr<dtm::testing::VirtualTime> time;
  dtm::testing::ScriptedBranches branches;
  dtm::testing::FailingStore store;

 private:
  std::size_t NewPlace(dtm::Waiter& waiter) {
    const std::size_t place = answers.size();
    answers.emplace_back();
    waiter.promise = [this, place](const dtm::Answer& reply) {
      CHECK(answers[place].empty());  // nobody is answered twice
      answers[place] = InWords(reply);
    };
    return place;
  }

  std::size_t Push(dtm::Definition definition, dtm::Waiter waiter, bool prepare) {
    const std::size_t place = NewPlace(waiter);
    CHECK(inbox_.Push(dtm::Submission{std::make_shared<dtm::Definition>(definition),
                                      std::move(waiter), prepare}));
    return place;
  }

  dtm::testing::VirtualClock clock_;
  dtm::Inbox inbox_;
  dtm::ProgramFunctions functions_;
  dtm::TransactionFunctions transaction_functions_;
  dtm::Hooks hooks_;
  std::unique_ptr<dtm::BranchCaller> urls_;

 public:
  dtm::Loop loop;
};

}  // namespace turns
