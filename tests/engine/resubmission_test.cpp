/// What a repeat means, as a table of docs/http_api.md "Repeats" (stored status x type x content x
/// prepare or submit -> attach, promote or refuse with a sentence), and what a promoted one is.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/machine_kit.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/engine/resubmission.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Definition;
using dtm::Status;
using dtm::TransType;
using dtm::engine::OnResubmission;
using dtm::engine::Promoted;
using dtm::engine::Resubmission;
using saga_kit::Saga;
using std::chrono::seconds;

namespace {

dtm::Transaction Stored(bool prepared_first, Status status) {
  Definition definition = Saga("2 concurrent 1:0");
  definition.prepared_first = prepared_first;
  dtm::Transaction transaction = saga_kit::NewTransaction(std::move(definition));
  transaction.status = status;
  return transaction;
}

/// What comes now: the same content as Stored, as Coordinator::Prepare and Submit hand it on.
Definition Again(bool prepare) {
  Definition definition = Saga("2 concurrent 1:0");
  definition.prepared_first = prepare;
  return definition;
}

struct Variant {
  const char* name;
  std::function<void(Definition&)> change;
};

/// Everything that makes it another content.
const std::vector<Variant>& Others() {
  static const std::vector<Variant> others = {
      {"payload", [](Definition& d) { d.steps[1].payload = "{}"; }},
      {"action", [](Definition& d) { d.steps[0].action += "/other"; }},
      {"compensation", [](Definition& d) { d.steps[1].compensate.clear(); }},
      {"order of steps", [](Definition& d) { std::swap(d.steps[0], d.steps[1]); }},
      {"fewer steps", [](Definition& d) { d.steps.pop_back(); }},
      {"more steps", [](Definition& d) { d.steps.push_back(d.steps[0]); }},
      {"no steps", [](Definition& d) { d.steps.clear(); }},
      {"one after the other", [](Definition& d) { d.concurrent = false; }},
      {"no orders", [](Definition& d) { d.orders.clear(); }},
      {"another order",
       [](Definition& d) {
         d.orders = {{0, {1}}};
       }},
  };
  return others;
}

/// Everything that does not.
const std::vector<Variant>& Sames() {
  static const std::vector<Variant> sames = {
      {"as it was", [](Definition&) {}},
      {"wait_result", [](Definition& d) { d.options.wait_result = true; }},
      {"timeout", [](Definition& d) { d.options.timeout_to_fail = seconds(9); }},
      {"request", [](Definition& d) { d.options.request_timeout = seconds(9); }},
      {"interval", [](Definition& d) { d.options.retry_interval = seconds(9); }},
      {"limit", [](Definition& d) { d.options.retry_limit = 9; }},
      {"headers",
       [](Definition& d) {
         d.options.branch_headers = {{"k", "v"}};
       }},
  };
  return sames;
}

/// The outcome in one word: "attach", "promote", "content", "status", or what else was said.
std::string Word(const Resubmission& repeat, Status status) {
  if (repeat.kind == Resubmission::Kind::kAttach) return "attach";
  if (repeat.kind == Resubmission::Kind::kPromote) return "promote";
  const auto says = [&repeat](const std::string& text) {
    return repeat.refused.find(text) != std::string::npos;
  };
  if (!says("'gid-of-the-test'")) return "a refusal without the gid: " + repeat.refused;
  if (says("exists with other content") && says("nothing was changed") && says("Use a new gid")) {
    return "content";
  }
  if (says("current status '" + std::string(Name(status)) + "', cannot prepare. FAILURE")) {
    return "status";
  }
  return "refused: " + repeat.refused;
}

struct Row {
  bool prepared_first;
  Status status;
  const char *prepare_same, *prepare_other, *submit_same, *submit_other;
};

const std::vector<Row> kTable = {
    {true, Status::kPrepared, "attach", "content", "promote", "promote"},
    // Its submit need not have repeated the steps: there is nothing to compare a submit with.
    {true, Status::kSubmitted, "status", "status", "attach", "attach"},
    {true, Status::kAborting, "status", "status", "attach", "attach"},
    {true, Status::kSucceed, "status", "status", "attach", "attach"},
    {true, Status::kFailed, "status", "status", "attach", "attach"},
    {false, Status::kSubmitted, "status", "status", "attach", "content"},
    {false, Status::kAborting, "status", "status", "attach", "content"},
    {false, Status::kSucceed, "status", "status", "attach", "content"},
    {false, Status::kFailed, "status", "status", "attach", "content"},
};

}  // namespace

