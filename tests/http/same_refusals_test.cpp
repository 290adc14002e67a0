/// One table of what an endpoint refuses, run against the embedded coordinator and against the same one elsewhere:
/// both say the same, and nothing is changed by it.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/remote_coordinator.hpp>
#include <dtm/http/server.hpp>
#include <dtm/store/memory.hpp>

using dtm::Definition;
using dtm::Endpoint;
using dtm::Op;
using dtm::Status;
using dtm::Step;
using dtm::TransType;
using std::chrono::seconds;

namespace {

dtm::Options Quiet() {
  dtm::Options options;
  options.log = [](dtm::LogLevel, const std::string&) {};
  return options;
}

/// A served coordinator that calls no URLs; branches succeed at once because their action is empty, or stay as they are.
struct House {
  House() : tm(std::make_unique<dtm::MemoryStore>(), Quiet()), server(tm) {
    tm.Start();
    url = "http://127.0.0.1:" + std::to_string(server.Start("127.0.0.1", 0)) + "/api/dtmsvr";
  }
  dtm::Coordinator tm;
  dtm::Server server;
  std::string url;
};

/// How it ended, in one word.
std::string Outcome(const std::function<void()>& action) {
  try {
    action();
  } catch (const dtm::BusyError&) {
    return "busy";
  } catch (const dtm::BadInput&) {
    return "bad input";  // a kind of rejected
  } catch (const dtm::RejectedError&) {
    return "rejected";
  } catch (const dtm::FailureError&) {
    return "failure";
  } catch (const dtm::InDoubtError&) {
    return "in doubt";
  } catch (const dtm::StoreError&) {
    return "store";
  } catch (const dtm::LogicError&) {
    return "logic";
  } catch (const dtm::Error& error) {
    return std::string("error: ") + error.what();
  }
  return "done";
}

struct Row {
  const char* name;
  const char* outcome;
  std::function<void(Endpoint&, const std::string&)> before;
  std::function<void(Endpoint&, const std::string&)> then;
};

Definition Of(TransType type, const std::string& gid) {
  Definition definition;
  definition.gid = gid;
  definition.type = type;
  return definition;
}

/// Never ends: nobody calls its branch.
Definition Saga(const std::string& gid) {
  Definition saga = Of(TransType::kSaga, gid);
  saga.steps = {{"http://a/1", "http://a/2", "{}"}, {"http://b/1", "http://b/2", "[1]"}};
  return saga;
}
Definition Concurrent(const std::string& gid) {
  Definition saga = Saga(gid);
  saga.concurrent = true;
  saga.orders = {{1, {0}}};
  return saga;
}
/// Has succeeded when it is submitted.
Definition Done(const std::string& gid) {
  Definition saga = Of(TransType::kSaga, gid);
  saga.steps = {{"", "", "{}"}};
  return saga;
}
Definition Msg(const std::string& gid) {
  Definition msg = Of(TransType::kMsg, gid);
  msg.steps = {{"http://a/1", "", "{}"}};
  msg.query_prepared = "http://q";
  return msg;
}
Definition Workflow(const std::string& gid) {
  Definition workflow = Of(TransType::kWorkflow, gid);
  workflow.workflow = "wf";
  workflow.data = "data";
  return workflow;
}
Step Branch(const std::string& id = "01") {
  return {"http://a/confirm", "http://a/cancel", "{}", id};
}
Step Recorded(const std::string& id = "01") {
  return {"", "", "answer", id, "", Op::kAction, false};
}

using Change = std::function<void(Definition&)>;

/// Submits `first`, then the same with a change.
Row Again(const char* name, const char* outcome, Definition (*first)(const std::string&),
          const Change& change) {
  return {name, outcome, [first](Endpoint& tm, const std::string& gid) { tm.Submit(first(gid)); },
          [first, change](Endpoint& tm, const std::string& gid) {
            Definition again = first(gid);
            change(again);
            tm.Submit(std::move(again));
          }};
}
/// Submits what cannot be carried out.
Row Bad(const char* name, Definition (*good)(const std::string&), const Change& change) {
  return {name, "rejected", nullptr, [good, change](Endpoint& tm, const std::string& gid) {
            Definition bad = good(gid);
            change(bad);
            tm.Submit(std::move(bad));
          }};
}
/// Registers a branch with what is prepared.
Row Registers(const char* name, const char* outcome, TransType prepared, TransType type, Step step,
              std::vector<Step> before = {}) {
  return {name, outcome,
          [=](Endpoint& tm, const std::string& gid) {
            if (prepared == TransType::kWorkflow) {
              (void)tm.PrepareWorkflow(Workflow(gid));
            } else {
              tm.Prepare(prepared == TransType::kMsg ? Msg(gid) : Of(prepared, gid));
            }
            for (const Step& one : before) tm.RegisterBranch(gid, prepared, one);
          },
          [=](Endpoint& tm, const std::string& gid) { tm.RegisterBranch(gid, type, step); }};
}

void Nothing(Definition&) {}

std::vector<Row> Repeats() {
  return {
      Again("the same saga", "done", Saga, Nothing),
      Again("another payload", "rejected", Saga, [](Definition& d) { d.steps[1].payload = "2"; }),
      Again("another action", "rejected", Saga,
            [](Definition& d) { d.steps[1].action = "http://a/9"; }),
      Again("another compensation", "rejected", Saga,
            [](Definition& d) { d.steps[1].compensate.clear(); }),
      Again("one step less", "rejected", Saga, [](Definition& d) { d.steps.pop_back(); }),
      Again("one step more", "rejected", Saga,
            [](Definition& d) {
              d.steps.push_back({"", "", ""});
            }),
      Again("no steps any more", "rejected", Saga, [](Definition& d) { d.steps.clear(); }),
      Again(
          "steps where there were none", "rejected",
          [](const std::string& gid) { return Of(TransType::kSaga, gid); },
          [](Definition& d) { d.steps = Saga("x").steps; }),
      Again("concurrent where it was not", "rejected", Saga,
            [](Definition& d) { d.concurrent = true; }),
      Again("not concurrent any more", "rejected", Concurrent,
            [](Definition& d) { d.concurrent = false; }),
      Again("other orders", "rejected", Concurrent,
            [](Definition& d) {
              d.orders = {{0, {1}}};
            }),
      Again("no orders any more", "rejected", Concurrent, [](Definition& d) { d.orders.clear(); }),
      Again("orders of a sequential saga", "rejected", Saga,
            [](Definition& d) {
              d.orders = {{1, {0}}};
            }),
      Again("the same with orders", "done", Concurrent, Nothing),
      Again("other options", "done", Saga,
            [](Definition& d) { d.options.retry_interval = seconds(9); }),
      Again("another type", "rejected", Saga, [](Definition& d) { d.type = TransType::kMsg; }),
      Again("a tcc under the gid of a saga", "rejected", Saga,
            [](Definition& d) { d = Of(TransType::kTcc, d.gid); }),
      Again("the same after success", "done", Done, Nothing),
      Again("another one after success", "rejected", Done,
            [](Definition& d) { d.steps[0].payload = "2"; }),
      Again(
          "steps after success where there were none", "rejected",
          [](const std::string& gid) { return Of(TransType::kSaga, gid); },
          [](Definition& d) { d.steps = Done("x").steps; }),
      Again("orders after success", "rejected", Done, [](Definition& d) { d.concurrent = true; }),
      Again("the same message", "done", Msg, Nothing),
      Again("another message", "rejected", Msg,
            [](Definition& d) { d.steps[0].action = "http://a/9"; }),
      Again("a concurrent message", "rejected", Msg, [](Definition& d) { d.concurrent = true; }),
      Again("a message that asks elsewhere", "rejected", Msg,
            [](Definition& d) { d.query_prepared = "http://other"; }),
      Again(
          "the same tcc", "done", [](const std::string& gid) { return Of(TransType::kTcc, gid); },
          Nothing),
  };
}

std::vector<Row> AfterTheEnd() {
  const auto failed = [](Endpoint& tm, const std::string& gid) {
    tm.Prepare(Done(gid));
    tm.Abort(gid, TransType::kSaga, "poor");
  };
  const auto aborting = [](Endpoint& tm, const std::string& gid) {
    tm.Prepare(Of(TransType::kTcc, gid));
    tm.RegisterBranch(gid, TransType::kTcc, Branch());
    tm.Abort(gid, TransType::kTcc, "poor");
  };
  const auto ended = [](Endpoint& tm, const std::string& gid) { tm.Submit(Done(gid)); };
  return {
      {"the same after failure", "failure", failed,
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Done(gid)); }},
      {"another type after failure", "rejected", failed,
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Of(TransType::kMsg, gid)); }},
      {"prepare after failure", "rejected", failed,
       [](Endpoint& tm, const std::string& gid) { tm.Prepare(Done(gid)); }},
      {"submit of what is rolled back", "rejected", aborting,
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Of(TransType::kTcc, gid)); }},
      {"register with what is rolled back", "rejected", aborting,
       [](Endpoint& tm, const std::string& gid) {
         tm.RegisterBranch(gid, TransType::kTcc, Branch("02"));
       }},
      {"abort again", "done", aborting,
       [](Endpoint& tm, const std::string& gid) { tm.Abort(gid, TransType::kTcc, "again"); }},
      {"abort as another type", "rejected", aborting,
       [](Endpoint& tm, const std::string& gid) { tm.Abort(gid, TransType::kXa, "x"); }},
      {"abort after success", "rejected", ended,
       [](Endpoint& tm, const std::string& gid) { tm.Abort(gid, TransType::kSaga, "x"); }},
      {"prepare after success", "rejected", ended,
       [](Endpoint& tm, const std::string& gid) { tm.Prepare(Done(gid)); }},
      {"register after success", "rejected", ended,
       [](Endpoint& tm, const std::string& gid) {
         tm.RegisterBranch(gid, TransType::kTcc, Branch());
       }},
      {"abort of nothing", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) { tm.Abort(gid, TransType::kTcc, "x"); }},
      {"register with nothing", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) {
         tm.RegisterBranch(gid, TransType::kTcc, Branch());
       }},
      {"abort of a submitted message", "rejected",
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Msg(gid)); },
       [](Endpoint& tm, const std::string& gid) { tm.Abort(gid, TransType::kMsg, "x"); }},
      {"another prepare", "rejected",
       [](Endpoint& tm, const std::string& gid) { tm.Prepare(Msg(gid)); },
       [](Endpoint& tm, const std::string& gid) {
         Definition other = Msg(gid);
         other.steps[0].payload = "2";
         tm.Prepare(std::move(other));
       }},
      {"the submit of a prepared one need not repeat its steps", "done",
       [](Endpoint& tm, const std::string& gid) { tm.Prepare(Msg(gid)); },
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Of(TransType::kMsg, gid)); }},
      {"nor need the repeat of that", "done",
       [](Endpoint& tm, const std::string& gid) {
         tm.Prepare(Msg(gid));
         tm.Submit(Of(TransType::kMsg, gid));
       },
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Of(TransType::kMsg, gid)); }},
      {"a prepared message without a question", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) {
         Definition msg = Msg(gid);
         msg.query_prepared.clear();
         tm.Prepare(std::move(msg));
       }},
  };
}

