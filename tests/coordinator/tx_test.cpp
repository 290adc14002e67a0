/// Transact: rows and transactions become durable together or not at all; what may not be asked for inside.
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"

using Catch::Matchers::ContainsSubstring;
using dtm::Result;
using dtm::Tx;
using dtm::testing::StoreFault;
using sql_kit::Bank;
using sql_kit::Note;
using sql_kit::Sql;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

dtm::Saga OneStep(dtm::Endpoint& endpoint, const std::string& gid, const char* url = "http://a") {
  auto saga = dtm::NewSaga(endpoint, gid);
  saga.Add(url, "http://c", 1);
  return saga;
}

/// Runs `ask` inside Transact; what it threw there. The work itself succeeds.
template <typename Ask>
std::string Inside(Bank& bank, const Ask& ask) {
  std::string said = "nothing was thrown";
  bank->Transact([&](Tx& tx) {
    Note(tx.Db(), "asked");
    try {
      ask(tx);
    } catch (const dtm::LogicError& error) {
      said = std::string("LogicError: ") + error.what();
    } catch (const dtm::RejectedError& error) {
      said = std::string("RejectedError: ") + error.what();
    }
  });
  return said;
}

}  // namespace

TEST_CASE("tx: rows, a saga and a message are one commit") {
  Bank bank;
  bank.kit.Settle();
  const auto commits = bank.kit.Store().Commits();
  bank->Transact([](Tx& tx) {
    Sql(tx.Db(), "UPDATE acc SET n = n - 30 WHERE id = 1");
    OneStep(tx, "saga", "http://saga").Submit();
    dtm::NewMsg(tx, "msg").Add("http://msg", 1).Submit();
    CHECK(sql_kit::Number(sqlite3_db_filename(tx.Db(), "main"), "SELECT n FROM acc WHERE id = 1") ==
          100);  // nobody else sees it yet
  });
  CHECK(bank.kit.Store().Commits() == commits + 1);
  CHECK(bank.Balance(1) == 70);
  CHECK(bank.Status("saga") == "submitted");
  CHECK(bank.Status("msg") == "submitted");
  CHECK(bank.kit.Branches().Calls().size() <= 2);
  bank.kit.Settle();
  CHECK(bank.Status("saga") == "succeed");
  CHECK(bank.Status("msg") == "succeed");
  CHECK(bank.kit.Branches().Calls().size() == 2);
}

