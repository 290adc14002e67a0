/// Generated from include/dtm/store/mysql/mysql_statements.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/rows.hpp"
#include "mysql_literals.hpp"
#include "../shared/database.hpp"

// ---- dtm/store/mysql/mysql_statements.hpp ------------------------------------------------------

/// The statements of a store in MariaDB or MySQL, with their values in them. Only what both servers have.
/// Needs: std. Threads: pure functions.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace mysql_store {

/// Fails with kNotOne, and so ends the message, unless the statement before has changed one row.
inline constexpr char kExpectOne[] = "SELECT IF(ROW_COUNT() = 1, 1, (SELECT 1 UNION SELECT 2));";
inline constexpr char kNotOne[] = "1242";  // a subquery returns more than one row

/// Goes on only as a member, and for as long as this transaction runs: whoever is to inherit from it waits.
inline std::string Fence(const std::string& condition) {
  return "START TRANSACTION;UPDATE dtm_fence SET turn = turn + 1 WHERE " + condition + ";" +
         kExpectOne;
}

/// See shared_store::Column.
inline std::string Records(const std::string& rest, const std::string& from = "dtm_trans ") {
  return "SELECT id, gid, type, status, version, created, finished, due, owner, state, definition, "
         "content, CASE WHEN type IN (3, 4, 5) THEN (SELECT GROUP_CONCAT(CONCAT(UNHEX(LPAD(HEX("
         "s.nr), 8, '0')), UNHEX(LPAD(HEX(LENGTH(s.step)), 8, '0')), s.step) ORDER BY s.nr "
         "SEPARATOR '') FROM dtm_step s WHERE s.trans = dtm_trans.id) END, app FROM " +
         from + rest;
}

/// What a record has in its blobs, and in its steps.
inline constexpr char kBytes[] =
    "LENGTH(definition) + LENGTH(state) + IF(type IN (3, 4, 5), (SELECT "
    "COALESCE(SUM(LENGTH(s.step)), 0) FROM dtm_step s WHERE s.trans = dtm_trans.id), 0)";

/// See shared_store::Bounded. `which`: behind WHERE.
inline std::string BoundedRecords(const std::string& which, const std::string& order,
                                  const std::string& limit, const std::string& bytes) {
  return Records("WHERE ahead < " + bytes + " ORDER BY " + order,
                 "(SELECT id AS part, SUM(size) OVER (ORDER BY " + order +
                     ") - size AS ahead FROM (SELECT id, due, " + kBytes +
                     " AS size FROM dtm_trans WHERE " + which + " ORDER BY " + order + " LIMIT " +
                     limit + ") sizes) parts STRAIGHT_JOIN dtm_trans ON id = part ");
}

/// What is asked of the member $1, and has no reply.
inline std::string AskedOfMe() {
  return " FROM dtm_ask a WHERE a.outcome IS NULL AND (a.member = $1 OR (a.member = 0 AND EXISTS "
         "(SELECT 1 FROM dtm_trans t WHERE t.gid = a.gid AND t.owner = $1)))";
}

inline constexpr char kServerTime[] = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// Whose epoch it still is, see kEpochs.
inline std::string EpochIs(const std::string& epoch) {
  return "epoch >= " + epoch + " AND epoch < " + epoch + " + " +
         std::to_string(shared_store::kEpochs);
}