std::vector<Row> Registrations() {
  const Step branch = Branch();
  Step other = Branch();
  other.payload = "2";
  Step topic = Branch();
  topic.action = "topic://t";
  Step no_op = Recorded();
  no_op.op = Op{};
  Step resume = Recorded();
  resume.op = Op::kResume;
  const TransType tcc = TransType::kTcc, xa = TransType::kXa, workflow = TransType::kWorkflow;
  return {
      Registers("a branch", "done", tcc, tcc, branch),
      Registers("the same branch again", "done", tcc, tcc, branch, {branch}),
      Registers("the same branch otherwise", "rejected", tcc, tcc, other, {branch}),
      Registers("a branch of another type", "rejected", tcc, xa, branch),
      Registers("a branch of a message", "rejected", TransType::kMsg, TransType::kMsg, branch),
      Registers("a branch of a saga", "rejected", TransType::kSaga, TransType::kSaga, branch),
      Registers("a branch without an id", "rejected", tcc, tcc, Branch("")),
      Registers("the longest id", "done", tcc, tcc, Branch(std::string(dtm::kMaxGidBytes, '0'))),
      Registers("too long an id", "rejected", tcc, tcc,
                Branch(std::string(dtm::kMaxGidBytes + 1, '0'))),
      Registers("an id that is no text", "rejected", tcc, tcc, Branch("\xFF")),
      Registers("a branch that is a topic", "rejected", tcc, tcc, topic),
      Registers("a recorded step", "done", workflow, workflow, Recorded()),
      Registers("a recorded step that did nothing", "rejected", workflow, workflow, no_op),
      Registers("a recorded step that is no step", "rejected", workflow, workflow, resume),
  };
}

