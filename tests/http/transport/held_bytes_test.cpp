/// Who gets room, and who has to wait.
#include <cstddef>

#include "tests/catch.hpp"
#include <dtm/http/transport/held_bytes.hpp>

using dtm::transport::HeldBytes;

namespace {

constexpr std::size_t kLarge = HeldBytes::kSmall + 1;

}  // namespace

TEST_CASE("held_bytes: the last quarter is for small messages") {
  HeldBytes held(100000);
  std::size_t mine = 0, other = 0;
  held.Change(mine, 75000);
  CHECK(held.Allow(kLarge));
  held.Change(other, 1);
  CHECK_FALSE(held.Allow(kLarge));
  CHECK(held.Allow(HeldBytes::kSmall));
  held.Change(other, 25000);
  CHECK(held.Allow(HeldBytes::kSmall));
  held.Change(other, 25001);
  CHECK_FALSE(held.Allow(HeldBytes::kSmall));
  held.Change(mine, 0);
  held.Change(other, 0);
  CHECK(held.Now() == 0);
}

TEST_CASE("held_bytes: whether anything was freed is told once") {
  HeldBytes held(1000);
  std::size_t mine = 0;
  held.Change(mine, 500);
  CHECK_FALSE(held.TakeFreed());
  held.Change(mine, 499);
  held.Change(mine, 600);
  CHECK(held.TakeFreed());
  CHECK_FALSE(held.TakeFreed());
}

TEST_CASE("held_bytes: requests leave half to the replies, and a host leaves room to the others") {
  HeldBytes held(200000);
  std::size_t mine = 0, others = 0;
  held.Change(mine, 79000);
  CHECK(held.AllowRequest(kLarge, mine));
  held.Change(mine, 81000);
  CHECK_FALSE(held.AllowRequest(kLarge, mine));
  CHECK(held.AllowRequest(kLarge, 0));
  CHECK(held.AllowRequest(HeldBytes::kSmall, mine));
  held.Change(others, 19001);
  CHECK_FALSE(held.AllowRequest(kLarge, 0));
  CHECK(held.Allow(kLarge));
}
