/// What Options::on_span is told: each transaction and each attempt as a span, in one trace, whatever crashes or fails.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/coordinator/sql_kit.hpp"
#include "tests/coordinator/world.hpp"
#include "tests/support/quiet.hpp"
#include <dtm/client/tcc.hpp>
#include <dtm/client/workflow.hpp>
#include <dtm/client/xa.hpp>
#include <dtm/observe/span.hpp>

using dtm::BranchInfo;
using dtm::Definition;
using dtm::Options;
using dtm::Result;
using dtm::Span;
using dtm::TransType;
using dtm::testing::ScriptedAnswer;
using dtm::testing::StoreFault;
using dtm::testing::TestCoordinator;
using std::chrono::milliseconds;
using std::chrono::seconds;
using world::NewDefinition;
using Names = std::vector<std::string>;

namespace {

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c";
const std::string kCaller = "b7ad6b7169203331";

Options Telling(std::vector<Span>& told) {
  Options options = dtm_test::Quiet();
  options.on_span = [&told](const Span& span) { told.push_back(span); };
  return options;
}

std::string Of(const Span& span, const std::string& name) {
  for (const auto& [key, value] : span.attributes) {
    if (key == name) return value;
  }
  return {};
}

Names NamesOf(const std::vector<Span>& told) {
  Names names;
  for (const Span& span : told) names.push_back(span.name);
  return names;
}

/// All are in one trace, below that of the transaction; no id comes twice.
void CheckTree(const std::vector<Span>& told) {
  const auto found = std::find_if(told.begin(), told.end(),
                                  [](const Span& span) { return !Of(span, "dtm.status").empty(); });
  REQUIRE(found != told.end());
  const Span& whole = *found;
  std::set<std::string> ids;
  for (const Span& span : told) {
    INFO(span.name);
    CHECK(span.trace_id.size() == 32);
    CHECK(span.trace_id == whole.trace_id);
    CHECK(span.span_id.size() == 16);
    CHECK(ids.insert(span.span_id).second);
    CHECK(span.gid == whole.gid);
    CHECK(Of(span, "dtm.gid") == whole.gid);
    CHECK(span.begin <= span.end);
    if (&span != &whole) CHECK(span.parent_id == whole.span_id);
  }
}

Definition Traced(Definition definition, const std::string& flags = "01") {
  definition.options.branch_headers["traceparent"] = "00-" + kTrace + "-" + kCaller + "-" + flags;
  definition.options.branch_headers["tracestate"] = "a=1";
  return definition;
}

/// The span of the call is the parent of what the branch does.
bool IsParent(const Span& span, const BranchInfo& info) {
  return info.traceparent == "00-" + span.trace_id + "-" + span.span_id + "-01";
}

}  // namespace

TEST_CASE("spans: a saga with a retry and a rollback, in a trace of its own") {
  std::vector<Span> told;
  TestCoordinator kit({}, Telling(told));
  kit.Branches().On("http://a/02/action", {{Result::Error("busy"), seconds(2), false},
                                           {Result::Failure("no money"), seconds(1), false}});
  const dtm::Time begin = kit.Clock().Now();
  kit->Submit(NewDefinition("a", 2));
  kit.Advance(seconds(60));
  REQUIRE(NamesOf(told) == Names{"saga action 01", "saga action 02", "saga action 02",
                                 "saga compensate 02", "saga compensate 01", "saga"});
  CheckTree(told);
  CHECK(told.back().parent_id.empty());
  CHECK(told.back().sampled);
  CHECK(told.back().failed);
  CHECK(told.back().text == "no money");
  CHECK(Of(told.back(), "dtm.status") == "failed");
  CHECK(told.back().begin == begin);
  CHECK(told.back().end == kit->Query("a")->finished);
  CHECK_FALSE(told[0].failed);
  CHECK(told[1].begin == begin);
  CHECK(told[1].end == begin + seconds(2));
  CHECK(told[1].failed);
  CHECK(told[1].text == "busy");
  CHECK(Of(told[1], "dtm.outcome") == "error");
  CHECK(Of(told[1], "dtm.attempt") == "1");
  CHECK(Of(told[2], "dtm.attempt") == "2");
  CHECK(Of(told[2], "dtm.outcome") == "failure");
  CHECK(Of(told[2], "dtm.branch_id") == "02");
  CHECK(Of(told[2], "dtm.op") == "action");
  CHECK(Of(told[2], "url.full") == "http://a/02/action");
  const auto& calls = kit.Branches().Calls();
  REQUIRE(calls.size() == 5);
  for (std::size_t i = 0; i < calls.size(); ++i) CHECK(IsParent(told[i], calls[i].info));
}