std::vector<Row> Workflows() {
  const auto prepared = [](Endpoint& tm, const std::string& gid) {
    (void)tm.PrepareWorkflow(Workflow(gid));
  };
  return {
      {"a workflow is not submitted", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Workflow(gid)); }},
      {"nor is it submitted and awaited", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) {
         (void)tm.SubmitAndWait(Workflow(gid), seconds(1));
       }},
      {"nor without waiting", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) {
         tm.SubmitAsync(Workflow(gid), [](const dtm::Answer&) {});
       }},
      {"a workflow is not aborted", "rejected", prepared,
       [](Endpoint& tm, const std::string& gid) { tm.Abort(gid, TransType::kWorkflow, "x"); }},
      {"the end of nothing", "rejected", nullptr,
       [](Endpoint& tm, const std::string& gid) {
         tm.FinishWorkflow(gid, Status::kSucceed, "", "");
       }},
      {"an end that is none", "logic", prepared,
       [](Endpoint& tm, const std::string& gid) {
         tm.FinishWorkflow(gid, Status::kAborting, "", "");
       }},
      {"another end", "rejected",
       [prepared](Endpoint& tm, const std::string& gid) {
         prepared(tm, gid);
         tm.FinishWorkflow(gid, Status::kSucceed, "", "");
       },
       [](Endpoint& tm, const std::string& gid) {
         tm.FinishWorkflow(gid, Status::kFailed, "", "");
       }},
      {"the end of a saga", "rejected",
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Saga(gid)); },
       [](Endpoint& tm, const std::string& gid) {
         tm.FinishWorkflow(gid, Status::kSucceed, "", "");
       }},
      {"a workflow under the gid of a saga", "rejected",
       [](Endpoint& tm, const std::string& gid) { tm.Submit(Saga(gid)); },
       [](Endpoint& tm, const std::string& gid) { (void)tm.PrepareWorkflow(Workflow(gid)); }},
  };
}

