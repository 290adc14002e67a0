/// The desk: a page for people that shows what the coordinator does, and asks it to retry, cancel, stop and skip.
/// Needs: std. Threads: pure functions. Document: docs/desk.md.
#pragma once

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

inline std::vector<ApiPage> Pages() {
  return {{"/desk", "text/html; charset=utf-8", kPage, Headers()},
          {"/desk/desk.css", "text/css; charset=utf-8", kStyle, Headers()},
          {"/desk/desk.js", "text/javascript; charset=utf-8", kScript, Headers()},
          {"/desk/icon.svg", "image/svg+xml", kIcon, Headers()}};
}

}  // namespace desk
}  // namespace v1
}  // namespace dtm
