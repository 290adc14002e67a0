/// Generated from include/dtm/store/request_codec.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"

// ---- dtm/store/request_codec.hpp ---------------------------------------------------------------

/// The stored form of what one coordinator asks of another: the text of a request, beside its gid and kind.
/// Needs: std. Threads: pure functions. Document: docs/store_format.md; change both together. Coordinators of an earlier version
/// read it too, while one after the other is replaced.

#include <cstdint>
#include <string>
#include <string_view>

namespace dtm {
inline namespace v1 {
namespace codec {

/// Stands between the reason and who asks. An earlier version takes all of it for the reason.
inline constexpr char kBeforeWho = '\x1f';

inline std::string EncodeAsked(const Request& request) {
  if (request.kind == Request::Kind::kSkip) {
    std::string text;
    Writer writer(text);
    writer.Byte(static_cast<std::uint8_t>(request.op));
    for (const std::string* part : {&request.branch_id, &request.reason, &request.who}) {
      writer.Text(*part);
    }
    return text;
  }
  const bool alone = request.who.empty() && request.reason.find(kBeforeWho) == std::string::npos;
  return alone ? request.reason : request.reason + kBeforeWho + request.who;
}

/// For a request of `request.kind`. What is damaged names no branch, and is refused as that.
inline void DecodeAsked(std::string_view text, Request& request) {
  if (request.kind == Request::Kind::kSkip) {
    try {
      Reader reader(text);
      request.op = static_cast<Op>(reader.Byte());
      for (std::string* part : {&request.branch_id, &request.reason, &request.who}) {
        *part = reader.Text();
      }
    } catch (const StoreError&) {
      request.branch_id.clear();
    }
    return;
  }
  const std::size_t end = text.rfind(kBeforeWho);
  request.reason = text.substr(0, end);
  request.who = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
}

}  // namespace codec
}  // namespace v1
}  // namespace dtm
