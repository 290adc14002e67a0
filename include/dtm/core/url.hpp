/// URLs of branches and others, taken apart and checked where they are given, and shown without credentials.
/// Needs: std. Threads: pure functions. Protocol: §3 (calling branches). Source: RFC 3986; user and password as Go reads
/// them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>

namespace dtm {
inline namespace v1 {

struct Url {
  std::string scheme;  ///< lower case: "http"
  std::string host;    ///< lower case; an IPv6 address without its brackets
  int port = 0;
  std::string target;       ///< path and query, ready for the request line
  std::string credentials;  ///< "user:password", decoded; empty = none. Never shown

  /// `host:port` as the Host header wants it.
  std::string Authority() const {
    const bool ipv6 = host.find(':') != std::string::npos;
    std::string text = ipv6 ? "[" + host + "]" : host;
    if (port != DefaultPort()) text += ":" + std::to_string(port);
    return text;
  }
  /// `http://host:port`: calls with the same origin share connections and limits.
  std::string Origin() const { return scheme + "://" + Authority(); }
  bool Tls() const { return scheme == "https"; }
  bool Http() const { return scheme == "http" || Tls(); }
  int DefaultPort() const { return Tls() ? 443 : Http() ? 80 : 0; }
};

namespace url_parts {

/// Also makes it lower-case.
inline bool ValidHost(std::string& host, bool (*allowed)(char)) {
  host = Lowered(host);
  return !host.empty() && std::all_of(host.begin(), host.end(), allowed);
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

/// With "***" instead of what stands between `begin` and `at`.
inline std::string Hidden(std::string_view url, std::size_t begin, std::size_t at) {
  return std::string(url.substr(0, begin)) + "***" + std::string(url.substr(at));
}

/// Where user and password stand, and the '@' behind them.
struct User {
  std::size_t begin = 0;
  std::size_t at = std::string::npos;  ///< npos: there are none
};
inline User FindUser(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos || IsLocal(url) || IsTopic(url)) return {};
  const std::size_t begin = scheme + 3;
  const std::size_t end = (std::min)(url.find_first_of("/?#", begin), url.size());
  const std::size_t at = std::string_view(url).substr(0, end).rfind('@');
  return {begin, at == std::string::npos || at < begin ? std::string::npos : at};
}

/// As Go reads it: the password may be missing, other characters than these are encoded.
inline bool Credentials(std::string_view text, std::string& credentials) {
  constexpr std::string_view kMarks = "-._:~!$&'()*+,;=%@";
  for (const char c : text) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  if (text.empty()) return true;
  const std::size_t colon = text.find(':');
  credentials = PercentDecoded(text.substr(0, colon)) + ':';
  if (colon != std::string_view::npos) credentials += PercentDecoded(text.substr(colon + 1));
  return true;
}

/// Where the credentials of something broken end is not known, so whatever they can be is hidden.
inline Error Refusal(const std::string& text, const char* what, const char* why) {
  const std::size_t at = text.rfind('@');
  const std::size_t scheme = text.find("://");
  const std::size_t begin = scheme == std::string::npos || scheme > at ? 0 : scheme + 3;
  std::string shown;
  for (const char c : (at == std::string::npos ? text : Hidden(text, begin, at)).substr(0, 200))
    shown += c >= ' ' && c != 127 ? c : '?';
  return Error(std::string(what) + " \"" + shown + "\" " + why);
}

inline constexpr const char kNoHttp[] = "does not start with http:// or https://";

}  // namespace url_parts

/// The url as it may be shown, stored as a text for people, or logged: without user and password.
inline std::string ShownUrl(const std::string& url) {
  const url_parts::User user = url_parts::FindUser(url);
  return user.at == std::string::npos ? url : url_parts::Hidden(url, user.begin, user.at);
}

/// Both call the same, as whoever it is.
inline bool SameCall(const std::string& url, const std::string& other) {
  const auto bare = [](std::string text) {
    const url_parts::User user = url_parts::FindUser(text);
    return user.at == std::string::npos ? text : text.erase(user.begin, user.at + 1 - user.begin);
  };
  return url == other || bare(url) == bare(other);
}

/// The scheme in lower case; empty if there is none (RFC 3986, §3.1).
inline std::string SchemeOf(const std::string& url) {
  const std::size_t colon = url.find("://");
  if (colon == std::string::npos) return {};
  std::string scheme = Lowered(std::string_view(url).substr(0, colon));
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool valid = std::all_of(scheme.begin(), scheme.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  });
  return valid && !scheme.empty() && letter(scheme.front()) ? scheme : std::string();
}

/// A URL of any scheme; whether somebody calls that is for UrlCallers to say.
/// @throws Error  a sentence that says what is wrong with `text`, which is `what`.
inline Url ParseUrl(const std::string& text, const char* what = "the branch URL") {
  const auto refuse = [&text, what](const char* why) {
    return url_parts::Refusal(text, what, why);
  };
  if (text.size() > kMaxUrlBytes) throw refuse("is too long");
  for (const char c : text) {
    if ((c >= 0 && c < ' ') || c == 127) throw refuse("contains a control character");
  }
  Url url;
  url.scheme = SchemeOf(text);
  if (url.scheme.empty()) throw refuse(url_parts::kNoHttp);

  const std::string_view after = std::string_view(text).substr(url.scheme.size() + 3);
  std::string_view authority = after.substr(0, after.find_first_of("/?#"));
  url.target = url_parts::Target(after.substr(authority.size()));
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    if (!url_parts::Credentials(authority.substr(0, at), url.credentials)) {
      throw refuse("has a user name or password with a character that has to be written as %XX");
    }
    authority.remove_prefix(at + 1);
  }
  std::string_view rest;  // of the authority, behind the host
  bool valid = false;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) throw refuse("has an IPv6 address without its closing ]");
    url.host = authority.substr(1, end - 1);
    rest = authority.substr(end + 1);
    valid = url_parts::ValidHost(url.host,
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
    valid = url_parts::ValidHost(url.host, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
    });
  }
  if (!valid) throw refuse("has no valid host name");
  url.port = url.DefaultPort();
  if (!rest.empty()) {
    url.port = rest.front() == ':' ? url_parts::Port(rest.substr(1)) : 0;
    if (url.port == 0) throw refuse("has no valid port (1 to 65535)");
  }
  return url;
}

/// @throws Error  as ParseUrl, also if it is no URL of http or https.
inline Url ParseHttpUrl(const std::string& text, const char* what = "the branch URL") {
  Url url = ParseUrl(text, what);
  if (!url.Http()) throw url_parts::Refusal(text, what, url_parts::kNoHttp);
  return url;
}

/// Empty, or a URL of http or https.
/// @throws LogicError
inline void CheckUrlOption(const char* name, const std::string& url) {
  if (url.empty()) return;
  try {
    (void)ParseHttpUrl(url, name);
  } catch (const Error& error) {
    throw LogicError(std::string("the option ") + error.what());
  }
}

/// Why nobody could call this branch, wherever: empty if it is a URL of any scheme, names a function or a topic, or is empty
/// (nothing to call).
inline std::string UrlProblem(const std::string& url) {
  if (url.empty() || IsLocal(url) || IsTopic(url)) return {};
  try {
    (void)ParseUrl(url);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace v1
}  // namespace dtm
