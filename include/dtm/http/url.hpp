/// URLs of branches and others, taken apart and checked before anything is sent to them.
/// Needs: std. Threads: pure functions. Protocol: §3 (calling branches).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <dtm/core/error.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/text.hpp>

namespace dtm {
inline namespace v1 {

struct Url {
  bool tls = false;
  std::string host;  ///< lower case; an IPv6 address without its brackets
  int port = 0;
  std::string target;  ///< path and query, ready for the request line

  /// `host:port` as the Host header wants it.
  std::string Authority() const {
    const bool ipv6 = host.find(':') != std::string::npos;
    std::string text = ipv6 ? "[" + host + "]" : host;
    if (port != (tls ? 443 : 80)) text += ":" + std::to_string(port);
    return text;
  }
  /// `http://host:port`: calls with the same origin share connections and limits.
  std::string Origin() const { return (tls ? "https://" : "http://") + Authority(); }
};

namespace url_parts {

inline bool Lower(std::string& text, bool (*allowed)(char)) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!allowed(c)) return false;
  }
  return !text.empty();
}

/// 1 .. 65535, or 0 if it is no port.
inline int Port(std::string_view text) {
  if (text.empty() || text.size() > 5) return 0;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return 0;
    port = port * 10 + (c - '0');
  }
  return port <= 65535 ? port : 0;
}

/// Path and query as they are; spaces and bytes beyond ASCII would break the request line.
inline std::string Target(std::string_view rest) {
  std::string target = rest.empty() || rest.front() != '/' ? "/" : "";
  target.reserve(rest.size() + 1);
  for (const char c : rest) {
    if (c == '#') break;
    if (c > ' ' && c < 127) {
      target += c;
    } else {
      target += PercentEncoded(std::string_view(&c, 1));
    }
  }
  return target;
}

}  // namespace url_parts

/// Throws Error with a sentence that says what is wrong with `text`, which is `what`.
inline Url ParseUrl(const std::string& text, const char* what = "the branch URL") {
  const auto refuse = [&text, what](const char* why) -> Error {
    std::string shown;
    for (const char c : text.substr(0, 200)) shown += c >= ' ' && c != 127 ? c : '?';
    return Error(std::string(what) + " \"" + shown + "\" " + why);
  };
  if (text.size() > kMaxUrlBytes) throw refuse("is too long");
  for (const char c : text) {
    if ((c >= 0 && c < ' ') || c == 127) throw refuse("contains a control character");
  }
  Url url;
  const std::size_t colon = text.find("://");
  std::string scheme = text.substr(0, colon == std::string::npos ? 0 : colon);
  url_parts::Lower(scheme, [](char) { return true; });
  if (scheme != "http" && scheme != "https") {
    throw refuse("does not start with http:// or https://");
  }
  url.tls = scheme == "https";

  const std::string_view after = std::string_view(text).substr(colon + 3);
  const std::string_view authority = after.substr(0, after.find_first_of("/?#"));
  if (authority.find('@') != std::string_view::npos) {
    throw refuse("contains a user name; branch headers can carry credentials, URLs cannot");
  }
  std::string_view rest;  // of the authority, behind the host
  bool valid = false;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) throw refuse("has an IPv6 address without its closing ]");
    url.host = authority.substr(1, end - 1);
    rest = authority.substr(end + 1);
    valid = url_parts::Lower(url.host,
                             [](char c) {
                               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
                                      c == ':' || c == '.';
                             }) &&
            url.host.find(':') != std::string::npos;
  } else {
    const std::size_t end =
        (authority.find(':') == std::string_view::npos) ? authority.size() : authority.find(':');
    url.host = authority.substr(0, end);
    rest = authority.substr(end);
    valid = url_parts::Lower(url.host, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
    });
  }
  if (!valid) throw refuse("has no valid host name");
  url.port = url.tls ? 443 : 80;
  if (!rest.empty()) {
    url.port = rest.front() == ':' ? url_parts::Port(rest.substr(1)) : 0;
    if (url.port == 0) throw refuse("has no valid port (1 to 65535)");
  }
  url.target = url_parts::Target(after.substr(authority.size()));
  return url;
}

}  // namespace v1
}  // namespace dtm
