/// operator new that fails when a test wants it: for one file of a program, since it is everybody's.
/// Needs: std. Threads: each has its own count.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <new>
#include <utility>

namespace failing_new {

inline thread_local long left =
    -1;  ///< allocations of this thread until one fails; negative: none does
inline thread_local long between =
    -1;                              ///< then so many until a second one fails; negative: none does
inline thread_local int failed = 0;  ///< how many have
inline thread_local std::function<void()>
    before;                               ///< called once, before the next one of this thread
inline thread_local bool spared = false;  ///< the following do not concern this thread
inline std::atomic<long> budget{0};       ///< so many allocations of all other threads fail still,
inline std::atomic<std::uint64_t> one_of{1};  ///< one of so many, by chance,
inline std::atomic<std::uint64_t> seed{1};    ///< which this decides

inline bool ByChance() {
  thread_local std::uint64_t state = seed.fetch_add(0x9e3779b97f4a7c15U);
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (state >> 16) % one_of == 0 && budget.fetch_sub(1) > 0;
}

inline bool Now() {
  if (before) std::exchange(before, nullptr)();
  if (!spared && budget.load(std::memory_order_relaxed) > 0 && ByChance()) return true;
  if (left < 0) return false;
  if (left-- > 0) return false;
  left = between;
  between = -1;
  ++failed;
  return true;
}

}  // namespace failing_new

void* operator new(std::size_t size) {
  if (failing_new::Now()) throw std::bad_alloc();
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return failing_new::Now() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
