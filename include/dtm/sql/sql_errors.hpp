/// What an error of an SQL server means for the one who has to answer a coordinator.
/// Needs: std. Threads: pure functions.
///
/// The codes are those of the manuals: PostgreSQL, appendix A; MariaDB and MySQL, the error reference.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include <dtm/base/error.hpp>
#include <dtm/sql/session.hpp>

namespace dtm {
inline namespace v1 {

enum class SqlFault {
  kInDoubt,    ///< the transaction may be committed or not
  kTemporary,  ///< nothing is committed; the same later may succeed
  kMisuse,  ///< nothing is committed, and repeating it does not help: a person has to set something right
  kOther  ///< nothing is committed; whether it helps to repeat it is not known
};

/// What was running when the error came.
enum class SqlStage {
  kStatement,  ///< a statement inside a transaction
  kCommit  ///< what makes it durable: COMMIT, PREPARE TRANSACTION, a statement that commits by itself
};

namespace sql {

template <std::size_t n>
bool IsOneOf(const std::string& code, const std::string_view (&codes)[n]) {
  return std::find(std::begin(codes), std::end(codes), code) != std::end(codes);
}

/// A code that a server sent; anything else came from its client library, when the server's own reply is not known.
inline bool IsOfServer(SqlDialect dialect, const std::string& code) {
  if (dialect == SqlDialect::kMysql) {
    const bool number =
        code.size() >= 4 && code.find_first_not_of("0123456789") == std::string::npos;
    return number && !(code.size() == 4 && code.front() == '2');  // 2000 to 2999: libraries
  }
  const char* const kCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return code.size() == 5 && code.find_first_not_of(kCharacters) == std::string::npos;
}

inline SqlFault PostgresFault(const std::string& code, SqlStage stage) {
  static constexpr std::string_view kMayBeCommitted[] = {
      // admin_shutdown, crash_shutdown, connection_failure, transaction_resolution_unknown,
      // statement_completion_unknown, internal_error
      "57P01", "57P02", "08006", "08007", "40003", "XX000"};
  static constexpr std::string_view kTemporary[] = {
      // serialization_failure, deadlock_detected, lock_not_available, query_canceled,
      // idle_in_transaction_session_timeout, admin_shutdown, crash_shutdown, cannot_connect_now,
      // read_only_sql_transaction (a standby), duplicate_object (the xid is in use), object_in_use,
      // invalid_sql_statement_name (somebody deallocated ours)
      "40001", "40P01", "55P03", "57014", "25P03", "57P01",
      "57P02", "57P03", "25006", "42710", "55006", "26000"};
  static constexpr std::string_view kMisuse[] = {
      // in_failed_sql_transaction, undefined_table, undefined_column, invalid_column_reference,
      // insufficient_privilege, invalid_catalog_name, object_not_in_prerequisite_state,
      // invalid_schema_name, datatype_mismatch
      "25P02", "42P01", "42703", "42P10", "42501", "3D000", "55000", "3F000", "42804"};
  const std::string kind = code.substr(0, 2);
  const bool told = IsOfServer(SqlDialect::kPostgres, code);
  if (stage == SqlStage::kCommit && (!told || kind == "58" || IsOneOf(code, kMayBeCommitted))) {
    return SqlFault::kInDoubt;
  }
  if (!told || kind == "08" || kind == "53" || IsOneOf(code, kTemporary)) {
    return SqlFault::kTemporary;
  }
  return kind == "28" || IsOneOf(code, kMisuse) ? SqlFault::kMisuse : SqlFault::kOther;
}

inline SqlFault MysqlFault(const std::string& code, SqlStage stage) {
  static constexpr std::string_view kMayBeCommitted[] = {
      // shutdown, query interrupted, error during commit, connection killed, max_statement_time: these may come behind it
      "1053", "1317", "1180", "1927", "1969"};
  static constexpr std::string_view kTemporary[] = {
      // shutdown, query interrupted
      "1053", "1317",
      // lock wait timeout, deadlock, checkread, too many connections (three ways), Galera: not ready, read only (three
      // ways), xa: rolled back by a timeout, by a deadlock, error; xid in use, replication plugin, killed, statements that a
      // reset of the connection closed (two ways), max_statement_time
      "1205", "1213", "1020", "1040", "1203", "1226", "1047", "1290", "1836", "1792", "1613",
      "1614", "1402", "1440", "3101", "1927", "1243", "2056", "1969"};
  static constexpr std::string_view kMisuse[] = {
      // no table, no column, denied (four ways), no database, no savepoint, XAER_INVAL, XAER_RMFAIL, rows were not read, so
      // that nothing was sent
      "1146", "1054", "1142", "1143", "1044", "1045", "1049", "1305", "1398", "1399", "2014"};
  const bool told = code == "2014" || IsOfServer(SqlDialect::kMysql, code);
  if (stage == SqlStage::kCommit && (!told || IsOneOf(code, kMayBeCommitted))) {
    return SqlFault::kInDoubt;
  }
  if (!told || IsOneOf(code, kTemporary)) return SqlFault::kTemporary;
  return IsOneOf(code, kMisuse) ? SqlFault::kMisuse : SqlFault::kOther;
}

/// What the business did wrong if the statement that is to end its transaction fails so; else empty.
inline std::string BusinessMisuse(const std::string& code) {
  if (code == "25P02") {
    return "a statement of the business failed, and the business went on; pass every error on. "
           "Nothing was stored";
  }
  if (code == "2014") {  // MySQL: the statement was not sent
    return "the business did not read all that its statements answered; read every result to its "
           "end. Nothing was stored";
  }
  return {};
}

}  // namespace sql

/// `code`: see SqlError.
inline SqlFault FaultOf(SqlDialect dialect, const std::string& code, SqlStage stage) {
  return dialect == SqlDialect::kPostgres ? sql::PostgresFault(code, stage)
                                          : sql::MysqlFault(code, stage);
}

/// The transaction met another one; nothing of it is stored, and the same at once may succeed: a deadlock, a conflict of
/// PostgreSQL's, or one at the commit on another node of a Galera cluster.
inline bool IsDeadlock(const std::string& code) {
  return code == "1213" || code == "40P01" || code == "40001";
}

/// What to do about it, as the end of a sentence; "" if there is nothing special.
inline std::string SqlAdvice(SqlDialect dialect, const std::string& code, SqlStage stage) {
  if (dialect == SqlDialect::kMysql && code == "1047") {
    return "; nothing was stored, the call may come again, at a node of the Galera cluster that "
           "belongs to its majority";
  }
  switch (FaultOf(dialect, code, stage)) {
    case SqlFault::kInDoubt:
      return "; it may be stored, as a whole or not at all; the same call again settles it";
    case SqlFault::kTemporary: return "; nothing was stored, the call may come again";
    case SqlFault::kOther: return "; nothing was stored";
    case SqlFault::kMisuse: break;
  }
  if (code == "42P01" || code == "3F000" || code == "1146" || code == "1049") {
    return "; nothing was stored; CreateBarrierTable makes the table";
  }
  if (code == "42703" || code == "42P10" || code == "42804" || code == "1054") {
    return "; nothing was stored; the table lacks dtm's columns or their unique key";
  }
  if (code == "42501" || code == "1142" || code == "1143" || code == "1044") {
    return "; nothing was stored; grant the user SELECT, INSERT and DELETE on the table";
  }
  if (code == "25P02") {
    return "; nothing was stored; a statement before failed: roll the transaction back";
  }
  return "; nothing was stored";
}

/// `where`: what was done, with a colon and a blank behind it.
/// @throws InDoubtError  it may be committed. SqlError: nothing is. Each says where, what, and what to do.
[[noreturn]] inline void ThrowWhere(const std::string& where, SqlDialect dialect,
                                    const SqlError& error, SqlStage stage) {
  const std::string text = where + error.what() + SqlAdvice(dialect, error.Code(), stage);
  if (FaultOf(dialect, error.Code(), stage) == SqlFault::kInDoubt) throw InDoubtError(text);
  throw SqlError(text, error.Code());
}

}  // namespace v1
}  // namespace dtm
