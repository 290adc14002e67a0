/// Base64 on the wire: payloads and credentials.
/// Needs: std. Threads: pure functions. Protocol: §2.5 (bin_data).
#pragma once

#include <string>

#include <dtm/core/url.hpp>
#include <dtm/text/base64.hpp>

namespace dtm {
inline namespace v1 {
namespace wire {

namespace base64 = v1::base64;

/// The user and password of a URL, as the value of Authorization.
inline std::string BasicAuthorization(const Url& url) {
  return "Basic " + base64::Encode(url.credentials);
}

}  // namespace wire
}  // namespace v1
}  // namespace dtm
