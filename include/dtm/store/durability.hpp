/// How much a commit survives.
/// Needs: nothing. Threads: a value.
#pragma once

namespace dtm {
inline namespace v1 {

/// kPower: one fsync per commit, survives the loss of power. kProcess: survives the death of the
/// process (kill -9), not that of the machine.
enum class Durability { kPower, kProcess };

}  // namespace v1
}  // namespace dtm
