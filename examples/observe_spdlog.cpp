/// The coordinator's log and its events through spdlog.
/// Needs: dtm/dtm.hpp, spdlog (of Debian: libspdlog-dev). Threads: spdlog's loggers whose names end with _mt take any.
#include <chrono>
#include <memory>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sstream>
#include <string>
#include <utility>

#include <dtm/dtm.hpp>

namespace {

spdlog::level::level_enum LevelOf(dtm::LogLevel level) {
  switch (level) {
    case dtm::LogLevel::kError: return spdlog::level::err;
    case dtm::LogLevel::kWarning: return spdlog::level::warn;
    case dtm::LogLevel::kInfo: return spdlog::level::info;
  }
  return spdlog::level::info;
}

/// For Options::log.
auto ToSpdlog(std::shared_ptr<spdlog::logger> logger) {
  return [logger = std::move(logger)](const dtm::LogLine& line) {
    logger->log(LevelOf(line.level), "{} gid={} trace_id={}", line.text, line.gid, line.trace_id);
  };
}

/// For Options::on_event.
auto EventsToSpdlog(std::shared_ptr<spdlog::logger> logger) {
  return [logger = std::move(logger)](const dtm::Event& event) {
    const bool bad = event.kind == dtm::JournalKind::kStuck;
    logger->log(bad ? spdlog::level::err : spdlog::level::info, "{} {} {} {} gid={} trace_id={}",
                Name(event.kind), event.branch_id, event.target, event.text, event.gid,
                event.trace_id);
  };
}

}  // namespace

int main() {
  std::ostringstream kept;  // for the check below
  const auto logger = std::make_shared<spdlog::logger>(
      "dtm", spdlog::sinks_init_list{std::make_shared<spdlog::sinks::stdout_sink_mt>(),
                                     std::make_shared<spdlog::sinks::ostream_sink_mt>(kept)});
  dtm::Options options;
  options.log = ToSpdlog(logger);
  options.on_event = EventsToSpdlog(logger);
  dtm::Coordinator tm("observe_spdlog.db", options);
  const auto pay = tm.Register<int>("Pay", [](const int& amount) {
    return amount > 50 ? dtm::Result::Failure("at most 50") : dtm::Result::Success();
  });
  tm.Start();
  const std::string gid = tm.NewGid();
  (void)dtm::NewSaga(tm, gid).Add(pay, dtm::kNoBranch, 60).SubmitAndWait(std::chrono::seconds(10));
  if (!tm.Stop(std::chrono::seconds(10))) return 1;
  logger->flush();
  const auto says = [text = kept.str()](const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  return says("rollback 01 local:Pay at most 50 gid=" + gid) && says("has failed: at most 50") ? 0
                                                                                               : 1;
}