TEST_CASE("tx: nothing is called before its rows are durable, and nothing if they are not") {
  for (const StoreFault fault :
       {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
    Bank bank;
    bank.kit.Settle();
    const auto submit = [](Tx& tx) {
      Note(tx.Db(), "n");
      OneStep(tx, "g").Submit();
    };
    bank.kit.Store().FailAlways(fault);
    if (fault == StoreFault::kDefinite) {
      CHECK_THROWS_AS(bank->Transact(submit), dtm::StoreError);
    } else {
      bank.kit.Store().FailAlways(StoreFault::kNone);
      bank.kit.Store().FailOnce(5, fault);  // Begin, Run, Has, Apply, Commit
      CHECK_THROWS_AS(bank->Transact(submit), dtm::InDoubtError);
    }
    CHECK(bank.kit.Branches().Calls().empty());
    bank.kit.Store().FailAlways(StoreFault::kNone);
    bank.kit.Advance(seconds(5));
    const bool stored = fault == StoreFault::kInDoubtButStored;
    CHECK(bank.Notes("n") == (stored ? 1 : 0));
    CHECK(bank.Status("g") == (stored ? "succeed" : ""));
    CHECK(bank.kit.Branches().Calls().size() == (stored ? 1 : 0));
    if (stored) {
      CHECK_THAT(bank.Try(submit), ContainsSubstring("'g' exists already"));
    } else {
      CHECK(bank.Try(submit).empty());
    }
    bank.kit.Settle();
    CHECK(bank.Notes("n") == 1);
    CHECK(bank.Status("g") == "succeed");
  }
}

TEST_CASE("tx: what the function throws is thrown, and all it did is undone") {
  Bank bank;
  const auto dirty = [](Tx& tx) {
    Note(tx.Db(), "n");
    OneStep(tx, "g").Submit();
  };
  CHECK_THROWS_AS(bank->Transact([&](Tx& tx) {
    dirty(tx);
    throw std::out_of_range("mine");
  }),
                  std::out_of_range);
  CHECK_THROWS_AS(bank->Transact([&](Tx& tx) {
    dirty(tx);
    throw 7;
  }),
                  int);
  CHECK_THROWS_AS(bank->Transact([&](Tx& tx) {
    dirty(tx);
    throw dtm::FailureError("no");
  }),
                  dtm::FailureError);
  CHECK_THROWS_AS(bank->Transact([&](Tx& tx) {
    dirty(tx);
    return Result::Failure("no");
  }),
                  dtm::FailureError);
  for (const Result& result : {Result::Ongoing("wait"), Result::Error("e"), Result::NotSent("n")}) {
    CHECK_THROWS_AS(bank->Transact([&](Tx& tx) {
      dirty(tx);
      return result;
    }),
                    dtm::Error);
  }
  bank.kit.Settle();
  CHECK(bank.Notes("n") == 0);
  CHECK(bank.Status("g").empty());
  CHECK(bank.kit.Branches().Calls().empty());
  bank->Transact([&](Tx& tx) {
    dirty(tx);
    return Result::Success();
  });
  CHECK(bank.Notes("n") == 1);
}

TEST_CASE("tx: a gid that is taken is refused, and its rows are undone") {
  Bank bank;
  bank.kit.Branches().On("http://slow", {{Result::Success(), hours(1), false}});
  OneStep(*bank, "ended").Submit();
  OneStep(*bank, "running", "http://slow").Submit();
  bank.kit.Settle();
  REQUIRE(bank.Status("ended") == "succeed");
  for (const char* gid : {"ended", "running"}) {
    CHECK_THROWS_AS(bank->Transact([&](Tx& tx) {
      Note(tx.Db(), "n");
      OneStep(tx, gid).Submit();
    }),
                    dtm::RejectedError);
  }
  CHECK_THAT(bank.Try([](Tx& tx) {
    Note(tx.Db(), "n");
    OneStep(tx, "twice").Submit();
    dtm::NewMsg(tx, "twice").Add("http://m", 1).Submit();
  }),
             ContainsSubstring("'twice' exists already"));
  CHECK(bank.Notes("n") == 0);
  CHECK(bank.Status("twice").empty());
  CHECK(bank.Status("running") == "submitted");
}

TEST_CASE("tx: a gid submitted in the same turn, by another work or not, is taken") {
  Bank bank;
  auto first =
      bank->RegisterInTransaction<int>("First", [](sqlite3* db, const int&) { Note(db, "first"); });
  auto saga = dtm::NewSaga(*bank, "same");
  saga.Add(first, dtm::kNoBranch, 1);
  std::string told;
  saga.SubmitAsync([&](const dtm::Answer& reply) { told = dtm::Name(reply.Get().status); });
  CHECK_THAT(bank.Try([](Tx& tx) {
    Note(tx.Db(), "second");
    OneStep(tx, "same").Submit();
  }),
             ContainsSubstring("'same' exists already"));
  bank.kit.Settle();
  CHECK(told == "succeed");
  CHECK(bank.Status("same") == "succeed");
  CHECK(bank.Notes("first") == 1);
  CHECK(bank.Notes("second") == 0);
}

TEST_CASE("tx: a gid that its batch has lost may be submitted again") {
  Bank bank;
  CHECK_THAT(bank.Try([](Tx& tx) {
    OneStep(tx, "g").Submit();
    Sql(tx.Db(), "INSERT INTO bomb VALUES (1)");
  }),
             ContainsSubstring("rolled"));
  CHECK(bank.Status("g").empty());
  CHECK(bank.Try([](Tx& tx) { OneStep(tx, "g").Submit(); }).empty());
  bank.kit.Settle();
  CHECK(bank.Status("g") == "succeed");
  CHECK(bank.kit.Branches().Calls().size() == 1);
}

TEST_CASE("tx: the same limits as outside, and nothing gets stuck") {
  Bank bank;
  const auto refused = [&](const std::function<void(Tx&)>& submit) { return Inside(bank, submit); };
  CHECK_THAT(refused([](Tx& tx) { OneStep(tx, "").Submit(); }), ContainsSubstring("RejectedError"));
  CHECK_THAT(refused([](Tx& tx) { OneStep(tx, std::string(200, 'g')).Submit(); }),
             ContainsSubstring("RejectedError"));
  CHECK_THAT(refused([](Tx& tx) {
               auto saga = OneStep(tx, "orders");
               saga.AddBranchOrder(0, {7}).Submit();
             }),
             ContainsSubstring("RejectedError") && ContainsSubstring("step 7"));
  CHECK_THAT(refused([](Tx& tx) { dtm::NewSaga(tx, "none").AddBranchOrder(3, {4}).Submit(); }),
             ContainsSubstring("RejectedError") && ContainsSubstring("step 3"));
  CHECK_THAT(refused([](Tx& tx) { dtm::NewMsg(tx, "t").AddTopic("nobody", 1).Submit(); }),
             ContainsSubstring("RejectedError") && ContainsSubstring("topic"));
  CHECK_THAT(refused([](Tx& tx) {
               auto saga = OneStep(tx, "wait");
               saga.SetWaitResult().Submit();
             }),
             ContainsSubstring("LogicError"));
  for (const char* gid : {"", "orders", "none", "t", "wait"}) CHECK(bank.Status(gid).empty());
  CHECK(bank.Notes("asked") == 6);  // it is up to the work what it makes of it
}

TEST_CASE("tx: what does not fit into memory waits in the store, and begins when there is room") {
  dtm::Options options;
  options.max_in_memory = 4;
  Bank bank({}, options);
  for (int i = 0; i < 20; ++i) {
    const std::string n = std::to_string(i);
    bank.kit.Branches().On("http://a" + n, {{Result::Success(), seconds(1), false}});
    bank->Transact([&](Tx& tx) { OneStep(tx, "g" + n, ("http://a" + n).c_str()).Submit(); });
  }
  CHECK(bank.kit.Branches().Calls().size() == 4);
  bank.kit.Advance(seconds(30));
  CHECK(bank.kit.Branches().Calls().size() == 20);
  for (int i = 0; i < 20; ++i) CHECK(bank.Status("g" + std::to_string(i)) == "succeed");
}

TEST_CASE("tx: room that comes in the same turn is used, also by one that has a timeout") {
  dtm::Options options;
  options.max_in_memory = 4;
  Bank bank({}, options);
  for (int i = 0; i < 4; ++i) {
    const std::string url = "http://a" + std::to_string(i);
    bank.kit.Branches().On(url, {{Result::Success(), seconds(10), false}});
    OneStep(*bank, "g" + std::to_string(i), url.c_str()).Submit();
  }
  bank.kit.Settle();
  bank.kit.Clock().MoveTowards(bank.kit.Clock().Now() +
                               seconds(10));  // they answer in the next turn
  bank->Transact([](Tx& tx) {
    auto saga = OneStep(tx, "late");
    saga.SetTimeoutToFail(seconds(30)).Submit();
  });
  bank.kit.Advance(seconds(60));
  CHECK(bank.Status("late") == "succeed");
}

TEST_CASE("tx: a topic of that moment is expanded") {
  Bank bank;
  bank->Subscribe("all", "http://x");
  bank->Subscribe("all", "http://y");
  CHECK(bank.Try([](Tx& tx) { dtm::NewMsg(tx, "m").AddTopic("all", 1).Submit(); }).empty());
  bank.kit.Settle();
  CHECK(bank.kit.Branches().Urls() == std::vector<std::string>{"http://x", "http://y"});
}

TEST_CASE("tx: whatever would wait inside is a LogicError, and the work goes on") {
  Bank bank;
  dtm::Definition definition;
  definition.gid = "g";
  definition.steps.push_back({"http://a", "", "1"});
  const std::vector<std::function<void(Tx&)>> asks = {
      [&](Tx& tx) { (void)tx.SubmitAndWait(definition, seconds(1)); },
      [&](Tx& tx) { tx.SubmitAsync(definition, [](const dtm::Answer&) {}); },
      [&](Tx& tx) { tx.Prepare(definition); },
      [&](Tx& tx) { tx.Abort("g", dtm::TransType::kMsg, ""); },
      [&](Tx& tx) { tx.RegisterBranch("g", dtm::TransType::kTcc, {}); },
      [&](Tx& tx) { tx.PrepareWorkflow(definition); },
      [&](Tx& tx) { tx.ResumeWorkflow(definition); },
      [&](Tx& tx) { tx.FinishWorkflow("g", dtm::Status::kSucceed, "", ""); },
      [&](Tx& tx) { (void)tx.CallBranch({}); },
      [&](Tx&) { bank->Transact([](Tx&) {}); },
      [&](Tx&) { bank->Submit(definition); },
      [&](Tx&) { (void)bank->SubmitAndWait(definition, seconds(1)); },
      [&](Tx&) { bank->Prepare(definition); },
      [&](Tx&) { (void)bank->Wait("g", seconds(1)); },
      [&](Tx&) { bank->Cancel("g"); },
      [&](Tx&) { bank->ForceStop("g"); },
      [&](Tx&) { bank->RetryNow("g"); },
      [&](Tx&) {
        bank->Skip("g", "01", dtm::Op::kAction, {"", "why"});
      },
      [&](Tx&) { (void)bank->Explain("g"); },
      [&](Tx&) { bank->Subscribe("t", "http://x"); },
      [&](Tx&) { (void)bank->Poll(); },
      [&](Tx&) { (void)bank->Stop(seconds(1)); },
      [&](Tx&) { bank->Start(); }};
  for (std::size_t i = 0; i < asks.size(); ++i) {
    INFO("ask " << i);
    CHECK_THAT(Inside(bank, asks[i]), ContainsSubstring("LogicError"));
  }
  CHECK(bank.Notes("asked") == static_cast<int>(asks.size()));
  CHECK(bank.Status("g").empty());
}

TEST_CASE("tx: a tcc or xa cannot be submitted inside") {
  Bank bank;
  for (const dtm::TransType type :
       {dtm::TransType::kTcc, dtm::TransType::kXa, dtm::TransType::kWorkflow}) {
    CHECK_THAT(Inside(bank,
                      [&](Tx& tx) {
                        dtm::Definition definition;
                        definition.gid = "g";
                        definition.type = type;
                        tx.Submit(definition);
                      }),
               ContainsSubstring("LogicError") && ContainsSubstring("'g'"));
  }
}

TEST_CASE("tx: reading, gids and functions of the coordinator are at hand inside") {
  Bank bank;
  auto f = bank->Register<int>("F", [](const int&) {});
  OneStep(*bank, "old").Submit();
  std::string gid;
  bank->Transact([&](Tx& tx) {
    CHECK(bank->Query("old"));
    gid = dtm::MustGenGid(tx);
    CHECK(gid != bank->NewGid());
    CHECK(gid.size() == 22);
    dtm::NewSaga(tx, gid).Add(f, dtm::kNoBranch, 1).Submit();
    bank->Register<int>("Late", [](const int&) {});
  });
  bank.kit.Settle();
  CHECK(bank.Status(gid) == "succeed");
  Bank other;
  CHECK_THROWS_AS(
      other->Transact([&](Tx& tx) { dtm::NewSaga(tx, "g").Add(f, dtm::kNoBranch, 1).Submit(); }),
      dtm::LogicError);
}

TEST_CASE("tx: from a branch function it is an ordinary commit") {
  std::unique_ptr<Bank> bank;
  bank = std::make_unique<Bank>([&](dtm::Coordinator& tm) {
    tm.Register<int>("Pay", [&](const int&, const dtm::BranchInfo& info) {
      (*bank)->Transact([&](Tx& tx) {
        Note(tx.Db(), info.gid);
        OneStep(tx, info.gid + "-next").Submit();
      });
    });
  });
  dtm::Definition definition;
  definition.gid = "g";
  definition.steps.push_back({"local:Pay", "", "1"});
  CHECK((*bank)->SubmitAndWait(definition, hours(1)).Succeeded());
  bank->kit.Settle();
  CHECK(bank->Notes("g") == 1);
  CHECK(bank->Status("g-next") == "succeed");
}

TEST_CASE(
    "tx: from a callback of the loop, or from a function in a transaction, it is a LogicError") {
  Bank bank;
  int told = 0, asked = 0;
  OneStep(*bank, "g").SubmitAsync([&](const dtm::Answer&) {
    ++told;
    CHECK_THROWS_AS(bank->Transact([&](Tx&) { ++asked; }), dtm::LogicError);
  });
  auto nested = bank->RegisterInTransaction<int>("Nested", [&](sqlite3*, const int&) {
    ++told;
    CHECK_THROWS_AS(bank->Transact([&](Tx&) { ++asked; }), dtm::LogicError);
  });
  dtm::NewSaga(*bank, "n").Add(nested, dtm::kNoBranch, 1).Submit();
  bank.kit.Settle();
  CHECK(told == 2);
  CHECK(asked == 0);
}

TEST_CASE("tx: from another thread, beside a started coordinator") {
  sql_kit::Disk disk;
  dtm::Options options;
  options.log = nullptr;
  dtm::Coordinator tm(disk.NewStore(), options);
  auto pay = tm.RegisterInTransaction<int>("Pay", [](sqlite3* db, const int&) { Note(db, "pay"); });
  tm.Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        tm.Transact([&](Tx& tx) {
          Note(tx.Db(), "row");
          dtm::NewSaga(tx, std::to_string(t) + "-" + std::to_string(i))
              .Add(pay, dtm::kNoBranch, 1)
              .Submit();
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(tm.Wait("3-19", seconds(20)).Succeeded());
  CHECK(tm.Stop(seconds(20)));
  CHECK(disk.Notes("row") == 80);
  CHECK(disk.Notes("pay") == 80);  // in the commit of their rows
  CHECK_THROWS_AS(tm.Transact([](Tx&) {}), dtm::LogicError);
}
