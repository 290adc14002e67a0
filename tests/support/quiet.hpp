/// Options for tests whose coordinator logs what the test provokes.
/// Needs: std. Threads: pure function.
#pragma once

#include <string>

#include <dtm/coordinator/parts/options.hpp>

namespace dtm_test {

/// The options, without a log.
inline dtm::Options Quiet(dtm::Options options = {}) {
  options.log = [](dtm::LogLevel, const std::string&) {};
  return options;
}

}  // namespace dtm_test
