/// What a forked child must not touch is left alone in it.
#include <memory>
#include <string>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include <dtm/base/error.hpp>
#include <dtm/base/of_this_process.hpp>

using Catch::Matchers::ContainsSubstring;

namespace {

struct Witness {
  Witness(int& ends_in, int value_in) : ends(ends_in), value(value_in) {}
  ~Witness() { ++ends; }
  int& ends;
  int value;
};

}  // namespace

TEST_CASE("of_this_process: owned here, and neither used nor destroyed in a forked child") {
  int ends = 0;
  auto owned = std::make_unique<dtm::OfThisProcess<Witness>>("witness", ends, 7);
  CHECK(owned->Here());
  CHECK(owned->Get().value == 7);
  const std::string end = dtm_test::InChild([&]() -> std::string {
    std::string said = owned->Here() ? "here, " : "elsewhere, ";
    try {
      (void)owned->Get();
    } catch (const dtm::LogicError& error) {
      said += error.what();
    }
    owned.reset();
    return said + ", destroyed " + std::to_string(ends);
  });
  CHECK_THAT(end, ContainsSubstring("elsewhere, this witness belongs to the parent process"));
  CHECK_THAT(end, ContainsSubstring("destroyed 0"));
  owned.reset();
  CHECK(ends == 1);
}
