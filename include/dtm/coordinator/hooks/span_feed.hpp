/// The spans of what the loop drives: when they begin, and which are over.
/// Needs: std. Threads: the thread that drives the loop.
#pragma once

#include <exception>
#include <memory>
#include <vector>

#include <dtm/coordinator/parts/branch_caller.hpp>
#include <dtm/coordinator/parts/options.hpp>
#include <dtm/core/result.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/observe/span.hpp>

namespace dtm {
inline namespace v1 {

class SpanFeed {
 public:
  using Spans = std::vector<std::shared_ptr<const Span>>;

  /// `ended`: gets the spans that are over. Both outlive it.
  SpanFeed(const Options& options, Spans& ended) : options_(options), ended_(ended) {}

  /// Of a call that starts now; null: nobody wants spans.
  std::shared_ptr<const CallSpan> Begin(const Transaction& transaction, std::size_t row, Time now) {
    if (!options_.on_span) return nullptr;
    return std::make_shared<const CallSpan>(
        CallSpan{ids_.Next(), now, transaction.branches[row].tries});
  }

  void End(const BranchCall& call, const Result& result, Time now) noexcept {
    if (call.span == nullptr || result.at_once) return;  // it is none, or did not begin
    Add([&] { return SpanOf(*call.definition, call.row, *call.span, result, now); });
  }

  void Ended(const Transaction& transaction) noexcept {
    if (options_.on_span) Add([&] { return SpanOf(transaction); });
  }

 private:
  template <typename Make>
  void Add(const Make& make) noexcept {
    try {
      ended_.push_back(std::make_shared<const Span>(make()));
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): no memory for it
    }
  }

  const Options& options_;
  Spans& ended_;
  SpanIds ids_;
};

}  // namespace v1
}  // namespace dtm
