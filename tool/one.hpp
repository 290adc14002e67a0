/// The commands about one transaction: show, watch, export, and those that change it.
/// Needs: source.hpp. Threads: one.
#pragma once

#include <chrono>
#include <pwd.h>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>

#include "source.hpp"

namespace tool {

/// @throws Failed  there is none.
inline Json StoryOf(Source& source, const std::string& gid) {
  if (gid.empty()) throw UsageError("the GID is empty");
  Json story = source.Ask("/timeline", {{"gid", gid}});
  if (!story.contains("transaction") || story["transaction"].is_null())
    throw Failed(1, Safe(source.Name() + " has no transaction '" + gid + "'"));
  return story;
}

/// The time of the day, with milliseconds, in UTC.
inline std::string Clock(const std::string& time) {
  return time.size() < 20 ? std::string(12, ' ')
                          : (time.substr(11, 8) + (time + "000Z").substr(19, 4));
}

inline std::string Told(const Json& entry) {
  const std::int64_t left_out = NumberIn(entry, "count");
  if (TextIn(entry, "kind") == "gap") {
    return std::string(14, ' ') + "... " + (left_out > 0 ? std::to_string(left_out) + " " : "") +
           "entries not kept";
  }
  std::string text = Clock(TextIn(entry, "time")) + "  " + TextIn(entry, "kind");
  if (entry.contains("branch_id"))
    text += " " + Safe(TextIn(entry, "branch_id")) + " " + Safe(TextIn(entry, "op"));
  if (!TextIn(entry, "who").empty()) text += " by " + Safe(TextIn(entry, "who"));
  if (!TextIn(entry, "text").empty()) text += ": " + Safe(TextIn(entry, "text"));
  return text;
}

inline void PrintHead(const Json& transaction) {
  const auto line = [](const char* name, const std::string& value) {
    if (!value.empty()) std::printf("%-12s %s\n", name, Paint(value, value).c_str());
  };
  line("gid", Safe(TextIn(transaction, "gid")));
  line("type", TextIn(transaction, "trans_type"));
  line("status", TextIn(transaction, "status"));
  if (transaction.value("stuck", false)) line("", "stuck");
  const auto time = [&](const char* name, const char* key) {
    const std::string at = TextIn(transaction, key);
    if (!at.empty()) line(name, Safe(at) + " (" + Ago(at) + ")");
  };
  const bool expired = transaction.value("expired", false);
  if (!expired) time("made", "create_time");
  time("ended", "finish_time");
  time("ended", "rollback_time");
  time("next try", "next_cron_time");
  line("rolled back", Safe(TextIn(transaction, "rollback_reason")));
  line("last error", Safe(TextIn(transaction, "last_error")));
  if (expired) line("", "its record has expired: only this is left");
}

inline void PrintBranches(const Json& story, bool payloads) {
  Table table({"BRANCH", "OP", "STATUS", "ENDED", "CALLS"});
  for (const Json& branch : story.value("branches", Json::array())) {
    table.Add({Safe(TextIn(branch, "branch_id")), Safe(TextIn(branch, "op")),
               TextIn(branch, "status"), Clock(TextIn(branch, "finish_time")),
               Safe(TextIn(branch, "url"))});
  }
  if (!table.Empty()) std::printf("\n"), table.Print();
  if (!payloads) return;
  std::printf("\n");
  for (const Json& branch : story.value("branches", Json::array())) {
    const std::string payload = dtm::base64::Decode(TextIn(branch, "bin_data")).value_or("");
    std::printf("%s %s payload: %s\n", Safe(TextIn(branch, "branch_id")).c_str(),
                Safe(TextIn(branch, "op")).c_str(), Safe(payload).c_str());
  }
}

/// As lines of a terminal; empty: this coordinator draws none, or there is no journal.
inline std::string Drawn(Source& source, const std::string& gid) {
  const Answered drawn = source.Get("/timeline", {{"gid", gid}, {"format", "text"}});
  if (drawn.status != 200 || drawn.body.empty() || drawn.body[0] == '{') return {};
  return SafeLines(drawn.body);
}

inline int Show(Source& source, const Arguments& arguments) {
  const std::string& gid = arguments.values[0];
  const Json story = StoryOf(source, gid);
  if (arguments.Has("json")) return PrintJson(story), 0;
  PrintHead(story["transaction"]);
  PrintBranches(story, arguments.Has("payloads"));
  const std::string drawn = Drawn(source, gid);
  if (!drawn.empty()) {
    std::printf("\n%s", drawn.c_str());
  } else if (!story.value("entries", Json::array()).empty()) {
    std::printf("\n");
    for (const Json& entry : story["entries"]) std::printf("%s\n", Told(entry).c_str());
  }
  const std::string status = TextIn(story["transaction"], "status");
  if (status == "succeed" || status == "failed") return 0;
  const Answered explained = source.Get("/explain", {{"gid", gid}});
  const Json json = Json::parse(explained.body, nullptr, false);
  if (explained.status == 200 && json.is_object())
    std::printf("\n%s", SafeLines(TextIn(json, "text")).c_str());
  return 0;
}

inline int Watch(Source& source, const Arguments& arguments) {
  const std::string& gid = arguments.values[0];
  std::set<std::string> told;
  std::string last;
  for (;;) {
    const Json story = StoryOf(source, gid);
    for (const Json& entry : story.value("entries", Json::array())) {
      // What was told is in gaps later.
      if (TextIn(entry, "kind") == "gap" && !last.empty()) continue;
      if (!told.insert(entry.dump(-1, ' ', false, Json::error_handler_t::replace)).second) continue;
      if (arguments.Has("json"))
        PrintJson(entry);
      else
        std::printf("%s\n", Told(entry).c_str());
    }
    const std::string status = TextIn(story["transaction"], "status");
    const bool ended = status == "succeed" || status == "failed";
    if (arguments.Has("json")) {
      if (ended) PrintJson({{"gid", TextIn(story["transaction"], "gid")}, {"status", status}});
    } else if (status != last) {
      std::printf(
          "%s  it is %s\n",
          ended ? Clock(TextIn(story["transaction"], "update_time")).c_str() : "            ",
          Paint(status, status).c_str());
    }
    last = status;
    if (std::fflush(stdout) != 0) return 3;
    if (ended) return 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
}

inline int Export(Source& source, const Arguments& arguments) {
  Query query{{"gid", arguments.values[0]}, {"format", "export"}};
  if (arguments.Has("redacted")) query.emplace_back("redacted", "1");
  (void)StoryOf(source, arguments.values[0]);
  Json document = source.Ask("/timeline", query);
  if (source.File() != nullptr) document.erase("settings");  // of the coordinator that looks
  std::printf(
      "%s\n",
      document.dump(arguments.Has("json") ? -1 : 2, ' ', false, Json::error_handler_t::replace)
          .c_str());
  return 0;
}

inline std::string UserAtHost() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = 0;
  const passwd* const user = ::getpwuid(::getuid());
  return (user != nullptr ? std::string(user->pw_name) : "uid " + std::to_string(::getuid())) +
         "@" + host;
}

/// cancel, stop, retry and skip.
inline int Change(Source& source, const Arguments& arguments) {
  const std::string name = arguments.command->name;
  const std::string& gid = arguments.values[0];
  if (source.File() != nullptr) (void)source.Post({}, {});
  if (name == "skip" && arguments.Get("because").empty())
    throw UsageError("skip needs --because: the journal keeps why somebody decided so");
  const std::string why = arguments.Get("because");
  if (!dtm::IsUtf8(gid) || !dtm::IsUtf8(why))
    throw UsageError("the GID or the reason is not UTF-8");
  Json body = {{"gid", gid}, {"who", dtm::Truncated(arguments.Get("who", UserAtHost()), 64)}};
  if (!why.empty()) body["why"] = dtm::Truncated(why, 200);
  const Json before = source.Ask("/query", {{"gid", gid}})["transaction"];
  if (before.is_null()) throw Failed(1, Safe(source.Name() + " has no transaction '" + gid + "'"));
  if (name == "cancel") body["trans_type"] = TextIn(before, "trans_type");
  if (name == "skip") {
    body["branch_id"] = arguments.values[1];
    body["op"] = arguments.values[2];
  }
  source.Do(name == "cancel"  ? "/abort"
            : name == "stop"  ? "/forceStop"
            : name == "retry" ? "/resetNextCronTime"
                              : "/skipBranch",
            body);
  const std::string status = TextIn(source.Ask("/query", {{"gid", gid}})["transaction"], "status");
  if (arguments.Has("json"))
    return PrintJson({{"gid", gid}, {"done", name}, {"status", status}}), 0;
  std::printf("done; %s is %s\n", Safe(gid).c_str(), Paint(status, status).c_str());
  return 0;
}

}  // namespace tool
