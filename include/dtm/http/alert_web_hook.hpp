/// Options::on_alert by HTTP: tells a URL which branch keeps failing.
/// Needs: cpp-httplib, POSIX. Threads: what it makes runs on any; SIGPIPE gets blocked there.
/// Protocol: §3 (alert). The answer is ignored, and no redirect is followed.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/httplib/guarded_client.hpp>
#include <dtm/http/httplib/http_connection.hpp>
#include <dtm/http/wire/names.hpp>

namespace dtm {
inline namespace v1 {

namespace alert_web_hook {

inline constexpr std::chrono::seconds kTimeout{3};
inline constexpr std::size_t kMaxAnswer = 4096;  // of which nothing is read

inline std::string Body(const Alert& alert) {
  const nlohmann::ordered_json body = {{wire::kGid, alert.gid},
                                       {wire::kStatus, Name(alert.status)},
                                       {wire::kBranch, alert.branch},
                                       {wire::kError, alert.error},
                                       {wire::kRetryCount, alert.retry_count}};
  // Branches may have answered with anything.
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// @throws Error  nobody answered; the coordinator logs it.
inline void Post(const Url& url, const Alert& alert) {
  BlockSigpipe();
  httplib::Request request;
  request.method = "POST";
  request.path = url.target;
  request.body = Body(alert);
  request.set_header("Host", url.Authority());
  request.set_header("Content-Type", wire::kJson);
  request.set_header("Accept-Encoding", "identity");
  request.set_header("User-Agent", wire::UserAgent());
  request.set_header("Connection", "close");
  if (!url.credentials.empty()) request.set_header("Authorization", BasicAuthorization(url));
  // Alerts are rare: none leaves a connection behind.
  const Exchanged reply =
      HttpConnection(url, kMaxAnswer)
          .Send(std::move(request), std::chrono::steady_clock::now() + kTimeout);
  if (!reply.answered) {
    throw Error("the alert web hook at " + url.Origin() + " did not answer: " + reply.Problem());
  }
}

}  // namespace alert_web_hook

/// `options.on_alert = dtm::AlertWebHook("http://...")`: POSTs each alert as
/// {"gid","status","branch","error","retry_count"}, within 3 s.
/// @throws Error  the URL is none that can be called.
inline std::function<void(const Alert&)> AlertWebHook(const std::string& url) {
  Url parsed = ParseUrl(url, "the alert web hook");
  if (parsed.tls && !kHttpsSupported) {
    throw Error("the alert web hook " + parsed.Origin() +
                " needs TLS, which this program was built without (CPPHTTPLIB_OPENSSL_SUPPORT)");
  }
  FillRegexTable();
  return [parsed = std::move(parsed)](const Alert& alert) { alert_web_hook::Post(parsed, alert); };
}

}  // namespace v1
}  // namespace dtm
