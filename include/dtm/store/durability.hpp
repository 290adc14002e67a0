/// How much a commit survives.
/// Needs: nothing. Threads: a value.
#pragma once

namespace dtm {
inline namespace v1 {

/// What a commit survives.
enum class Durability {
  kPower,   ///< the loss of power: one fsync a commit
  kProcess  ///< the death of the process (kill -9), not that of the machine
};

}  // namespace v1
}  // namespace dtm
