/// Events, spans and lines of the log as JSON, each on one line.
/// Needs: std. Threads: pure functions; LogAsJson: any thread. Document: docs/observe.md.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include <dtm/base/text.hpp>
#include <dtm/base/time.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/types.hpp>
#include <dtm/observe/event.hpp>
#include <dtm/observe/log_line.hpp>
#include <dtm/observe/span.hpp>
#include <dtm/text/time_text.hpp>

namespace dtm {
inline namespace v1 {

namespace json_line {

/// In quotes. Bytes that are no UTF-8 become U+FFFD.
inline std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = Utf8Length(text, at);
    const auto first = static_cast<unsigned char>(text[at]);
    if (length == 0) {
      quoted += "\xEF\xBF\xBD";
    } else if (first < 0x20 || first == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(first));
      quoted += code;
    } else {
      if (first == '"' || first == '\\') quoted += '\\';
      quoted.append(text, at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return quoted + '"';
}

/// An object of texts; empty ones are left out.
class Object {
 public:
  Object& Add(const char* name, const std::string& value) {
    if (!value.empty()) AddRaw(name, Quoted(value));
    return *this;
  }
  Object& AddRaw(const char* name, const std::string& value) {
    text_ += text_.empty() ? "{" : ",";
    text_ += Quoted(name) + ":" + value;
    return *this;
  }
  std::string Text() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

}  // namespace json_line

/// {"time":"2026-11-30T18:00:00.5Z","event":"failure","gid":"...","trans_type":"saga","status":"aborting", ...}; what is empty is left out.
inline std::string JsonLine(const Event& event) {
  return json_line::Object()
      .Add("time", TimeText(event.time))
      .Add("event", Name(event.kind))
      .Add("gid", event.gid)
      .Add("trans_type", Name(event.type))
      .Add("status", Name(event.status))
      .Add("branch_id", event.branch_id)
      .Add("op", event.op == Op{} ? "" : Name(event.op))
      .Add("target", event.target)
      .Add("text", event.text)
      .Add("who", event.who)
      .Add("trace_id", event.trace_id)
      .Text();
}

/// {"time":"...","level":"warning","message":"...","gid":"...","trace_id":"..."}
inline std::string JsonLine(const LogLine& line, Time time) {
  return json_line::Object()
      .Add("time", TimeText(time))
      .Add("level", Name(line.level))
      .Add("message", line.text)
      .Add("gid", line.gid)
      .Add("trace_id", line.trace_id)
      .Text();
}

/// {"time": its begin,"end":"...","span":"saga action 01","trace_id":"...", ..., "attributes":{...}}
inline std::string JsonLine(const Span& span) {
  json_line::Object attributes;
  for (const auto& [name, value] : span.attributes) attributes.Add(name.c_str(), value);
  return json_line::Object()
      .Add("time", TimeText(span.begin))
      .Add("end", TimeText(span.end))
      .Add("span", span.name)
      .Add("trace_id", span.trace_id)
      .Add("span_id", span.span_id)
      .Add("parent_id", span.parent_id)
      .AddRaw("failed", span.failed ? "true" : "false")
      .Add("text", span.text)
      .AddRaw("attributes", attributes.Text())
      .Text();
}

/// For Options::log: each line to stderr as JSON, with the gid and the trace if it is about a transaction.
inline void LogAsJson(const LogLine& line) {
  const Time now = std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  std::fputs((JsonLine(line, now) + "\n").c_str(), stderr);
}

}  // namespace v1
}  // namespace dtm
