/// Who may use the API: the token, and requests that a foreign web page made a browser send.
/// Needs: std. Threads: pure functions. Document: docs/http_api.md, "Security".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>
#include <dtm/http/wire/base64.hpp>

namespace dtm {
inline namespace v1 {
namespace access {

/// The headers that decide; empty means absent.
struct Headers {
  std::string authorization;
  std::string host;
  std::string origin;
  std::string sec_fetch_site;
  std::string sec_fetch_dest{};  ///< what the browser wants it for
};

enum class Verdict { kAllowed, kNoToken, kForeign };

/// Takes the same time wherever the texts differ, so that a token cannot be guessed piece by piece.
inline bool Equal(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0u : 1u;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
  }
  return difference == 0;
}

/// `Bearer <token>`, or Basic with the token as the password: clients that do not support tokens can put
/// it into the URL of the server.
inline bool CarriesToken(std::string_view authorization, std::string_view token) {
  if (Lowered(authorization.substr(0, 7)) == "bearer ")
    return Equal(authorization.substr(7), token);
  if (Lowered(authorization.substr(0, 6)) != "basic ") return false;
  const auto decoded = wire::base64::Decode(authorization.substr(6));
  if (!decoded) return false;
  const std::size_t colon = decoded->find(':');
  return colon != std::string::npos && Equal(std::string_view(*decoded).substr(colon + 1), token);
}

/// "localhost:36789" -> "localhost".
inline std::string_view WithoutPort(std::string_view host) {
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos &&
                    (bracket == std::string_view::npos ? host.find(':') == colon : colon > bracket);
  return port ? host.substr(0, colon) : host;
}

inline bool IsLoopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host == "::1" ||
         (host.substr(0, 4) == "127." &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

/// Clients of dtm do not send Origin or Sec-Fetch-Site; browsers send them for a foreign page.
inline bool FromForeignPage(const Headers& headers) {
  const bool own_origin = headers.origin.empty() || headers.origin == "http://" + headers.host ||
                          headers.origin == "https://" + headers.host;
  const bool own_site = headers.sec_fetch_site.empty() || headers.sec_fetch_site == "none" ||
                        headers.sec_fetch_site == "same-origin";
  return !own_origin || !own_site;
}

/// The Host header has the name that a page used, so a foreign name that resolves to us (DNS rebinding) is noticed.
inline Verdict Judge(const Headers& headers, const std::string& token) {
  if (FromForeignPage(headers)) return Verdict::kForeign;
  if (!token.empty()) {
    return CarriesToken(headers.authorization, token) ? Verdict::kAllowed : Verdict::kNoToken;
  }
  return IsLoopback(Lowered(WithoutPort(headers.host))) ? Verdict::kAllowed : Verdict::kForeign;
}

/// A ping of a server with a token needs no token, and may use any host name.
inline Verdict JudgePing(const Headers& headers, const std::string& token) {
  if (token.empty()) return Judge(headers, token);
  return FromForeignPage(headers) ? Verdict::kForeign : Verdict::kAllowed;
}

/// A page holds no data, so it needs no token. Another site may have a link to it, but nothing else of it.
inline Verdict JudgePage(Headers headers, const std::string& token) {
  const bool followed_link = headers.origin.empty() && headers.sec_fetch_dest == "document";
  if (followed_link) headers.sec_fetch_site.clear();
  return JudgePing(headers, token);
}

}  // namespace access
}  // namespace v1
}  // namespace dtm
