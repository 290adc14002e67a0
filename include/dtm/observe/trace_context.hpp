/// The trace that a transaction belongs to: the headers traceparent and tracestate of its branches.
/// Needs: std. Threads: values and pure functions. Source: W3C Trace Context (level 1, and the keys of level 2).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include <dtm/base/text.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>

namespace dtm {
inline namespace v1 {

struct TraceContext {
  std::string trace_id;   ///< 32 hexadecimal digits
  std::string parent_id;  ///< 16 of them: the span that caused what comes
  std::string flags;      ///< 2 of them; the lowest bit: it is recorded
  std::string state;      ///< of the vendors, see TraceState; empty: none

  bool Sampled() const {
    return !flags.empty() &&
           std::string_view("13579bdf").find(flags.back()) != std::string_view::npos;
  }
};

namespace trace {

inline bool IsHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
inline bool IsZero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

inline bool IsKey(std::string_view key) {
  const auto small = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !key.empty() && key.size() <= 256 && small(key[0]) &&
         std::all_of(key.begin(), key.end(), [&small](char c) {
           return small(c) || std::string_view("_-*/@").find(c) != std::string_view::npos;
         });
}
inline bool IsValue(std::string_view value) {
  return !value.empty() && value.size() <= 256 && value.back() != ' ' &&
         std::all_of(value.begin(), value.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != ',' && c != '='; });
}

/// 16 hexadecimal digits.
inline std::string Hex(std::uint64_t number) {
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; number >>= 4) {
    text[i] = "0123456789abcdef"[number & 0xF];
  }
  return text;
}

/// Each bit of the number changes about half of the bits.
inline std::uint64_t Mixed(std::uint64_t number) {
  number = (number ^ (number >> 33)) * 0xFF51AFD7ED558CCDU;
  number = (number ^ (number >> 33)) * 0xC4CEB9FE1A85EC53U;
  return number ^ (number >> 33);
}

/// The same in every process and after every restart, so it must never change; never 0.
inline std::uint64_t HashOf(std::string_view salt, const std::string& gid) {
  StableHash hash;
  hash.Add(salt);
  hash.Add(gid);
  const std::uint64_t mixed = Mixed(hash.Value());
  return mixed == 0 ? 1 : mixed;
}

}  // namespace trace

/// Whether a tracestate is one; an invalid one is not passed on. Blanks around its members are allowed.
inline bool IsTraceState(std::string_view text) {
  if (text.size() > kMaxHeaderBytes) return false;
  std::set<std::string_view> keys;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = (std::min)(text.find(',', begin), text.size());
    const std::string_view member = Trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    if (member.empty()) continue;
    const std::size_t is = (std::min)(member.find('='), member.size());
    const bool valid = trace::IsKey(member.substr(0, is)) && is < member.size() &&
                       trace::IsValue(member.substr(is + 1));
    if (!valid || !keys.insert(member.substr(0, is)).second || keys.size() > 32) return false;
  }
  return !keys.empty();
}

/// Nothing: `parent` is no valid traceparent, so it counts as if it were not there, and so does `state`. An invalid state
/// alone is left out.
inline std::optional<TraceContext> ReadTraceContext(std::string_view parent,
                                                    std::string_view state) {
  parent = Trimmed(parent);
  constexpr std::size_t kSize = 55;  // of version 00; later ones may go on
  if (parent.size() < kSize || parent[2] != '-' || parent[35] != '-' || parent[52] != '-') {
    return std::nullopt;
  }
  const std::string_view version = parent.substr(0, 2);
  const std::string_view id = parent.substr(3, 32);
  const std::string_view span = parent.substr(36, 16);
  const std::string_view flags = parent.substr(53, 2);
  const bool known = version == "00" && parent.size() == kSize;
  const bool later =
      version != "00" && version != "ff" && (parent.size() == kSize || parent[kSize] == '-');
  for (const std::string_view part : {version, id, span, flags}) {
    if (!trace::IsHex(part)) return std::nullopt;
  }
  if (!(known || later) || trace::IsZero(id) || trace::IsZero(span)) return std::nullopt;
  TraceContext context{std::string(id), std::string(span), std::string(flags), {}};
  if (IsTraceState(state)) context.state = Trimmed(state);
  return context;
}

/// The value of a traceparent, in version 00.
inline std::string TraceParent(const TraceContext& context) {
  return "00-" + context.trace_id + "-" + context.parent_id + "-" + context.flags;
}

/// What a transaction was submitted with.
inline std::optional<TraceContext> TraceContextOf(const TransOptions& options) {
  if (options.branch_headers.empty()) return std::nullopt;
  const std::string* parent = FindBranchHeader(options, kTraceParent);
  if (parent == nullptr) return std::nullopt;
  const std::string* state = FindBranchHeader(options, kTraceState);
  return ReadTraceContext(*parent, state == nullptr ? std::string_view() : *state);
}

/// The trace of a transaction whose spans are told, and as the parent its own span. Without a trace from outside one begins
/// with it. Both follow from the gid, so they are the same after a restart.
inline TraceContext OwnTrace(const std::string& gid, const TransOptions& options) {
  TraceContext context = TraceContextOf(options).value_or(TraceContext{{}, {}, "01", {}});
  if (context.trace_id.empty()) {
    context.trace_id = trace::Hex(trace::HashOf("trace ", gid)) +
                       trace::Hex(trace::HashOf("trace, second half ", gid));
  }
  context.parent_id = trace::Hex(trace::HashOf("span ", gid));
  return context;
}

/// The id of the trace of a transaction; `spans`: they are told. Empty: it has none.
inline std::string TraceIdOf(const Definition& definition, bool spans) {
  if (spans) return OwnTrace(definition.gid, definition.options).trace_id;
  const std::optional<TraceContext> context = TraceContextOf(definition.options);
  return context ? context->trace_id : std::string();
}

/// Tells a branch in which trace it is.
inline void Put(const TraceContext& context, BranchInfo& info) {
  info.traceparent = TraceParent(context);
  info.tracestate = context.state;
}

}  // namespace v1
}  // namespace dtm
