/// Where the tool looks: at a coordinator over HTTP, or into the file of one. Both answer the requests of docs/http_api.md.
/// Needs: dtm/http.hpp; OpenSSL if this program was built with it. Threads: one.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "arguments.hpp"
#include "terminal.hpp"
#include <dtm/http.hpp>
#include <dtm/store/sqlite/read_only_store.hpp>
#ifdef DTM_TOOL_TLS
#include <dtm/http/tls.hpp>
#endif

namespace tool {

using Json = nlohmann::ordered_json;
using Query = std::vector<std::pair<std::string, std::string>>;

/// 1: there is none, or it was refused. 3: no answer, or none that is definite.
struct Failed : std::runtime_error {
  Failed(int ends_with, const std::string& text) : std::runtime_error(text), code(ends_with) {}
  const int code;
};

struct Answered {
  int status = 0;
  std::string body;
};

class Source {
 public:
  virtual ~Source() = default;

  virtual std::string Name() const = 0;  ///< for people
  /// Null: it is elsewhere.
  virtual dtm::ReadOnlySqliteStore* File() { return nullptr; }
  /// `path`: below the base. @throws Failed  there is no answer.
  virtual Answered Get(const std::string& path, const Query& query) = 0;
  virtual Answered Post(const std::string& path, const std::string& body) = 0;

  /// @throws Failed  it is refused, or it is not JSON.
  Json Ask(const std::string& path, const Query& query = {}) {
    const Answered answered = Get(path, query);
    Check(answered);
    // What is nested deeper would end this program when it is written.
    Json json = dtm::JsonDepth(answered.body) > kMostNested
                    ? Json(Json::value_t::discarded)
                    : Json::parse(answered.body, nullptr, false);
    if (!json.is_object())
      throw Failed(3, Name() + " answered something that is not dtm's: " +
                          Safe(answered.body.substr(0, 100)));
    return json;
  }
  /// `body`: null: there is none. @throws Failed  it is refused, or in doubt.
  void Do(const std::string& path, const Json& body) {
    const Answered answered =
        Post(path, body.is_null() ? std::string()
                                  : body.dump(-1, ' ', false, Json::error_handler_t::replace));
    if (answered.status == 425) return;  // accepted, and it goes on
    Check(answered);
  }

 private:
  static constexpr std::size_t kMostNested = 100;

  void Check(const Answered& answered) const {
    if (answered.status == 200) return;
    const Json json = Json::parse(answered.body, nullptr, false);
    std::string message =
        json.is_object() && json.contains("message") && json["message"].is_string()
            ? json["message"].get<std::string>()
            : answered.body.substr(0, 200);
    if (answered.status == 401)
      message = "it needs a token: --token or DTM_TOKEN (" + message + ")";
    if (answered.status == 404)
      message = "it does not know this request; is it dtm for C++, of this version?";
    throw Failed(answered.status >= 500 ? 3 : 1, Safe(Name() + ": " + message));
  }
};

class HttpSource : public Source {
 public:
  /// @throws UsageError  it is no URL.
  HttpSource(const std::string& text, std::string token) : token_(std::move(token)) {
    try {
      url_ = dtm::ParseHttpUrl(text, "--url");
      while (!url_.target.empty() && url_.target.back() == '/') url_.target.pop_back();
      const std::string base = "/api/dtmsvr";
      if (url_.target.size() < base.size() ||
          url_.target.compare(url_.target.size() - base.size(), base.size(), base) != 0)
        url_.target += base;
      for (const char c : token_) {
        if (c <= ' ' || c > '~') throw UsageError("the token has a character that no token has");
      }
      std::shared_ptr<dtm::TlsClient> tls;
#ifdef DTM_TOOL_TLS
      if (url_.Tls()) tls = dtm::Tls();
#endif
      if (url_.Tls() && tls == nullptr)
        throw UsageError("this dtm was built without OpenSSL, so it cannot use https");
      connection_ = std::make_unique<dtm::HttpConnection>(url_, std::size_t{64} << 20, tls);
    } catch (const dtm::Error& error) {
      throw UsageError(error.what());
    }
  }

  std::string Name() const override { return "the coordinator at " + url_.Origin(); }

  Answered Get(const std::string& path, const Query& query) override {
    std::string target = path;
    for (const auto& [key, value] : query) target = dtm::WithQuery(target, key.c_str(), value);
    return Send("GET", target, {}, std::chrono::seconds(10));
  }
  Answered Post(const std::string& path, const std::string& body) override {
    return Send("POST", path, body, std::chrono::seconds(15));
  }

