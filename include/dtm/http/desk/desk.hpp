/// The desk: a page for people that shows what the coordinator does, and asks it to retry, cancel, stop and skip.
/// Needs: std. Threads: pure functions. Document: docs/desk.md.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include <dtm/http/api/replies.hpp>
#include <dtm/http/desk/desk_page.hpp>
#include <dtm/http/http1/request_reply.hpp>

namespace dtm {
inline namespace v1 {
namespace desk {

/// No script but the page's own runs, nothing is loaded from elsewhere, and no other page shows it in a frame.
inline std::vector<http1::HttpHeader> Headers() {
  return {{"Content-Security-Policy",
           "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cache-Control", "no-cache"}};
}

/// Its length is not counted: that would take the compiler a fifth of a second.
template <std::size_t kSize>
std::string_view TextOf(const char (&text)[kSize]) {
  return {text, kSize - 1};
}

inline std::vector<ApiPage> Pages() {
  return {{"/desk", "text/html; charset=utf-8", TextOf(kPage), Headers()},
          {"/desk/desk.css", "text/css; charset=utf-8", TextOf(kStyle), Headers()},
          {"/desk/desk.js", "text/javascript; charset=utf-8", TextOf(kScript), Headers()},
          {"/desk/icon.svg", "image/svg+xml", TextOf(kIcon), Headers()}};
}

}  // namespace desk
}  // namespace v1
}  // namespace dtm
