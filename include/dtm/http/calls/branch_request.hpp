/// A branch call as an HTTP request.
/// Needs: nlohmann/json. Threads: pure functions. Protocol: §3 (calling branches).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/http1/request_reply.hpp>
#include <dtm/http/wire/base64.hpp>
#include <dtm/http/wire/json_rpc.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/reply_rule.hpp>
#include <dtm/observe/trace_context.hpp>

namespace dtm {
inline namespace v1 {

namespace headers {

/// An RFC 9110 token.
inline bool ValidName(const std::string& name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (const char c : name) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!word && kMarks.find(c) == std::string_view::npos) return false;
  }
  return !name.empty();
}

inline bool ValidValue(const std::string& value) {
  for (const char c : value) {
    if ((c >= 0 && c < ' ' && c != '\t') || c == 127) return false;
  }
  return true;
}

/// Headers that frame a message belong to the connection, not to the call. If they were copied from another
/// request, one call would run into the next; so they are left out.
inline bool IsFraming(const std::string& lower) {
  for (const char* name : {"connection", "content-length", "expect", "keep-alive",
                           "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}) {
    if (lower == name) return true;
  }
  return false;
}

}  // namespace headers

/// Those of the transaction; of a call that is a span, with that as the parent of what the branch does.
class BranchHeaders {
 public:
  using Map = std::map<std::string, std::string>;
  explicit BranchHeaders(const BranchCall& call) : given_(call.definition->options.branch_headers) {
    if (call.span == nullptr) return;
    for (const auto& header : given_) {
      if (!IsTraceHeader(header.first)) own_.insert(header);
    }
    const auto trace = call.Trace();
    own_[kTraceParent] = TraceParent(*trace);
    if (!trace->state.empty()) own_[kTraceState] = trace->state;
  }
  const Map& Get() const { return own_.empty() ? given_ : own_; }

 private:
  const Map& given_;
  Map own_;
};

/// @throws Error  a branch header could smuggle something into the request.
inline http1::HttpRequest BranchRequest(const BranchCall& call, const Url& url) {
  http1::HttpRequest request;
  if (wire::json_rpc::Speaks(*call.definition, url)) {
    request.method = "POST";
    request.target = url.target;
    request.body = wire::json_rpc::BranchBody(url, call.Payload(), call.Info());
  } else {
    request.method = wire::BranchMethod(call.definition->type, call.Payload());
    request.target = wire::BranchTarget(url.target, call.Info());
    request.body = call.Payload();
  }
  // By the name in lower case; the last of equal ones counts.
  std::map<std::string, std::pair<const std::string*, const std::string*>> given;
  const BranchHeaders branch_headers(call);
  for (const auto& [name, value] : branch_headers.Get()) {
    if (!headers::ValidName(name) || !headers::ValidValue(value)) {
      throw Error("the branch header \"" + wire::StorableText(name) +
                  "\" has a name or value that HTTP does not allow; the call was not sent");
    }
    std::string lower = Lowered(name);
    if (!headers::IsFraming(lower)) given[std::move(lower)] = {&name, &value};
  }
  request.headers.reserve(6 + given.size());
  const auto otherwise = [&](const char* lower, const char* name, std::string value) {
    if (given.empty() || given.count(lower) == 0) request.Set(name, std::move(value));
  };
  otherwise("host", "Host", url.Authority());
  otherwise("content-type", "Content-Type", wire::kJson);
  otherwise("accept", "Accept", wire::kJson);
  // A few bytes of gzip can be gigabytes of answer.
  otherwise("accept-encoding", "Accept-Encoding", "identity");
  otherwise("user-agent", "User-Agent", wire::UserAgent());
  if (!url.credentials.empty()) {
    otherwise("authorization", "Authorization", wire::BasicAuthorization(url));
  }
  for (const auto& [lower, header] : given) {
    // Blanks around a value are none of it (RFC 9110).
    request.Set(*header.first, std::string(Trimmed(*header.second)));
  }
  return request;
}

}  // namespace v1
}  // namespace dtm
