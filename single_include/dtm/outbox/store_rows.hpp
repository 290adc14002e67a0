/// Generated from include/dtm/outbox/store_rows.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "outbox_table.hpp"
#include "../sql/session.hpp"
#include "../sql/sql_name.hpp"

// ---- dtm/outbox/store_rows.hpp -----------------------------------------------------------------

/// Writes a submission into the tables of a store that coordinators share, in the program's own transaction: a record as a
/// submit stores it, that is nobody's yet. The next beat of one of them takes it up.
/// Needs: nlohmann/json. Threads: as its session. Format: docs/store_format.md.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {

/// Where the tables of the coordinators' store are, seen from the program's connection: PostgreSQL's schema, MySQL's
/// database. Empty: where its unqualified names lead. `app`: Options::app of the coordinators that have the functions which are
/// submitted here.
struct InStore {
  std::string schema{};
  std::string app = "main";
};

namespace outbox {

/// Of the store's tables; others are not written to.
inline constexpr int kStoreVersion = 1;

class StoreRows {
 public:
  /// @throws LogicError  this is no name of a schema.
  StoreRows(SqlSession& session, const InStore& store)
      : session_(session),
        postgres_(session.Dialect() == SqlDialect::kPostgres),
        app_(store.app),
        prefix_(store.schema.empty() ? "" : store.schema + "."),
        insert_(InsertSql()),
        topic_("SELECT " + std::string(postgres_ ? "encode(v, 'hex')" : "HEX(v)") + " FROM " +
               Table("dtm_kv") + " WHERE cat = '" + topics::kCategory + "' AND k = " + Text(1)) {}

  /// @throws BadInput, RejectedError, StoreError  nothing was written. SqlError: roll the transaction back.
  void Insert(Definition definition, const std::string& who) {
    ExpandTopics(definition);
    Transaction transaction;
    transaction.branches.assign(RowCount(definition), Branch{});
    std::string state;
    codec::EncodeState(transaction, state);
    const std::string gid = Hex(definition.gid);
    const std::string type = std::to_string(static_cast<int>(definition.type));
    const std::string content = Hex(codec::EncodeDefinition(definition));
    state = Hex(state);
    // What calls no functions is nobody's; else it waits for a coordinator that has them.
    const bool calls = CallsFunctions(definition);
    const std::string app = Hex(calls ? app_ : std::string());
    const std::string owner =
        std::to_string(calls ? static_cast<std::int64_t>(OwnerForApp(app_)) : 0);
    for (int tries = 0;; ++tries) {
      const std::string id = std::to_string(Random());
      try {
        const SqlAnswer inserted =
            postgres_ ? session_.Run(insert_, {gid, type, content, state, owner, app})
                      : session_.Run(insert_, {id, gid, type, owner, content, state, app});
        if (inserted.affected == 1) return;
      } catch (const SqlError& error) {
        if (IdIsTaken(error) && tries < kMostTries) continue;
        throw SqlError(who + "nothing was submitted: the store: " + error.what() + Advice(error) +
                           "; roll the transaction back",
                       error.Code());
      }
      throw StoreError(who + "nothing was submitted: the store has not schema version " +
                       std::to_string(kStoreVersion) +
                       ", the one that this program knows; use the version of dtm that the "
                       "coordinators have");
    }
  }

 private:
  static constexpr int kMostTries = 10;

  std::string Table(const std::string& name) const {
    return sql::QuotedName(session_.Dialect(), prefix_ + name, "a schema");
  }

  /// Parameters go through the statement as hexadecimal digits, see Hex.
  std::string Text(int number) const {
    return postgres_ ? "convert_from(decode($" + std::to_string(number) + ", 'hex'), 'UTF8')"
                     : "UNHEX(?)";
  }

  /// The time is the server's, as that of the coordinators is. MySQL's ids are made by who inserts, see mysql_store::Ids.
  std::string InsertSql() const {
    const std::string version = std::to_string(kStoreVersion);
    const std::string columns =
        "gid, type, status, version, created, finished, due, owner, definition, state, app) "
        "SELECT ";
    const std::string values =
        ", " + std::to_string(static_cast<int>(Status::kSubmitted)) + ", 1, c.at, 0, c.at, ";
    if (postgres_) {
      return "INSERT INTO " + Table("dtm_trans") + " (" + columns + Text(1) + ", $2::smallint" +
             values + "$5::bigint, decode($3, 'hex'), decode($4, 'hex'), " + Text(6) +
             " FROM (SELECT (extract(epoch FROM "
             "clock_timestamp()) * 1000000)::bigint AS at) c WHERE EXISTS (SELECT 1 FROM " +
             Table("dtm_meta") + " WHERE key = 'schema_version' AND value = '" + version + "')";
    }
    return "INSERT INTO " + Table("dtm_trans") + " (id, " + columns +
           "(c.at - 1577836800000000) * 4096 + CAST(? AS SIGNED), " + Text(1) + ", ?" + values +
           "CAST(? AS SIGNED), UNHEX(?), UNHEX(?), UNHEX(?) FROM (SELECT "
           "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', "
           "UTC_TIMESTAMP(6)) AS at) c WHERE EXISTS (SELECT 1 FROM " +
           Table("dtm_meta") + " WHERE name = 'schema_version' AND value = '" + version + "')";
  }

  void ExpandTopics(Definition& definition) {
    if (!topics::HasTopics(definition)) return;
    topics::ExpandBy(definition, [this](const std::string& topic) {
      const SqlAnswer found = session_.Run(topic_, {Hex(topic)});
      if (found.first_column.empty()) return std::vector<Subscriber>();
      std::string hex = found.first_column.front();
      for (char& c : hex) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
      KeyValue stored;
      stored.key = topic;
      stored.value = FromHex(hex);
      return topics::Parse(stored);
    });
    const std::string problem = Problem(definition);
    if (!problem.empty()) throw RejectedError(problem);
    topics::CheckNew(definition);
  }

  static unsigned Random() {
    unsigned random = 0;
    os::FillRandom(&random, sizeof random);
    return random % 4096;
  }

  /// Another program had the same idea in the same microsecond.
  bool IdIsTaken(const SqlError& error) const {
    return !postgres_ && error.Code() == "1062" &&
           std::string(error.what()).find("PRIMARY") != std::string::npos;
  }

  static std::string Advice(const SqlError& error) {
    const std::string& code = error.Code();
    if (code == "23505" || code == "1062") return "; this gid was submitted before";
    if (code == "42P01" || code == "3F000" || code == "1146" || code == "1049") {
      return "; a coordinator makes the tables; name where they are in InStore";
    }
    if (code == "42501" || code == "1142" || code == "1044") {
      return "; grant the user INSERT on dtm_trans, and SELECT on dtm_meta and dtm_kv";
    }
    return {};
  }

  SqlSession& session_;
  const bool postgres_;
  const std::string app_;
  const std::string prefix_, insert_, topic_;
};

}  // namespace outbox
}  // namespace v1
}  // namespace dtm
