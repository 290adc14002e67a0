/// For tests that go through every n: under a sanitizer each takes many times as long, and is there for the memory and the threads
/// of each kind of case, so that some are enough.
/// Needs: nothing. Threads: constant.
#pragma once

namespace dtm_test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kStep = 7;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr int kStep = 7;
#else
inline constexpr int kStep = 1;
#endif
#else
inline constexpr int kStep = 1;
#endif

}  // namespace dtm_test
