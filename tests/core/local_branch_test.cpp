/// A registered function as a builder sees it: a value of name and owner.
#include <string>
#include <type_traits>

#include "tests/catch.hpp"
#include <dtm/core/local_branch.hpp>

TEST_CASE("local branch: a copyable value; the payload type is part of its own") {
  const dtm::LocalBranch<int> branch{"TransOut", 7};
  const dtm::LocalBranch<int> copy = branch;
  CHECK(copy.name == "TransOut");
  CHECK(copy.owner == 7);
  CHECK(dtm::LocalBranch<int>{}.owner == 0);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<dtm::LocalBranch<int>, dtm::LocalBranch<long>>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<dtm::LocalBranch<int>, std::string>);
}