std::vector<Row> Limits() {
  std::vector<Row> rows = {
      Bad("no gid", Saga, [](Definition& d) { d.gid.clear(); }),
      Bad("a long gid", Saga, [](Definition& d) { d.gid = std::string(129, 'g'); }),
      Bad("too many steps", Saga, [](Definition& d) { d.steps.resize(1001); }),
      Bad("a large payload", Saga,
          [](Definition& d) { d.steps[0].payload = std::string(256 * 1024 + 1, 'p'); }),
      Bad("a url that is no text", Saga,
          [](Definition& d) { d.steps[0].action = "http://a/\xFF"; }),
      Bad("a cycle", Concurrent,
          [](Definition& d) {
            d.orders = {{0, {1}}, {1, {0}}};
          }),
      Bad("an order of no step", Concurrent,
          [](Definition& d) {
            d.orders = {{7, {0}}};
          }),
      Bad("orders without steps", Concurrent, [](Definition& d) { d.steps.clear(); }),
      Bad("a topic in a saga", Saga, [](Definition& d) { d.steps[0].action = "topic://t"; }),
      Bad("a topic without subscribers", Msg,
          [](Definition& d) { d.steps[0].action = "topic://t"; }),
      Bad("a topic that is asked", Msg, [](Definition& d) { d.query_prepared = "topic://t"; }),
      Bad("a negative delay", Msg, [](Definition& d) { d.delay = seconds(-1); }),
      Bad("a long timeout", Saga,
          [](Definition& d) { d.options.timeout_to_fail = seconds(86401); }),
      Bad("a negative interval", Saga,
          [](Definition& d) { d.options.retry_interval = seconds(-1); }),
      Bad("a negative limit", Saga, [](Definition& d) { d.options.retry_limit = -1; }),
      Bad("a header with a line break", Saga,
          [](Definition& d) { d.options.branch_headers["a"] = "b\nc"; }),
      Bad("too many headers", Saga,
          [](Definition& d) {
            for (int i = 0; i < 33; ++i) d.options.branch_headers["h" + std::to_string(i)] = "v";
          }),
  };
  for (const char* in_it : {"\n", "\r", ";", "\t", "\x7F", "\xFF"}) {
    rows.push_back(
        Bad("a gid with what no gid has", Saga, [in_it](Definition& d) { d.gid += in_it; }));
  }
  return rows;
}

