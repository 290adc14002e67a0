/// The commands that list: ls, topics (with unsubscribe), nodes, stats.
/// Needs: source.hpp. Threads: one.
#pragma once

#include <algorithm>
#include <string>

#include "source.hpp"

namespace tool {

/// "90s", "15m", "2h", "7d" in milliseconds. @throws UsageError
inline std::int64_t Milliseconds(const std::string& option, const std::string& text) {
  const std::string units = "smhd";
  constexpr std::int64_t kSeconds[] = {1, 60, 3600, 86400};
  const std::size_t unit = text.empty() ? std::string::npos : units.find(text.back());
  const std::optional<std::int64_t> count =
      unit == std::string::npos
          ? std::nullopt
          : dtm::ParseNumber<std::int64_t>(std::string_view(text).substr(0, text.size() - 1));
  if (count && *count >= 0 && *count <= 1000000) return *count * kSeconds[unit] * 1000;
  throw UsageError("--" + option + " is '" + Safe(text) +
                   "'; it must be a time such as 90s, 15m, 2h or 7d");
}

inline std::int64_t LimitOf(const Arguments& arguments) {
  const auto limit = dtm::ParseNumber<std::int64_t>(arguments.Get("limit", "50"));
  if (limit && *limit >= 1 && *limit <= 1000000) return *limit;
  throw UsageError("--limit is '" + Safe(arguments.Get("limit")) +
                   "'; it must be a number from 1 to 1000000");
}

inline Query FilterOf(const Arguments& arguments) {
  Query query{{"short", "1"}};
  for (const char* flag : {"unfinished", "stuck", "errors"}) {
    if (arguments.Has(flag)) query.emplace_back(flag, "1");
  }
  for (const auto& [option, key] :
       {std::pair("status", "status"), std::pair("type", "transType"),
        std::pair("prefix", "gidPrefix"), std::pair("target", "target")}) {
    if (arguments.Has(option)) query.emplace_back(key, arguments.Get(option));
  }
  const std::int64_t now = NowMicros() / 1000;
  if (arguments.Has("older"))
    query.emplace_back("createTimeEnd",
                       std::to_string(now - Milliseconds("older", arguments.Get("older"))));
  if (arguments.Has("newer"))
    query.emplace_back("createTimeStart",
                       std::to_string(now - Milliseconds("newer", arguments.Get("newer"))));
  return query;
}

/// Pages until there are `limit`, or no more: a page of a search may be short.
inline Json Search(Source& source, const Query& filter, std::int64_t limit, std::string position) {
  Json found = Json::array();
  do {
    Query query = filter;
    query.emplace_back("limit",
                       std::to_string((std::min)(limit - static_cast<std::int64_t>(found.size()),
                                                 std::int64_t{1000})));
    if (!position.empty()) query.emplace_back("position", position);
    const Json page = source.Ask("/all", query);
    for (const Json& transaction : page.value("transactions", Json::array()))
      found.push_back(transaction);
    position = TextIn(page, "next_position");
  } while (!position.empty() && static_cast<std::int64_t>(found.size()) < limit);
  return {{"transactions", std::move(found)}, {"next_position", position}};
}

inline std::string NextTry(const Json& transaction) {
  if (transaction.value("stuck", false)) return "stuck";
  return Ago(TextIn(transaction, "next_cron_time"));
}

inline int Ls(Source& source, const Arguments& arguments) {
  const Json page =
      Search(source, FilterOf(arguments), LimitOf(arguments), arguments.Get("position"));
  if (arguments.Has("json")) return PrintJson(page), 0;
  Table table({"GID", "TYPE", "STATUS", "MADE", "NEXT TRY", "LAST ERROR"});
  for (const Json& one : page["transactions"]) {
    std::string error = Safe(TextIn(one, "last_error"));
    if (error.empty()) error = Safe(TextIn(one, "rollback_reason"));
    if (Columns(error) > 60) error = dtm::Truncated(error, 57) + "...";
    table.Add({Safe(TextIn(one, "gid")), TextIn(one, "trans_type"), TextIn(one, "status"),
               Ago(TextIn(one, "create_time")), NextTry(one), error});
  }
  if (table.Empty()) return std::printf("there are none\n"), 0;
  table.Print();
  const std::string next = TextIn(page, "next_position");
  if (!next.empty()) std::printf("there may be more: --position %s\n", Safe(next).c_str());
  return 0;
}

inline int Topics(Source& source, const Arguments& arguments) {
  Json topics = Json::array();
  std::string position;
  do {
    Query query{{"cat", "topics"}, {"limit", "1000"}};
    if (!position.empty()) query.emplace_back("position", position);
    const Json page = source.Ask("/scanKV", query);
    for (const Json& value : page.value("kv", Json::array())) {
      Json subscribers = Json::parse(TextIn(value, "v"), nullptr, false);
      topics.push_back({{"topic", TextIn(value, "k")},
                        {"subscribers", subscribers.is_array() ? subscribers : Json::array()}});
    }
    position = TextIn(page, "next_position");
  } while (!position.empty());
  std::sort(topics.begin(), topics.end(),
            [](const Json& a, const Json& b) { return TextIn(a, "topic") < TextIn(b, "topic"); });
  if (arguments.Has("json")) return PrintJson({{"topics", topics}}), 0;
  Table table({"TOPIC", "SUBSCRIBER", "REMARK"});
  for (const Json& topic : topics) {
    for (const Json& one : topic["subscribers"])
      table.Add(
          {Safe(TextIn(topic, "topic")), Safe(TextIn(one, "url")), Safe(TextIn(one, "remark"))});
  }
  if (table.Empty()) return std::printf("there are none\n"), 0;
  table.Print();
  return 0;
}

inline int Unsubscribe(Source& source, const Arguments& arguments) {
  const std::string &topic = arguments.values[0], &url = arguments.values[1];
  source.Do(dtm::WithQuery(dtm::WithQuery("/unsubscribe", "topic", topic), "url", url), nullptr);
  if (arguments.Has("json"))
    return PrintJson({{"topic", topic}, {"url", dtm::ShownUrl(url)}, {"done", "unsubscribe"}}), 0;
  std::printf("done; new messages to %s do not go to %s\n", Safe(topic).c_str(),
              Safe(dtm::ShownUrl(url)).c_str());
  return 0;
}

inline int Nodes(Source& source, const Arguments& arguments) {
  const Json reply = source.Ask("/nodes");
  if (arguments.Has("json")) return PrintJson(reply), 0;
  if (source.File() != nullptr)
    return std::printf("a file has one coordinator, if any; %s\n",
                       source.File()->InUse() ? "its log is there: one runs, or has crashed"
                                              : "none has it open"),
           0;
  Table table({"NAME", "APP", "STATE", "HEARD OF", "URL"});
  for (const Json& node : reply.value("nodes", Json::array())) {
    const std::string state = node.value("self", false)     ? "this one"
                              : node.value("member", false) ? "member"
                                                            : "gone";
    const bool heard = node.contains("silent_ms") && node["silent_ms"].is_number();
    table.Add({Safe(TextIn(node, "name")), Safe(TextIn(node, "app")), state,
               heard ? Span(NumberIn(node, "silent_ms") * 1000) + " ago" : "",
               Safe(TextIn(node, "url"))});
  }
  table.Print();
  return 0;
}

inline int Stats(Source& source, const Arguments& arguments) {
  const Json now = source.Ask("/overview");
  if (arguments.Has("json")) return PrintJson(now), 0;
  Table numbers({"NUMBER", "NOW"});
  for (const char* key : {"unfinished", "waiting", "stuck", "damaged", "in_memory"})
    numbers.Add({key, std::to_string(NumberIn(now, key))});
  numbers.Add({"oldest unfinished", Ago(TextIn(now, "oldest_time"))});
  numbers.Add({"store", TextIn(now, "store")});
  numbers.Print();
  const Json counters = now.value("counters", Json::object());
  Table ended({"TYPE", "ENDED AS", "COUNT"});
  for (const Json& each : counters.value("ended", Json::array()))
    ended.Add({TextIn(each, "type"), TextIn(each, "status"), TextIn(each, "count")});
  if (!ended.Empty()) std::printf("\n"), ended.Print();
  Table calls({"TYPE", "BRANCH", "OP", "ANSWER", "CALLS"});
  for (const Json& each : counters.value("branches", Json::array())) {
    calls.Add({TextIn(each, "type"), TextIn(each, "branch_id"), TextIn(each, "op"),
               each.value("ok", false) ? "ok" : "not ok", TextIn(each, "count")});
  }
  if (!calls.Empty()) std::printf("\n"), calls.Print();
  Table hosts({"HOST", "IN FLIGHT", "WAITING", "STATE"});
  for (const Json& host : now.value("calls", Json::object()).value("hosts", Json::array())) {
    hosts.Add({Safe(TextIn(host, "host")), TextIn(host, "in_flight"), TextIn(host, "waiting"),
               host.value("limited", false) ? "does not answer" : ""});
  }
  if (!hosts.Empty()) std::printf("\n"), hosts.Print();
  return 0;
}

}  // namespace tool