TEST_CASE("resubmission: the table of stored status, content, and prepare or submit") {
  for (const Row& row : kTable) {
    const dtm::Transaction stored = Stored(row.prepared_first, row.status);
    const auto outcome = [&](bool prepare, const Variant& variant) {
      Definition again = Again(prepare);
      variant.change(again);
      const Resubmission repeat = OnResubmission(stored, again, prepare);
      CHECK(repeat.refused.empty() == (repeat.kind != Resubmission::Kind::kRefuse));
      return Word(repeat, row.status);
    };
    for (const Variant& variant : Sames()) {
      CAPTURE(row.prepared_first, Name(row.status), variant.name);
      CHECK(outcome(true, variant) == row.prepare_same);
      CHECK(outcome(false, variant) == row.submit_same);
    }
    for (const Variant& variant : Others()) {
      CAPTURE(row.prepared_first, Name(row.status), variant.name);
      CHECK(outcome(true, variant) == row.prepare_other);
      CHECK(outcome(false, variant) == row.submit_other);
    }
  }
}

TEST_CASE("resubmission: another type is refused whatever else is the same, with both types") {
  for (const Row& row : kTable) {
    for (const TransType type :
         {TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
      for (const bool prepare : {true, false}) {
        CAPTURE(row.prepared_first, Name(row.status), Name(type), prepare);
        const dtm::Transaction stored = Stored(row.prepared_first, row.status);
        Definition again = Again(prepare);
        again.type = type;
        const Resubmission repeat = OnResubmission(stored, again, prepare);
        CHECK(repeat.kind == Resubmission::Kind::kRefuse);
        CHECK_THAT(repeat.refused,
                   ContainsSubstring("'gid-of-the-test' exists as a saga, not as a " +
                                     std::string(Name(type))) &&
                       ContainsSubstring("nothing was changed. Use a new gid"));
      }
    }
  }
}

TEST_CASE("resubmission: of a damaged record nothing is believed") {
  for (const Row& row : kTable) {
    for (const bool prepare : {true, false}) {
      CAPTURE(Name(row.status), prepare);
      dtm::Transaction stored = Stored(row.prepared_first, row.status);
      stored.unreadable = true;
      stored.last_error = "a stored record is damaged";
      const Resubmission repeat = OnResubmission(stored, Again(prepare), prepare);
      CHECK(repeat.kind == Resubmission::Kind::kRefuse);
      CHECK(repeat.refused == "gid 'gid-of-the-test': a stored record is damaged");
    }
  }
}

namespace {

/// Every option and the order, so that a forgotten one shows.
std::string InText(const Definition& d) {
  const dtm::TransOptions& options = d.options;
  std::string text = options.wait_result ? "wait " : "";
  text += std::to_string(options.timeout_to_fail.count()) + " " +
          std::to_string(options.request_timeout.count()) + " " +
          std::to_string(options.retry_interval.count()) + " " +
          std::to_string(options.retry_limit) + " ";
  for (const auto& header : options.branch_headers) {
    text += header.first + "=" + header.second + " ";
  }
  text += d.concurrent ? "concurrent" : "sequential";
  for (const auto& order : d.orders) {
    text += " " + std::to_string(order.first) + ":";
    for (const int before : order.second) text += std::to_string(before) + ",";
  }
  return text;
}

Definition PreparedOne() {
  Definition prepared = Saga("3 concurrent 2:0 timeout=11 request=12 interval=13 limit=14");
  prepared.prepared_first = true;
  prepared.options.wait_result = true;
  prepared.options.branch_headers = {{"a", "1"}, {"b", "2"}};
  return prepared;
}

}  // namespace

TEST_CASE("promoted: the steps are those of the prepare, whatever the submit brings") {
  const Definition prepared = PreparedOne();
  for (const char* submit : {"0", "1", "3 local", "5 concurrent 4:3"}) {
    CAPTURE(submit);
    Definition submitted = Saga(submit);
    submitted.gid = prepared.gid;
    const Definition merged = Promoted(prepared, submitted);
    CHECK(merged.gid == prepared.gid);
    CHECK(merged.type == TransType::kSaga);
    CHECK(merged.prepared_first);  // so that its repeats are known
    REQUIRE(merged.steps.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(merged.steps[i].action == prepared.steps[i].action);
      CHECK(merged.steps[i].compensate == prepared.steps[i].compensate);
      CHECK(merged.steps[i].payload == prepared.steps[i].payload);
    }
  }
}

TEST_CASE("promoted: options and order of the submit count where it has any") {
  const std::string before = InText(PreparedOne());
  REQUIRE(before == "wait 11 12 13 14 a=1 b=2 concurrent 2:0,");
  struct Case {
    const char* name;
    std::function<void(Definition&)> say;
    std::string after;
  };
  const std::vector<Case> cases = {
      {"nothing", [](Definition&) {}, "11 12 13 14 a=1 b=2 concurrent 2:0,"},
      {"wait_result", [](Definition& d) { d.options.wait_result = true; }, before},
      {"timeout", [](Definition& d) { d.options.timeout_to_fail = seconds(1); },
       "1 12 13 14 a=1 b=2 concurrent 2:0,"},
      {"request", [](Definition& d) { d.options.request_timeout = seconds(1); },
       "11 1 13 14 a=1 b=2 concurrent 2:0,"},
      {"interval", [](Definition& d) { d.options.retry_interval = seconds(1); },
       "11 12 1 14 a=1 b=2 concurrent 2:0,"},
      {"limit", [](Definition& d) { d.options.retry_limit = 1; },
       "11 12 13 1 a=1 b=2 concurrent 2:0,"},
      {"headers",
       [](Definition& d) {
         d.options.branch_headers = {{"b", "3"}};
       },
       "11 12 13 14 b=3 concurrent 2:0,"},
      {"concurrent", [](Definition& d) { d.concurrent = true; }, "11 12 13 14 a=1 b=2 concurrent"},
      {"orders",
       [](Definition& d) {
         d.orders = {{1, {0}}, {2, {1}}};
       },
       "11 12 13 14 a=1 b=2 sequential 1:0, 2:1,"},
      {"both",
       [](Definition& d) {
         d.concurrent = true;
         d.orders = {{2, {0, 1}}};
       },
       "11 12 13 14 a=1 b=2 concurrent 2:0,1,"},
  };
  for (const Case& line : cases) {
    CAPTURE(line.name);
    const Definition prepared = PreparedOne();
    Definition submitted;
    submitted.gid = prepared.gid;
    line.say(submitted);
    CHECK(InText(Promoted(prepared, submitted)) == line.after);
    CHECK(InText(prepared) == before);

    Definition plain = Saga("3");  // a prepare that said nothing
    plain.prepared_first = true;
    CHECK(InText(Promoted(plain, submitted)) == InText(submitted));
  }
}

TEST_CASE("promoted: a url that is only kept is taken from the submit if the prepare had none") {
  Definition prepared = Saga("1");
  prepared.prepared_first = true;
  Definition submitted = prepared;
  submitted.query_prepared = "http://a/later";
  CHECK(Promoted(prepared, submitted).query_prepared == "http://a/later");
  prepared.query_prepared = "http://a/first";
  CHECK(Promoted(prepared, submitted).query_prepared == "http://a/first");
}

namespace {

dtm::Transaction Standing(const std::string& text, bool prepared_first, Status status) {
  Definition definition = machine_kit::Make(text);
  definition.prepared_first = prepared_first;
  dtm::Transaction transaction = saga_kit::NewTransaction(std::move(definition));
  transaction.status = status;
  return transaction;
}

std::string Outcome(const dtm::Transaction& stored, Definition again, bool prepare) {
  again.prepared_first = prepare;
  return Word(OnResubmission(stored, again, prepare), stored.status);
}

}  // namespace

TEST_CASE("resubmission: of tcc, xa and workflow the registered steps are no content") {
  for (const std::string type : {"tcc", "xa", "workflow"}) {
    CAPTURE(type);
    const Definition bare = machine_kit::Make(type + " 0");
    const dtm::Transaction prepared = Standing(type + " 2", true, Status::kPrepared);
    CHECK(Outcome(prepared, bare, true) == "attach");
    CHECK(Outcome(prepared, bare, false) == "promote");
    const dtm::Transaction ended = Standing(type + " 2", true, Status::kSucceed);
    CHECK(Outcome(ended, bare, false) == "attach");
    CHECK(Outcome(ended, bare, true) == "status");
    // The submit came too late, and its initiator has to learn that.
    const dtm::Transaction aborting = Standing(type + " 2", true, Status::kAborting);
    const Resubmission late = OnResubmission(aborting, bare, false);
    CHECK(late.kind == Resubmission::Kind::kRefuse);
    CHECK(late.refused ==
          "gid 'gid-of-the-test': current status 'aborting', cannot submit. FAILURE");
    CHECK(Outcome(aborting, bare, true) == "status");
  }
}

TEST_CASE("resubmission: a workflow's name, data and callback are its content") {
  const Definition first = machine_kit::Make("workflow 0");
  const dtm::Transaction stored = Standing("workflow 1", true, Status::kPrepared);
  std::vector<Definition> others(3, first);
  others[0].workflow = "another";
  others[1].data = "{}";
  others[2].query_prepared = "http://bank/other";
  for (const Definition& other : others) CHECK(Outcome(stored, other, true) == "content");
}

TEST_CASE(
    "resubmission: of a message the steps and the query-back are content, the delay is an option") {
  const Definition first = machine_kit::Make("msg 2");
  for (const bool prepared : {true, false}) {
    CAPTURE(prepared);
    const Status status = prepared ? Status::kPrepared : Status::kSubmitted;
    const dtm::Transaction stored = Standing("msg 2", prepared, status);
    CHECK(Outcome(stored, first, prepared) == "attach");
    Definition delayed = first;
    delayed.delay = seconds(9);
    CHECK(Outcome(stored, delayed, prepared) == "attach");
    std::vector<Definition> others(4, first);
    others[0].steps.pop_back();
    others[1].steps[0].payload = "{}";
    others[2].query_prepared.clear();
    others[3].concurrent = true;
    for (const Definition& other : others) CHECK(Outcome(stored, other, prepared) == "content");
  }
  const dtm::Transaction prepared = Standing("msg 2", true, Status::kPrepared);
  CHECK(Outcome(prepared, machine_kit::Make("msg 0"), false) == "promote");
}

TEST_CASE(
    "resubmission: the same topic is the same content, whoever subscribes or leaves meanwhile") {
  Definition first = machine_kit::Make("msg 3");
  first.steps[0].topic = first.steps[1].topic = "topic://T";
  first.steps[0].branch_id = "01-01";
  first.steps[1].branch_id = "01-02";
  first.steps[1].payload = first.steps[0].payload;
  first.steps[2].branch_id = "02";
  dtm::Transaction stored = saga_kit::NewTransaction(first);
  stored.status = Status::kSubmitted;
  Definition later = first;  // one subscriber is left
  later.steps.erase(later.steps.begin());
  later.steps[0].branch_id = "01";
  later.steps[0].action = "http://bank/other";
  CHECK(Outcome(stored, later, false) == "attach");
  later.steps[0].topic = "topic://U";
  CHECK(Outcome(stored, later, false) == "content");
}

TEST_CASE("promoted: the delay of the submit counts where it has one") {
  Definition prepared = machine_kit::Make("msg 2 delay=5");
  CHECK(Promoted(prepared, machine_kit::Make("msg 0 delay=9")).delay == seconds(9));
  CHECK(Promoted(prepared, machine_kit::Make("msg 0")).delay == seconds(5));
  CHECK(Promoted(prepared, machine_kit::Make("msg 0 noquery")).query_prepared == "http://bank/q");
}
