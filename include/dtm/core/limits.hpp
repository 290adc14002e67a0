/// Limits on every size and count, the same in process and over HTTP.
/// Needs: std. Threads: constants and pure functions. Source: the limits of common protocols and
/// databases.
#pragma once

#include <chrono>
#include <cstddef>

namespace dtm {
inline namespace v1 {

inline constexpr std::size_t kMaxGidBytes = 128;
inline constexpr std::size_t kMaxUrlBytes = 2048;
inline constexpr std::size_t kMaxSteps = 1000;
inline constexpr std::size_t kMaxPayloadBytes = 256 * 1024;
inline constexpr std::size_t kMaxDefinitionBytes =
    1024 * 1024;  ///< urls, payloads, headers together
/// For workflows. The size of a result is known only after its step was done, so a workflow that exceeds a limit is rolled
/// back. The limits of what is stored leave room for the URLs and failures of all branches, and for base64.
inline constexpr std::size_t kMaxWorkflowBranches = 400;
inline constexpr std::size_t kMaxAnswersBytes =
    4 * 1024 * 1024;                                        ///< answers of its steps, together
inline constexpr std::size_t kMaxRecordBytes = 512 * 1024;  ///< stored of one answer
inline constexpr std::size_t kMaxWorkflowBytes = 10 * 1024 * 1024;  ///< all that is stored
inline constexpr std::size_t kMaxOrders = 10000;                    ///< entries of branch orders
inline constexpr std::size_t kMaxHeaders = 32;
inline constexpr std::size_t kMaxHeaderBytes = 4096;
inline constexpr std::size_t kMaxReasonBytes = 1024;      ///< stored of a reason or error text
inline constexpr std::size_t kMaxReplyBytes = 64 * 1024;  ///< read of a branch's answer
inline constexpr std::size_t kMaxJsonDepth = 64;          ///< copying and dumping it recurse
inline constexpr std::size_t kMaxListLimit = 1000;
inline constexpr std::chrono::seconds kMaxOptionSeconds{86400};
inline constexpr std::chrono::seconds kMaxDelay{366 * 86400};  ///< of a message
inline constexpr std::chrono::seconds kMaxRetryAfter{3600};    ///< that a branch may ask for
inline constexpr int kMaxRetryLimit = 1000000;

}  // namespace v1
}  // namespace dtm