/// $1, $2 and so on stand for the values.
inline std::string Pattern(shared_store::Query query) {
  using Query = shared_store::Query;
  switch (query) {
    case Query::kFind: return Records("WHERE gid = $1");
    case Query::kUnfinished:
      return "SELECT id FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL AND due >= $2 LIMIT $3";
    case Query::kGids:
      return "SELECT id FROM dtm_trans WHERE gid >= $1 AND ($2 = '' OR gid < $2) LIMIT $3";
    case Query::kBelow:
      return "SELECT id FROM dtm_trans WHERE id > 0 AND id < $1 ORDER BY id DESC LIMIT $2";
    case Query::kSearch:
    case Query::kSearchRange:
      // Steps in rows of their own may have the target. Without a reason and an error the first two texts of the state,
      // behind the number of errors, are empty.
      return BoundedRecords(
          std::string(query == Query::kSearch ? "id IN ($10)" : "id >= $10 AND id <= $11") +
              " AND ($1 = 0 OR type = $1) AND ($2 = 0 OR status = $2) AND created >= $3 AND "
              "created <= "
              "$4 AND ($5 = 0 OR due IS NOT NULL) AND ($5 < 2 OR owner < 0 OR (due = "
              "9223372036854775807 AND (ORD(SUBSTRING(state, 2, 1)) & 1) = 1)) AND ($6 = 0 OR "
              "SUBSTRING(state, 4, 2) <> X'0000') AND ($7 = '' OR type IN (3, 4, 5) OR LOCATE($7, "
              "definition) > 0)",
          "id DESC", "$8", "$9");
    case Query::kDue:
      return BoundedRecords(
          "owner = $1 AND due IS NOT NULL AND due >= $2 AND (due > $2 OR id > $3) AND due <= $4",
          "due, id", "$5", "$6");
    case Query::kNextDue:
      return "SELECT MIN(due) FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL AND due > $2";
    case Query::kCount:
      // Of one owner: by the index, however many have ended. Stuck: nothing will wake it, and the lowest bit of the second
      // byte of the state is set.
      return "SELECT COUNT(*), COALESCE(SUM(due > $1 AND NOT stuck), 0), COALESCE(SUM(stuck), 0), "
             "MIN(created) FROM (SELECT due, created, (due = 9223372036854775807 AND "
             "(ORD(SUBSTRING(state, 2, 1)) & 1) = 1) OR owner < 0 AS stuck FROM dtm_trans WHERE "
             "owner = $2 AND due IS NOT NULL) t";
    case Query::kJournal:
      return "SELECT (SELECT j.entries FROM dtm_journal j WHERE j.trans = t.id), t.journal FROM "
             "dtm_trans t WHERE t.gid = $1 AND t.id > 0";
    case Query::kJournals:
      return "SELECT t.id, (SELECT j.entries FROM dtm_journal j WHERE j.trans = t.id), t.journal "
             "FROM dtm_trans t WHERE t.id IN ($1)";
    case Query::kValues:
      return "SELECT id, cat, k, v, version, created, updated FROM dtm_kv WHERE id > $1 AND "
             "($2 = '' OR cat = $2) AND ($3 = '' OR k = $3) ORDER BY id LIMIT $4";
    case Query::kNewest: return "SELECT created FROM dtm_trans ORDER BY id DESC LIMIT 1";
    case Query::kLook:
      return std::string("SELECT id, created, finished, ") + kBytes +
             " FROM dtm_trans WHERE id > $1 ORDER BY id LIMIT $2";
    case Query::kRecords: return Records("WHERE id IN ($1)");
    case Query::kRemove:
      return "DELETE t, s, j FROM dtm_trans t LEFT JOIN dtm_step s ON s.trans = t.id LEFT JOIN "
             "dtm_journal j ON j.trans = t.id WHERE t.id IN ($1) AND t.due IS NULL";
    case Query::kKeep:  // $4: rows of id, type, content
      return "START TRANSACTION;DELETE s, j FROM dtm_trans t LEFT JOIN dtm_step s ON s.trans = "
             "t.id LEFT JOIN dtm_journal j ON j.trans = t.id WHERE t.id IN ($1) AND t.due IS NULL;"
             "UPDATE ($4) k STRAIGHT_JOIN dtm_trans t ON t.id = k.id SET t.id = -k.id, t.type = "
             "k.type, t.content = k.content, t.definition = '', t.state = '', t.journal = NULL "
             "WHERE t.due IS NULL;COMMIT";
    case Query::kLookKept:
      return "SELECT -id, finished FROM dtm_trans WHERE id < -$1 ORDER BY id DESC LIMIT $2";
    case Query::kForget: return "DELETE FROM dtm_trans WHERE id IN ($2)";  // $2: -$1
    case Query::kTime: return std::string("SELECT ") + kServerTime;
    case Query::kJoin:
      return "START TRANSACTION;INSERT INTO dtm_node (name, url, app, epoch, beat, heir) VALUES "
             "($1, $2, "
             "$3, $4, 1, 0);INSERT INTO dtm_fence (id, epoch, turn) VALUES (LAST_INSERT_ID(), $4, "
             "0);COMMIT;SELECT LAST_INSERT_ID()";
    case Query::kRejoin:  // waits for a batch of the old epoch that runs; a later one finds no row
      return "START TRANSACTION;UPDATE dtm_fence SET epoch = epoch + 1 WHERE id = $1 AND " +
             EpochIs("$2") +
             ";SELECT epoch FROM dtm_fence WHERE id = $1 AND ROW_COUNT() = 1;COMMIT";
    case Query::kBeat:  // not of the row of the fence: it does not wait for a batch
      return "UPDATE dtm_node SET beat = beat + 1 WHERE id = $1 AND heir = 0 AND epoch = $3 AND "
             "beat >= $4;SELECT id, beat, heir, epoch, IF(ROW_COUNT() = 1, (SELECT m.beat FROM "
             "dtm_node m WHERE m.id = $1), 0), (SELECT COUNT(*)" +
             AskedOfMe() +
             "), EXISTS (SELECT 1 FROM dtm_trans WHERE owner = $2 AND due IS NOT NULL), EXISTS "
             "(SELECT 1 FROM dtm_trans WHERE owner = 0 AND due IS NOT NULL), " +
             kServerTime + " FROM dtm_node";
    case Query::kInherit:
      return Fence("id = $4") +
             "UPDATE dtm_node SET heir = $4 WHERE id = $1 AND beat = $2 AND heir = $3;SELECT id "
             "FROM dtm_node WHERE id = $1 AND ROW_COUNT() = 1;DELETE f FROM dtm_node n JOIN "
             "dtm_fence f ON f.id = n.id WHERE n.id = $1 AND n.heir = $4;COMMIT";
    case Query::kClaim:  // both find the same rows: they are locked, and nobody adds any
      return Fence("id = $2") +
             "SELECT id FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL AND app IN ($4) ORDER "
             "BY "
             "due, id LIMIT $3 FOR UPDATE;UPDATE dtm_trans SET owner = $5, version = version + 1 "
             "WHERE owner = $1 AND due IS NOT NULL AND app IN ($4) ORDER BY due, id LIMIT $3;"
             "COMMIT";
    case Query::kBury:
      return "DELETE FROM dtm_node WHERE id = $1 AND heir = $2 AND NOT EXISTS (SELECT 1 FROM "
             "dtm_trans WHERE owner = $1 AND due IS NOT NULL)";
    case Query::kApps:
      return "SELECT app, COUNT(*) FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL GROUP BY "
             "app";
    case Query::kIntroduce:
      return "UPDATE dtm_node SET name = $2, url = $3, app = $4 WHERE id = $1";
    case Query::kPeer: return "SELECT name, url, app, heir FROM dtm_node WHERE id = $1";
    case Query::kPeers: return "SELECT id, name, url, app, heir FROM dtm_node ORDER BY id LIMIT $1";
    case Query::kProgress: return "SELECT gid, due FROM dtm_trans WHERE gid IN ($1)";
    case Query::kWaiting:
      return "SELECT gid FROM dtm_trans WHERE due > $1 AND due < 9223372036854775807 ORDER BY due, "
             "id LIMIT $2";
    case Query::kDriven:
      return "SELECT COUNT(*) FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL";
    case Query::kAsk:
      return "DELETE FROM dtm_ask WHERE created < NOW() - INTERVAL 1 MINUTE;INSERT INTO dtm_ask "
             "(gid, kind, reason, member, taker) VALUES ($1, $2, $3, $4, 0);SELECT "
             "LAST_INSERT_ID()";
    case Query::kAsked:
      return "SELECT a.id, a.gid, a.kind, a.reason" + AskedOfMe() + " ORDER BY a.id";
    case Query::kTakeUp:
      return "UPDATE dtm_ask SET taker = $2 WHERE id = $1 AND outcome IS NULL;SELECT id FROM "
             "dtm_ask "
             "WHERE id = $1 AND outcome IS NULL";
    case Query::kReply: return "UPDATE dtm_ask SET outcome = $2 WHERE id = $1";
    case Query::kReplies:
      return "SELECT id, outcome FROM dtm_ask WHERE id IN ($1) AND outcome IS NOT NULL";
    case Query::kWithdraw:
      return "DELETE FROM dtm_ask WHERE id = $1 AND taker = 0;SELECT 1 FROM DUAL WHERE ROW_COUNT() "
             "= 1";
    case Query::kDropAsked: return "DELETE FROM dtm_ask WHERE id IN ($1)";
    case Query::kNewValue:
      return "INSERT INTO dtm_kv (cat, k, v, version, created, updated) VALUES ($1, $2, $3, 1, $4, "
             "$4) ON DUPLICATE KEY UPDATE dtm_kv.version = dtm_kv.version;SELECT 1 FROM DUAL WHERE "
             "ROW_COUNT() = 1";
    case Query::kChangeValue:
      return "UPDATE dtm_kv SET v = $3, version = version + 1, updated = $4 WHERE id = $1 AND "
             "version = $2;SELECT 1 FROM DUAL WHERE ROW_COUNT() = 1";
    case Query::kRemoveValue:
      return "DELETE FROM dtm_kv WHERE id = $1 AND version = $2;SELECT 1 FROM DUAL WHERE "
             "ROW_COUNT() = 1";
    case Query::kFree:
      return "SELECT id FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL AND app IN ($3) ORDER "
             "BY due, id LIMIT $2";
    case Query::
        kTakeFree:  // by the key: else it would wait for rows that programs have not committed
      return Fence("id = $1") +
             "UPDATE dtm_trans FORCE INDEX (PRIMARY) SET owner = $1, version = version + 1 WHERE "
             "id IN ($3) AND owner = $2;SELECT id FROM dtm_trans FORCE INDEX (PRIMARY) WHERE id IN "
             "($3) AND owner = $1;COMMIT";
    case Query::kOrphans:  // from one owner to the next by the index, not through all rows
      return "WITH RECURSIVE o (owner, n) AS (SELECT (SELECT MIN(t.owner) FROM dtm_trans t WHERE "
             "t.owner > $1), 1 UNION ALL SELECT (SELECT MIN(t.owner) FROM dtm_trans t WHERE "
             "t.owner > o.owner), o.n + 1 FROM o WHERE o.owner IS NOT NULL AND o.n < $2) SELECT "
             "owner, NOT EXISTS (SELECT 1 FROM dtm_node m WHERE m.id = o.owner) AND EXISTS (SELECT "
             "1 FROM dtm_trans t WHERE t.owner = o.owner AND t.due IS NOT NULL) FROM o WHERE owner "
             "IS NOT NULL ORDER BY owner";
    case Query::kLeave:
      return "START TRANSACTION;UPDATE dtm_node n JOIN dtm_fence f ON f.id = n.id SET n.heir = -1 "
             "WHERE n.id = $1 AND n.heir = 0 AND f.epoch >= $2 AND f.epoch < $2 + " +
             std::to_string(shared_store::kEpochs) + ";DELETE FROM dtm_fence WHERE id = $1 AND " +
             EpochIs("$2") + ";COMMIT";
  }
  return {};
}

