/// What is fuzzed: each target takes any bytes, and aborts if a rule does not hold for them.
/// Needs: std. Threads: pure. Run by tests/fuzz/run.sh (libFuzzer), and over the corpus by fuzz_test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/http/http1/parsed_message.hpp"
#include <dtm/core/url.hpp>

namespace dtm_fuzz {

inline void Require(bool holds, const char* rule) {
  if (holds) return;
  std::fprintf(stderr, "a rule does not hold: %s\n", rule);
  std::abort();
}

/// The pieces in which bytes arrive change nothing. The first byte chooses other pieces.
inline dtm_test::ParsedMessage InPieces(dtm::http1::HeadParser::Kind kind, std::string_view bytes) {
  const std::size_t seed = bytes.empty() ? 0 : static_cast<unsigned char>(bytes.front());
  if (!bytes.empty()) bytes.remove_prefix(1);
  const dtm_test::ParsedMessage whole = dtm_test::Parse(kind, bytes);
  const dtm_test::ParsedMessage bytewise = dtm_test::Parse(kind, bytes, 1);
  const dtm_test::ParsedMessage mixed =
      dtm_test::ParseInPieces(kind, bytes, [seed](std::size_t at) { return (at * 7 + seed) % 61; });
  Require(whole == bytewise, "byte by byte is the same as at once");
  Require(whole == mixed, "pieces of any size are the same as at once");
  Require(whole.Refused() == !whole.why.empty(), "a refusal says why");
  return whole;
}

inline void Request(std::string_view bytes) {
  const dtm_test::ParsedMessage message = InPieces(dtm::http1::HeadParser::Kind::kRequest, bytes);
  if (!message.Whole()) return;
  Require(message.first.find_first_of("\r\n") == std::string::npos,
          "no line end in the first line");
  Require(message.headers.find_first_of("\r\n") == std::string::npos, "no line end in a header");
  // Written again as it was understood, it is understood in the same way.
  std::string again =
      message.first.substr(0, message.first.size() - 1) + "HTTP/1." + message.first.back() + "\r\n";
  for (const auto& [name, value] : message.fields)
    again.append(name).append(": ").append(value).append("\r\n");
  const dtm_test::ParsedMessage second = dtm_test::ParseRequest(again + "\r\n");
  Require(second.first == message.first && second.fields == message.fields,
          "what was read reads the same");
}

inline void Reply(std::string_view bytes) {
  const dtm_test::ParsedMessage message = InPieces(dtm::http1::HeadParser::Kind::kReply, bytes);
  if (!message.Whole()) return;
  Require(message.headers.find_first_of("\r\n") == std::string::npos, "no line end in a header");
  Require(message.first.size() == 5 && message.first[0] != '0', "the status has three digits");
}

/// A body behind a head that is known to be good.
inline void Chunks(std::string_view bytes) {
  if (bytes.empty()) return;
  const std::string seed(bytes.substr(0, 1));
  const std::string body(bytes.substr(1));
  const auto request =
      InPieces(dtm::http1::HeadParser::Kind::kRequest,
               seed + "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
  const auto reply =
      InPieces(dtm::http1::HeadParser::Kind::kReply,
               seed + "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
  if (request.Whole())
    Require(reply.Whole() && reply.body == request.body, "what is strictly right is right");
}

inline void Url(std::string_view bytes) {
  const std::string text(bytes);
  (void)dtm::ShownUrl(text);
  try {
    const dtm::Url url = dtm::ParseUrl(text);
    Require(url.port < 65536 && (url.port > 0 || !url.Http()), "a port is a port");
    Require(!url.target.empty() && url.target.front() == '/', "a target begins with a slash");
    for (const char c : url.target + url.host)
      Require(c > ' ' && c < 127, "nothing can break the request line");
    const dtm::Url again = dtm::ParseUrl(url.Origin() + url.target);
    Require(again.host == url.host && again.port == url.port && again.target == url.target,
            "an origin is a url of it");
  } catch (const dtm::Error& error) {
    Require(*error.what() != 0, "a refusal says why");
  }
}

struct Target {
  const char* name;  ///< of its folder in the corpus
  void (*run)(std::string_view);
};
inline constexpr Target kTargets[] = {
    {"request", Request}, {"reply", Reply}, {"chunks", Chunks}, {"url", Url}};

}  // namespace dtm_fuzz
