/// The command doctor: what is wrong with a coordinator or its file, and a bundle for those who help.
/// Needs: source.hpp, POSIX. Threads: one.
#pragma once

#include <atomic>
#include <fcntl.h>
#include <map>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "lists.hpp"
#include "source.hpp"
#include <dtm/base/version.hpp>
#include <dtm/core/in_words.hpp>

namespace tool {

/// `text` may leave the house; `details` may name what is private.
struct Finding {
  std::string name, level, text;
  std::vector<std::string> details;
};

class Doctor {
 public:
  explicit Doctor(Source& source) : source_(source) {}

  /// All that can be asked; what cannot is a finding, too.
  void Look(const std::string& file) {
    if (!file.empty()) LookAtFile(file);
    LookAtLimits();
    try {
      LookAtOverview();
      LookAtNodes();
      LookAtUnfinished();
    } catch (const Failed& error) {
      Add("connection", "problem", "it could not be asked", {error.what()});
    }
  }

  const std::vector<Finding>& Findings() const { return findings_; }
  bool Problems() const {
    return std::any_of(findings_.begin(), findings_.end(),
                       [](const Finding& finding) { return finding.level == "problem"; });
  }
  /// Nothing of a payload, header, error or query of a URL.
  Json Bundle() const {
    utsname machine{};
    (void)::uname(&machine);
    Json findings = Json::array();
    for (const Finding& finding : findings_)
      findings.push_back(
          {{"name", finding.name}, {"level", finding.level}, {"text", finding.text}});
    return {
        {"dtm", dtm::kVersion},
        {"sqlite", sqlite3_libversion()},
        {"system", std::string(machine.sysname) + " " + machine.release + " " + machine.machine},
        {"made_ms", NowMicros() / 1000},
        {"checks", std::move(findings)},
        {"overview", overview_},
        {"nodes", nodes_},
        {"transactions", transactions_}};
  }

 private:
  static constexpr std::int64_t kMostShown = 20;

  void Add(const char* name, const char* level, std::string text,
           std::vector<std::string> details = {}) {
    findings_.push_back({name, level, Safe(text), std::move(details)});
    for (std::string& detail : findings_.back().details) detail = Safe(detail);
  }

  void LookAtFile(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return Add("file", "problem", "it cannot be looked at");
    const bool others = (info.st_mode & 077) != 0;
    Add("file", others ? "warning" : "ok",
        Bytes(static_cast<std::uint64_t>(info.st_size)) +
            (others ? "; other users can read or write it: chmod 600" : ", of its owner alone"));
    const int version = source_.File()->SchemaVersion(), ours = dtm::sqlite_schema::kVersion;
    Add("schema", "ok",
        "version " + std::to_string(version) +
            (version == ours ? ", the one of this dtm"
                             : ", of an older dtm; it is read as it is, and a coordinator of dtm " +
                                   std::string(dtm::kVersion) + " brings it to version " +
                                   std::to_string(ours) + " when it opens it"));
    struct stat log {};
    const std::uint64_t log_bytes =
        ::stat((path + "-wal").c_str(), &log) == 0 ? static_cast<std::uint64_t>(log.st_size) : 0;
    constexpr std::uint64_t kLongLog = std::uint64_t{64} << 20;
    Add("log", log_bytes > kLongLog ? "warning" : "ok",
        Bytes(log_bytes) + (log_bytes > kLongLog ? "; a long reader keeps it from being copied "
                                                   "into the file: end what reads it for long"
                            : source_.File()->InUse()
                                ? "; a coordinator has the file open, or has crashed"
                                : "; no coordinator has the file open"));
    struct statvfs disk {};
    if (::statvfs(path.c_str(), &disk) == 0) {
      const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
      const bool little =
          free < (std::uint64_t{1} << 30) || free < static_cast<std::uint64_t>(info.st_size) / 10;
      Add("disk", little ? "warning" : "ok", Bytes(free) + " are free where the file is");
    }
    const std::atomic<bool> stop{false};
    const std::string damage = source_.File()->Check(stop);
    Add("integrity", damage.empty() ? "ok" : "problem",
        damage.empty() ? "SQLite finds no damage" : "the file is damaged; restore it from a backup",
        damage.empty() ? std::vector<std::string>() : std::vector<std::string>{damage});
  }

