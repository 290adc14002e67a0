/// A request to the API on its way in: from the bytes of a connection to what the API is asked.
/// Needs: std. Threads: one at a time. Source: RFC 9112 §3, RFC 3986 §2.1; document: docs/http_api.md, "Security".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <dtm/base/text.hpp>
#include <dtm/http/api/head.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/http1/body_reader.hpp>
#include <dtm/http/http1/head_parser.hpp>

namespace dtm {
inline namespace v1 {
namespace serving {

class IncomingRequest {
 public:
  using Parsed = http1::Parsed;

  /// Takes from `bytes` what belongs to the head. After kDone, Request() has all but its body.
  Parsed TakeHead(std::string_view& bytes) {
    const Parsed parsed = head_.Take(bytes);
    if (parsed == Parsed::kDone) {
      Translate();
      body_.emplace(http1::MessageKind::kRequest, Framing());
    }
    return parsed;
  }
  bool HasHead() const { return body_.has_value(); }
  /// Part of it has come.
  bool Begun() const { return head_.Begun(); }

  /// Once it has its head: takes from `bytes` what belongs to the body. Beyond the limit of the API: TooLong.
  Parsed TakeBody(std::string_view& bytes) {
    return body_->Take(bytes, [this](std::string_view piece) {
      too_long_ = too_long_ || piece.size() > api_head::kMaxBodyBytes - request_.body.size();
      if (!too_long_) request_.body.append(piece);
    });
  }
  bool TooLong() const { return too_long_; }

  /// What is wrong, after kRefused.
  const http1::Refusal& Problem() const { return HasHead() ? body_->Why() : head_.Why(); }

  const http1::Framing& Framing() const { return head_.Head().BodyFraming(); }
  bool OldVersion() const { return head_.Head().MinorVersion() == 0; }
  ApiRequest& Request() { return request_; }

  /// For the next one; its memory is used again.
  void Reset() {
    head_.Reset();
    body_.reset();
    request_.method.clear();
    request_.query.clear();
    request_.headers.clear();
    request_.body.clear();
    too_long_ = false;
  }

  /// The memory that it takes.
  std::size_t Bytes() const { return head_.Head().Bytes() + BytesOf(request_); }

  /// That of a request that is handed over.
  static std::size_t BytesOf(const ApiRequest& request) {
    std::size_t bytes = request.path.capacity() + request.body.capacity();
    for (const auto& [name, value] : request.query) bytes += kNode + name.size() + value.size();
    for (const auto& header : request.headers) {
      bytes += sizeof header + header.name.capacity() + header.value.capacity();
    }
    return bytes;
  }

 private:
  void Translate() {
    const http1::MessageHead& head = head_.Head();
    request_.method = head.Method();
    const std::string_view target = head.Target();
    const std::size_t question = target.find('?');
    request_.path = PercentDecoded(target.substr(0, question));
    if (question != std::string_view::npos) TakeQuery(target.substr(question + 1));
    request_.headers.reserve(head.Count());
    for (std::size_t i = 0; i < head.Count(); ++i) {
      const http1::MessageHead::Header header = head.At(i);
      request_.headers.push_back({std::string(header.name), std::string(header.value)});
    }
    api_head::TakeHost(request_);
  }

  void TakeQuery(std::string_view query) {
    for (bool more = true; more;) {
      const std::size_t end = query.find('&');
      const std::string_view pair = query.substr(0, end);
      const std::size_t equals = pair.find('=');
      if (!pair.empty()) {
        request_.query.emplace(
            Decoded(pair.substr(0, equals)),
            equals == std::string_view::npos ? std::string() : Decoded(pair.substr(equals + 1)));
      }
      more = end != std::string_view::npos;
      if (more) query.remove_prefix(end + 1);
    }
  }

  /// As in forms, a plus is a blank.
  static std::string Decoded(std::string_view text) {
    std::string plain(text);
    for (char& c : plain) {
      if (c == '+') c = ' ';
    }
    return PercentDecoded(plain);
  }

  static constexpr std::size_t kNode = 128;  ///< of a map, with its two strings

  http1::HeadParser head_{http1::MessageKind::kRequest};
  std::optional<http1::BodyReader> body_;  ///< once there is the head
  ApiRequest request_;
  bool too_long_ = false;
};

}  // namespace serving
}  // namespace v1
}  // namespace dtm
