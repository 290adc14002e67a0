/// Coordinators on a store in a database server: everything runs through it, across restarts, and what one that died drove is
/// driven by another. tests/coordinator/{postgres,mysql}_coordinator_test.cpp run it on real servers.
/// Needs: Catch2, POSIX. Threads: the coordinators' own.
///
/// Kit: `Store()`, always the same one, opened again; `StartServer()`.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/dtm.hpp>

namespace dtm_test {

template <typename Kit>
struct CoordinatorContract {
  using milliseconds = std::chrono::milliseconds;
  using minutes = std::chrono::minutes;
  using seconds = std::chrono::seconds;

  /// A coordinator with the functions of this program.
  struct Node {
    dtm::TransResult Transfer(const std::string& gid, int amount) {
      return dtm::NewSaga(tm, gid)
          .Add(out, out_back, amount)
          .Add(in, nothing, amount)
          .SubmitAndWait(minutes(1));
    }
    std::atomic<int> balance{100};
    std::atomic<bool> later{true}, hangs{false}, called{false};
    dtm::Coordinator tm{Kit::Store(), Quiet()};
    using Branch = dtm::LocalBranch<int>;
    Branch out = tm.Register<int>("Out", [this](const int& n) { balance -= n; });
    Branch out_back = tm.Register<int>("OutBack", [this](const int& n) { balance += n; });
    Branch in = tm.Register<int>("In", [](const int& n) -> dtm::Result {
      return n > 50 ? dtm::Result::Failure("too much") : dtm::Result::Success();
    });
    Branch nothing = tm.Register<int>("Nothing", [](const int&) {});
    Branch at_last = tm.Register<int>("Later", [this](const int&) -> dtm::Result {
      return later ? dtm::Result::Success() : dtm::Result::Ongoing();
    });
    Branch hang = tm.Register<int>("Hang", [this](const int&) {
      called = true;
      while (hangs) std::this_thread::sleep_for(milliseconds(10));
    });
  };

  static std::string NewGid() {
    static int last = 0;
    return "g" + std::to_string(++last);
  }

  static void RunsEverything() {
    Node node;
    node.tm.Start();
    const std::string good = NewGid();
    CHECK(node.Transfer(good, 30).Succeeded());
    CHECK(node.balance == 70);
    const std::string bad = NewGid();
    const dtm::TransResult failed = node.Transfer(bad, 60);
    CHECK(failed.Failed());
    CHECK(failed.reason == "too much");
    CHECK(node.balance == 70);
    CHECK(node.Transfer(good, 30).Succeeded());  // the same again runs nothing
    CHECK(node.balance == 70);
    CHECK_THROWS_AS(node.Transfer(good, 31), dtm::RejectedError);

    for (const bool fails : {false, true}) {
      const auto body = [&](dtm::Tcc& tcc) {
        tcc.CallBranch(fails ? 60 : 1, node.in, node.out, node.nothing);
        tcc.CallBranch(2, node.in, node.out, node.nothing);
      };
      dtm::TransOptions options;
      options.wait_result = true;
      const std::string tcc = NewGid();
      if (fails) {
        CHECK_THROWS_AS(dtm::TccGlobalTransaction(node.tm, tcc, options, body), dtm::FailureError);
        CHECK(node.tm.Wait(tcc, minutes(1)).Failed());
      } else {
        CHECK(dtm::TccGlobalTransaction(node.tm, tcc, options, body).Succeeded());
      }
      CHECK(node.balance == 67);
    }

    const std::string message = NewGid();
    CHECK(dtm::NewMsg(node.tm, message).Add(node.out, 7).SubmitAndWait(minutes(1)).Succeeded());
    CHECK(node.balance == 60);

    node.tm.Subscribe("paid", "http://host/paid");
    {
      Node other;
      other.tm.Start();
      CHECK(other.tm.Query(good)->status == dtm::Status::kSucceed);
      CHECK(other.tm.List({}, 0, 3).transactions.at(0).definition->gid == message);
      other.tm.Subscribe("paid", "http://other/paid");
    }
    CHECK(node.tm.ListValues("topics", "paid", 0, 10).values.at(0).version == 2);
    CHECK(node.tm.Stop(minutes(1)));
  }

  static void GoesOnAfterARestart() {
    const std::string gid = NewGid();
    {
      Node node;
      node.later = false;
      node.tm.Start();
      dtm::NewSaga(node.tm, gid)
          .Add(node.out, node.out_back, 1)
          .Add(node.at_last, node.nothing, 1)
          .Submit();
      while (node.balance != 99) std::this_thread::sleep_for(milliseconds(1));
      Node elsewhere;
      elsewhere.tm.Start();
      CHECK(node.tm.Stop(minutes(1)));
      for (int i = 0; i < 3000 && elsewhere.tm.Query(gid)->status != dtm::Status::kSucceed; ++i) {
        elsewhere.tm.RetryNowAsync(gid, [](const dtm::Answer&) {});
        std::this_thread::sleep_for(milliseconds(10));
      }
      CHECK(elsewhere.tm.Query(gid)->status == dtm::Status::kSucceed);
      CHECK(elsewhere.balance == 100);
    }
  }

  static void AnotherFinishesWhatOneDrove() {
    const std::string gid = NewGid();
    Kit::StartServer();  // not the child's
    auto child = std::make_unique<LivingChild>([gid] {
      Node* const node = new Node;  // nothing of it ends
      node->hangs = true;
      node->tm.Start();
      dtm::NewSaga(node->tm, gid)
          .Add(node->out, node->out_back, 1)
          .Add(node->hang, node->nothing, 1)
          .Submit();
      while (node->balance != 99) std::this_thread::sleep_for(milliseconds(1));
    });
    Node heir;
    heir.tm.Start();
    std::this_thread::sleep_for(seconds(2));  // more than a lease
    CHECK_FALSE(heir.called);                 // while it lives
    const auto begin = std::chrono::steady_clock::now();
    child.reset();
    while (!heir.called && std::chrono::steady_clock::now() - begin < minutes(1)) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    const auto took = std::chrono::steady_clock::now() - begin;
    INFO("first call after " << std::chrono::duration_cast<milliseconds>(took).count() << " ms");
    CHECK(took < seconds(20));  // about 1.5 s on a machine that has time
    CHECK(heir.tm.Wait(gid, minutes(1)).Succeeded());
    CHECK(heir.balance == 100);
  }
};

}  // namespace dtm_test
