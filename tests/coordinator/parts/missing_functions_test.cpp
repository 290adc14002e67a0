/// Which missing functions people are told of, and how often.
#include <chrono>
#include <cstddef>
#include <string>

#include "tests/catch.hpp"
#include <dtm/coordinator/parts/missing_functions.hpp>

using std::chrono::seconds;

TEST_CASE("missing functions: each is news once a minute, and all URLs are one") {
  dtm::MissingFunctions missing;
  const dtm::Time start{seconds(1000)};
  CHECK(missing.IsNews("local:A", start));
  CHECK(missing.IsNews("local:B", start));
  CHECK(missing.IsNews("http://a/1", start));
  CHECK_FALSE(missing.IsNews("local:A", start + seconds(59)));
  CHECK_FALSE(missing.IsNews("http://b/2", start + seconds(59)));
  CHECK(missing.IsNews("local:A", start + seconds(60)));
  CHECK(missing.IsNews("http://b/2", start + seconds(60)));
}

TEST_CASE("missing functions: names take bounded memory") {
  dtm::MissingFunctions missing;
  const dtm::Time start{seconds(1000)};
  for (std::size_t i = 0; i < dtm::MissingFunctions::kMostNames; ++i) {
    CHECK(missing.IsNews("local:" + std::to_string(i), start));
  }
  CHECK_FALSE(missing.IsNews("local:more", start + seconds(59)));
  CHECK(missing.IsNews("local:more", start + seconds(60)));
}
