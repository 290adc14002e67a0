/// The descriptor that an event loop watches.
#include <memory>
#include <poll.h>

#include "tests/catch.hpp"
#include "tests/support/quiet.hpp"
#include <tests/coordinator/world.hpp>

using dtm::WakeFd;

namespace {

bool Readable(const WakeFd& wake) {
  pollfd watched{wake.Fd(), POLLIN, 0};
  return ::poll(&watched, 1, 0) == 1;
}

}  // namespace

TEST_CASE("wake fd: readable from a wake to Clear") {
  WakeFd wake;
  const auto on_wake = wake.OnWake();
  CHECK_FALSE(Readable(wake));
  on_wake();
  on_wake();
  CHECK(Readable(wake));
  wake.Clear();
  CHECK_FALSE(Readable(wake));
  wake.Clear();  // does not block
  on_wake();
  CHECK(Readable(wake));
}

TEST_CASE("wake fd: the callback may outlive it") {
  auto wake = std::make_unique<WakeFd>();
  const auto on_wake = wake->OnWake();
  wake.reset();
  on_wake();
}

TEST_CASE("wake fd: a coordinator signals it") {
  WakeFd wake;
  dtm::Options options = dtm_test::Quiet();
  options.on_wake = wake.OnWake();
  dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
  while (tm.Poll() == dtm::Duration(0)) {
  }
  CHECK_FALSE(Readable(wake));
  tm.SubmitAsync(world::NewDefinition("a", 0), {});
  CHECK(Readable(wake));
}
