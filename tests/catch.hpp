/// Catch2, whichever major version there is: 3.x (upstream) or 2.x (Debian 12). Tests write version
/// 3's names. Needs: Catch2. Threads: assertions only from the thread of the test.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <string>

#include <catch2/catch.hpp>

namespace Catch::Matchers {
inline auto ContainsSubstring(const std::string& text) { return Contains(text); }
}  // namespace Catch::Matchers
#endif
