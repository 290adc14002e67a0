/// Functions of the program: which fit, and how those are kept that can only be moved.
#include <functional>
#include <memory>
#include <utility>

#include "tests/catch.hpp"
#include <dtm/base/callable.hpp>

namespace callable = dtm::callable;

namespace {

struct Bank {
  void Debit(int) {}
};
void Free(int) {}

const auto kTakesInt = [](int) {};
auto changes = [n = 0](int) mutable { return ++n; };

}  // namespace

static_assert(callable::kFits<decltype(kTakesInt), int> && !callable::kFits<decltype(kTakesInt)>);
static_assert(!callable::kFits<decltype(changes), int>);
static_assert(callable::kFitsMutable<decltype(changes), int>);
static_assert(callable::kFits<void (*)(int), int> && callable::kFits<decltype(Free), int>);
static_assert(!callable::kFits<decltype(&Bank::Debit), Bank&, int>);

TEST_CASE("callable: what can only be moved is kept, and copies share it") {
  auto owned = std::make_unique<int>(0);
  const int* const counter = owned.get();
  const auto first =
      callable::Keep<int(int)>([owned = std::move(owned)](int by) { return *owned += by; });
  const std::function<int(int)> second =
      first;  // NOLINT(performance-unnecessary-copy-initialization)
  CHECK(first(2) == 2);
  CHECK(second(3) == 5);
  CHECK(*counter == 5);
}

TEST_CASE("callable: what can be copied is kept as it is, empty what is empty") {
  CHECK(callable::Keep<int()>([] { return 7; })() == 7);
  CHECK(callable::Keep<int(int)>(changes)(1) == 1);
  CHECK_FALSE(callable::Keep<int()>(std::function<int()>()));
  CHECK(callable::Empty(std::function<int()>()));
  CHECK(callable::Empty(static_cast<void (*)(int)>(nullptr)));
  CHECK_FALSE(callable::Empty(&Free));
  CHECK_FALSE(callable::Empty(std::function<int()>([] { return 7; })));
  CHECK_FALSE(callable::Empty(kTakesInt));
}
