/// Which traceparents and tracestates are valid, by W3C Trace Context, and what becomes of those that are not.
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/engine/resubmission.hpp>
#include <dtm/observe/trace_context.hpp>

using dtm::ReadTraceContext;
using dtm::TransOptions;

namespace {

const std::string kId = "0af7651916cd43dd8448eb211c80319c";
const std::string kSpan = "b7ad6b7169203331";
const std::string kParent = "00-" + kId + "-" + kSpan + "-01";

TransOptions With(std::map<std::string, std::string> headers) {
  TransOptions options;
  options.branch_headers = std::move(headers);
  return options;
}

}  // namespace

TEST_CASE("trace context: a valid traceparent, with its state") {
  const auto context =
      ReadTraceContext(" " + kParent + "\t", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
  REQUIRE(context);
  CHECK(context->trace_id == kId);
  CHECK(context->parent_id == kSpan);
  CHECK(context->Sampled());
  CHECK(context->state == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
  CHECK(TraceParent(*context) == kParent);
  CHECK_FALSE(ReadTraceContext("00-" + kId + "-" + kSpan + "-00", "")->Sampled());
  CHECK_FALSE(ReadTraceContext("00-" + kId + "-" + kSpan + "-02", "")->Sampled());
  CHECK(ReadTraceContext("00-" + kId + "-" + kSpan + "-ff", "")->Sampled());
}

TEST_CASE("trace context: a later version may go on, and is passed on as 00") {
  const auto later = ReadTraceContext("cc-" + kId + "-" + kSpan + "-01-what-comes", "");
  REQUIRE(later);
  CHECK(TraceParent(*later) == kParent);
  CHECK(ReadTraceContext("cc-" + kId + "-" + kSpan + "-01", ""));
}

TEST_CASE("trace context: invalid ones count as none") {
  std::string upper = kParent;
  upper[5] = 'F';
  for (const std::string& parent :
       {std::string(), std::string("00"), kParent.substr(0, 54), kParent + "-", kParent + "-01",
        "ff-" + kParent.substr(3), "0x-" + kParent.substr(3), "cc" + kParent.substr(2) + "x",
        "00-" + std::string(32, '0') + "-" + kSpan + "-01",
        "00-" + kId + "-" + std::string(16, '0') + "-01", "00_" + kParent.substr(3), upper,
        "00-" + kId + "-" + kSpan + "-0g", "00-" + kId + kId.substr(0, 1) + kSpan + "-01",
        kParent + "," + kParent, std::string(55, '-'), std::string(5000, 'a')}) {
    INFO(parent);
    CHECK_FALSE(ReadTraceContext(parent, "a=1"));
  }
}

TEST_CASE("trace context: states") {
  for (const char* state :
       {"a=1", "a=1,b=2", " a=1 ,, b=2 ", "1a-_*/@b=x y", "fw529a3039@dt=FfAI"}) {
    INFO(state);
    CHECK(dtm::IsTraceState(state));
  }
  std::string many = "k0=1";
  for (int i = 1; i < 33; ++i) many += ",k" + std::to_string(i) + "=1";
  for (const std::string& state :
       {std::string(), std::string(","), std::string("a"), std::string("a="), std::string("=1"),
        std::string("A=1"), std::string("a=1,a=2"), std::string("a=1=2"), std::string("a=\x80"),
        std::string("a\tb=1"), "a=" + std::string(257, 'x'), std::string(257, 'k') + "=1", many,
        std::string(5000, ',') + "a=1"}) {
    INFO(state);
    CHECK_FALSE(dtm::IsTraceState(state));
    const auto context = ReadTraceContext(kParent, state);
    REQUIRE(context);  // the state alone is left out
    CHECK(context->state.empty());
  }
}

TEST_CASE("trace context: of a transaction, whatever the letters of its headers") {
  CHECK_FALSE(TraceContextOf(With({})));
  CHECK_FALSE(TraceContextOf(With({{"tracestate", "a=1"}})));
  CHECK_FALSE(TraceContextOf(With({{"traceparent", "nonsense"}})));
  const auto context = TraceContextOf(With({{"TraceParent", kParent}, {"Tracestate", "a=1"}}));
  REQUIRE(context);
  CHECK(context->trace_id == kId);
  CHECK(context->state == "a=1");
}

TEST_CASE("trace context: a function that asks who calls it is told") {
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g";
  definition->steps.push_back({"local:F", "", "1"});
  definition->options = With({{"traceparent", kParent}, {"tracestate", "a=1"}});
  dtm::BranchCall call;
  call.definition = definition;
  call.row = 1;
  CHECK(call.Info().traceparent == kParent);
  CHECK(call.Info().tracestate == "a=1");
  definition->options = With({{"traceparent", "nonsense"}, {"tracestate", "a=1"}});
  CHECK(call.Info().traceparent.empty());
  CHECK(call.Info().tracestate.empty());
}

TEST_CASE("trace context: a transaction stays in the trace in which it was prepared") {
  const std::string other = "00-" + kId + "-00f067aa0ba902b7-01";
  using Headers = std::map<std::string, std::string>;
  const auto merged = [](Headers prepared, Headers submitted) {
    return dtm::engine::MergedHeaders(With(std::move(prepared)), With(std::move(submitted)));
  };
  CHECK(merged({{"a", "1"}}, {}) == Headers{{"a", "1"}});
  CHECK(merged({{"a", "1"}}, {{"b", "2"}}) == Headers{{"b", "2"}});
  CHECK(merged({{"a", "1"}}, {{"traceparent", other}}) ==
        Headers{{"a", "1"}, {"traceparent", other}});
  CHECK(merged({{"a", "1"}, {"traceparent", kParent}}, {{"Traceparent", other}}) ==
        Headers{{"a", "1"}, {"traceparent", kParent}});
  CHECK(merged({{"a", "1"}, {"traceparent", kParent}}, {{"b", "2"}, {"tracestate", "x=1"}}) ==
        Headers{{"b", "2"}, {"traceparent", kParent}});
  Headers full;
  for (int i = 0; i < 32; ++i) full["h" + std::to_string(i)] = "1";
  CHECK(merged({{"traceparent", kParent}}, full) == full);  // no more than 32
}

TEST_CASE("trace context: the hash of a gid") {
  CHECK(dtm::trace::HashOf("a", "g") == dtm::trace::HashOf("a", "g"));
  CHECK(dtm::trace::HashOf("a", "g") != dtm::trace::HashOf("b", "g"));
  CHECK(dtm::trace::HashOf("a", "g") != dtm::trace::HashOf("a", "h"));
  CHECK(dtm::trace::Hex(0xABC) == "0000000000000abc");
}
