/// Gids: 22 characters of base 57, the time first.
#include <chrono>
#include <set>
#include <string>
#include <type_traits>

#include "tests/catch.hpp"
#include "tests/support/child.hpp"
#include <dtm/core/gid.hpp>
#include <dtm/core/validate.hpp>

using dtm::GidGenerator;
using dtm::Time;
using std::chrono::hours;
using std::chrono::milliseconds;

namespace {
const std::string kBase57 = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const Time kNow{milliseconds(1763863200123)};
}  // namespace

TEST_CASE("gid: 22 characters of base 57, accepted as a gid") {
  REQUIRE(kBase57.size() == 57);
  GidGenerator gids;
  std::set<char> first_random, last;
  for (int i = 0; i < 2000; ++i) {
    const std::string gid = gids.Make(kNow + milliseconds(i));
    CHECK(gid.size() == 22);
    CHECK(gid.find_first_not_of(kBase57) == std::string::npos);
    CHECK(dtm::GidProblem(gid).empty());
    first_random.insert(gid[12]);
    last.insert(gid[21]);
  }
  CHECK(first_random.size() == 57);
  CHECK(last.size() == 57);
}

TEST_CASE("gid: a later one sorts later, from one millisecond to the next") {
  GidGenerator gids;
  Time now = kNow;
  std::string before = gids.Make(now);
  for (int i = 0; i < 20000; ++i) {
    now += milliseconds(i < 10000 ? 1 : 60 * i);
    const std::string gid = gids.Make(now);
    REQUIRE(before < gid);
    before = gid;
  }
  const Time borders[] = {Time{}, Time{milliseconds(1)}, kNow, kNow + hours(24 * 365 * 100),
                          Time{milliseconds((std::int64_t{1} << 48) - 1)}};
  for (std::size_t i = 1; i < std::size(borders); ++i) {
    CHECK(gids.Make(borders[i - 1]) < gids.Make(borders[i]));
  }
}

TEST_CASE("gid: no two are the same, neither of one millisecond nor of two generators") {
  GidGenerator one, two;
  std::set<std::string> gids;
  for (int i = 0; i < 50000; ++i) {
    gids.insert(one.Make(kNow));
    gids.insert(two.Make(kNow));
  }
  CHECK(gids.size() == 100000);
}

TEST_CASE("gid: a forked child makes others than its parent") {
  GidGenerator gids;
  std::set<std::string> all{gids.Make(kNow)};  // the next ones come from what it has in stock
  const auto sixty = [&gids] {
    std::string text;
    for (int i = 0; i < 60; ++i) text += gids.Make(kNow);
    return text;
  };
  for (const std::string& text : {dtm_test::InChild(sixty), dtm_test::InChild(sixty), sixty()}) {
    REQUIRE(text.size() == 60 * 22);
    for (std::size_t at = 0; at < text.size(); at += 22) all.insert(text.substr(at, 22));
  }
  CHECK(all.size() == 181);
}

static_assert(!std::is_copy_constructible_v<GidGenerator>, "a copy would make the same gids");
