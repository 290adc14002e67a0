/// Generated from include/dtm/sql/postgres_client.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "postgres.hpp"
#include "rows.hpp"
#include "session.hpp"

// ---- dtm/sql/postgres_client.hpp ---------------------------------------------------------------

/// A connection of our own to PostgreSQL, for statements that run often: prepared, with binary parameters and arrays of
/// them, each within a bounded time.
/// Needs: libpq. Threads: a client by one thread at a time.
/// Source: PostgreSQL's manual, "Asynchronous Command Processing"; arrayrecv in its source has the binary form of arrays.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace sql {

/// High bytes first, as the protocol has it.
template <std::size_t size>
void AppendBigEndian(std::string& out, std::uint64_t number) {
  for (std::size_t i = size; i-- > 0;) out += static_cast<char>(number >> (8 * i) & 0xFF);
}
inline std::uint64_t BigEndian(std::string_view bytes) {
  std::uint64_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

}  // namespace sql

/// The parameters of one statement, in their order.
class PgParameters {
 public:
  static constexpr Oid kNumber = 20, kText = 25, kBytes = 17;

  void Number(std::int64_t number) {
    Begin(kNumber);
    sql::AppendBigEndian<8>(bytes_, static_cast<std::uint64_t>(number));
  }
  void Text(std::string_view text) { Begin(kText), bytes_ += text; }
  void Bytes(std::string_view bytes) { Begin(kBytes), bytes_ += bytes; }

  void Add(const SqlValue& value) {
    if (const auto* number = std::get_if<std::int64_t>(&value)) return Number(*number);
    if (const auto* text = std::get_if<std::string_view>(&value)) return Text(*text);
    if (const auto* bytes = std::get_if<SqlBytes>(&value)) return Bytes(bytes->bytes);
    if (const auto* texts = std::get_if<const std::vector<std::string>*>(&value)) {
      return Array(kText, **texts,
                   [this](const std::string& text) { Item(std::string_view(text)); });
    }
    Array(kNumber, *std::get<const std::vector<std::int64_t>*>(value),
          [this](std::int64_t number) { Item(number); });
  }

  /// An array with an element for each of `rows`; `write` calls Item or Null once for each.
  template <typename Rows, typename Write>
  void Array(Oid element, const Rows& rows, const Write& write) {
    Begin(element == kNumber ? 1016 : element == kText ? 1009 : 1001);
    sql::AppendBigEndian<4>(bytes_, rows.empty() ? 0 : 1);  // dimensions
    sql::AppendBigEndian<4>(bytes_, 1);                     // some may be null
    sql::AppendBigEndian<4>(bytes_, element);
    if (rows.empty()) return;
    sql::AppendBigEndian<4>(bytes_, rows.size());
    sql::AppendBigEndian<4>(bytes_, 1);  // the first has this index
    for (const auto& row : rows) write(row);
  }
  void Item(std::int64_t number) {
    sql::AppendBigEndian<4>(bytes_, 8);
    sql::AppendBigEndian<8>(bytes_, static_cast<std::uint64_t>(number));
  }
  void Item(std::string_view bytes) {
    sql::AppendBigEndian<4>(bytes_, bytes.size());
    bytes_ += bytes;
  }
  void Null() { sql::AppendBigEndian<4>(bytes_, 0xFFFFFFFFU); }

  void Clear() {
    bytes_.clear();
    types_.clear();
    begins_.clear();
  }

 private:
  friend class PgClient;

  void Begin(Oid type) {
    types_.push_back(type);
    begins_.push_back(bytes_.size());
  }

  std::string bytes_;
  std::vector<Oid> types_;
  std::vector<std::size_t> begins_;
};

/// Rows in the binary form.
class PgRows : public SqlRows {
 public:
  PgRows() = default;
  explicit PgRows(sql::PgResult result) : result_(std::move(result)) {}

  std::size_t Count() const override { return static_cast<std::size_t>(PQntuples(result_.get())); }
  bool IsNull(std::size_t row, std::size_t column) const override {
    return PQgetisnull(result_.get(), static_cast<int>(row), static_cast<int>(column)) != 0;
  }
  std::int64_t Number(std::size_t row, std::size_t column) const override {
    const std::string_view bytes = View(row, column);
    const std::uint64_t number = sql::BigEndian(bytes);
    if (bytes.size() == 2) return static_cast<std::int16_t>(number);
    if (bytes.size() == 4) return static_cast<std::int32_t>(number);
    return static_cast<std::int64_t>(number);
  }
  std::string_view View(std::size_t row, std::size_t column) const override {
    const auto r = static_cast<int>(row);
    const auto c = static_cast<int>(column);
    return {PQgetvalue(result_.get(), r, c),
            static_cast<std::size_t>(PQgetlength(result_.get(), r, c))};
  }

 private:
  sql::PgResult result_;
};

class PgClient {
 public:
  /// A conninfo that libpq cannot read is not in the error, since there may be a password in it.
  /// @throws LogicError  libpq cannot read it.
  static void CheckConninfo(const std::string& conninfo) {
    const std::string problem = sql::ConninfoProblem(conninfo);
    if (!problem.empty()) throw LogicError(problem);
  }