TEST_CASE("spans: in the trace with which it came") {
  std::vector<Span> told;
  TestCoordinator kit({}, Telling(told));
  kit->Submit(Traced(NewDefinition("a", 1)));
  kit.Settle();
  REQUIRE(NamesOf(told) == Names{"saga action 01", "saga"});
  CheckTree(told);
  CHECK(told[1].trace_id == kTrace);
  CHECK(told[1].parent_id == kCaller);
  CHECK(told[1].trace_state == "a=1");
  CHECK(IsParent(told[0], kit.Branches().Calls().at(0).info));
  CHECK(kit.Branches().Calls().at(0).info.tracestate == "a=1");
  told.clear();
  kit->Submit(Traced(NewDefinition("b", 1), "00"));
  kit.Settle();
  CHECK_FALSE(told.at(0).sampled);
  CHECK_FALSE(told.at(1).sampled);
  CHECK(kit.Branches().Calls().at(1).info.traceparent.substr(52) == "-00");
}

TEST_CASE("spans: what is no traceparent is none, and its state neither") {
  std::vector<Span> told;
  TestCoordinator kit({}, Telling(told));
  Definition saga = NewDefinition("a", 1);
  saga.options.branch_headers = {{"traceparent", "nonsense"}, {"tracestate", "a=1"}};
  kit->Submit(saga);
  kit.Settle();
  CheckTree(told);
  CHECK(told.back().parent_id.empty());
  CHECK(told.back().trace_state.empty());
  CHECK(kit.Branches().Calls().at(0).info.tracestate.empty());
}

TEST_CASE(
    "spans: after a crash they are in the same trace; an attempt whose result is lost is not "
    "told") {
  std::vector<Span> told;
  std::vector<std::string> traces;
  Options options = Telling(told);
  options.on_event = [&traces](const dtm::Event& event) { traces.push_back(event.trace_id); };
  TestCoordinator kit({}, options);
  kit.Branches().On("http://a/02/action", {ScriptedAnswer::Silence()});
  kit->Submit(NewDefinition("a", 2));
  kit.Advance(milliseconds(1));
  kit.Crash();
  kit.Advance(seconds(60));
  REQUIRE(NamesOf(told) == Names{"saga action 01", "saga action 02", "saga"});
  CheckTree(told);
  CHECK(Of(told[1], "dtm.attempt") == "2");
  CHECK(kit.Branches().Calls().size() == 3);
  for (const std::string& trace : traces) CHECK(trace == told[0].trace_id);
  CHECK(traces.size() == 8);
}

