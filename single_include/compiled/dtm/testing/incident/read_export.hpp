/// Generated from include/dtm/testing/incident/read_export.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "strict_json.hpp"

// ---- dtm/testing/incident/read_export.hpp ------------------------------------------------------

/// Reads what Export has written. Whatever it does not know is an error that names the place.
/// Needs: nlohmann/json. Threads: values and pure functions. Document: docs/export_format.md.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace dtm {
inline namespace v1 {
namespace testing {

/// What an export says.
struct ExportedTransaction {
  Timeline story;
  std::string library;  ///< the version that wrote it
  bool redacted = false;
  ExportSettings settings;
};

namespace read_export {

using strict_json::Json;
using strict_json::Object;

inline constexpr std::int64_t kAnyNumber = INT64_MAX;
inline constexpr std::int64_t kAnyCount = UINT32_MAX;
inline constexpr std::size_t kMostRows = 4 * kMaxSteps;
inline constexpr std::size_t kMostEntries = 100000;

inline TransOptions OptionsOf(Object json) {
  const auto seconds = [&json](const char* key) {
    return std::chrono::seconds(json.Number(key, kMaxOptionSeconds.count()));
  };
  TransOptions options;
  options.wait_result = json.Flag("wait_result");
  options.timeout_to_fail = seconds("timeout_to_fail");
  options.request_timeout = seconds("request_timeout");
  options.retry_interval = seconds("retry_interval");
  options.retry_limit = static_cast<int>(json.Number("retry_limit", kMaxRetryLimit));
  if (const Json* headers = json.Find("branch_headers")) {
    const char* wanted = "an object of texts";
    if (!headers->is_object()) json.Wrong("branch_headers", wanted);
    for (const auto& header : headers->items()) {
      if (!header.value().is_string()) json.Wrong("branch_headers", wanted);
      options.branch_headers[header.key()] = header.value().get<std::string>();
    }
  }
  json.CheckAllAsked();
  return options;
}

inline void ReadOrders(Object& json, Definition& definition) {
  const Json* orders = json.Find("orders");
  if (orders == nullptr) return;
  const char* wanted = "an object such as {\"2\":[0,1]}: step 2 comes after steps 0 and 1";
  if (!orders->is_object()) json.Wrong("orders", wanted);
  for (const auto& order : orders->items()) {
    const std::optional<unsigned> step = ParseNumber<unsigned>(order.key());
    if (!step || *step > kMaxSteps || !order.value().is_array()) json.Wrong("orders", wanted);
    std::vector<int>& before = definition.orders[static_cast<int>(*step)];
    for (const Json& number : order.value()) {
      if (!number.is_number_unsigned() || number > kMaxSteps) json.Wrong("orders", wanted);
      before.push_back(number.get<int>());
    }
  }
}

inline Definition DefinitionOf(Object& json) {
  Definition definition;
  (void)json.At("gid");
  definition.gid = json.Bytes("gid");
  definition.type = json.Named("type", TransType::kSaga, TransType::kWorkflow);
  definition.prepared_first = json.Flag("prepared_first");
  definition.concurrent = json.Flag("concurrent");
  definition.json_rpc = json.Flag("json_rpc");
  definition.delay = std::chrono::seconds(json.Number("delay", kMaxDelay.count()));
  definition.query_prepared = json.Bytes("query_prepared");
  definition.workflow = json.Bytes("workflow");
  definition.data = json.Bytes("data");
  definition.custom_data = json.Bytes("custom_data");
  definition.options = OptionsOf(json.Child("options"));
  ReadOrders(json, definition);
  json.Elements("steps", kMostRows, [&definition](Object& element, std::size_t) {
    Step step;
    step.action = element.Bytes("action");
    step.compensate = element.Bytes("compensate");
    step.payload = element.Bytes("payload");
    step.branch_id = element.Bytes("branch_id");
    step.topic = element.Bytes("topic");
    if (element.Find("op") != nullptr) step.op = element.Named("op", Op::kAction, Op::kResume);
    step.failed = element.Flag("failed");
    definition.steps.push_back(std::move(step));
  });
  return definition;
}

/// What is written of a row for people has to be what it is.
inline void CheckBranch(Object& json, const Definition& definition, std::size_t row) {
  const bool known = row < RowCount(definition);
  const std::string branch_id = known ? BranchIdOf(definition, row) : std::string();
  const std::string op = known ? Name(OpOf(definition, row)) : "";
  const auto check = [&json](const char* key, const std::string& wanted) {
    if (json.Bytes(key) != wanted) json.Wrong(key, "'" + Printable(wanted) + "', as the steps say");
  };
  check("branch_id", branch_id);
  check("op", op);
}

inline Branch BranchOf(Object& json) {
  Branch branch;
  branch.status = json.Named("status", BranchStatus::kPrepared, BranchStatus::kFailed);
  branch.tries = static_cast<std::uint32_t>(json.Number("tries", kAnyCount));
  branch.errors = static_cast<std::uint32_t>(json.Number("errors", kAnyCount));
  branch.asked_when = json.Flag("asked_when");
  branch.next_try = json.TimeOf("next_try");
  branch.deadline = json.TimeOf("deadline");
  branch.finished = json.TimeOf("finished");
  return branch;
}

inline Transaction TransactionOf(Object json) {
  Transaction t;
  const auto definition = std::make_shared<Definition>(DefinitionOf(json));
  t.definition = definition;
  t.status = json.Named("status", Status::kPrepared, Status::kFailed);
  t.created = json.TimeOf("created");
  t.updated = json.TimeOf("updated");
  t.finished = json.TimeOf("finished");
  t.due = json.TimeOf("due", kNever);
  t.reason = json.Bytes("reason");
  t.reason_from = static_cast<std::uint32_t>(json.Number("reason_from", kAnyCount));
  t.result = json.Bytes("result");
  t.last_error = json.Bytes("last_error");
  t.retry_count = static_cast<std::uint32_t>(json.Number("retry_count", kAnyCount));
  t.stuck = json.Flag("stuck");
  t.unreadable = json.Flag("unreadable");
  t.expired = json.Flag("expired");
  json.Elements("rows", kMostRows, [&](Object& element, std::size_t row) {
    CheckBranch(element, *definition, row);
    t.branches.push_back(BranchOf(element));
  });
  json.CheckAllAsked();
  return t;
}

inline JournalEntry EntryOf(Object& json, const Definition& definition) {
  JournalEntry entry;
  (void)json.At("time");
  entry.time = json.TimeOf("time");
  entry.kind = json.Named("kind", JournalKind::kPrepared, JournalKind::kRepair);
  if (entry.kind == JournalKind::kGap) {
    entry.row = static_cast<std::size_t>(json.Number("count", kAnyNumber));
    return entry;
  }
  if (json.Find("row") != nullptr) {
    entry.row = static_cast<std::size_t>(json.Number("row", kAnyCount));
    if (entry.row < RowCount(definition)) entry.op = OpOf(definition, entry.row);
  }
  CheckBranch(json, definition, entry.row);
  entry.text = json.Bytes("text");
  entry.who = json.Bytes("who");
  return entry;
}

}  // namespace read_export

/// `where`: the name of the file, for errors.
/// @throws BadInput  it is no export, was written by a newer version of the format, or something in it is not as the format
/// says; the text names the place.
inline ExportedTransaction ReadExport(const std::string& text, const std::string& where) {
  using strict_json::Object;
  if (JsonDepth(text) > kMaxJsonDepth)
    throw BadInput(where + " is no export: it is nested too deep");
  const strict_json::Json json = strict_json::Json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    throw BadInput(where + " is no export, or not a whole one: it is not valid JSON");
  }
  Object file(json, where);
  if (file.At("format") != kExportFormat) {
    file.Wrong("format", std::string("'") + kExportFormat + "'; it is no export of a transaction");
  }
  (void)file.At("version");
  const std::int64_t version = file.Number("version", read_export::kAnyNumber);
  if (version < 1 || version > kExportVersion) {
    throw BadInput(where + " has version " + std::to_string(version) +
                   " of the format; this is dtm " + kVersion + ", which reads up to version " +
                   std::to_string(kExportVersion) + ". Use the dtm that wrote it (" +
                   Printable(file.Bytes("library")) + ") or a newer one");
  }
  ExportedTransaction exported;
  exported.library = file.Bytes("library");
  exported.redacted = file.Flag("redacted");
  if (file.Find("settings") != nullptr) {
    Object settings = file.Child("settings");
    constexpr std::int64_t kDay = kMaxOptionSeconds.count();
    exported.settings = {Duration(settings.Number("retry_interval_us", kDay * 1000000)),
                         Duration(settings.Number("request_timeout_us", kDay * 1000000)),
                         std::chrono::seconds(settings.Number("timeout_to_fail_s", kDay))};
    settings.CheckAllAsked();
  }
  Transaction transaction = read_export::TransactionOf(file.Child("transaction"));
  std::vector<JournalEntry> journal;
  file.Elements("journal", read_export::kMostEntries, [&](Object& element, std::size_t) {
    journal.push_back(read_export::EntryOf(element, *transaction.definition));
  });
  file.CheckAllAsked();
  exported.story = MakeTimeline(std::move(transaction), std::move(journal));
  return exported;
}

}  // namespace testing
}  // namespace v1
}  // namespace dtm