  /// `limit`: for each statement; the connection is given up if the server does not answer within it.
  /// @throws SqlError  there is no connection.
  PgClient(const std::string& conninfo, Duration limit) : limit_(limit) {
    const std::string seconds = std::to_string(
        (std::max<std::int64_t>)(std::chrono::duration_cast<std::chrono::seconds>(limit).count(),
                                 2));
    // What stands before the conninfo it may say otherwise; what stands behind it counts.
    const std::array<const char*, 5> names{"connect_timeout", "fallback_application_name", "dbname",
                                           "client_encoding", nullptr};
    const std::array<const char*, 5> values{seconds.c_str(), "dtm", conninfo.c_str(), "UTF8",
                                            nullptr};
    connection_.reset(PQconnectdbParams(names.data(), values.data(), 1));
    if (PQstatus(connection_.get()) != CONNECTION_OK) {
      throw SqlError("no connection to PostgreSQL: " + sql::PgMessage(connection_.get()), "08001");
    }
    PQsetnonblocking(connection_.get(), 1);
    PQsetNoticeProcessor(
        connection_.get(), [](void*, const char*) {}, nullptr);
  }

  /// Of a healthy connection: false after any error that ended it.
  bool Works() const { return PQstatus(connection_.get()) == CONNECTION_OK; }

  /// Runs statements without parameters, in one message; returns the rows of the last one, as text.
  /// @throws SqlError  the server refused one, or the connection broke, or did not answer in time.
  PgRows Simple(const std::string& sql) {
    return PgRows(Answer(PQsendQuery(connection_.get(), sql.c_str())));
  }

  /// Runs one statement, which stays prepared under its text.
  /// @throws as Simple
  PgRows Run(const std::string& sql, const PgParameters& parameters) {
    const std::string& name = Prepared(sql, parameters.types_);
    const std::size_t count = parameters.begins_.size();
    values_.clear();
    lengths_.clear();
    formats_.assign(count, 1);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t end = i + 1 < count ? parameters.begins_[i + 1] : parameters.bytes_.size();
      values_.push_back(parameters.bytes_.data() + parameters.begins_[i]);
      lengths_.push_back(static_cast<int>(end - parameters.begins_[i]));
    }
    return PgRows(
        Answer(PQsendQueryPrepared(connection_.get(), name.c_str(), static_cast<int>(count),
                                   values_.data(), lengths_.data(), formats_.data(), 1)));
  }

 private:
  const std::string& Prepared(const std::string& sql, const std::vector<Oid>& types) {
    const auto known = prepared_.find(sql);
    if (known != prepared_.end()) return known->second;
    std::string name = "dtm_" + std::to_string(++last_name_);
    (void)Answer(PQsendPrepare(connection_.get(), name.c_str(), sql.c_str(),
                               static_cast<int>(types.size()), types.data()));
    return prepared_.emplace(sql, std::move(name)).first->second;
  }

  /// The last of the results of what was sent.
  sql::PgResult Answer(int sent) {
    if (sent == 0) throw SqlError("PostgreSQL: " + sql::PgMessage(connection_.get()), "");
    const Duration end = os::SinceBoot() + limit_;
    for (int left = 1; (left = PQflush(connection_.get())) != 0;) {
      if (left < 0) break;  // why is in the result
      WaitUntil(end, true);
    }
    sql::PgResult last;
    sql::PgResult failed;
    for (;;) {
      while (PQisBusy(connection_.get()) != 0) WaitUntil(end, false);
      sql::PgResult next(PQgetResult(connection_.get()));
      if (next == nullptr) break;
      const ExecStatusType status = PQresultStatus(next.get());
      const bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
      (good ? last : failed) = std::move(next);
    }
    if (failed != nullptr) Throw(failed.get());
    if (last == nullptr) throw SqlError("PostgreSQL: " + sql::PgMessage(connection_.get()), "");
    return last;
  }

  [[noreturn]] void Throw(const PGresult* failed) {
    const SqlError error = sql::PgErrorOf(connection_.get(), failed);
    // A prepared statement is unknown, or there already: this is not the server process that prepared it.
    if (error.Code() != "26000" && error.Code() != "42P05") {
      throw SqlError(error.what(), error.Code());
    }
    prepared_.clear();
    throw SqlError(std::string(error.what()) +
                       "; a pooler between must give this connection the same server process all "
                       "the time (PgBouncer: pool_mode = session)",
                   error.Code());
  }

  void WaitUntil(Duration end, bool writing) {
    const Duration left = end - os::SinceBoot();
    if (left <= Duration(0) || !os::WaitFor(PQsocket(connection_.get()), writing, left)) {
      const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(limit_).count();
      connection_.reset();  // what it still answers must not be taken for the answer to another
      throw SqlError("PostgreSQL did not answer within " + std::to_string(limit) + " ms", "");
    }
    (void)PQconsumeInput(connection_.get());  // a failure is in the result
  }

  sql::PgHandle connection_;
  const Duration limit_;
  std::unordered_map<std::string, std::string> prepared_;  ///< text to name
  std::size_t last_name_ = 0;
  // Members for their memory.
  std::vector<const char*> values_;
  std::vector<int> lengths_, formats_;
};

}  // namespace v1
}  // namespace dtm
