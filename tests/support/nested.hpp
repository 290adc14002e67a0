/// JSON that is nested deeply, as somebody sends it who wants nlohmann's recursion to end the process.
#pragma once

#include <cstddef>
#include <string>

namespace dtm_test {

/// To copy or dump so many levels needs more stack than a thread has; the text still fits in every limit on bytes.
inline constexpr std::size_t kCrashing = 120000;

inline std::string Nested(std::size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

}  // namespace dtm_test
