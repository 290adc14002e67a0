/// A message as the parser and the body reader see it, as text that a test compares.
/// Needs: std. Threads: pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/http/http1/body_reader.hpp>
#include <dtm/http/http1/head_parser.hpp>

namespace dtm_test {

/// What came of bytes that arrive in pieces, and perhaps of the end behind them.
struct ParsedMessage {
  enum class End { kHead, kBody, kWhole, kRefused };  ///< where it stopped, or that it did not
  End end = End::kHead;
  std::string first;                                        ///< "GET /x 1", or "200 1"
  std::string headers;                                      ///< "name=value;"
  std::vector<std::pair<std::string, std::string>> fields;  ///< the same, apart
  std::string body;
  std::string rest;  ///< behind it
  std::string why;
  int why_status = 0;
  bool keep_alive = false;
  bool encoded = false;
  bool expects = false;

  bool Whole() const { return end == End::kWhole; }
  bool Refused() const { return end == End::kRefused; }
  bool operator==(const ParsedMessage& o) const {
    return end == o.end && first == o.first && headers == o.headers && body == o.body &&
           rest == o.rest && why == o.why && why_status == o.why_status &&
           keep_alive == o.keep_alive && encoded == o.encoded && expects == o.expects;
  }
};

/// `piece(at)`: how many bytes arrive together from there on.
template <typename Piece>
ParsedMessage ParseInPieces(dtm::http1::HeadParser::Kind kind, std::string_view text,
                            const Piece& piece, bool closed = true) {
  using dtm::http1::BodyReader;
  using dtm::http1::HeadParser;
  using dtm::http1::Parsed;
  ParsedMessage message;
  const auto refused = [&message](const dtm::http1::Refusal& why) {
    message = ParsedMessage();
    message.end = ParsedMessage::End::kRefused;
    message.why = why.text;
    message.why_status = why.status;
    return message;
  };
  HeadParser parser(kind);
  std::size_t at = 0;
  std::string_view bytes;
  const auto next = [&] {
    const std::size_t size = (std::min)((std::max)(piece(at), std::size_t{1}), text.size() - at);
    bytes = text.substr(at, size);
    at += size;
  };
  Parsed parsed = Parsed::kMore;
  while (parsed == Parsed::kMore && at < text.size()) {
    next();
    parsed = parser.Take(bytes);
  }
  if (parsed == Parsed::kRefused) return refused(parser.Why());
  if (parsed == Parsed::kMore) return message;
  const dtm::http1::MessageHead& head = parser.Head();
  message.first = kind == HeadParser::Kind::kRequest
                      ? std::string(head.Method()) + " " + std::string(head.Target())
                      : std::to_string(head.Status());
  message.first += " " + std::to_string(head.MinorVersion());
  for (std::size_t i = 0; i < head.Count(); ++i) {
    message.fields.emplace_back(head.At(i).name, head.At(i).value);
    message.headers.append(head.At(i).name).append("=").append(head.At(i).value).append(";");
  }
  message.keep_alive = head.BodyFraming().keep_alive;
  message.encoded = head.BodyFraming().encoded;
  message.expects = head.BodyFraming().expects_continue;
  message.end = ParsedMessage::End::kBody;
  BodyReader reader(kind, head.BodyFraming());
  const auto content = [&message](std::string_view some) { message.body.append(some); };
  parsed = reader.Take(bytes, content);
  while (parsed == Parsed::kMore && at < text.size()) {
    next();
    parsed = reader.Take(bytes, content);
  }
  if (parsed == Parsed::kRefused) return refused(reader.Why());
  const bool ended = parsed == Parsed::kMore && closed && reader.End();
  if (parsed == Parsed::kDone || ended) message.end = ParsedMessage::End::kWhole;
  message.rest = std::string(bytes) + std::string(text.substr(at));
  return message;
}

inline ParsedMessage Parse(dtm::http1::HeadParser::Kind kind, std::string_view text,
                           std::size_t piece = 1000000) {
  return ParseInPieces(kind, text, [piece](std::size_t) { return piece; });
}
inline ParsedMessage ParseRequest(std::string_view text, std::size_t piece = 1000000) {
  return Parse(dtm::http1::HeadParser::Kind::kRequest, text, piece);
}
inline ParsedMessage ParseReply(std::string_view text, std::size_t piece = 1000000) {
  return Parse(dtm::http1::HeadParser::Kind::kReply, text, piece);
}

}  // namespace dtm_test
