/// Rows: branch ids (protocol §1) and what each row stands for (§4.1 to §4.5).
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>

using dtm::Definition;
using dtm::Op;
using dtm::TransType;

namespace {

Definition Transfer() {
  Definition saga;
  saga.gid = "g";
  saga.steps = {{"http://a/Out", "http://a/OutCom", "30"}, {"local:In", "", "31"}};
  saga.concurrent = true;
  saga.orders = {{1, {0}}};
  return saga;
}

Definition Of(TransType type) {
  Definition definition;
  definition.gid = "g";
  definition.type = type;
  definition.steps = {{"http://a/Do", "http://a/Undo", "30"},
                      {"http://b/Do", "http://b/Undo", "31"}};
  definition.query_prepared = "http://q/Query";
  definition.data = "the data";
  definition.workflow = "wf";
  return definition;
}

}  // namespace

TEST_CASE("rows: rows are compensation and action of each step") {
  const Definition saga = Transfer();
  CHECK(dtm::CompensateOf(0) == 0);
  CHECK(dtm::ActionOf(0) == 1);
  CHECK(dtm::CompensateOf(7) == 14);
  CHECK(dtm::ActionOf(7) == 15);
  for (std::size_t row = 0; row < 10; ++row) {
    CHECK(dtm::StepOf(dtm::TransType::kSaga, row) == row / 2);
    CHECK(dtm::OpOf(dtm::TransType::kSaga, row) == (row % 2 == 0 ? Op::kCompensate : Op::kAction));
  }
  CHECK(UrlOf(saga, 0) == "http://a/OutCom");
  CHECK(UrlOf(saga, 1) == "http://a/Out");
  CHECK(UrlOf(saga, 2).empty());
  CHECK(UrlOf(saga, 3) == "local:In");
  CHECK(PayloadOf(saga, 0) == "30");
  CHECK(PayloadOf(saga, 1) == "30");
  CHECK(PayloadOf(saga, 3) == "31");
}

TEST_CASE("rows: branch ids have two digits and count from one, also past 99") {
  const auto id = [](std::size_t step) { return dtm::NumberOf(step); };
  CHECK(id(0) == "01");
  CHECK(dtm::NumberOf(0) == "01");
  CHECK(id(8) == "09");
  CHECK(id(9) == "10");
  CHECK(id(98) == "99");
  CHECK(id(99) == "100");
  CHECK(id(999) == "1000");
}

TEST_CASE("rows: for whom a branch is called") {
  const dtm::BranchInfo info = InfoOf(Transfer(), 2);
  CHECK(info.gid == "g");
  CHECK(info.trans_type == dtm::TransType::kSaga);
  CHECK(info.branch_id == "02");
  CHECK(info.op == Op::kCompensate);
}

TEST_CASE("rows: a saga, tcc or xa has two rows for each step, what undoes it first") {
  for (const auto& [type, undo, does] : {std::tuple(TransType::kSaga, Op::kCompensate, Op::kAction),
                                         {TransType::kTcc, Op::kCancel, Op::kConfirm},
                                         {TransType::kXa, Op::kRollback, Op::kCommit}}) {
    CAPTURE(Name(type));
    const Definition definition = Of(type);
    CHECK_FALSE(dtm::HasQueryRow(type));
    CHECK(RowCount(definition) == 4);
    for (std::size_t row = 0; row < 4; ++row) {
      const bool second = row >= 2;
      CHECK(dtm::StepOf(type, row) == row / 2);
      CHECK(OpOf(definition, row) == (row % 2 == 0 ? undo : does));
      CHECK(BranchIdOf(definition, row) == (second ? "02" : "01"));
      CHECK(PayloadOf(definition, row) == (second ? "31" : "30"));
      CHECK(UrlOf(definition, row) ==
            std::string(second ? "http://b/" : "http://a/") + (row % 2 == 0 ? "Undo" : "Do"));
    }
  }
}

TEST_CASE(
    "rows: a message or workflow has the question to its initiator first, then a row for "
    "each step") {
  for (const auto& [type, question] :
       {std::pair(TransType::kMsg, Op::kMsg), {TransType::kWorkflow, Op::kResume}}) {
    CAPTURE(Name(type));
    const Definition definition = Of(type);
    CHECK(dtm::HasQueryRow(type));
    CHECK(RowCount(definition) == 3);
    CHECK(dtm::DeliveryOf(0) == 1);
    CHECK(dtm::StepOf(type, 2) == 1);
    CHECK(OpOf(definition, dtm::kQueryRow) == question);
    CHECK(BranchIdOf(definition, dtm::kQueryRow) == "00");
    CHECK(UrlOf(definition, dtm::kQueryRow) == "http://q/Query");
    CHECK(PayloadOf(definition, dtm::kQueryRow) == "the data");
    CHECK(OpOf(definition, 1) == Op::kAction);
    CHECK(BranchIdOf(definition, 2) == "02");
    CHECK(UrlOf(definition, 1) == "http://a/Do");
    CHECK(PayloadOf(definition, 2) == "31");
    Definition none = definition;
    none.steps.clear();
    CHECK(RowCount(none) == 1);
    CHECK(BranchIdOf(none, dtm::kQueryRow) == "00");
  }
}

