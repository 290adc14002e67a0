/// Deadlines in the order of time: set, moved, cancelled, destroyed, also from inside of one.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/http/transport/timers.hpp>

using dtm::SteadyTime;
using dtm::transport::Timer;
using dtm::transport::Timers;
using Ms = std::chrono::milliseconds;

namespace {

SteadyTime At(int ms) { return SteadyTime(std::chrono::hours(1)) + Ms(ms); }

struct Noting final : Timer {
  Noting(std::string& into, char letter) : text(into), name(letter) {}
  void OnDeadline() override {
    text += name;
    if (then) then();
  }
  std::string& text;
  const char name;
  std::function<void()> then;
};

}  // namespace

TEST_CASE("timers: what is due is called, the earliest first") {
  std::string text;
  Timers timers;
  Noting a(text, 'a'), b(text, 'b'), c(text, 'c');
  CHECK(timers.Next() == (SteadyTime::max)());
  timers.Set(b, At(20));
  timers.Set(c, At(30));
  timers.Set(a, At(10));
  CHECK(timers.Next() == At(10));
  timers.Run(At(9));
  CHECK(text.empty());
  timers.Run(At(20));
  CHECK(text == "ab");
  CHECK(timers.Next() == At(30));
  timers.Run(At(1000));
  CHECK(text == "abc");
  CHECK(timers.Next() == (SteadyTime::max)());
}

TEST_CASE("timers: a deadline moves later and earlier") {
  std::string text;
  Timers timers;
  Noting a(text, 'a'), b(text, 'b');
  timers.Set(a, At(10));
  timers.Set(b, At(50));
  timers.Set(a, At(40));
  timers.Run(At(39));
  CHECK(text.empty());
  timers.Set(b, At(39));
  timers.Run(At(39));
  CHECK(text == "b");
  timers.Run(At(40));
  CHECK(text == "ba");
}

TEST_CASE("timers: a cancelled deadline does not come, and can be set again") {
  std::string text;
  Timers timers;
  Noting a(text, 'a');
  timers.Set(a, At(10));
  timers.Cancel(a);
  timers.Run(At(20));
  CHECK(text.empty());
  timers.Set(a, At(30));
  timers.Cancel(a);
  timers.Set(a, At(40));
  timers.Run(At(30));
  CHECK(text.empty());
  timers.Run(At(40));
  CHECK(text == "a");
}

TEST_CASE("timers: from inside of a deadline others are set, and destroyed") {
  std::string text;
  Timers timers;
  Noting a(text, 'a'), b(text, 'b');
  auto c = std::make_unique<Noting>(text, 'c');
  timers.Set(a, At(10));
  timers.Set(b, At(12));
  timers.Set(*c, At(11));
  a.then = [&] {
    c.reset();
    timers.Set(b, At(5));
    if (text.size() == 1) timers.Set(a, At(20));
  };
  timers.Run(At(10));
  CHECK(text == "ab");
  timers.Run(At(100));
  CHECK(text == "abab");
}

TEST_CASE("timers: many of them, at any times, come in order") {
  struct One final : Timer {
    void OnDeadline() override { seen->push_back(at); }
    std::vector<int>* seen = nullptr;
    int at = 0;
  };
  std::vector<int> seen;
  Timers timers;
  std::vector<std::unique_ptr<One>> all;
  unsigned random = 1;
  for (int i = 0; i < 1000; ++i) {
    random = random * 1103515245 + 12345;
    all.push_back(std::make_unique<One>());
    all.back()->seen = &seen;
    all.back()->at = static_cast<int>(random >> 16) % 500;
    timers.Set(*all.back(), At(all.back()->at));
  }
  for (std::size_t i = 0; i < all.size(); i += 3) all[i].reset();
  for (std::size_t i = 1; i < all.size(); i += 3) {
    all[i]->at += 250;
    timers.Set(*all[i], At(all[i]->at));
  }
  timers.Run(At(2000));
  CHECK(seen.size() == 666);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("timers: those that outlive their heap are no longer set, and another takes them") {
  std::string text;
  Noting a(text, 'a');
  {
    Timers timers;
    timers.Set(a, At(1));
  }
  Timers timers;
  timers.Set(a, At(2));
  CHECK(timers.Next() == At(2));
  timers.Run(At(2));
  CHECK(text == "a");
}
