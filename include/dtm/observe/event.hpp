/// What happened to a transaction, as Options::on_event is told it.
/// Needs: std. Threads: values and pure functions. Document: docs/observe.md.
#pragma once

#include <string>

#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/types.hpp>
#include <dtm/core/url.hpp>
#include <dtm/observe/trace_context.hpp>

namespace dtm {
inline namespace v1 {

/// One thing that happened to a transaction, and is durable. Its kinds are those of the journal; never kGap.
struct Event {
  std::string gid;
  TransType type = TransType::kSaga;
  Status status = Status::kSubmitted;  ///< after the commit that made it durable
  Time time{};
  JournalKind kind = JournalKind::kSubmitted;
  std::string branch_id;  ///< whose; empty: of no branch
  Op op{};                ///< of that branch; 0 without one
  std::string target;     ///< its URL without a password, or `local:Name`; empty: of no branch
  std::string text;       ///< why, or what the branch said; at most kMaxJournalText bytes
  std::string who;        ///< who asked for it, or which process goes on with it; empty: not known
  std::string trace_id;   ///< of the trace to which the transaction belongs; empty: none
};

/// `transaction` is what the entry led to. `spans`: see TraceIdOf.
inline Event EventOf(const Transaction& transaction, const JournalEntry& entry,
                     bool spans = false) {
  const Definition& definition = *transaction.definition;
  Event event;
  event.gid = definition.gid;
  event.type = definition.type;
  event.status = transaction.status;
  event.time = entry.time;
  event.kind = entry.kind;
  event.op = entry.op;
  event.text = entry.text;
  event.who = entry.who;
  if (entry.row < RowCount(definition)) {
    event.branch_id = BranchIdOf(definition, entry.row);
    event.target = ShownUrl(UrlOf(definition, entry.row));
  }
  event.trace_id = TraceIdOf(definition, spans);
  return event;
}

}  // namespace v1
}  // namespace dtm
