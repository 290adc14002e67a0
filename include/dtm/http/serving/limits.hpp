/// What a server allows: how many, how much, how long.
/// Needs: std. Threads: values only.
#pragma once

#include <chrono>
#include <cstddef>

namespace dtm {
inline namespace v1 {
namespace serving {

struct ServingLimits {
  using Milliseconds = std::chrono::milliseconds;
  std::size_t connections = 10000;
  std::size_t bytes = std::size_t{64} << 20;  ///< of requests and replies, of all connections
  Milliseconds head{5000};    ///< from the first byte of a request to the end of its head
  Milliseconds body{30000};   ///< from there to the end of its body
  Milliseconds reply{30000};  ///< until a reply has left
  Milliseconds idle{60000};   ///< without a request
  Milliseconds linger{1000};  ///< for the other side to see the last reply
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
