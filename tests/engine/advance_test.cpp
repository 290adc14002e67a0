/// Which machine drives which type; and that a step is pure.
#include <cstddef>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include "tests/engine/saga_kit.hpp"
#include <dtm/core/rows.hpp>
#include <dtm/engine/advance.hpp>

using dtm::TransType;
using dtm::engine::EventKind;

TEST_CASE("advance: a saga is driven by its machine") {
  dtm::Transaction t = saga_kit::NewTransaction(saga_kit::Saga("2"));
  dtm::engine::Context context;
  context.now = saga_kit::kStart;
  const dtm::engine::Effects effects =
      dtm::engine::Advance(t, saga_kit::Happens(EventKind::kSubmitted), context);
  CHECK(saga_kit::InText(effects.calls) == "a1");
  CHECK(effects.changed);
  CHECK(t.created == saga_kit::kStart);
}

TEST_CASE("advance: every type has its machine") {
  const auto calls = [](TransType type) {
    dtm::Definition definition = saga_kit::Saga("2");
    definition.type = type;
    dtm::Transaction t = saga_kit::NewTransaction(std::move(definition));
    dtm::engine::Context context;
    context.now = saga_kit::kStart;
    const EventKind kind =
        type == TransType::kWorkflow ? EventKind::kPrepared : EventKind::kSubmitted;
    return dtm::engine::Advance(t, saga_kit::Happens(kind), context).calls;
  };
  CHECK(calls(TransType::kMsg) == std::vector<std::size_t>{dtm::DeliveryOf(0)});
  CHECK(calls(TransType::kTcc) == std::vector<std::size_t>{dtm::ActionOf(1)});
  CHECK(calls(TransType::kXa) == std::vector<std::size_t>{dtm::ActionOf(0)});
  CHECK(calls(TransType::kWorkflow).empty());
  CHECK_THROWS_AS(calls(static_cast<TransType>(9)), dtm::LogicError);
}

TEST_CASE("advance: the same input gives the same output") {
  const auto run = [] {
    dtm::Transaction t = saga_kit::NewTransaction(saga_kit::Saga("2 concurrent"));
    dtm::engine::Context context;
    context.now = saga_kit::kStart;
    dtm::engine::Advance(t, saga_kit::Happens(EventKind::kSubmitted), context);
    const auto effects =
        dtm::engine::Advance(t, saga_kit::Answer(1, dtm::Result::Error("lost")), context);
    return std::pair(effects.timer, t.branches[1].next_try);
  };
  CHECK(run() == run());
}
