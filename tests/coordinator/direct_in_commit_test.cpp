/// Functions of RegisterInTransaction that the initiator calls itself: the try of a tcc, the action of an xa, the step of
/// a workflow, the question of a message.
#include <chrono>
#include <string>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/support/quiet.hpp"

using dtm::Result;
using sql_kit::Note;
using std::chrono::seconds;

namespace {

struct Bank {
  Bank() : tm(disk.NewStore(), dtm_test::Quiet()) {
    const auto note = [](const char* what, const char* answer) {
      return [what, answer = std::string(answer)](sqlite3* db, const int&,
                                                  const dtm::BranchInfo& who) {
        Note(db, std::string(what) + who.branch_id + dtm::Name(who.op));
        if (answer == "throw") throw std::runtime_error("broken");
        return answer == "no" ? Result::Failure("poor") : Result::Success();
      };
    };
    good = tm.RegisterInTransaction<int>("Good", note("good", ""));
    no = tm.RegisterInTransaction<int>("No", note("no", "no"));
    broken = tm.RegisterInTransaction<int>("Broken", note("broken", "throw"));
  }
  sql_kit::Disk disk;
  dtm::Coordinator tm;
  dtm::LocalBranch<int> good, no, broken;
};

}  // namespace

TEST_CASE(
    "direct in commit: the try of a tcc has happened when it returns, and is undone if it fails") {
  Bank bank;
  if (GENERATE(false, true)) bank.tm.Start();
  dtm::TccGlobalTransaction(bank.tm, "g", [&](dtm::Tcc& tcc) {
    tcc.CallBranch(1, bank.good, bank.good, bank.good);
    CHECK(bank.disk.Notes("good01try") == 1);
  });
  CHECK(bank.tm.Wait("g", seconds(10)).Succeeded());
  CHECK(bank.disk.Notes("good01confirm") == 1);
  CHECK_THROWS_AS(
      dtm::TccGlobalTransaction(
          bank.tm, "no", [&](dtm::Tcc& tcc) { tcc.CallBranch(1, bank.no, bank.good, bank.good); }),
      dtm::FailureError);
  CHECK(bank.tm.Wait("no", seconds(10)).Failed());
  CHECK(bank.disk.Notes("no01try") == 0);
  CHECK(bank.disk.Notes("good01cancel") == 1);
  CHECK_THROWS_WITH(
      dtm::TccGlobalTransaction(
          bank.tm, "broken",
          [&](dtm::Tcc& tcc) { tcc.CallBranch(1, bank.broken, bank.good, bank.good); }),
      Catch::Matchers::Contains("broken"));
  CHECK(bank.disk.Notes("broken01try") == 0);
}

TEST_CASE("direct in commit: the action of an xa, and the step and the callbacks of a workflow") {
  Bank bank;
  bank.tm.Start();
  dtm::XaGlobalTransaction(bank.tm, "xa", [&](dtm::Xa& xa) { xa.CallBranch(1, bank.good); });
  CHECK(bank.disk.Notes("good01action") == 1);
  const auto workflow =
      dtm::RegisterWorkflow<int>(bank.tm, "wf", [&](dtm::Workflow& wf, const int& fail) {
        wf.NewBranch().OnRollback(bank.good, 1).OnCommit(bank.good, 1).Call(bank.good, 1);
        if (fail != 0) wf.NewBranch().Call(bank.no, 1);
      });
  workflow.Execute("w1", 0);
  CHECK(bank.disk.Notes("good01action") == 2);
  CHECK(bank.disk.Notes("good01commit") == 1);
  CHECK_THROWS_AS(workflow.Execute("w2", 1), dtm::FailureError);
  CHECK(bank.disk.Notes("no02action") == 0);
  CHECK(bank.disk.Notes("good01rollback") == 1);
}

TEST_CASE("direct in commit: one of a former program is missing, and said to be") {
  Bank bank;
  dtm::InitiatorCall call;
  call.info = {"g", dtm::TransType::kTcc, "01", dtm::Op::kTry, {}};
  call.url = "local:tx/Gone";
  const Result result = bank.tm.CallBranch(call);
  CHECK(result.kind == Result::Kind::kNotSent);
  CHECK_THAT(result.text, Catch::Matchers::Contains("Gone"));
}
