/// A registered function as a builder sees it: a name, and the type of the payload it takes.
/// Needs: std. Threads: values only.
#pragma once

#include <cstdint>
#include <string>

namespace dtm {
inline namespace v1 {

/// Returned by Coordinator::Register; cheap to copy. `T` is the payload type, so builders refuse
/// another type at compile time.
template <typename T>
struct LocalBranch {
  std::string name;
  std::uint64_t owner = 0;  ///< the coordinator it is registered with
};

}  // namespace v1
}  // namespace dtm
