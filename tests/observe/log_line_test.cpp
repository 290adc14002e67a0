/// Options::log takes functions of two forms, and none; lines that are about a transaction say which.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/catch.hpp"
#include <dtm/coordinator/parts/news.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/observe/log_line.hpp>

using dtm::LogFunction;
using dtm::LogLevel;
using dtm::LogLine;

TEST_CASE("log line: functions of level and text, and of whole lines") {
  std::string said;
  const LogFunction plain = [&said](LogLevel level, const std::string& text) {
    said = std::string(Name(level)) + " " + text;
  };
  plain(LogLevel::kWarning, "careful");
  CHECK(said == "warning careful");
  plain({LogLevel::kError, "broken", "g", "t"});
  CHECK(said == "error broken");
  const LogFunction whole = [&said](const LogLine& line) { said = line.gid + " " + line.text; };
  whole({LogLevel::kInfo, "well", "g", ""});
  CHECK(said == "g well");
  whole(LogLevel::kInfo, "of none");
  CHECK(said == " of none");
  const LogFunction any = [&said](const auto&... parts) {
    said = std::to_string(sizeof...(parts));
  };
  any(LogLevel::kInfo, "");
  CHECK(said == "2");  // as it was before there were lines
  int times = 0;
  const LogFunction counting = [times](LogLevel, const std::string&) mutable { ++times; };
  counting(LogLevel::kInfo, "");
  const LogFunction kept = [owned = std::make_shared<int>(7), &said](const LogLine&) {
    said = std::to_string(*owned);
  };
  const LogFunction copied = kept;
  copied(LogLevel::kInfo, "");
  CHECK(said == "7");
}

TEST_CASE("log line: an empty function logs nothing") {
  CHECK_FALSE(LogFunction());
  CHECK_FALSE(LogFunction(nullptr));
  CHECK_FALSE(LogFunction(std::function<void(LogLevel, const std::string&)>()));
  CHECK_FALSE(LogFunction(static_cast<void (*)(const LogLine&)>(nullptr)));
  CHECK(LogFunction(dtm::LogToStderr));
  dtm::Options options;
  options.log = nullptr;
  CHECK_NOTHROW(dtm::LogTo(options, LogLevel::kError, "nobody hears it"));
  options.log = dtm::LogToStderr;
  const std::function<void(LogLevel, const std::string&)> other = options.log;
  CHECK(other != nullptr);
}

TEST_CASE("log line: of a transaction it says which, and in which trace") {
  std::vector<LogLine> lines;
  dtm::Options options;
  options.log = [&lines](const LogLine& line) { lines.push_back(line); };
  dtm::Transaction transaction;
  auto definition = std::make_shared<dtm::Definition>();
  definition->gid = "g";
  definition->options.branch_headers["traceparent"] =
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  transaction.definition = definition;
  dtm::News(options).Stuck(transaction, dtm::Time{});
  definition->options.branch_headers.clear();
  dtm::News(options).Stuck(transaction, dtm::Time{});
  options.on_span = [](const dtm::Span&) {};
  dtm::News(options).Stuck(transaction, dtm::Time{});
  dtm::LogTo(options, LogLevel::kInfo, "of none");
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].gid == "g");
  CHECK(lines[0].level == LogLevel::kError);
  CHECK(lines[0].text.find("gid 'g' is stuck") == 0);
  CHECK(lines[0].trace_id == "0af7651916cd43dd8448eb211c80319c");
  CHECK(lines[1].trace_id.empty());
  CHECK(lines[2].trace_id.size() == 32);
  CHECK(lines[3].gid.empty());
}
