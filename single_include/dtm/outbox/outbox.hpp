/// Generated from include/dtm/outbox/outbox.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "outbox_table.hpp"
#include "store_rows.hpp"
#include "../sql/session.hpp"

// ---- dtm/outbox/outbox.hpp ---------------------------------------------------------------------

/// Submits a saga or message inside the program's own database transaction: it exists if and only if the business rows do.
/// Needs: std. Threads: an outbox by one thread at a time, as its session. Format: docs/store_format.md.
///
/// For libpq and libmariadb take outbox/postgres_outbox.hpp and outbox/mysql_outbox.hpp. A coordinator takes the rows over:
/// Coordinator::Relay; or they are the store's own (InStore), and need no relay.

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace dtm {
inline namespace v1 {

/// An endpoint for sagas and messages whose submission is one INSERT in the transaction that is open on the connection:
///
///   BEGIN ... business ...
///   dtm::NewSaga(outbox, dtm::MustGenGid(outbox)).Add(...).Submit();
///   COMMIT
///
/// After the COMMIT a coordinator that relays this table takes it up, usually within 100 ms (300 ms when nothing came for a
/// second); after a ROLLBACK there is nothing. No message, no query-back. A branch may be a function of the coordinator that relays the table (a LocalBranch of
/// it); if that has none of this name, the transaction waits for it.
class SqlOutbox : public Endpoint {
 public:
  /// `session` must outlive it. @throws LogicError  this is no name of a table.
  explicit SqlOutbox(SqlSession& session, const std::string& table = outbox::kTable)
      : session_(session), table_(table), insert_(outbox::InsertSql(session.Dialect(), table)) {}

  /// In the coordinators' store itself, which is in the same database: there is no table between, and no relay. One of them
  /// takes the transaction up with a beat, usually within 300 ms of the COMMIT, or when the first one starts. While the
  /// program's transaction is open, a submit of the same gid at a coordinator waits for its end, and keeps the others waiting.
  /// @throws LogicError  this is no name of a schema.
  SqlOutbox(SqlSession& session, const InStore& store) : session_(session) {
    store_.emplace(session, store);
  }

  /// A new gid, made in this process.
  std::string NewGid() override {
    return gids_.Make(std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()));
  }

  /// Writes the row. Nothing is submitted before the program commits.
  /// @throws RejectedError  a limit is exceeded or a value malformed, as at a coordinator; nothing was written.
  /// @throws LogicError     no transaction is open; it is not a saga or message, or waits for its result.
  /// @throws SqlError       the gid is in the table already, or the connection failed: roll the transaction back.
  TransResult Submit(Definition definition) override {
    const std::string who = "gid '" + definition.gid + "': ";
    if (definition.type != TransType::kSaga && definition.type != TransType::kMsg) {
      throw LogicError(who +
                       "an outbox takes sagas and messages; others need their coordinator at once");
    }
    if (definition.options.wait_result) {
      throw LogicError(who + "nobody can wait for the result before the transaction is committed");
    }
    const std::string problem = Problem(definition);
    if (!problem.empty()) throw BadInput(problem);
    switch (session_.Transaction()) {
      case SqlTransaction::kOpen: break;
      case SqlTransaction::kNone:
        throw LogicError(who +
                         "the connection is in no transaction; begin one (START TRANSACTION, with "
                         "autocommit=0 too), write the business rows in it, and commit both");
      case SqlTransaction::kFailed:
        throw LogicError(who +
                         "nothing was submitted: a statement before failed, so the connection's "
                         "transaction can only be rolled back; do that, and begin it again");
    }
    if (store_) {
      store_->Insert(definition, who);
      return {definition.gid, Status::kSubmitted, {}};
    }
    const std::string type = Name(definition.type);
    const std::string gid = outbox::Hex(definition.gid);
    const std::string content = outbox::Hex(codec::EncodeDefinition(definition));
    try {
      session_.Run(insert_, {gid, type, content});
    } catch (const SqlError& error) {
      const std::string& code = error.Code();
      const char* why = "";
      if (code == "23505" || code == "1062") why = "; this gid was submitted before";
      if (code == "25P02") why = "; a statement before failed";
      if (code == "42P01" || code == "1146") why = "; CreateOutboxTable makes the table";
      throw SqlError(who + "nothing was submitted: outbox table '" + table_ + "': " + error.what() +
                         why + "; roll the transaction back",
                     code);
    }
    return {definition.gid, Status::kSubmitted, {}};
  }

  /// The same for a builder that was made for another endpoint, such as the coordinator that relays this table.
  TransResult Submit(const Saga& saga) { return Submit(saga.Content()); }
  /// The same for a message.
  TransResult Submit(const Msg& msg) { return Submit(msg.Content()); }

  /// A name of a function; which coordinator will relay the row is not known here.
  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override {
    return kLocalPrefix + name;
  }

  // What needs a coordinator at once.
  TransResult SubmitAndWait(Definition, Duration) override { Waits("SubmitAndWait"); }
  void SubmitAsync(Definition, AnswerCallback) override { Waits("SubmitAsync"); }
  TransResult Prepare(Definition) override { Waits("Prepare"); }
  void Abort(const std::string&, TransType, const std::string&) override { Waits("Abort"); }
  void RegisterBranch(const std::string&, TransType, Step) override { Waits("RegisterBranch"); }
  WorkflowState PrepareWorkflow(Definition) override { Waits("PrepareWorkflow"); }
  WorkflowState ResumeWorkflow(Definition) override { Waits("ResumeWorkflow"); }
  void FinishWorkflow(const std::string&, Status, const std::string&, const std::string&) override {
    Waits("FinishWorkflow");
  }
  Result CallBranch(const InitiatorCall&) override { Waits("CallBranch"); }

 private:
  [[noreturn]] static void Waits(const char* what) {
    throw LogicError(
        std::string(what) +
        " on an outbox: there is no coordinator before the program commits; use Submit");
  }

  SqlSession& session_;
  const std::string table_;
  const std::string insert_;
  std::optional<outbox::StoreRows> store_;
  GidGenerator gids_;
};

}  // namespace v1
}  // namespace dtm
