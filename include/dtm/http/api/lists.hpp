/// The part of the HTTP API that only reads: query, timeline, all, nodes, overview, scanKV and queryKV.
/// Needs: nlohmann/json. Threads: thread-safe. Protocol: §2.2, §2.5, §2.6, §6; document: docs/http_api.md.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/text.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/topics.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/url.hpp>
#include <dtm/http/api/numbers/overview_json.hpp>
#include <dtm/http/api/replies.hpp>
#include <dtm/http/api/timeline_json.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/json_text.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/stored_transaction.hpp>
#include <dtm/timeline/export.hpp>
#include <dtm/timeline/timeline.hpp>

namespace dtm {
inline namespace v1 {

class ApiLists {
 public:
  using Json = nlohmann::ordered_json;

  explicit ApiLists(Coordinator& tm) : tm_(tm) {}

  /// @throws BadInput    it names no gid.
  /// @throws StoreError  the store cannot be read.
  ApiReply Query(const ApiRequest& request) {
    const std::optional<Transaction> stored = tm_.Query(GidOf(request));
    Json branches = stored ? wire::BranchesJson(*stored) : Json::array();
    Json transaction = stored ? Shown(*stored) : Json(nullptr);
    return {200, wire::JsonText({{wire::kBranches, std::move(branches)},
                                 {wire::kTransaction, std::move(transaction)}})};
  }

  /// The same with its journal, or what `format` names. @throws as Query.
  ApiReply Timeline(const ApiRequest& request) {
    const std::optional<dtm::Timeline> story = tm_.Timeline(GidOf(request));
    const std::string format = request.Query("format");
    if (!format.empty()) return InFormat(request, story, format);
    const Json none = Json::array();
    return {200, wire::JsonText(
                     {{wire::kTransaction, story ? Shown(story->transaction) : Json(nullptr)},
                      {wire::kBranches, story ? wire::BranchesJson(story->transaction) : none},
                      {"runs", story ? timeline_json::Runs(*story) : none},
                      {"attempts", story ? timeline_json::Attempts(*story) : none},
                      {"entries", story ? timeline_json::Entries(*story) : none}})};
  }

  /// @throws BadInput    it names no gid.
  /// @throws StoreError  the store cannot be read.
  ApiReply Explain(const ApiRequest& request) {
    return {200, wire::JsonText({{"text", tm_.Explain(GidOf(request))}})};
  }

  ApiReply All(const ApiRequest& request) {
    const std::string gid = request.Query(wire::kGid);
    if (!gid.empty()) {
      const std::optional<Transaction> stored = tm_.Query(gid);
      return Page(stored ? Json::array({Shown(*stored)}) : Json(nullptr), 0);
    }
    ScanFilter filter;
    std::int64_t position = QueryInteger(request, "position", 0, 0, INT64_MAX);
    auto left = static_cast<std::size_t>(
        QueryInteger(request, "limit", 100, 1, static_cast<std::int64_t>(kMaxListLimit)));
    if (const std::string status = request.Query(wire::kStatus); !status.empty()) {
      filter.status = StatusOf(status);
    }
    if (const std::string type = request.Query("transType"); !type.empty()) {
      filter.type = wire::TypeNamed(type);
    }
    constexpr std::int64_t kLastMilli = INT64_MAX / 1000 - 1;
    const auto milli = [&request](const char* key, std::int64_t otherwise) {
      return QueryInteger(request, key, otherwise, -kLastMilli, kLastMilli);
    };
    ReadSearch(request, filter);
    filter.created_from = Time(std::chrono::milliseconds(milli("createTimeStart", 0)));
    filter.created_to = Time(std::chrono::milliseconds(milli("createTimeEnd", kLastMilli)) +
                             std::chrono::microseconds(999));
    Json transactions = Json::array();
    if (filter.IsSearch()) {  // bounded in all respects
      const ScanPage page = tm_.List(filter, position, left);
      for (const Transaction& stored : page.transactions) transactions.push_back(Shown(stored));
      return Page(std::move(transactions), page.next);
    }
    std::size_t bytes = 0;
    // In small pages: a thousand transactions may be a gigabyte.
    do {
      const ScanPage page = tm_.List(filter, position, (std::min)(left, std::size_t{32}));
      position = page.next;
      left -= (std::min)(left, page.transactions.size());
      for (const Transaction& stored : page.transactions) {
        bytes += BytesOf(*stored.definition);
        transactions.push_back(Shown(stored));
      }
    } while (position != 0 && left > 0 && bytes < kPageBytes);
    return Page(std::move(transactions), position);
  }

  ApiReply Nodes(const ApiRequest&) {
    Json nodes = Json::array();
    for (const Peer& peer : tm_.Nodes()) {
      using Millis = std::chrono::milliseconds;
      Json silent = nullptr;
      if (peer.silent) silent = std::chrono::duration_cast<Millis>(*peer.silent).count();
      nodes.push_back({{"name", peer.node.name},
                       {wire::kUrl, ShownUrl(peer.node.url)},
                       {"app", peer.node.app},
                       {"member", peer.is_member},
                       {"silent_ms", std::move(silent)},
                       {"self", peer.is_self}});
    }
    return {200, wire::JsonText({{"nodes", std::move(nodes)}})};
  }

  /// @throws StoreError  the store cannot be read.
  ApiReply Overview(const ApiRequest&) {
    const Gauges now = tm_.Measure();
    if (!now.backlog) throw StoreError("the store cannot be read now; ask again");
    return {200, wire::JsonText(overview_json::Of(now, tm_.Counted()))};
  }

  ApiReply ScanValues(const ApiRequest& request) {
    const std::int64_t position = QueryInteger(request, wire::kPosition, 0, 0, INT64_MAX);
    const std::int64_t limit =
        QueryInteger(request, wire::kLimit, 100, 1, static_cast<std::int64_t>(kMaxListLimit));
    return Values(
        Read(request.Query(wire::kCategory), {}, position, static_cast<std::size_t>(limit)), true);
  }

  /// All values of a category, with a key, or both, as far as they fit.
  ApiReply QueryValues(const ApiRequest& request) {
    return Values(Read(request.Query(wire::kCategory), request.Query(wire::kKey), 0, kMaxListLimit),
                  false);
  }

  Json Shown(const Transaction& stored) const {
    return wire::TransactionJson(stored, tm_.IntervalOf(stored));
  }

 private:
  static constexpr std::size_t kPageBytes = std::size_t{4} << 20;

  static bool Flag(const ApiRequest& request, const char* key) {
    return QueryInteger(request, key, 0, 0, 1) == 1;
  }
  static std::string TextIn(const ApiRequest& request, const char* key, std::size_t most) {
    std::string text = request.Query(key);
    if (text.size() <= most && IsUtf8(text)) return text;
    throw BadInput(std::string(key) + " must be UTF-8 of at most " + std::to_string(most) +
                   " bytes");
  }
  static void ReadSearch(const ApiRequest& request, ScanFilter& filter) {
    filter.unfinished = Flag(request, "unfinished");
    filter.stuck = Flag(request, "stuck");
    filter.errors = Flag(request, "errors");
    filter.gid_prefix = TextIn(request, "gidPrefix", kMaxGidBytes);
    filter.target = TextIn(request, "target", kMaxUrlBytes);
    filter.may_be_short = Flag(request, "short");
  }

  static std::string GidOf(const ApiRequest& request) {
    std::string gid = request.Query(wire::kGid);
    if (gid.empty()) throw BadInput("no gid specified");
    return gid;
  }

  /// @throws BadInput  there is no such transaction, so there is no document.
  ApiReply InFormat(const ApiRequest& request, const std::optional<dtm::Timeline>& story,
                    const std::string& format) const {
    if (!story) throw BadInput("there is no transaction with gid '" + GidOf(request) + "'");
    if (std::optional<ApiReply> drawing = timeline_json::Drawing(*story, format)) return *drawing;
    if (format == "export") return Exported(request, *story);
    throw BadInput("the format '" + format + "' is none of text, svg, mermaid and export");
  }

  ApiReply Exported(const ApiRequest& request, const dtm::Timeline& story) const {
    const bool redacted = QueryInteger(request, "redacted", 0, 0, 1) == 1;
    return {200, Export(story, redacted ? ExportContent::kRedacted : ExportContent::kFull,
                        ExportSettings::Of(tm_.Settings()))};
  }

  /// At most `limit` values, and fewer if they are large: the text of a topic may be megabytes.
  KeyValuePage Read(const std::string& category, const std::string& key, std::int64_t position,
                    std::size_t limit) {
    KeyValuePage all;
    std::size_t bytes = 0;
    do {
      const std::size_t left = limit - all.values.size();
      KeyValuePage page = tm_.ListValues(category, key, position, (std::min)(left, std::size_t{4}));
      all.next = position = page.next;
      for (KeyValue& value : page.values) {
        bytes += value.value.size();
        all.values.push_back(std::move(value));
      }
    } while (position != 0 && all.values.size() < limit && bytes < kPageBytes);
    return all;
  }

  /// The subscribers of a topic, without credentials in their URLs.
  static std::string ShownValue(const KeyValue& value) {
    if (value.category != topics::kCategory || value.value.find('@') == std::string::npos) {
      return value.value;
    }
    Json list = Json::parse(value.value, nullptr, false);
    if (!list.is_array()) return value.value;
    for (Json& entry : list) {
      if (!entry.is_object() || !entry.contains(wire::kUrl) || !entry[wire::kUrl].is_string())
        continue;
      entry[wire::kUrl] = ShownUrl(entry[wire::kUrl].get<std::string>());
    }
    return list.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  static ApiReply Values(const KeyValuePage& page, bool with_position) {
    Json values = Json::array();
    for (const KeyValue& value : page.values) {
      values.push_back({{wire::kId, value.id},
                        {wire::kCreateTime, wire::TimeText(value.created)},
                        {wire::kUpdateTime, wire::TimeText(value.updated)},
                        {wire::kCategory, value.category},
                        {"k", value.key},
                        {"v", ShownValue(value)},
                        {"version", value.version}});
    }
    Json reply = {{wire::kValues, std::move(values)}};
    if (with_position) {
      reply[wire::kNextPosition] = page.next == 0 ? "" : std::to_string(page.next);
    }
    return {200, wire::JsonText(reply)};
  }

  static ApiReply Page(Json transactions, std::int64_t next) {
    return {200, wire::JsonText({{wire::kNextPosition, next == 0 ? "" : std::to_string(next)},
                                 {wire::kTransactions, std::move(transactions)}})};
  }

  static Status StatusOf(const std::string& name) {
    for (const Status status : {Status::kPrepared, Status::kSubmitted, Status::kAborting,
                                Status::kSucceed, Status::kFailed}) {
      if (name == Name(status)) return status;
    }
    throw BadInput("status '" + Printable(name) +
                   "' is none of prepared, submitted, aborting, succeed and failed");
  }

  Coordinator& tm_;
};

}  // namespace v1
}  // namespace dtm
