/// The face of a machine: what a caller gets who says nothing.
#include <chrono>

#include "tests/catch.hpp"
#include <dtm/engine/machine.hpp>

TEST_CASE("machine: the defaults of events, context and effects are harmless") {
  const dtm::engine::Event event;
  CHECK(event.kind == dtm::engine::EventKind::kTimer);  // may come at any time, for nothing

  const dtm::engine::Context context;
  CHECK(context.retry_interval == std::chrono::seconds(10));  // the Go server's
  CHECK(context.request_timeout == std::chrono::seconds(3));
  CHECK(context.alert_after == 0);  // nobody is told
  CHECK(context.may_call);

  const dtm::engine::Effects effects;
  CHECK_FALSE(effects.changed);
  CHECK(effects.calls.empty());
  CHECK_FALSE(effects.alert);
  CHECK(effects.timer == dtm::kNever);
  CHECK(effects.refused.empty());
}
