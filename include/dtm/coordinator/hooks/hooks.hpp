/// The hooks of the program, each with a queue of its own: Options::on_alert, on_event, on_span.
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
#include <dtm/observe/span.hpp>

namespace dtm {
inline namespace v1 {

struct Hooks {
  static constexpr std::size_t kMaxAlerts = 1000;
  static constexpr std::size_t kMaxEvents = 10000;

  /// Both outlive it.
  Hooks(Clock& clock, const Options& options)
      : alerts("on_alert", options.on_alert, kMaxAlerts, clock, options),
        events("on_event", options.on_event, kMaxEvents, clock, options),
        spans("on_span", options.on_span, kMaxEvents, clock, options) {}

  void StartThreads() {
    alerts.StartThread();
    events.StartThread();
    spans.StartThread();
  }
  /// See HookQueue; true: there is more.
  bool RunWaiting() {
    const bool more_alerts = alerts.RunWaiting();
    const bool more_spans = spans.RunWaiting();
    return events.RunWaiting() || more_alerts || more_spans;
  }
  bool Stop(Time until) {
    const bool events_told = events.Stop(until);
    const bool spans_told = spans.Stop(until);
    return alerts.Stop(until) && events_told && spans_told;
  }

  /// Of those that are set, by the name of the option.
  std::map<std::string, HookLoad> Load() const {
    std::map<std::string, HookLoad> loads;
    if (alerts.Wanted()) loads["on_alert"] = alerts.Load();
    if (events.Wanted()) loads["on_event"] = events.Load();
    if (spans.Wanted()) loads["on_span"] = spans.Load();
    return loads;
  }

  HookQueue<Alert> alerts;
  HookQueue<Event> events;
  HookQueue<Span> spans;
  SpanIds span_ids;  ///< of calls that do not come from the loop
};

}  // namespace v1
}  // namespace dtm
