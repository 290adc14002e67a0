/// What is counted and told of what is durable: metrics, alerts, lines in the log, spans.
/// Needs: std, engine. Threads: the thread that drives the loop.
#pragma once

#include <dtm/coordinator/hooks/span_feed.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/parts/metrics.hpp>
#include <dtm/coordinator/parts/missing_functions.hpp>
#include <dtm/coordinator/parts/news.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/coordinator/state/active_table.hpp>
#include <dtm/coordinator/state/between_stages.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/engine/machine.hpp>

namespace dtm {
inline namespace v1 {

class Reports {
 public:
  /// `to_release`: gets what is told by hooks. All of them outlive it.
  Reports(const Options& options, const engine::Context& context, ToRelease& to_release)
      : news(options),
        spans(options, to_release.spans),
        options_(options),
        context_(context),
        to_release_(to_release) {}

  /// Whether Report has something to say of it.
  static bool HasNews(const AppliedEvent& event) {
    return event.alert || event.stuck || event.kind == engine::EventKind::kRepair ||
           event.kind == engine::EventKind::kResult;
  }

  /// An event that is durable now: counts it, and tells people of it.
  void Report(const Transaction& transaction, const AppliedEvent& event) {
    if (event.alert) to_release_.alerts.push_back(event.alert);
    if (event.stuck) news.Stuck(transaction, context_.now);
    if (event.kind == engine::EventKind::kRepair && !event.refused) {
      metrics.Repaired(transaction.definition->type);
      news.Repaired(transaction, event.row, event.who, event.result.text, context_.now);
    }
    if (event.kind != engine::EventKind::kResult) return;
    metrics.GotResult(*transaction.definition, event.row, event.result);
    if (event.errors > 0) {
      news.Error(transaction, event.row, event.result, event.errors, context_.now);
    } else if (event.result.no_handler) {
      Answers::Protected([&] { NobodyToCall(transaction, event); });
    }
  }

  /// If it has ended, that is durable now.
  void ReportEnd(const Transaction& transaction) {
    if (!IsFinal(transaction.status)) return;
    metrics.Ended(transaction);
    spans.Ended(transaction);
  }

  Metrics metrics;
  News news;
  SpanFeed spans;

 private:
  void NobodyToCall(const Transaction& transaction, const AppliedEvent& event) {
    const Definition& definition = *transaction.definition;
    if (!missing_functions_.IsNews(UrlOf(definition, event.row), context_.now)) return;
    news.NobodyToCall(transaction, event.row, event.result, context_.now);
    if (!options_.on_alert) return;
    to_release_.alerts.push_back(AlertOf(
        transaction, event.row, engine::DescribeResult(definition, event.row, event.result)));
  }

  MissingFunctions missing_functions_;
  const Options& options_;
  const engine::Context& context_;
  ToRelease& to_release_;
};

}  // namespace v1
}  // namespace dtm
