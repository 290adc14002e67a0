/// The version of the library. CMake and the packages read it from here.
/// Needs: nothing. Threads: a constant.

/// Needs: nothing. Threads: constants only.
#pragma once

namespace dtm {
/// Every public name lives in `dtm::v1`: two incompatible versions in one program fail to link
/// instead of mixing their layouts.
inline namespace v1 {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace v1
}  // namespace dtm
