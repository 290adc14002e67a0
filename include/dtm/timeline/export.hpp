/// A transaction as one JSON document: its record and its journal, to be kept, sent to somebody, and replayed
/// (testing/incident.hpp). testing/incident/read_export.hpp does the opposite.
/// Needs: nlohmann/json. Threads: pure functions. Document: docs/export_format.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/text.hpp>
#include <dtm/base/version.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>
#include <dtm/text/base64.hpp>
#include <dtm/text/time_text.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {

inline constexpr const char kExportFormat[] = "dtm-export";
inline constexpr int kExportVersion = 1;  ///< readers refuse a newer one

/// The options of the coordinator by which a replay waits as long as it did; 0: not known.
struct ExportSettings {
  Duration retry_interval{};
  Duration request_timeout{};
  std::chrono::seconds timeout_to_fail{0};

  /// Of Options; a template, since those are no business of this room.
  template <typename Options>
  static ExportSettings Of(const Options& options) {
    return {options.retry_interval, options.request_timeout, options.timeout_to_fail};
  }
};

/// kFull: all but the values of branch headers and passwords in URLs, which are never written.
/// kRedacted: besides without payloads, results, texts of errors and reasons, names of people and processes, names of headers,
/// and queries of URLs; what is left of them is how long they are. Gids, names of functions and branches, and paths of URLs stay.
enum class ExportContent { kFull, kRedacted };

namespace export_parts {

using Json = nlohmann::ordered_json;

inline constexpr const char kHidden[] = "***";

/// Leaves out what is empty, zero or false.
class Writer {
 public:
  Writer(const Timeline& story, ExportContent content)
      : transaction_(story.transaction),
        definition_(*story.transaction.definition),
        story_(story),
        redacted_(content == ExportContent::kRedacted) {}

  Json TransactionJson() {
    const Transaction& t = transaction_;
    Json json = DefinitionJson();
    json["status"] = Name(t.status);
    AddTime(json, "created", t.created);
    AddTime(json, "updated", t.updated);
    AddTime(json, "finished", t.finished);
    AddTime(json, "due", t.due);
    AddPrivate(json, "reason", t.reason);
    AddNumber(json, "reason_from", t.reason_from);
    AddPrivate(json, "result", t.result);
    AddPrivate(json, "last_error", t.last_error);
    AddNumber(json, "retry_count", t.retry_count);
    AddFlag(json, "stuck", t.stuck);
    AddFlag(json, "unreadable", t.unreadable);
    AddFlag(json, "expired", t.expired);
    Json rows = Json::array();
    for (std::size_t row = 0; row < t.branches.size(); ++row) rows.push_back(RowJson(row));
    json["rows"] = std::move(rows);
    return json;
  }

  Json JournalJson() {
    Json journal = Json::array();
    for (const JournalEntry& entry : story_.entries) journal.push_back(EntryJson(entry));
    return journal;
  }

 private:
  static void AddNumber(Json& json, const char* key, std::int64_t value) {
    if (value != 0) json[key] = value;
  }
  static void AddFlag(Json& json, const char* key, bool value) {
    if (value) json[key] = true;
  }
  static void AddTime(Json& json, const char* key, Time time) {
    if (time != Time{} && time != kNever) json[key] = TimeText(time);
  }

  /// Text as it is; other bytes as base64.
  static Json Bytes(const std::string& bytes) {
    if (IsUtf8(bytes)) return bytes;
    return {{"base64", base64::Encode(bytes)}};
  }
  static void AddText(Json& json, const char* key, const std::string& text) {
    if (!text.empty()) json[key] = Bytes(text);
  }
  Json Private(const std::string& bytes) const {
    if (!redacted_ || bytes.empty()) return Bytes(bytes);
    return {{"bytes", bytes.size()}};
  }
  void AddPrivate(Json& json, const char* key, const std::string& bytes) const {
    if (!bytes.empty()) json[key] = Private(bytes);
  }

  void AddUrl(Json& json, const char* key, const std::string& url) const {
    std::string shown = ShownUrl(url);
    const std::size_t query = shown.find('?');
    if (redacted_ && !IsLocal(url) && query != std::string::npos) {
      shown.replace(query + 1, std::string::npos, kHidden);
    }
    AddText(json, key, shown);
  }

  Json OptionsJson() const {
    const TransOptions& options = definition_.options;
    Json json = Json::object();
    AddFlag(json, "wait_result", options.wait_result);
    AddNumber(json, "timeout_to_fail", options.timeout_to_fail.count());
    AddNumber(json, "request_timeout", options.request_timeout.count());
    AddNumber(json, "retry_interval", options.retry_interval.count());
    AddNumber(json, "retry_limit", options.retry_limit);
    if (options.branch_headers.empty()) return json;
    Json headers = Json::object();
    for (const auto& header : options.branch_headers) {
      const std::string number = "header " + std::to_string(headers.size() + 1);
      headers[redacted_ || !IsUtf8(header.first) ? number : header.first] = kHidden;
    }
    json["branch_headers"] = std::move(headers);
    return json;
  }