TEST_CASE("spans: all types, with the calls that initiators make and the questions to them") {
  std::vector<Span> told;
  std::map<std::string, BranchInfo> infos;
  TestCoordinator kit({}, Telling(told));
  const auto f = kit->Register<int>("F", [&infos](const int&, const BranchInfo& info) {
    infos[info.gid + std::string(" ") + Name(info.op)] = info;
  });
  const auto names = [&told](const std::string& gid) {
    std::vector<Span> of;
    for (const Span& span : told) {
      if (span.gid == gid) of.push_back(span);
    }
    CheckTree(of);
    return NamesOf(of);
  };

  dtm::TccGlobalTransaction(*kit, "t", [&](dtm::Tcc& tcc) {
    tcc.CallBranch(1, f, f, f);
    tcc.CallBranch(1, std::string("http://try"), std::string("http://confirm"),
                   std::string("http://cancel"));
  });
  kit.Settle();
  CHECK(names("t") == Names{"tcc try 01", "tcc try 02", "tcc confirm 02", "tcc confirm 01", "tcc"});
  CHECK(IsParent(told[0], infos.at("t try")));
  CHECK(IsParent(told[3], infos.at("t confirm")));
  CHECK(Of(told[0], "dtm.function") == "F");
  CHECK(Of(told[0], "dtm.attempt").empty());
  CHECK(Of(told[1], "url.full") == "http://try");
  CHECK(IsParent(told[1], kit.Branches().Calls().at(0).info));

  dtm::XaGlobalTransaction(*kit, "x", [&](dtm::Xa& xa) {
    xa.CallBranch(1, std::string("http://xa"));
    kit->RegisterBranch("x", TransType::kXa, {"http://xa", "http://xa", "", "01"});
  });
  kit.Settle();
  CHECK(names("x") == Names{"xa action 01", "xa commit 01", "xa"});
  const std::size_t xa = told.size() - 3;
  CHECK(Of(told[xa], "url.full") == "http://xa");  // without what it is told in its query

  Definition message = NewDefinition("m", 1);
  message.type = TransType::kMsg;
  message.steps[0].compensate.clear();
  (void)kit->Register<nlohmann::json>("Asked", [](const nlohmann::json&) {});
  message.query_prepared = "local:Asked";
  kit->Prepare(message);
  kit.Advance(seconds(60));
  CHECK(names("m") == Names{"msg msg 00", "msg action 01", "msg"});

  int runs = 0;
  const auto order = dtm::RegisterWorkflow<int>(*kit, "order", [&](dtm::Workflow& wf, const int&) {
    wf.NewBranch().Call(f, 1);
    if (++runs == 1) throw dtm::OngoingError("later");
  });
  CHECK_THROWS(order.Execute("w", 1));
  kit->RetryNow("w");
  kit.Advance(seconds(60));
  CHECK(runs == 2);
  Names workflow = names("w");  // it is asked to resume while it runs, too
  std::sort(workflow.begin(), workflow.end());
  workflow.erase(std::unique(workflow.begin(), workflow.end()), workflow.end());
  CHECK(workflow == Names{"workflow action 01", "workflow order", "workflow resume 00"});
}

