/// Prefetch reads nothing: no address harms. How many cache lines an object takes.
#include <cstddef>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/base/prefetch.hpp>

TEST_CASE("prefetch: any address will do") {
  const std::string text(1000, 'x');
  dtm::Prefetch<8>(text.data());
  dtm::Prefetch<100>(text.data());  // far beyond its end
  dtm::Prefetch<8>(nullptr);
  constexpr std::size_t kBytes = 4096;
  void* unreadable = ::mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(unreadable != MAP_FAILED);
  dtm::Prefetch<kBytes / dtm::kCacheLine>(unreadable);
  CHECK(::munmap(unreadable, kBytes) == 0);
  CHECK(text == std::string(1000, 'x'));
}

TEST_CASE("prefetch: a line that is begun counts") {
  CHECK(dtm::LinesOf(1) == 1);
  CHECK(dtm::LinesOf(64) == 1);
  CHECK(dtm::LinesOf(65) == 2);
}

TEST_CASE(
    "prefetch: all are visited in their order, and each is announced before, but for the first "
    "ones") {
  for (const std::size_t count : {0u, 1u, 4u, 5u, 8u, 9u, 20u}) {
    std::vector<std::size_t> list(count), objects, parts, visited;
    for (std::size_t i = 0; i < count; ++i) list[i] = i;
    dtm::VisitAhead(
        list,
        [&](std::size_t i) {
          CHECK(i == visited.size() + dtm::kObjectsAhead);
          objects.push_back(i);
        },
        [&](std::size_t i) {
          CHECK(i == visited.size() + dtm::kPartsAhead);
          parts.push_back(i);
        },
        [&](std::size_t& i) { visited.push_back(i); });
    CHECK(visited == list);
    CHECK(objects.size() == (count > dtm::kObjectsAhead ? count - dtm::kObjectsAhead : 0));
    CHECK(parts.size() == (count > dtm::kPartsAhead ? count - dtm::kPartsAhead : 0));
  }
}