  void LookAtLimits() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    const bool few = files.rlim_max < 4096;
    Add("descriptors", few ? "warning" : "ok",
        std::to_string(files.rlim_max) + " for a process of this user" +
            (few ? "; a server takes one for each connection and call: raise ulimit -Hn" : ""));
  }

  void LookAtOverview() {
    const std::int64_t asked = NowMicros();
    overview_ = source_.Ask("/overview");
    const std::int64_t answered = NowMicros();
    const std::string version = TextIn(overview_, "version"),
                      ours = std::string("v") + dtm::kVersion;
    if (source_.File() == nullptr) {
      Add("version", version == ours ? "ok" : "warning",
          "the coordinator is " + version +
              (version == ours ? ", as this tool" : ", this tool " + ours));
      const std::int64_t off = MicrosOf(TextIn(overview_, "time")) - (asked + answered) / 2;
      const std::int64_t beyond = (off < 0 ? -off : off) - (answered - asked);
      Add("clock", beyond > 2000000 ? "warning" : "ok",
          beyond > 2000000
              ? "it is " + Span(off < 0 ? -off : off) + (off < 0 ? " behind" : " ahead of") +
                    " the clock here; one of them is wrong"
              : "as here");
      const bool fails = overview_.value("store_fails", false);
      Add("store", fails ? "problem" : "ok",
          TextIn(overview_, "store") +
              (fails ? "; its last commit failed, nothing goes on until it works: see the log"
                     : " works"));
    }
    const std::int64_t stuck = NumberIn(overview_, "stuck"),
                       damaged = NumberIn(overview_, "damaged"),
                       unfinished = NumberIn(overview_, "unfinished");
    Add("stuck", stuck + damaged > 0 ? "problem" : "ok",
        std::to_string(stuck) + " stuck, " + std::to_string(damaged) + " damaged" +
            (stuck > 0 ? "; dtm ls --stuck lists them; see retry, skip and stop" : ""));
    const std::int64_t oldest = MicrosOf(TextIn(overview_, "oldest_time"));
    const std::int64_t age = oldest == 0 ? 0 : NowMicros() - oldest;
    if (oldest > NowMicros() + 60000000)
      Add("time", "warning", "a transaction was made in the future: a clock was wrong");
    Add("unfinished", age > std::int64_t{86400} * 1000000 ? "warning" : "ok",
        std::to_string(unfinished) + " unfinished" +
            (oldest == 0 ? "" : ", the oldest for " + Span((std::max)(age, std::int64_t{0}))));
  }

  void LookAtNodes() {
    if (source_.File() != nullptr) return;
    nodes_ = source_.Ask("/nodes").value("nodes", Json::array());
    std::int64_t members = 0;
    std::vector<std::string> gone;
    for (const Json& node : nodes_) {
      if (node.value("member", false))
        ++members;
      else
        gone.push_back(TextIn(node, "name") +
                       " has stopped, or the others go on with what it drove");
    }
    Add("nodes", "ok",
        std::to_string(members) + (members == 1 ? " coordinator" : " coordinators") + ", " +
            std::to_string(gone.size()) + " gone",
        std::move(gone));
  }

  /// Why branches fail, without what they said.
  static std::string KindOf(const std::string& error) {
    static const std::vector<std::pair<const char*, const char*>> kKinds = {
        {"has not registered it", "function missing"},
        {"answered FAILURE", "failure"},
        {"gave no definite answer", "no answer"},
        {"is ONGOING", "ongoing"},
        {"was not called", "not called"}};
    for (const auto& [words, kind] : kKinds) {
      if (error.find(words) != std::string::npos) return kind;
    }
    return error.empty() ? "" : "other";
  }

  static std::string BareUrl(const std::string& url) {
    return url.substr(0, url.find_first_of("?#"));
  }

