/// The defaults of the options: what the README promises.
#include <chrono>

#include "tests/catch.hpp"
#include <dtm/coordinator/options.hpp>

TEST_CASE("options: defaults") {
  const dtm::Options options;
  CHECK(options.durability == dtm::Durability::kPower);
  CHECK(options.retry_interval == std::chrono::seconds(10));
  CHECK(options.request_timeout == std::chrono::seconds(3));
  CHECK(options.max_threads_per_function < options.max_function_threads);
  CHECK(options.alert_retry_limit == 3);
  CHECK_FALSE(options.on_alert);  // nobody is told
  REQUIRE(options.log);
}