 private:
  Answered Send(const char* method, const std::string& target, const std::string& body,
                std::chrono::seconds limit) {
    dtm::http1::HttpRequest request;
    request.method = method;
    request.target = url_.target + target;
    request.body = body;
    request.Set("Host", url_.Authority());
    request.Set("Accept-Encoding", "identity");
    request.Set("User-Agent", dtm::wire::UserAgent());
    if (!body.empty()) request.Set("Content-Type", "application/json");
    if (!token_.empty()) {
      request.Set("Authorization", "Bearer " + token_);
    } else if (!url_.credentials.empty()) {
      request.Set("Authorization", dtm::wire::BasicAuthorization(url_));
    }
    const dtm::Exchanged reply =
        connection_->Send(request, std::chrono::steady_clock::now() + limit);
    if (reply.Complete()) return {reply.status, reply.body};
    throw Failed(3,
                 Safe(Name() + " gave no answer: " + reply.Problem() +
                      (request.method == "GET" ? "; is it running? --url says where it is"
                                               : "; it may or may not be done: look with show")));
  }

  dtm::Url url_;
  std::string token_;
  std::unique_ptr<dtm::HttpConnection> connection_;
};

class FileSource : public Source {
 public:
  /// @throws Failed  it cannot be looked into.
  explicit FileSource(std::string path) : path_(std::move(path)) { Open(); }

  std::string Name() const override { return "the store file '" + Safe(path_) + "'"; }
  dtm::ReadOnlySqliteStore* File() override { return store_; }

  /// As it is at this moment.
  Answered Get(const std::string& path, const Query& query) override {
    for (int tries = 0; tries < 5; ++tries) {
      if (store_->Changed()) Open();
      dtm::ApiRequest request{"GET", "/api/dtmsvr" + path, {}, {}};
      for (const auto& [key, value] : query) request.query.emplace(key, value);
      dtm::ApiReply reply = api_->Handle(request);
      if (!store_->Changed()) return {reply.status, std::move(reply.body)};
    }
    throw Failed(3, Name() + " is being replaced again and again; try again");
  }
  Answered Post(const std::string&, const std::string&) override {
    throw Failed(1, Name() +
                        " is only looked into: name the coordinator that has it with --url, or "
                        "start one on it");
  }

 private:
  void Open() {
    try {
      api_.reset();
      tm_.reset();
      auto store = std::make_unique<dtm::ReadOnlySqliteStore>(path_);
      store_ = store.get();
      dtm::Options options;
      options.log = nullptr;
      options.history =
          dtm::kLastAttempts;  // what its coordinator keeps is not known: all is shown
      tm_ = std::make_unique<dtm::Coordinator>(std::move(store), options);
      api_ = std::make_unique<dtm::Api>(*tm_);
    } catch (const dtm::StoreError& error) {
      throw Failed(1, Safe(error.what()));
    }
  }

  const std::string path_;
  dtm::ReadOnlySqliteStore* store_ = nullptr;  // the coordinator's
  std::unique_ptr<dtm::Coordinator> tm_;
  std::unique_ptr<dtm::Api> api_;
};

inline std::unique_ptr<Source> OpenSource(const Arguments& arguments) {
  if (arguments.Has("file")) return std::make_unique<FileSource>(arguments.Get("file"));
  return std::make_unique<HttpSource>(arguments.Get("url", "DTM_URL", "http://127.0.0.1:36789"),
                                      arguments.Get("token", "DTM_TOKEN", ""));
}

// Small things that all commands do with JSON.

inline std::string TextIn(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}
inline std::int64_t NumberIn(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

inline std::int64_t NowMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// Microseconds since 1970 of a time as the API writes it; 0: it is none.
inline std::int64_t MicrosOf(const std::string& text) {
  std::tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return 0;
  std::int64_t micros = 0, unit = 100000;
  if (*rest == '.') {
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) micros += (*rest - '0') * unit;
  }
  return static_cast<std::int64_t>(::timegm(&parts)) * 1000000 + micros;
}

/// "3 min ago", "in 5 s", or nothing.
inline std::string Ago(const std::string& time) {
  const std::int64_t at = MicrosOf(time);
  if (at == 0) return {};
  const std::int64_t past = NowMicros() - at;
  return past >= 0 ? Span(past) + " ago" : "in " + Span(-past);
}

inline void PrintJson(const Json& json) {
  std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace tool