std::vector<Row> Urls() {
  std::vector<Row> rows;
  for (const char* bad : {"bank/TransIn", "http://", "http://:80/x", "ftp://h/", "http://h:0/"}) {
    rows.push_back(Bad("an action", Saga, [bad](Definition& d) { d.steps[1].action = bad; }));
    rows.push_back(
        Bad("a compensation", Saga, [bad](Definition& d) { d.steps[1].compensate = bad; }));
    rows.push_back(Bad("of a message", Msg, [bad](Definition& d) { d.steps[0].action = bad; }));
    rows.push_back(Bad("who is asked", Msg, [bad](Definition& d) { d.query_prepared = bad; }));
    rows.push_back(
        {"who resumes it", "rejected", nullptr, [bad](Endpoint& tm, const std::string& gid) {
           Definition workflow = Workflow(gid);
           workflow.query_prepared = bad;
           (void)tm.PrepareWorkflow(workflow);
         }});
    for (const bool undo : {false, true}) {
      Step branch = Branch();
      (undo ? branch.compensate : branch.action) = bad;
      rows.push_back(Registers("of a tcc", "rejected", TransType::kTcc, TransType::kTcc, branch));
    }
    Step branch = Branch();
    branch.action = branch.compensate = bad;
    rows.push_back(Registers("of an xa", "rejected", TransType::kXa, TransType::kXa, branch));
    rows.push_back(
        {"a call here and now", "rejected", nullptr, [bad](Endpoint& tm, const std::string& gid) {
           dtm::InitiatorCall call;
           call.info.gid = gid;
           call.url = bad;
           (void)tm.CallBranch(call);
         }});
  }
  return rows;
}

std::string StoredIn(House& house, const std::string& gid) {
  const auto stored = house.tm.Query(gid);
  if (!stored) return "nothing";
  return std::string(Name(stored->definition->type)) + " " + Name(stored->status) + " " +
         std::to_string(stored->definition->steps.size()) + " steps " + stored->reason;
}

}  // namespace

TEST_CASE("same refusals: what the embedded coordinator refuses, the remote one refuses") {
  House house;
  dtm::RemoteCoordinator remote(house.url);
  int n = 0;
  for (const auto& rows :
       {Repeats(), AfterTheEnd(), Registrations(), Workflows(), Limits(), Urls()}) {
    for (const Row& row : rows) {
      // The words in the gid mean nothing.
      for (const char* word : {"g", "FAILURE", "ONGOING SUCCESS"}) {
        const std::string number = std::to_string(n++);
        CAPTURE(row.name, word);
        std::string stored[2], outcome[2];
        for (Endpoint* tm : {static_cast<Endpoint*>(&house.tm), static_cast<Endpoint*>(&remote)}) {
          const bool far = tm == &remote;
          CAPTURE(far);
          const std::string gid = word + number + (far ? "f" : "n");
          if (row.before) row.before(*tm, gid);
          const std::string before = StoredIn(house, gid);
          outcome[far ? 1 : 0] = Outcome([&] { row.then(*tm, gid); });
          stored[far ? 1 : 0] = StoredIn(house, gid);
          if (row.outcome != std::string("done")) CHECK(stored[far ? 1 : 0] == before);
        }
        CHECK(stored[0] == stored[1]);
        CHECK(outcome[0] == outcome[1]);
        const bool bad_input = row.outcome == std::string("rejected") && outcome[0] == "bad input";
        if (!bad_input) CHECK(outcome[0] == row.outcome);
      }
    }
  }
}