TEST_CASE("rows: a step's own id and op count where it has them") {
  Definition tcc = Of(TransType::kTcc);
  tcc.steps[1].branch_id = "0201";
  CHECK(BranchIdOf(tcc, 1) == "01");
  CHECK(BranchIdOf(tcc, 2) == "0201");
  CHECK(BranchIdOf(tcc, 3) == "0201");
  Definition workflow = Of(TransType::kWorkflow);
  workflow.steps[0].branch_id = "07";
  workflow.steps[0].op = Op::kRollback;
  CHECK(BranchIdOf(workflow, 1) == "07");
  CHECK(OpOf(workflow, 1) == Op::kRollback);
  CHECK(OpOf(workflow, 2) == Op::kAction);
}

TEST_CASE("rows: for whom a branch is called, by type") {
  const auto info = [](TransType type, std::size_t row) { return InfoOf(Of(type), row); };
  for (const TransType type :
       {TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    CHECK(info(type, 1).gid == "g");
    CHECK(info(type, 1).trans_type == type);
    CHECK(info(type, 1).branch_id == "01");
    CHECK(info(type, 1).workflow == "wf");
  }
  CHECK(info(TransType::kMsg, 0).op == Op::kMsg);
  CHECK(info(TransType::kMsg, 0).branch_id == "00");
  CHECK(info(TransType::kTcc, 3).op == Op::kConfirm);
  CHECK(info(TransType::kTcc, 3).branch_id == "02");
  CHECK(info(TransType::kXa, 0).op == Op::kRollback);
  CHECK(info(TransType::kWorkflow, 0).op == Op::kResume);
}

TEST_CASE("rows: registered steps get their rows, and the rows that are there stay") {
  dtm::Transaction tcc;
  tcc.definition = std::make_shared<Definition>(Of(TransType::kTcc));
  tcc.branches.resize(2);
  tcc.branches[1].tries = 7;
  for (int i = 0; i < 2; ++i) {  // once is enough
    AddMissingRows(tcc);
    REQUIRE(tcc.branches.size() == 4);
    CHECK(tcc.branches[1].tries == 7);
    CHECK(tcc.branches[3].status == dtm::BranchStatus::kPrepared);
    CHECK(tcc.branches[3].tries == 0);
  }
}

TEST_CASE(
    "rows: a workflow's rows have the status they were recorded with, the question has "
    "none") {
  dtm::Transaction workflow;
  Definition definition = Of(TransType::kWorkflow);
  definition.steps[1].failed = true;
  workflow.definition = std::make_shared<Definition>(definition);
  AddMissingRows(workflow);
  REQUIRE(workflow.branches.size() == 3);
  CHECK(workflow.branches[0].status == dtm::BranchStatus::kPrepared);
  CHECK(workflow.branches[1].status == dtm::BranchStatus::kSucceed);
  CHECK(workflow.branches[2].status == dtm::BranchStatus::kFailed);
}

TEST_CASE("rows: every row is found by its branch id and operation, and by nothing else") {
  for (const TransType type :
       {TransType::kSaga, TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    Definition definition = Of(type);
    if (type == TransType::kTcc) definition.steps[1].branch_id = "0201";
    if (type == TransType::kWorkflow) {
      definition.steps[1].branch_id = "01";
      definition.steps[1].op = Op::kRollback;
    }
    CAPTURE(Name(type));
    for (std::size_t row = 0; row < dtm::RowCount(definition); ++row) {
      CHECK(dtm::RowOf(definition, dtm::BranchIdOf(definition, row), dtm::OpOf(definition, row)) ==
            row);
    }
    CHECK_FALSE(dtm::RowOf(definition, "01", Op::kTry));
    CHECK_FALSE(dtm::RowOf(definition, "1", dtm::OpOf(definition, 1)));
    CHECK_FALSE(dtm::RowOf(definition, "", dtm::OpOf(definition, 1)));
    CHECK_FALSE(dtm::RowOf(definition, "03", dtm::OpOf(definition, 1)));
  }
}
