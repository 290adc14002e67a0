/// The HTTP API as a function from a request to a reply, without sockets: servers call it.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2, §7; document: docs/http_api.md.
#pragma once

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/coordinator/coordinator.hpp>
#include <dtm/coordinator/outcome.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/http/api/head.hpp>
#include <dtm/http/api/numbers/api_counters.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/api/routes.hpp>

namespace dtm {
inline namespace v1 {

/// What a server does with a request:
///   1. It reads the head into an ApiRequest, and calls api_head::TakeHost. If Refusal(head) gives a reply, it sends that and
///      closes the connection.
///   2. It reads the body, if api_head::MayHaveBody; beyond api_head::kMaxBodyBytes the reply is api_head::TooLong().
///   3. It calls Handle(request, done), and sends what `done` gets. If MayBlock(request), a thread that may wait calls it.
/// A thread that has many requests at a time handles them between the coordinator's BeginBurst and EndBurst.
/// `done` may be called after the Api is gone, but at the latest when the coordinator is stopped.
class Api {
 public:
  explicit Api(Coordinator& tm, std::string token = {})
      : tm_(tm), routes_(tm, counters_), token_(std::move(token)) {}

  /// Before the first request: what is served beside the API.
  void Mount(std::vector<ApiPage> pages) { pages_ = std::move(pages); }

  std::optional<ApiReply> Refusal(const ApiRequest& head) const {
    return api_head::Check(head, token_, PageOf(head) != nullptr);
  }

  /// True if the request reads the store, or runs a function of the program.
  static bool MayBlock(const ApiRequest& request) {
    const ApiRoutes::Route* const route = ApiRoutes::Find(request);
    // The subscribers of a topic are looked up. Slashes may be escaped.
    return route != nullptr && (route->blocks || request.body.find("topic:") != std::string::npos);
  }

  /// `request` is not needed any more when this returns.
  /// @throws std::bad_alloc  `done` is not called.
  void Handle(const ApiRequest& request, const ApiDone& done) {
    const ApiRoutes::Route* const route = ApiRoutes::Find(request);
    const ApiPage* const page = route == nullptr ? PageOf(request) : nullptr;
    const char* const name = route != nullptr ? route->name : page != nullptr ? "page" : "unknown";
    const ApiDone counted = [counters = counters_, name, done,
                             begin = std::chrono::steady_clock::now()](ApiReply reply) {
      counters->AnsweredNow(name, reply.status, begin);
      done(std::move(reply));
    };
    if (page != nullptr) return counted(replies::OfPage(*page));
    if (route == nullptr) return counted(replies::NotFound());
    routes_.Handle(*route, request, counted);
  }

  /// The same, and waits for the reply. @throws std::bad_alloc  and nothing else.
  ApiReply Handle(const ApiRequest& request) {
    const auto box = std::make_shared<ApiReply>();
    try {
      tm_.Await([&](const AnswerCallback& answer) {
        Handle(request, [box, answer](ApiReply given) {
          *box = std::move(given);
          answer({});
        });
      });
    } catch (...) {
      return replies::Of(InHttp(OutcomeOf(std::current_exception())));
    }
    return std::move(*box);
  }

 private:
  const ApiPage* PageOf(const ApiRequest& request) const {
    if (request.method != "GET" && request.method != "HEAD") return nullptr;
    const auto found = std::find_if(pages_.begin(), pages_.end(), [&request](const ApiPage& page) {
      return page.path == request.path;
    });
    return found == pages_.end() ? nullptr : &*found;
  }

  Coordinator& tm_;
  const std::shared_ptr<ApiCounters> counters_ = std::make_shared<ApiCounters>();
  ApiRoutes routes_;
  const std::string token_;
  std::vector<ApiPage> pages_;
};

}  // namespace v1
}  // namespace dtm
