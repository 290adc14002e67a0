/// The story of a transaction as `timeline` shows it: who drove it, each call, each entry of its journal; or its drawing.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/http_api.md, "Timeline".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/stored_transaction.hpp>
#include <dtm/timeline/draw.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {
namespace timeline_json {

using Json = nlohmann::ordered_json;

/// Of a time that is not known: nothing.
inline std::string TimeOrNothing(Time time) {
  return time == Time{} ? std::string() : wire::TimeText(time);
}

/// Which branch it is, if it is one. `row`: see Transaction.
inline void AddRow(const Definition& definition, std::size_t row, Json& json) {
  if (row >= RowCount(definition)) return;
  json["row"] = row;
  json[wire::kBranchId] = BranchIdOf(definition, row);
  json[wire::kOp] = Name(OpOf(definition, row));
}

inline Json Runs(const Timeline& story) {
  Json runs = Json::array();
  for (const DrivenBy& run : story.runs) {
    runs.push_back({{"process", run.process}, {"begin_time", TimeOrNothing(run.begin)}});
  }
  return runs;
}

inline Json Attempts(const Timeline& story) {
  const Definition& definition = *story.transaction.definition;
  Json attempts = Json::array();
  for (const Attempt& attempt : story.attempts) {
    Json json = Json::object();
    AddRow(definition, attempt.row, json);
    if (attempt.row < RowCount(definition)) {
      json[wire::kUrl] = ShownUrl(UrlOf(definition, attempt.row));
    }
    json["run"] = attempt.run;
    json["begin_time"] = TimeOrNothing(attempt.begin);
    json["end_time"] = TimeOrNothing(attempt.end);
    json["outcome"] = Name(attempt.outcome);
    json["text"] = attempt.text;
    attempts.push_back(std::move(json));
  }
  return attempts;
}

inline Json Entries(const Timeline& story) {
  Json entries = Json::array();
  for (const JournalEntry& entry : story.entries) {
    Json json = {{"time", TimeOrNothing(entry.time)}, {"kind", Name(entry.kind)}};
    if (entry.kind == JournalKind::kGap) {
      json["count"] = entry.row;
    } else {
      AddRow(*story.transaction.definition, entry.row, json);
    }
    json["text"] = entry.text;
    json["who"] = entry.who;
    entries.push_back(std::move(json));
  }
  return entries;
}

/// The reply with a drawing; nothing if `format` names none. A browser shows an SVG without running or loading anything.
inline std::optional<ApiReply> Drawing(const Timeline& story, const std::string& format) {
  const auto reply = [&story](DrawFormat drawn, const char* type) {
    ApiReply made{200, Draw(story, drawn), type};
    made.headers = {{"X-Content-Type-Options", "nosniff"},
                    {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"}};
    return made;
  };
  if (format == "text") return reply(DrawFormat::kText, "text/plain; charset=utf-8");
  if (format == "mermaid") return reply(DrawFormat::kMermaid, "text/plain; charset=utf-8");
  if (format == "svg") return reply(DrawFormat::kSvg, "image/svg+xml");
  return std::nullopt;
}

}  // namespace timeline_json
}  // namespace v1
}  // namespace dtm