  Json StepJson(const Step& step) const {
    Json json = Json::object();
    AddUrl(json, "action", step.action);
    AddUrl(json, "compensate", step.compensate);
    // The decision of a workflow is one of two words, and says how it goes on.
    const bool decision = definition_.type == TransType::kWorkflow && step.branch_id == kDecision;
    decision ? AddText(json, "payload", step.payload) : AddPrivate(json, "payload", step.payload);
    AddText(json, "branch_id", step.branch_id);
    AddText(json, "topic", step.topic);
    if (step.op != Op{}) json["op"] = Name(step.op);
    AddFlag(json, "failed", step.failed);
    return json;
  }

  Json DefinitionJson() const {
    const Definition& d = definition_;
    Json json = {{"gid", Bytes(d.gid)}, {"type", Name(d.type)}};
    AddFlag(json, "prepared_first", d.prepared_first);
    AddFlag(json, "concurrent", d.concurrent);
    AddFlag(json, "json_rpc", d.json_rpc);
    AddNumber(json, "delay", d.delay.count());
    AddUrl(json, "query_prepared", d.query_prepared);
    AddText(json, "workflow", d.workflow);
    AddPrivate(json, "data", d.data);
    if (!redacted_) AddText(json, "custom_data", d.custom_data);
    json["options"] = OptionsJson();
    if (!d.orders.empty()) {
      Json orders = Json::object();
      for (const auto& order : d.orders) orders[std::to_string(order.first)] = order.second;
      json["orders"] = std::move(orders);
    }
    Json steps = Json::array();
    for (const Step& step : d.steps) steps.push_back(StepJson(step));
    json["steps"] = std::move(steps);
    return json;
  }

  /// Which branch it is, for people; the reader compares.
  void AddBranch(Json& json, std::size_t row) const {
    if (row >= RowCount(definition_)) return;
    json["branch_id"] = BranchIdOf(definition_, row);
    json["op"] = Name(OpOf(definition_, row));
  }

  Json RowJson(std::size_t row) const {
    const Branch& branch = transaction_.branches[row];
    Json json = Json::object();
    AddBranch(json, row);
    json["status"] = Name(branch.status);
    AddNumber(json, "tries", branch.tries);
    AddNumber(json, "errors", branch.errors);
    AddFlag(json, "asked_when", branch.asked_when);
    AddTime(json, "next_try", branch.next_try);
    AddTime(json, "deadline", branch.deadline);
    AddTime(json, "finished", branch.finished);
    return json;
  }

  Json EntryJson(const JournalEntry& entry) {
    Json json = {{"time", TimeText(entry.time)}, {"kind", Name(entry.kind)}};
    if (entry.kind == JournalKind::kGap) {
      json["count"] = entry.row;
      return json;
    }
    if (entry.row != kNoRow) json["row"] = entry.row;
    AddBranch(json, entry.row);
    AddPrivate(json, "text", entry.text);
    AddText(json, "who", redacted_ ? Pseudonym(entry) : entry.who);
    return json;
  }

  /// "process 1" for each process, "person 1" for whoever asked for something; the same one is called the same.
  std::string Pseudonym(const JournalEntry& entry) {
    if (entry.who.empty()) return {};
    const bool process = entry.kind == JournalKind::kPrepared ||
                         entry.kind == JournalKind::kSubmitted ||
                         entry.kind == JournalKind::kTakenUp;
    std::map<std::string, std::size_t>& known = process ? processes_ : people_;
    const std::size_t number = known.emplace(entry.who, known.size() + 1).first->second;
    return (process ? "process " : "person ") + std::to_string(number);
  }

  const Transaction& transaction_;
  const Definition& definition_;
  const Timeline& story_;
  const bool redacted_;
  std::map<std::string, std::size_t> processes_, people_;
};

}  // namespace export_parts

/// The transaction as one JSON document of the version kExportVersion, UTF-8, with a line break at its end. `settings`: of the
/// coordinator that drove it, if they are known: ExportSettings::Of(tm.Settings()).
inline std::string Export(const Timeline& story, ExportContent content = ExportContent::kFull,
                          const ExportSettings& settings = {}) {
  using export_parts::Json;
  export_parts::Writer writer(story, content);
  Json json = {{"format", kExportFormat},
               {"version", kExportVersion},
               {"library", kVersion},
               {"redacted", content == ExportContent::kRedacted}};
  if (settings.retry_interval.count() > 0) {
    json["settings"] = {{"retry_interval_us", settings.retry_interval.count()},
                        {"request_timeout_us", settings.request_timeout.count()},
                        {"timeout_to_fail_s", settings.timeout_to_fail.count()}};
  }
  json["transaction"] = writer.TransactionJson();
  json["journal"] = writer.JournalJson();
  // All texts are UTF-8 by now.
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace v1
}  // namespace dtm
