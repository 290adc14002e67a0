#include <string>

#include <nlohmann/json.hpp>

#include "tests/catch.hpp"
#include <dtm/base/callable.hpp>
#include <dtm/core/work_context.hpp>

struct OneDatabase;
struct AnotherDatabase;

using dtm::WorkContext;

TEST_CASE("work context: it is the connection it was made of, and nothing else") {
  int place = 0;
  auto* const db = reinterpret_cast<OneDatabase*>(&place);
  const WorkContext context(db);
  OneDatabase* found = context;
  CHECK(found == db);
  const auto takes = [](OneDatabase* one) { return one; };
  CHECK(takes(context) == db);
  const WorkContext copy = context;  // NOLINT(performance-unnecessary-copy-initialization)
  CHECK(takes(copy) == db);
  const auto other = [](AnotherDatabase*) {};
  CHECK_THROWS_AS(other(context), dtm::LogicError);
  CHECK_THROWS_WITH(other(context), Catch::Matchers::ContainsSubstring("another type"));
  CHECK_THROWS_WITH(other(WorkContext()), Catch::Matchers::ContainsSubstring("no SQL"));
}

TEST_CASE("work context: nothing else is made of it by mistake") {
  CHECK_FALSE(std::is_convertible_v<WorkContext, void*>);
  CHECK_FALSE(std::is_convertible_v<WorkContext, bool>);
  CHECK_FALSE(std::is_convertible_v<WorkContext, int>);
  CHECK_FALSE(std::is_convertible_v<WorkContext, const char*>);
  CHECK_FALSE(std::is_constructible_v<std::string, WorkContext>);
  CHECK_FALSE(std::is_convertible_v<WorkContext, nlohmann::json>);
  const auto json = [](const nlohmann::json&, const nlohmann::json&) {};
  CHECK_FALSE(dtm::callable::kFits<decltype(json), const WorkContext&, const nlohmann::json&>);
}
