/// Generated from include/dtm/store/postgres/postgres_statements.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../shared/database.hpp"

// ---- dtm/store/postgres/postgres_statements.hpp ------------------------------------------------

/// The statements of a store in PostgreSQL. Needs: std. Threads: pure functions.

#include <string>

namespace dtm {
inline namespace v1 {
namespace postgres_store {

/// See shared_store::Column.
inline std::string Records(const std::string& rest, const std::string& from = "dtm_trans ") {
  return "SELECT id, gid, type, status, version, created, finished, due, owner, state, definition, "
         "content, CASE WHEN type IN (3, 4, 5) THEN (SELECT string_agg(int4send(s.nr::int) || "
         "int4send(length(s.step)) || s.step, ''::bytea ORDER BY s.nr) FROM dtm_step s WHERE "
         "s.trans = dtm_trans.id) END, app FROM " +
         from + rest;
}

/// What a record has in its blobs, and in its steps.
inline constexpr char kBytes[] =
    "octet_length(definition) + octet_length(state) + CASE WHEN type IN (3, 4, 5) THEN (SELECT "
    "coalesce(sum(octet_length(s.step)), 0) FROM dtm_step s WHERE s.trans = dtm_trans.id) ELSE 0 "
    "END";

/// See shared_store::Bounded. `which`: behind WHERE.
inline std::string BoundedRecords(const std::string& which, const std::string& order,
                                  const std::string& limit, const std::string& bytes) {
  return Records("WHERE ahead < " + bytes + " ORDER BY " + order,
                 "(SELECT id AS part, sum(size) OVER (ORDER BY " + order +
                     ") - size AS ahead FROM (SELECT id, due, " + kBytes +
                     " AS size FROM dtm_trans WHERE " + which + " ORDER BY " + order + " LIMIT " +
                     limit + ") sizes) parts JOIN dtm_trans ON id = part ");
}

/// Of a member that is one, for as long as this statement runs: whoever is to inherit from it waits.
inline std::string Fence(const std::string& member) {
  return "f AS MATERIALIZED (SELECT id FROM dtm_node WHERE id = " + member +
         " AND heir = 0 FOR KEY SHARE)";
}

/// What is asked of the member $1, and has no reply.
inline std::string AskedOfMe() {
  return " FROM dtm_ask a WHERE a.outcome IS NULL AND (a.member = $1 OR (a.member = 0 AND EXISTS "
         "(SELECT 1 FROM dtm_trans t WHERE t.gid = a.gid AND t.owner = $1)))";
}

inline constexpr char kServerTime[] = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Whose epoch it still is, see kEpochs.
inline std::string EpochIs(const std::string& epoch) {
  return "epoch >= " + epoch + " AND epoch < " + epoch + " + " +
         std::to_string(shared_store::kEpochs);
}

inline std::string TextOf(shared_store::Query query) {
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
          std::string(query == Query::kSearch ? "id = ANY ($10)" : "id >= $10 AND id <= $11") +
              " AND ($1 = 0 OR type = $1) AND ($2 = 0 OR status = $2) AND created >= $3 AND "
              "created <= "
              "$4 AND ($5 = 0 OR due IS NOT NULL) AND ($5 < 2 OR owner < 0 OR (due = "
              "9223372036854775807 AND length(state) > 1 AND get_byte(state, 1) & 1 = 1)) AND ($6 "
              "= 0 "
              "OR substr(state, 4, 2) <> '\\x0000'::bytea) AND (length($7) = 0 OR type IN (3, 4, "
              "5) OR "
              "position($7 in definition) > 0)",
          "id DESC", "$8", "$9");
    case Query::kDue:
      return BoundedRecords("owner = $1 AND due IS NOT NULL AND (due, id) > ($2, $3) AND due <= $4",
                            "due, id", "$5", "$6");
    case Query::kNextDue:
      return "SELECT min(due) FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL AND due > $2";
    case Query::kCount:
      // Of one owner: by the index, however many have ended. Stuck: nothing will wake it, and the lowest bit of the second
      // byte of the state is set.
      return "SELECT count(*), count(*) FILTER (WHERE due > $1 AND NOT stuck), count(*) FILTER "
             "(WHERE stuck), min(created) FROM (SELECT due, created, owner < 0 OR CASE WHEN due = "
             "9223372036854775807 AND length(state) > 1 THEN get_byte(state, 1) & 1 = 1 ELSE false "
             "END AS stuck FROM dtm_trans WHERE owner = $2 AND due IS NOT NULL) t";
    case Query::kJournal:
      return "SELECT (SELECT j.entries FROM dtm_journal j WHERE j.trans = t.id), t.journal FROM "
             "dtm_trans t WHERE t.gid = $1 AND t.id > 0";
    case Query::kJournals:
      return "SELECT t.id, (SELECT j.entries FROM dtm_journal j WHERE j.trans = t.id), t.journal "
             "FROM dtm_trans t WHERE t.id = ANY ($1)";
    case Query::kValues:
      return "SELECT id, cat, k, v, version, created, updated FROM dtm_kv WHERE id > $1 AND "
             "($2 = '' OR cat = $2) AND ($3 = '' OR k = $3) ORDER BY id LIMIT $4";
    case Query::kNewest: return "SELECT created FROM dtm_trans ORDER BY id DESC LIMIT 1";
    case Query::kLook:
      return std::string("SELECT id, created, finished, (") + kBytes +
             ")::bigint FROM dtm_trans WHERE id > $1 ORDER BY id LIMIT $2";
    case Query::kRecords: return Records("WHERE id = ANY ($1)");
    case Query::kRemove:
      return "WITH t AS (DELETE FROM dtm_trans WHERE id = ANY ($1) AND due IS NULL RETURNING id), "
             "s AS (DELETE FROM dtm_step USING t WHERE trans = t.id) "
             "DELETE FROM dtm_journal USING t WHERE trans = t.id";
    case Query::kKeep:
      return "WITH t AS (UPDATE dtm_trans o SET id = -o.id, type = k.type, content = k.content, "
             "definition = '', state = '', journal = NULL FROM unnest($1, $2, $3) k(id, type, "
             "content) WHERE o.id = k.id AND o.due IS NULL RETURNING k.id), "
             "s AS (DELETE FROM dtm_step USING t WHERE trans = t.id) "
             "DELETE FROM dtm_journal USING t WHERE trans = t.id";
    case Query::kLookKept:
      return "SELECT -id, finished FROM dtm_trans WHERE id < -$1 ORDER BY id DESC LIMIT $2";
    case Query::kForget:
      return "DELETE FROM dtm_trans USING unnest($1) k(number) WHERE id = -k.number";
    case Query::kTime: return std::string("SELECT ") + kServerTime;
    case Query::kJoin:
      return "INSERT INTO dtm_node (name, url, app, epoch, beat, heir) VALUES ($1, $2, $3, $4, 1, "
             "0) "
             "RETURNING id";
    case Query::kRejoin:
      // FOR UPDATE waits for a batch of the old epoch that runs; one that comes later finds no row.
      return "WITH m AS MATERIALIZED (SELECT id FROM dtm_node WHERE id = $1 AND heir = 0 AND " +
             EpochIs("$2") +
             " FOR UPDATE) UPDATE dtm_node n SET epoch = n.epoch + 1 FROM m WHERE n.id = m.id "
             "RETURNING "
             "n.epoch";
    case Query::kBeat:
      return "WITH m AS (UPDATE dtm_node SET beat = beat + 1 WHERE id = $1 AND heir = 0 AND " +
             EpochIs("$3") +
             " AND beat >= $4 RETURNING beat) SELECT n.id, n.beat, n.heir, n.epoch, (SELECT beat "
             "FROM m), (SELECT count(*)" +
             AskedOfMe() +
             "), (SELECT count(*) FROM (SELECT 1 FROM dtm_trans WHERE owner = $2 AND due IS NOT "
             "NULL LIMIT 1) free), (SELECT count(*) FROM (SELECT 1 FROM dtm_trans WHERE owner = 0 "
             "AND due IS NOT NULL LIMIT 1) nobodys), " +
             kServerTime + " FROM dtm_node n";
    case Query::kInherit:
      return "WITH " + Fence("$4") +
             ", d AS MATERIALIZED (SELECT n.id FROM dtm_node n, f WHERE n.id = $1 AND n.beat = $2 "
             "AND n.heir = $3 FOR UPDATE OF n) UPDATE dtm_node n SET heir = $4 FROM d WHERE n.id = "
             "d.id RETURNING n.id";
    case Query::kClaim:
      return "WITH " + Fence("$2") +
             ", p AS MATERIALIZED (SELECT id FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL "
             "AND app = ANY ($4) ORDER BY due, id LIMIT $3 FOR UPDATE) UPDATE dtm_trans t SET "
             "owner "
             "= $5, version = version + 1 FROM f, p WHERE t.id = p.id RETURNING t.id";
    case Query::kBury:
      return "DELETE FROM dtm_node WHERE id = $1 AND heir = $2 AND NOT EXISTS (SELECT 1 FROM "
             "dtm_trans WHERE owner = $1 AND due IS NOT NULL)";
    case Query::kApps:
      return "SELECT app, count(*) FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL GROUP BY "
             "app";
    case Query::kIntroduce:
      return "UPDATE dtm_node SET name = $2, url = $3, app = $4 WHERE id = $1";
    case Query::kPeer: return "SELECT name, url, app, heir FROM dtm_node WHERE id = $1";
    case Query::kPeers: return "SELECT id, name, url, app, heir FROM dtm_node ORDER BY id LIMIT $1";
    case Query::kProgress: return "SELECT gid, due FROM dtm_trans WHERE gid = ANY ($1)";
    case Query::kWaiting:
      return "SELECT gid FROM dtm_trans WHERE due > $1 AND due < 9223372036854775807 ORDER BY due, "
             "id LIMIT $2";
    case Query::kDriven:
      return "SELECT count(*) FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL";
    case Query::kAsk:
      return "WITH old AS (DELETE FROM dtm_ask WHERE created < now() - interval '1 minute') INSERT "
             "INTO dtm_ask (gid, kind, reason, member, taker) VALUES ($1, $2, $3, $4, 0) RETURNING "
             "id";
    case Query::kAsked:
      return "SELECT a.id, a.gid, a.kind, a.reason" + AskedOfMe() + " ORDER BY a.id";
    case Query::kTakeUp:
      return "UPDATE dtm_ask SET taker = $2 WHERE id = $1 AND outcome IS NULL RETURNING id";
    case Query::kReply: return "UPDATE dtm_ask SET outcome = $2 WHERE id = $1";
    case Query::kReplies:
      return "SELECT id, outcome FROM dtm_ask WHERE id = ANY ($1) AND outcome IS NOT NULL";
    case Query::kWithdraw: return "DELETE FROM dtm_ask WHERE id = $1 AND taker = 0 RETURNING id";
    case Query::kDropAsked: return "DELETE FROM dtm_ask WHERE id = ANY ($1)";
    case Query::kNewValue:
      return "INSERT INTO dtm_kv (cat, k, v, version, created, updated) VALUES ($1, $2, $3, 1, $4, "
             "$4) ON CONFLICT (cat, k) DO NOTHING RETURNING id";
    case Query::kChangeValue:
      return "UPDATE dtm_kv SET v = $3, version = version + 1, updated = $4 WHERE id = $1 AND "
             "version = $2 RETURNING id";
    case Query::kRemoveValue:
      return "DELETE FROM dtm_kv WHERE id = $1 AND version = $2 RETURNING id";
    case Query::kFree:
      return "SELECT id FROM dtm_trans WHERE owner = $1 AND due IS NOT NULL AND app = ANY ($3) "
             "ORDER BY due, id LIMIT $2";
    case Query::kTakeFree:
      return "WITH " + Fence("$1") +
             ", p AS MATERIALIZED (SELECT id FROM dtm_trans WHERE id = ANY ($3) AND owner = $2 "
             "ORDER BY id FOR UPDATE) UPDATE dtm_trans t SET owner = $1, version = version + 1 "
             "FROM f, p WHERE t.id = p.id RETURNING t.id";
    case Query::kOrphans:  // from one owner to the next by the index, not through all rows
      return "WITH RECURSIVE o (owner, n) AS (SELECT (SELECT min(owner) FROM dtm_trans WHERE due "
             "IS NOT NULL AND owner > $1), 1::bigint UNION ALL SELECT (SELECT min(t.owner) FROM "
             "dtm_trans t WHERE t.due IS NOT NULL AND t.owner > o.owner), o.n + 1 FROM o WHERE "
             "o.owner IS NOT NULL AND o.n < $2) SELECT owner, (NOT EXISTS (SELECT 1 FROM dtm_node "
             "m WHERE m.id = o.owner))::int FROM o WHERE owner IS NOT NULL";
    case Query::kLeave:
      return "UPDATE dtm_node SET heir = -1 WHERE id = $1 AND heir = 0 AND " + EpochIs("$2");
  }
  return {};
}

/// Which parts a batch has; each combination is a statement. With `folds` come journals, too.
struct BatchParts {
  bool inserts, updates, journals, folds, steps, redefined, values;
  int Number() const {
    return inserts + 2 * updates + 4 * journals + 8 * steps + 16 * redefined + 32 * values +
           64 * folds;
  }
};
inline constexpr int kBatchForms = 128;

/// A batch as one statement: the fence, and what it lets through. It answers (part, id, gid): 0 the member, 1 an insert, 2 an
/// update. Division by zero: a value was written by another meanwhile.
inline std::string BatchText(const BatchParts& parts) {
  int parameter = 2;
  const auto arrays = [&parameter](const char* types) {  // i = numbers, t = texts, b = bytes
    std::string list;
    for (const char* type = types; *type != 0; ++type) {
      list += (list.empty() ? "unnest($" : ", $") + std::to_string(++parameter) +
              (*type == 'i'   ? "::bigint[]"
               : *type == 't' ? "::text[]"
                              : "::bytea[]");
    }
    return list + ")";
  };
  std::string text =
      "WITH f AS MATERIALIZED (SELECT id FROM dtm_node WHERE id = $1 AND epoch = $2 AND heir = 0 "
      "FOR KEY SHARE)";
  std::string answer = " SELECT 0 AS part, id, NULL::text AS gid FROM f";
  if (parts.inserts) {
    text +=
        ", i AS (INSERT INTO dtm_trans (gid, type, status, version, created, finished, due, owner, "
        "app, definition, state, journal) SELECT n.gid, n.type, n.status, 1, n.created, "
        "n.finished, "
        "n.due, f.id, n.app, n.definition, n.state, n.told FROM f, " +
        arrays("tiiiiitbbb") +
        " n(gid, type, status, created, finished, due, app, definition, state, told) "
        "ON CONFLICT (gid) DO NOTHING RETURNING id, gid)";
    answer += " UNION ALL SELECT 1, id, gid FROM i";
  }
  if (parts.updates) {
    text +=
        ", c AS MATERIALIZED (SELECT * FROM " +
        arrays(parts.folds      ? "iiiiiibtbbb"
               : parts.journals ? "iiiiiibtbb"
                                : "iiiiiibtb") +
        " c(id, version, status, created, finished, due, state, app, definition" +
        (parts.journals ? ", told" : "") + (parts.folds ? ", folded" : "") +
        ")), u AS (UPDATE dtm_trans t SET status = c.status, version = t.version + 1, created = "
        "c.created, finished = c.finished, due = c.due, owner = f.id, state = c.state, app = "
        "coalesce(c.app, t.app), definition = coalesce(c.definition, t.definition)" +
        (parts.journals
             ? ", journal = CASE " +
                   std::string(parts.folds ? "WHEN c.folded IS NOT NULL THEN NULL " : "") +
                   "WHEN c.told IS NULL THEN t.journal ELSE coalesce(t.journal, '') || c.told END"
             : "") +
        " FROM f, c WHERE t.id = c.id AND t.version = c.version RETURNING t.id)";
    answer += " UNION ALL SELECT 2, id, NULL FROM u";
  }
  if (parts.folds) {  // rarely: without an index it is a join of all rows with all
    text +=
        ", j AS (INSERT INTO dtm_journal (trans, entries) SELECT c.id, c.folded FROM u JOIN c ON "
        "c.id = u.id WHERE c.folded IS NOT NULL ON CONFLICT (trans) DO UPDATE SET entries = "
        "excluded.entries)";
  }
  if (parts.steps) {
    text += ", s AS (INSERT INTO dtm_step (trans, nr, step) SELECT a.trans, a.nr, a.step FROM " +
            arrays("iib") + " a(trans, nr, step) JOIN u ON u.id = a.trans)";
  }
  if (parts.redefined) {
    text += ", r AS (DELETE FROM dtm_step USING u JOIN " + arrays("i") +
            " a(id) ON a.id = u.id WHERE trans = u.id)";
  }
  if (parts.values) {
    text +=
        ", v AS MATERIALIZED (SELECT * FROM " + arrays("ttbiiii") +
        " v(cat, k, v, created, updated, version, before)), vi AS (INSERT INTO dtm_kv (cat, k, v, "
        "version, created, updated) SELECT v.cat, v.k, v.v, v.version, v.created, v.updated FROM "
        "f, v WHERE v.before = 0 ON CONFLICT (cat, k) DO NOTHING RETURNING 1), vu AS (UPDATE "
        "dtm_kv t SET v = v.v, version = v.version, created = v.created, updated = v.updated FROM "
        "f, v WHERE t.cat = v.cat AND t.k = v.k AND t.version = v.before AND v.v IS NOT NULL "
        "RETURNING 1), vd AS (DELETE FROM dtm_kv t USING f, v WHERE t.cat = v.cat AND t.k = v.k "
        "AND t.version = v.before AND v.v IS NULL RETURNING 1)";
    answer +=
        " UNION ALL SELECT 3, 1 / (CASE WHEN NOT EXISTS (SELECT 1 FROM f) OR (SELECT count(*) FROM "
        "vi) + (SELECT count(*) FROM vu) + (SELECT count(*) FROM vd) = (SELECT count(*) FROM v) "
        "THEN 1 ELSE 0 END), NULL";
  }
  return text + answer;
}

}  // namespace postgres_store
}  // namespace v1
}  // namespace dtm
