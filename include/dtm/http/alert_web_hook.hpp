/// Options::on_alert by HTTP: tells a URL which branch keeps failing.
/// Needs: POSIX. Threads: what it makes runs on any.
/// Protocol: §3 (alert). The reply is ignored, and no redirect is followed.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/remote/http_connection.hpp>
#include <dtm/http/wire/base64.hpp>
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

/// @throws Error  there was no reply; the coordinator logs it.
inline void Post(const Url& url, const Alert& alert, const std::shared_ptr<TlsClient>& tls) {
  http1::HttpRequest request;
  request.method = "POST";
  request.target = url.target;
  request.body = Body(alert);
  request.Set("Host", url.Authority());
  request.Set("Content-Type", wire::kJson);
  request.Set("Accept-Encoding", "identity");
  request.Set("User-Agent", wire::UserAgent());
  request.Set("Connection", "close");
  if (!url.credentials.empty()) request.Set("Authorization", wire::BasicAuthorization(url));
  // Alerts are rare: none leaves a connection behind.
  const Exchanged reply = HttpConnection(url, kMaxAnswer, tls)
                              .Send(request, std::chrono::steady_clock::now() + kTimeout);
  if (!reply.answered) {
    throw Error("the alert web hook at " + url.Origin() + " did not answer: " + reply.Problem());
  }
}

}  // namespace alert_web_hook

/// `options.on_alert = dtm::AlertWebHook("http://...")`: POSTs each alert as
/// {"gid","status","branch","error","retry_count"}, within 3 s. `tls`: for https, dtm::Tls() of <dtm/http/tls.hpp>.
/// @throws Error  the URL cannot be called.
inline std::function<void(const Alert&)> AlertWebHook(const std::string& url,
                                                      std::shared_ptr<TlsClient> tls = nullptr) {
  Url parsed = ParseHttpUrl(url, "the alert web hook");
  if (parsed.Tls() && !tls) {
    throw Error("the alert web hook " + parsed.Origin() +
                " needs TLS: include <dtm/http/tls.hpp> and give dtm::Tls() as well");
  }
  return [parsed = std::move(parsed), tls = std::move(tls)](const Alert& alert) {
    alert_web_hook::Post(parsed, alert, tls);
  };
}

}  // namespace v1
}  // namespace dtm
