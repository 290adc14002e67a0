/// The hooks of the program, each with a queue of its own: Options::on_alert, on_event.
/// Needs: std. Threads: thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include <dtm/coordinator/hooks/hook_queue.hpp>
#include <dtm/coordinator/parts/clock.hpp>
#include <dtm/coordinator/parts/gauges.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/observe/event.hpp>

namespace dtm {
inline namespace v1 {

struct Hooks {
  static constexpr std::size_t kMaxAlerts = 1000;
  static constexpr std::size_t kMaxEvents = 10000;

  /// Both outlive it.
  Hooks(Clock& clock, const Options& options)
      : alerts("on_alert", options.on_alert, kMaxAlerts, clock, options),
        events("on_event", options.on_event, kMaxEvents, clock, options) {}

  void StartThreads() {
    alerts.StartThread();
    events.StartThread();
  }
  /// See HookQueue; true: there is more.
  bool RunWaiting() {
    const bool more_alerts = alerts.RunWaiting();
    return events.RunWaiting() || more_alerts;
  }
  bool Stop(Time until) {
    const bool told = events.Stop(until);
    return alerts.Stop(until) && told;
  }

  /// Of those that are set, by the name of the option.
  std::map<std::string, HookLoad> Load() const {
    std::map<std::string, HookLoad> loads;
    if (alerts.Wanted()) loads["on_alert"] = alerts.Load();
    if (events.Wanted()) loads["on_event"] = events.Load();
    return loads;
  }

  HookQueue<Alert> alerts;
  HookQueue<Event> events;
};

}  // namespace v1
}  // namespace dtm