TEST_CASE("spans: each attempt and the end once, whatever operation of the store fails") {
  for (std::uint64_t n = 1; n < 24; ++n) {
    for (const auto fault :
         {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      INFO("operation " << n << ", fault " << static_cast<int>(fault));
      std::vector<Span> told;
      TestCoordinator kit({}, Telling(told));
      kit.Branches().On("http://a/01/action", {{Result::Error("busy"), seconds(1), false}});
      kit->Submit(NewDefinition("a", 2));
      kit.Store().FailOnce(n, fault);
      kit.Advance(seconds(100));
      CheckTree(told);
      CHECK(told.size() == kit.Branches().Calls().size() + 1);
      CHECK(told.back().name == "saga");
    }
  }
}

TEST_CASE("spans: a function inside a commit, once, also when its batch is lost") {
  std::vector<Span> told;
  sql_kit::Bank bank({}, Telling(told));
  BranchInfo last;
  const auto pay = bank->RegisterInTransaction<int>(
      "Pay", [&last](sqlite3* db, const int&, const BranchInfo& info) {
        last = info;
        sql_kit::Note(db, "pay");
      });
  dtm::Saga saga(*bank, "a");
  saga.Add(pay, pay, 1);
  saga.SubmitAsync([](const dtm::Answer&) {});
  // In the same batch: SQLite rolls all of it back, and the function runs again.
  CHECK_FALSE(
      bank.Try([](dtm::Tx& tx) { sql_kit::Careless(tx.Db(), "INSERT INTO bomb VALUES (1)"); })
          .empty());
  bank.kit.Settle();
  REQUIRE(NamesOf(told) == Names{"saga action 01", "saga"});
  CheckTree(told);
  CHECK(IsParent(told[0], last));
  CHECK(Of(told[0], "dtm.function") == "tx/Pay");
}

/// Nothing of it comes into memory again.
TEST_CASE("spans: what ended in its first commit, whatever operation of the store fails") {
  for (const char* how : {"nothing to call", "stopped at once"}) {
    int in_doubt = 0;
    for (std::uint64_t n = 1; n < 12; ++n) {
      for (const auto fault :
           {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
        INFO(how << ", operation " << n << ", fault " << static_cast<int>(fault));
        std::vector<Span> told;
        TestCoordinator kit({}, Telling(told));
        kit.Settle();
        Definition saga = NewDefinition("a", 1);
        const bool stopped = how[0] == 's';
        if (!stopped) saga.steps = {{"", "", "{}"}};
        kit.Store().FailOnce(n, fault);
        for (int tries = 0; tries < 3; ++tries) {
          bool done = false;
          kit->SubmitAsync(saga, [&](const dtm::Answer& answer) {
            done = answer.error == nullptr;
            try {
              (void)answer.Get();
            } catch (const dtm::InDoubtError&) {
              ++in_doubt;
            } catch (const std::exception&) {
            }
          });
          if (stopped) kit->ForceStopAsync("a", [](const dtm::Answer&) {});
          kit.Advance(seconds(2));
          if (done) break;
        }
        kit.Store().FailOnce(1000, StoreFault::kNone);  // it had its chance
        const auto stored = kit->Query("a");
        REQUIRE(stored);
        REQUIRE(dtm::IsFinal(stored->status));
        CHECK(NamesOf(told) == Names{"saga"});
        CHECK(kit->Counted().ended.at({TransType::kSaga, stored->status}) == 1);
      }
    }
    CHECK(in_doubt >= 2);
  }
}

TEST_CASE("spans: functions inside a commit that is in doubt, in the first one or later") {
  for (const bool first : {true, false}) {
    for (const auto fault :
         {StoreFault::kDefinite, StoreFault::kInDoubtNotStored, StoreFault::kInDoubtButStored}) {
      for (std::uint64_t n = 1; n < 12; ++n) {
        INFO(first << ", operation " << n << ", fault " << static_cast<int>(fault));
        std::vector<Span> told;
        sql_kit::Bank bank({}, Telling(told));
        const auto pay = bank->RegisterInTransaction<int>("Pay", [](sqlite3*, const int&) {});
        bank.kit.Settle();
        bank.kit.Store().FailOnce(n, fault);
        Definition saga = NewDefinition("a", first ? 1 : 2);
        saga.steps.back() = {"local:tx/Pay", "", "1"};
        for (int tries = 0; tries < 3; ++tries) {
          bool done = false;
          bank->SubmitAsync(saga, [&](const dtm::Answer& answer) { done = !answer.error; });
          bank.kit.Advance(seconds(20));
          if (done) break;
        }
        Names names = NamesOf(told);
        CHECK(names == (first ? Names{"saga action 01", "saga"}
                              : Names{"saga action 01", "saga action 02", "saga"}));
        CHECK(bank->Counted().branches.at(
                  {TransType::kSaga, first ? "01" : "02", dtm::Op::kAction, true}) == 1);
        CHECK(bank->Counted().ended.at({TransType::kSaga, dtm::Status::kSucceed}) == 1);
      }
    }
  }
}

TEST_CASE("spans: nobody wants them") {
  TestCoordinator kit({}, dtm_test::Quiet());
  kit->Submit(NewDefinition("a", 1));
  kit.Settle();
  CHECK(kit.Branches().Calls().at(0).info.traceparent.empty());
  CHECK(kit->Measure().hooks.empty());
}
