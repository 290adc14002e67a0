/// Global transaction ids: 22 base-57 characters, the time first.
/// Needs: std. Threads: one generator by one thread at a time. Protocol: §1 (gid).
///
/// Later ids sort later, so only a small part of the store's index is in use at a time and stays in memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <dtm/base/os.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

/// Makes gids without I/O: 48 bits of milliseconds, then 74 random bits.
class GidGenerator {
 public:
  GidGenerator() = default;
  GidGenerator(const GidGenerator&) = delete;  // a copy would make the same gids
  GidGenerator& operator=(const GidGenerator&) = delete;

  /// A gid of 22 letters and digits; those that were made later sort later.
  std::string Make(Time now) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
    // A forked child has the same stock as its parent: it asks for one of its own.
    const unsigned generation = os::Forking::Generation();
    if (std::exchange(generation_, generation) != generation) used_ = kStock;
    const std::uint64_t first = Random();
    std::string gid(22, kAlphabet[0]);
    Put((static_cast<std::uint64_t>(ms.count()) << 10 & kTimeMask) | (first & 0x3FF), 10, &gid[0]);
    Put(Random() % kPow57To10, 10, &gid[10]);
    Put(first >> 10, 2, &gid[20]);
    return gid;
  }

 private:
  // In ASCII order, and without the characters that people confuse.
  static constexpr const char* kAlphabet =
      "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  static constexpr std::uint64_t kTimeMask = (std::uint64_t{1} << 58) - 1;
  static constexpr std::uint64_t kPow57To10 = 362033331456891249u;

  static void Put(std::uint64_t value, int digits, char* to) {
    for (int i = digits - 1; i >= 0; --i, value /= 57) to[i] = kAlphabet[value % 57];
  }

  /// Asks the system for a few at a time: asking costs more than making a gid.
  std::uint64_t Random() {
    if (used_ == kStock) {
      os::FillRandom(random_, sizeof random_);
      used_ = 0;
    }
    return random_[used_++];
  }

  static constexpr std::size_t kStock = 32;
  std::uint64_t random_[kStock];
  std::size_t used_ = kStock;
  unsigned generation_ = os::Forking::Generation();
};

}  // namespace v1
}  // namespace dtm
