/// Which machine drives which type; and that a step is pure.
#include <string>
#include <utility>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/engine/step.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::TransType;
using dtm::engine::EventKind;

TEST_CASE("step: a saga is driven by its machine") {
  CHECK(dtm::engine::IsDriven(TransType::kSaga));
  dtm::Transaction t = saga_kit::NewTransaction(saga_kit::Saga("2"));
  dtm::engine::Context context;
  context.now = saga_kit::kStart;
  const dtm::engine::Effects effects =
      dtm::engine::Step(t, saga_kit::Happens(EventKind::kSubmitted), context);
  CHECK(saga_kit::InText(effects.calls) == "a1");
  CHECK(effects.changed);
  CHECK(t.created == saga_kit::kStart);
}

TEST_CASE("step: what no machine drives is refused and left alone") {
  for (const TransType type :
       {TransType::kMsg, TransType::kTcc, TransType::kXa, TransType::kWorkflow}) {
    CAPTURE(Name(type));
    CHECK_FALSE(dtm::engine::IsDriven(type));
    dtm::Definition definition = saga_kit::Saga("1");
    definition.type = type;
    dtm::Transaction t = saga_kit::NewTransaction(std::move(definition));
    CHECK_THROWS_AS(dtm::engine::Step(t, saga_kit::Happens(EventKind::kSubmitted), {}),
                    dtm::LogicError);
    CHECK_THROWS_WITH(dtm::engine::Step(t, saga_kit::Happens(EventKind::kSubmitted), {}),
                      ContainsSubstring(Name(type)));
    CHECK(t.branches.empty());
  }
}

TEST_CASE("step: the same input gives the same output") {
  const auto run = [] {
    dtm::Transaction t = saga_kit::NewTransaction(saga_kit::Saga("2 concurrent"));
    dtm::engine::Context context;
    context.now = saga_kit::kStart;
    dtm::engine::Step(t, saga_kit::Happens(EventKind::kSubmitted), context);
    const auto effects =
        dtm::engine::Step(t, saga_kit::Answer(1, dtm::Result::Error("lost")), context);
    return std::pair(effects.timer, t.branches[1].next_try);
  };
  CHECK(run() == run());
}