  void LookAtUnfinished() {
    std::vector<std::string> failing;
    std::map<std::string, int> missing;
    for (const bool stuck : {true, false}) {
      const Json page = Search(source_,
                               {{"short", "1"},
                                stuck ? std::pair<std::string, std::string>("stuck", "1")
                                      : std::pair<std::string, std::string>("unfinished", "1"),
                                {"errors", "1"}},
                               200, {});
      for (const Json& one : page["transactions"]) {
        const std::string error = TextIn(one, "last_error");
        if (stuck != one.value("stuck", stuck)) continue;
        if (failing.size() < static_cast<std::size_t>(kMostShown))
          failing.push_back(TextIn(one, "gid") + " (" + (stuck ? "stuck" : TextIn(one, "status")) +
                            ", made " + Ago(TextIn(one, "create_time")) + "): " + error);
        if (KindOf(error) == "function missing") ++missing[FunctionIn(error)];
        if (transactions_.size() < 100)
          transactions_.push_back(Outline(TextIn(one, "gid"), stuck, KindOf(error)));
      }
    }
    const std::size_t count = transactions_.size();
    Add("errors", count == 0 ? "ok" : "warning",
        count == 0 ? "no unfinished transaction had an error"
                   : std::to_string(count) + (count == 100 ? " or more" : "") +
                         " of the unfinished had an error",
        std::move(failing));
    std::vector<std::string> names;
    for (const auto& [name, times] : missing)
      names.push_back(name + ": transactions that wait for a program that registers it: " +
                      std::to_string(times));
    Add("functions", missing.empty() ? "ok" : "problem",
        missing.empty() ? "no function is missing"
                        : "functions that are missing: " + std::to_string(missing.size()),
        std::move(names));
  }

  static std::string FunctionIn(const std::string& error) {
    const std::size_t begin = error.find('"');
    const std::size_t end = begin == std::string::npos ? begin : error.find('"', begin + 1);
    return end == std::string::npos ? "a function" : error.substr(begin + 1, end - begin - 1);
  }

  Json Outline(const std::string& gid, bool stuck, const std::string& kind) {
    const Json story = source_.Ask("/query", {{"gid", gid}});
    const Json& one = story["transaction"];
    Json outline = {{"gid", gid}, {"stuck", stuck}, {"error", kind}};
    if (one.is_null()) return outline;
    for (const char* key : {"trans_type", "status", "create_time", "update_time", "next_cron_time",
                            "next_cron_interval", "retry_count"}) {
      if (one.contains(key)) outline[key] = one[key];
    }
    Json branches = Json::array();
    for (const Json& branch : story.value("branches", Json::array())) {
      branches.push_back({{"branch_id", branch.value("branch_id", "")},
                          {"op", branch.value("op", "")},
                          {"status", branch.value("status", "")},
                          {"url", BareUrl(TextIn(branch, "url"))}});
    }
    outline["branches"] = std::move(branches);
    return outline;
  }

  Source& source_;
  std::vector<Finding> findings_;
  Json overview_ = nullptr, nodes_ = Json::array(), transactions_ = Json::array();
};

inline void WriteNew(const std::string& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) throw Failed(1, Safe("'" + path + "' was not written: " + std::strerror(errno)));
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = ::write(file, text.data() + done, text.size() - done);
    if (wrote <= 0) {
      const std::string why = std::strerror(errno);
      ::close(file);
      throw Failed(1, Safe("'" + path + "' was not written: " + why));
    }
    done += static_cast<std::size_t>(wrote);
  }
  ::close(file);
}

inline int Examine(Source& source, const Arguments& arguments) {
  Doctor doctor(source);
  doctor.Look(arguments.Get("file"));
  if (arguments.Has("bundle"))
    WriteNew(arguments.Get("bundle"),
             doctor.Bundle().dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  if (arguments.Has("json")) {
    Json checks = Json::array();
    for (const Finding& finding : doctor.Findings())
      checks.push_back({{"name", finding.name},
                        {"level", finding.level},
                        {"text", finding.text},
                        {"details", finding.details}});
    PrintJson({{"checks", std::move(checks)}});
  } else {
    for (const Finding& finding : doctor.Findings()) {
      std::printf("%s%s %-12s %s\n", Paint(finding.level, finding.level).c_str(),
                  std::string(8 - finding.level.size(), ' ').c_str(), finding.name.c_str(),
                  finding.text.c_str());
      for (const std::string& detail : finding.details)
        std::printf("                        %s\n", detail.c_str());
    }
    if (arguments.Has("bundle"))
      std::printf("written: %s; look through it before you send it\n",
                  Safe(arguments.Get("bundle")).c_str());
  }
  return doctor.Problems() ? 1 : 0;
}

}  // namespace tool