inline void AppendValue(std::string& out, const SqlValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    out += std::to_string(*number);
  } else if (const auto* text = std::get_if<std::string_view>(&value)) {
    AppendBytes(out, *text);
  } else if (const auto* bytes = std::get_if<SqlBytes>(&value)) {
    AppendBytes(out, bytes->bytes);
  } else if (const auto* texts = std::get_if<const std::vector<std::string>*>(&value)) {
    for (std::size_t i = 0; i < (*texts)->size(); ++i) {
      if (i > 0) out += ',';
      AppendBytes(out, (**texts)[i]);
    }
    if ((*texts)->empty()) out += "NULL";
  } else {
    AppendNumbers(out, *std::get<const std::vector<std::int64_t>*>(value));
  }
}

/// $2 of kForget.
inline std::string ForgottenIds(const std::vector<SqlValue>& values) {
  std::vector<std::int64_t> ids = *std::get<const std::vector<std::int64_t>*>(values[0]);
  for (std::int64_t& id : ids) id = -id;
  std::string text;
  AppendNumbers(text, ids);
  return text;
}
/// $4 of kKeep.
inline std::string KeptRows(const std::vector<SqlValue>& values) {
  const auto& ids = *std::get<const std::vector<std::int64_t>*>(values[0]);
  const auto& types = *std::get<const std::vector<std::int64_t>*>(values[1]);
  const auto& contents = *std::get<const std::vector<std::int64_t>*>(values[2]);
  std::string text;
  RowsText rows(text, RowsText::Form::kSelects);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    rows.Begin();
    rows.Number("id", ids[i]);
    rows.Number("type", types[i]);
    rows.Number("content", contents[i]);
    rows.End();
  }
  return text;
}

inline std::string TextOf(shared_store::Query query, const std::vector<SqlValue>& values) {
  const std::string pattern = Pattern(query);
  std::string text;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '$') {
      text += pattern[i];
      continue;
    }
    std::size_t number = 0;
    while (i + 1 < pattern.size() && pattern[i + 1] >= '0' && pattern[i + 1] <= '9') {
      number = 10 * number + static_cast<std::size_t>(pattern[++i] - '0');
    }
    const std::size_t place = number - 1;
    if (place < values.size()) {
      AppendValue(text, values[place]);
    } else {
      text += query == shared_store::Query::kForget ? ForgottenIds(values) : KeptRows(values);
    }
  }
  return text;
}

}  // namespace mysql_store
}  // namespace v1
}  // namespace dtm
