/// Serves a coordinator over dtm's HTTP API, to programs in any language.
/// Needs: cpp-httplib. Threads: thread-safe; the coordinator must outlive the server.
/// Protocol: §2; document: docs/http_api.md.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <httplib.h>

#include <dtm/base/error.hpp>
#include <dtm/base/of_this_process.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/core/option_range.hpp>
#include <dtm/http/api/access.hpp>
#include <dtm/http/api/api.hpp>
#include <dtm/http/api/head.hpp>
#include <dtm/http/api/message.hpp>
#include <dtm/http/httplib/guarded_server.hpp>

namespace dtm {
inline namespace v1 {

struct ServerOptions {
  /// What every request has to carry (docs/http_api.md, "Security"). Without one only the loopback
  /// is served.
  std::string token;
  /// Each takes a thread; more are answered 503. `ulimit -n` has to be above. 1 to 1,000,000.
  int max_connections = 1024;
};

/// Between httplib's requests and the Api. For servers of our own and of others.
class ApiRoutes {
 public:
  /// What Mount listens to: the paths of the API, also in the absolute form ("GET http://host/api/ping").
  static constexpr const char kPattern[] = R"((?:[Hh][Tt][Tt][Pp][Ss]?://[^/]*)?/api/[\s\S]*)";

  ApiRoutes(Coordinator& tm, std::string token) : api_(tm, std::move(token)) {}

  /// Answers requests whose body need not be read. False: read it, then Answer.
  bool AnswerWithoutBody(const httplib::Request& request, httplib::Response& response) {
    const ApiRequest input = InputOf(request);
    if (const std::optional<ApiReply> refusal = api_.Refusal(input)) {
      Send(*refusal, response);
      return true;
    }
    if (api_head::MayHaveBody(request.method)) return false;
    Send(api_.Handle(input), response);
    return true;
  }

  void AnswerWithBody(const httplib::Request& request, httplib::Response& response,
                      const httplib::ContentReader& read) {
    ApiRequest input = InputOf(request);
    bool too_long = false;
    const bool has_body =
        request.has_header("Content-Length") || request.has_header("Transfer-Encoding");
    const bool complete = !has_body || read([&](const char* data, std::size_t size) {
      too_long = size > api_head::kMaxBodyBytes - input.body.size();
      if (!too_long) input.body.append(data, size);
      return !too_long;
    });
    if (too_long) return Send(api_head::TooLong(), response);
    if (!complete) {
      return Send(api_head::Refusal(400, "the body ended too early or is not valid HTTP"),
                  response);
    }
    Send(api_.Handle(input), response);
  }

 private:
  static ApiRequest InputOf(const httplib::Request& request) {
    ApiRequest input;
    input.method = request.method;
    input.path = request.path;
    input.query = {request.params.begin(), request.params.end()};
    for (const auto& header : request.headers) {
      input.headers.push_back({header.first, header.second});
    }
    api_head::TakeHost(input);
    return input;
  }

  static void Send(const ApiReply& reply, httplib::Response& response) {
    response.status = reply.status;
    response.set_content(reply.body, reply.type);
    if (reply.retry_after > 0) {
      response.set_header("Retry-After", std::to_string(reply.retry_after));
    }
    if (reply.close) response.set_header("Connection", "close");
    if (reply.challenge != nullptr) response.set_header("WWW-Authenticate", reply.challenge);
  }

  Api api_;
};

/// In a forked child it does not serve, and its destructor touches nothing; the child has neither its port nor its
/// connections.
class Server {
 public:
  /// @throws LogicError  an option is out of its range.
  explicit Server(Coordinator& tm, ServerOptions options = {})
      : options_(std::move(options)), routes_(tm, options_.token) {
    option_range::Check(option_range::kMaxConnections, options_.max_connections);
  }
  Server(Coordinator&& tm, ServerOptions options = {}) = delete;
  ~Server() {
    if (Own* const own = own_.IfHere()) End(*own);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves on threads of its own. Port 0: any that is free. Returns the port.
  /// @throws Error  it cannot listen there, or the address is public and there is no token.
  int Start(const std::string& host, int port) {
    Own& own = own_.Get();
    const int bound = Prepare(host, port);
    own.thread = std::thread([&own] { own.server->Listen(); });
    return bound;
  }

  /// The same, and returns when Stop was called.
  void Listen(const std::string& host, int port) {
    (void)Prepare(host, port);
    own_.Get().server->Listen();
  }

  /// Lets the requests at hand end (at most 6 s, if one waits for a result; none, if the coordinator was stopped
  /// before); no new ones come.
  /// Once, then the server can be started again.
  void Stop() { End(own_.Get()); }

  /// Adds the API to a server of the program's own, which has to be stopped before this one is
  /// destroyed. Its limits, addresses and threads are the program's choice.
  void Mount(httplib::Server& server) {
    const std::string pattern = ApiRoutes::kPattern;
    const auto without_body = [this](const httplib::Request& request, httplib::Response& response) {
      (void)routes_.AnswerWithoutBody(request, response);
    };
    server.Get(pattern, without_body);
    AddBodyRoutes(server, pattern, false);
  }

 private:
  struct Own;

  static void End(Own& own) {
    if (own.server) own.server->Stop();
    if (!own.thread.joinable()) return;
    own.thread.join();
    own.server.reset();
  }

  int Prepare(const std::string& host, int port) {
    if (own_.Get().server) throw LogicError("this server listens already; use another one");
    for (const char c : options_.token) {
      if (c > ' ' && c < 127 && c != '%') continue;  // httplib 0.11 would decode a %
      throw Error("the token may have no blanks, no % and only characters of ASCII");
    }
    if (options_.token.empty() && !access::IsLoopback(host)) {
      throw Error("'" + host +
                  "' can be reached from other machines, so the server needs a token; set one, or "
                  "listen on 127.0.0.1");
    }
    guard::ServerLimits limits;
    limits.max_connections = options_.max_connections;
    auto server = std::make_unique<guard::GuardedServer>(limits);
    server->set_pre_routing_handler([this](const auto& request, auto& response) {
      return routes_.AnswerWithoutBody(request, response)
                 ? httplib::Server::HandlerResponse::Handled
                 : httplib::Server::HandlerResponse::Unhandled;
    });
    server->set_exception_handler(
        [](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) {
          response.status = 500;
          response.set_header("Connection", "close");
        });
    server->set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      const ApiReply reply = replies::Of({response.status, "this is not valid HTTP for a server"});
      response.set_content(reply.body, reply.type);
    });
    AddBodyRoutes(*server, R"([\s\S]*)", true);
    const int bound = server->Bind(host, port);
    own_.Get().server = std::move(server);
    return bound;
  }

  /// `checked`: the head was looked at before.
  void AddBodyRoutes(httplib::Server& server, const std::string& pattern, bool checked) {
    const httplib::Server::HandlerWithContentReader with_body =
        [this, checked](const httplib::Request& request, httplib::Response& response,
                        const httplib::ContentReader& read) {
          if (!checked && routes_.AnswerWithoutBody(request, response)) return;
          routes_.AnswerWithBody(request, response, read);
        };
    server.Post(pattern, with_body);
    server.Put(pattern, with_body);
    server.Patch(pattern, with_body);
  }

  struct Own {
    std::unique_ptr<guard::GuardedServer> server;
    std::thread thread;
  };

  const ServerOptions options_;
  ApiRoutes routes_;
  OfThisProcess<Own> own_{"server"};
};

}  // namespace v1
}  // namespace dtm
