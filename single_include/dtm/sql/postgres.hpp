/// Generated from include/dtm/sql/postgres.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "session.hpp"

// ---- dtm/sql/postgres.hpp ----------------------------------------------------------------------

/// Connections to PostgreSQL; the only file that includes libpq-fe.h.
/// Needs: libpq. Threads: a connection, and what was made for it, by one thread at a time.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <libpq-fe.h>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

namespace sql {

/// The last error of a connection, in one line.
inline std::string PgMessage(const PGconn* connection) {
  std::string text = PQerrorMessage(connection);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  text.erase(std::remove(text.begin(), text.end(), '\t'), text.end());
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

/// "postgresql://user:pass/word@host/db": for libpq the user and password end at an @ before which there is no slash. It would
/// take "user" for the host, and show the rest of the password as the port and the database.
inline bool HasStrayAt(std::string_view url) {
  const std::size_t slashes = url.find("://");
  const std::string_view scheme = url.substr(0, slashes);
  if (scheme != "postgresql" && scheme != "postgres") return false;
  url.remove_prefix(scheme.size() + 3);
  const std::size_t end = url.find_first_of("@/");
  if (end != std::string_view::npos && url[end] == '@') url.remove_prefix(end + 1);
  return url.substr(0, url.find('?')).find('@') != std::string_view::npos;
}

/// Empty, or what is wrong with a conninfo. It shows no part of it, as libpq would: that may be of the password.
inline std::string ConninfoProblem(const std::string& text) {
  if (HasStrayAt(text)) {
    return "this is no conninfo of libpq: a / or @ in the user, the password or the database of a "
           "postgresql:// URL "
           "is written as %2F or %40";
  }
  char* problem = nullptr;
  PQconninfoOption* const options = PQconninfoParse(text.c_str(), &problem);
  PQconninfoFree(options);
  PQfreemem(problem);
  if (options != nullptr) return {};
  return "this is no conninfo of libpq; write it as 'host=... dbname=...' or 'postgresql://...'";
}

/// What a failed result says; without a code if the connection broke before the server replied.
inline SqlError PgErrorOf(const PGconn* connection, const PGresult* result) {
  const char* const code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* const primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  std::string text =
      "PostgreSQL: " + (primary != nullptr ? std::string(primary) : PgMessage(connection));
  if (code != nullptr) text += " (" + std::string(code) + ")";
  return SqlError(text, code != nullptr ? code : "");
}

struct PgClear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using PgResult = std::unique_ptr<PGresult, PgClear>;

struct PgFinish {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using PgHandle = std::unique_ptr<PGconn, PgFinish>;

}  // namespace sql

/// A session on a connection of the program, which must outlive it. The connection is not changed; but our statements stay
/// prepared in it, under names that begin with dtm_, and all sessions on it use them.
class PgSession : public SqlSession {
 public:
  /// With a `limit`, for a connection of ours, a statement whose answer takes longer is an SqlError; then end the connection.
  /// @throws LogicError  it is null.
  explicit PgSession(PGconn* connection, Duration limit = Duration::max())
      : connection_(connection), limit_(limit) {
    if (connection == nullptr) {
      throw LogicError("the connection to PostgreSQL is null; open it first");
    }
  }

  /// The connection.
  PGconn* Handle() const { return connection_; }
  SqlDialect Dialect() const override { return SqlDialect::kPostgres; }

  /// @throws SqlError    the connection is broken.
  /// @throws LogicError  a command of the program is running on it.
  SqlTransaction Transaction() override {
    switch (PQtransactionStatus(connection_)) {
      case PQTRANS_IDLE: return SqlTransaction::kNone;
      case PQTRANS_INTRANS: return SqlTransaction::kOpen;
      case PQTRANS_INERROR: return SqlTransaction::kFailed;
      case PQTRANS_ACTIVE:
        throw LogicError(
            "a command is running on the connection to PostgreSQL; take its result first");
      default: break;
    }
    throw SqlError("the connection to PostgreSQL is broken: " + Message() + "; open a new one", "");
  }

  SqlAnswer Run(const std::string& sql, const std::vector<std::string_view>& parameters) override {
    const std::string& name = Prepared(sql, parameters.size());
    std::vector<std::string> values(parameters.begin(), parameters.end());
    std::vector<const char*> pointers;
    pointers.reserve(values.size());
    for (const std::string& value : values) pointers.push_back(value.c_str());
    const int count = static_cast<int>(pointers.size());
    const Rows rows =
        Checked(Bounded() ? Answer(PQsendQueryPrepared(connection_, name.c_str(), count,
                                                       pointers.data(), nullptr, nullptr, 0))
                          : PQexecPrepared(connection_, name.c_str(), count, pointers.data(),
                                           nullptr, nullptr, 0));
    SqlAnswer answer;
    answer.affected = std::strtoll(PQcmdTuples(rows.get()), nullptr, 10);
    for (int row = 0; row < PQntuples(rows.get()); ++row) {
      answer.first_column.emplace_back(PQgetvalue(rows.get(), row, 0),
                                       static_cast<std::size_t>(PQgetlength(rows.get(), row, 0)));
    }
    return answer;
  }

  std::string Simple(const char* sql) override { return PQcmdStatus(Exec(sql).get()); }

 private:
  using Rows = sql::PgResult;

  std::string Message() const { return sql::PgMessage(connection_); }

  bool Bounded() const { return limit_ != Duration::max(); }

  Rows Exec(const char* sql) {
    return Checked(Bounded() ? Answer(PQsendQuery(connection_, sql)) : PQexec(connection_, sql));
  }

  /// The last result of what was sent, within the limit: libpq itself waits for ever for a server that is only silent.
  PGresult* Answer(int sent) {
    const Duration start = os::SinceBoot();
    Rows last;
    while (sent == 1) {
      Await(start);
      PGresult* const next = PQgetResult(connection_);
      if (next == nullptr) break;
      last.reset(next);
    }
    return last.release();
  }

  /// Until the next result is here, or that there is none: even behind the last one the server may fall silent.
  void Await(Duration start) {
    while (PQisBusy(connection_) == 1) {
      if (!os::WaitFor(PQsocket(connection_), false, start + limit_ - os::SinceBoot())) {
        throw SqlError("PostgreSQL: no answer within " + std::to_string(limit_ / kMillisecond) +
                           " ms; the server or the network to it is stuck",
                       "");
      }
      if (PQconsumeInput(connection_) == 0) break;  // PQgetResult says why
    }
  }

  Rows Checked(PGresult* result) {
    Rows rows(result);
    const ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return rows;
    const char* const code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (code == nullptr && PQstatus(connection_) == CONNECTION_OK) {  // it has not left libpq
      throw LogicError("libpq refused a statement: " + Message() +
                       "; the connection must not be in pipeline mode or in a COPY");
    }
    if (code != nullptr && code == std::string_view("26000")) prepared_.clear();  // DISCARD ALL
    throw sql::PgErrorOf(connection_, result);
  }

  /// The name of this statement, which is prepared when this returns.
  const std::string& Prepared(const std::string& sql, std::size_t count) {
    if (PQbackendPID(connection_) != backend_) prepared_.clear();  // PQreset
    const auto known = prepared_.find(sql);
    if (known != prepared_.end()) return known->second;
    std::string name = NameOf(sql);
    const std::string look = "SELECT 1 FROM pg_prepared_statements WHERE name = '" + name + "'";
    // Another session on this connection may have prepared it.
    if (PQntuples(Exec(look.c_str()).get()) == 0) {
      // All parameters are text, whatever the columns are.
      constexpr Oid kText = 25;
      const std::vector<Oid> types(count, kText);
      const int known_types = static_cast<int>(count);
      Checked(Bounded()
                  ? Answer(PQsendPrepare(connection_, name.c_str(), sql.c_str(), known_types,
                                         types.data()))
                  : PQprepare(connection_, name.c_str(), sql.c_str(), known_types, types.data()));
    }
    backend_ = PQbackendPID(connection_);
    return prepared_.emplace(sql, std::move(name)).first->second;
  }

  /// By its text: behind a pooler that gives each transaction another process of the server, a name is then missing
  /// at worst, and never stands for another statement.
  static std::string NameOf(const std::string& sql) {
    StableHash hash;
    hash.Add(sql);
    return "dtm_" + std::to_string(hash.Value());
  }

  static constexpr Duration kMillisecond = std::chrono::milliseconds(1);

  PGconn* connection_;
  const Duration limit_;
  int backend_ = 0;                              ///< the server process that has the statements
  std::map<std::string, std::string> prepared_;  ///< text to name
};

/// A connection of its own.
class PgConnection {
 public:
  /// `conninfo`: as libpq takes it ("host=... dbname=..." or "postgresql://..."). Waits as long as its connect_timeout says.
  /// @throws SqlError  there is no connection.
  explicit PgConnection(const std::string& conninfo) {
    CheckConninfo(conninfo);
    connection_.reset(PQconnectdb(conninfo.c_str()));
    CheckConnected();
  }
  /// Waits `limit` (seconds, at least 2) for each address of the server, unless `conninfo` has a connect_timeout; looking up
  /// a name may take longer. A peer that is gone is noticed within about as long.
  /// @throws SqlError  there is no connection.
  PgConnection(const std::string& conninfo, std::chrono::seconds limit) {
    CheckConninfo(conninfo);
    connection_.reset(Connect(conninfo, limit));
    CheckConnected();
  }

  /// The connection.
  PGconn* Handle() const { return connection_.get(); }

 private:
  static void CheckConninfo(const std::string& conninfo) {
    const std::string problem = sql::ConninfoProblem(conninfo);
    if (!problem.empty()) throw SqlError("no connection to PostgreSQL: " + problem, "08001");
  }
  void CheckConnected() const {
    if (PQstatus(connection_.get()) == CONNECTION_OK) return;
    throw SqlError("no connection to PostgreSQL: " + sql::PgMessage(connection_.get()), "08001");
  }

  static PGconn* Connect(const std::string& conninfo, std::chrono::seconds limit) {
    const std::string seconds = std::to_string(limit.count());
    const std::string ms = std::to_string(std::chrono::milliseconds(limit).count());
    // What stands in `conninfo`, which comes last, is stronger.
    const std::array<const char*, 6> names{"connect_timeout", "tcp_user_timeout",
                                           "keepalives_idle", "keepalives_interval",
                                           "dbname",          nullptr};
    const std::array<const char*, 6> values{seconds.c_str(),  ms.c_str(), seconds.c_str(), "1",
                                            conninfo.c_str(), nullptr};
    return PQconnectdbParams(names.data(), values.data(), 1);
  }

  sql::PgHandle connection_;
};

}  // namespace v1
}  // namespace dtm
