/// A batch for MariaDB or MySQL as the text of one message. Only what both servers have.
/// Needs: std. Threads: pure functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <dtm/store/mysql/mysql_literals.hpp>
#include <dtm/store/mysql/mysql_statements.hpp>
#include <dtm/store/shared/batch.hpp>

namespace dtm {
inline namespace v1 {
namespace mysql_store {

inline void AppendInserts(std::string& out, std::uint64_t member,
                          const std::vector<shared_store::NewRow>& inserts,
                          const std::vector<std::int64_t>& ids) {
  // Not IGNORE, which makes warnings of errors.
  out +=
      "INSERT INTO dtm_trans (id, gid, type, status, version, created, finished, due, owner, "
      "app, definition, state, journal) VALUES ";
  RowsText rows(out, RowsText::Form::kValues);
  for (std::size_t i = 0; i < inserts.size(); ++i) {
    const shared_store::NewRow& row = inserts[i];
    rows.Begin();
    rows.Number("id", ids[i]);
    rows.Bytes("gid", *row.gid);
    rows.Number("type", row.type);
    rows.Number("status", row.status);
    rows.Number("version", 1);
    rows.Number("created", row.created);
    rows.Number("finished", row.finished);
    rows.Number("due", row.due);
    rows.Number("owner", static_cast<std::int64_t>(member));
    rows.Bytes("app", row.app);
    rows.Bytes("definition", row.definition);
    rows.Bytes("state", row.state);
    rows.BytesOrNull("journal", row.told);
    rows.End();
  }
  out +=
      " ON DUPLICATE KEY UPDATE dtm_trans.version = dtm_trans.version;SELECT id, gid FROM "
      "dtm_trans WHERE id IN (";
  AppendNumbers(out, ids);
  out += ");";
}

/// What belongs to rows that are updated, while they still have the version that the update names. They are locked by now.
inline void AppendBeside(std::string& out, const shared_store::BatchRows& batch) {
  using Row = shared_store::ChangedRow;
  const auto version_of = [&batch](std::int64_t id) {
    const auto row =
        std::lower_bound(batch.updates.begin(), batch.updates.end(), id,
                         [](const Row& one, std::int64_t wanted) { return one.id < wanted; });
    return row != batch.updates.end() && row->id == id ? row->version : std::int64_t{-1};
  };
  const std::string matching =
      " STRAIGHT_JOIN dtm_trans t ON t.id = a.id AND t.version = a.version";
  if (!batch.steps.empty()) {
    out += "INSERT INTO dtm_step (trans, nr, step) SELECT a.id, a.nr, a.step FROM (";
    RowsText rows(out, RowsText::Form::kSelects);
    for (const shared_store::AddedStep& step : batch.steps) {
      rows.Begin();
      rows.Number("id", step.transaction);
      rows.Number("version", version_of(step.transaction));
      rows.Number("nr", step.nr);
      rows.Bytes("step", step.step);
      rows.End();
    }
    out += ") a" + matching + ";";
  }
  if (!batch.redefined.empty()) {
    out += "DELETE s FROM (";
    RowsText rows(out, RowsText::Form::kSelects);
    for (const std::int64_t id : batch.redefined) {
      rows.Begin();
      rows.Number("id", id);
      rows.Number("version", version_of(id));
      rows.End();
    }
    out += ") a" + matching + " JOIN dtm_step s ON s.trans = t.id;";
  }
  const auto is_folded = [](const Row& row) { return !row.folded.empty(); };
  if (std::none_of(batch.updates.begin(), batch.updates.end(), is_folded)) return;
  out += "REPLACE INTO dtm_journal (trans, entries) SELECT a.id, a.entries FROM (";
  RowsText rows(out, RowsText::Form::kSelects);
  for (const Row& row : batch.updates) {
    if (!is_folded(row)) continue;
    rows.Begin();
    rows.Number("id", row.id);
    rows.Number("version", row.version);
    rows.Bytes("entries", row.folded);
    rows.End();
  }
  out += ") a" + matching + ";";
}

inline void AppendUpdates(std::string& out, std::uint64_t member,
                          const shared_store::BatchRows& batch) {
  std::vector<std::int64_t> ids;
  bool redefines = false;
  bool tells = false;
  bool regroups = false;
  for (const shared_store::ChangedRow& row : batch.updates) {
    ids.push_back(row.id);
    redefines = redefines || !row.definition.empty();
    regroups = regroups || row.app;
    tells = tells || !row.told.empty() || !row.folded.empty();
  }
  out += "SELECT id, version FROM dtm_trans FORCE INDEX (PRIMARY) WHERE id IN (";
  AppendNumbers(out, ids);
  out += ") ORDER BY id FOR UPDATE;";
  AppendBeside(out, batch);
  out += "UPDATE (";
  RowsText rows(out, RowsText::Form::kSelects);
  for (const shared_store::ChangedRow& row : batch.updates) {
    rows.Begin();
    rows.Number("id", row.id);
    rows.Number("version", row.version);
    rows.Number("status", row.status);
    rows.Number("created", row.created);
    rows.Number("finished", row.finished);
    rows.Number("due", row.due);
    rows.Bytes("state", row.state);
    if (regroups) row.app ? rows.Bytes("app", *row.app) : rows.BytesOrNull("app", {});
    if (redefines) rows.BytesOrNull("definition", row.definition);
    if (tells) rows.BytesOrNull("told", row.told);
    if (tells) rows.Number("folded", row.folded.empty() ? 0 : 1);
    rows.End();
  }
  out +=
      ") c STRAIGHT_JOIN dtm_trans t ON t.id = c.id AND t.version = c.version SET t.status = "
      "c.status, t.version = c.version + 1, t.created = c.created, t.finished = c.finished, t.due "
      "= c.due, t.owner = " +
      std::to_string(member) + ", t.state = c.state";
  if (regroups) out += ", t.app = COALESCE(c.app, t.app)";
  if (redefines) out += ", t.definition = COALESCE(c.definition, t.definition)";
  if (tells) {
    out +=
        ", t.journal = CASE WHEN c.folded = 1 THEN NULL WHEN c.told IS NULL THEN t.journal ELSE "
        "CONCAT(COALESCE(t.journal, ''), c.told) END";
  }
  out += ';';
}

/// Each answers with a row, or ends the message.
inline void AppendValues(std::string& out, const std::vector<shared_store::ChangedValue>& values) {
  for (const shared_store::ChangedValue& value : values) {
    const auto assign = [&](const char* between) {
      out += "v = ";
      AppendBytes(out, *value.value);
      out += ", version = " + std::to_string(value.version) +
             ", created = " + std::to_string(value.created) +
             ", updated = " + std::to_string(value.updated) + between;
    };
    const auto name = [&](const char* between) {
      out += "cat = ";
      AppendBytes(out, value.category);
      out += between;
      out += "k = ";
      AppendBytes(out, value.key);
    };
    if (value.before == 0) {
      out += "INSERT INTO dtm_kv SET ";
      assign(", ");
      name(", ");
    } else {
      if (value.value) {
        out += "UPDATE dtm_kv SET ";
        assign(" WHERE ");
      } else {
        out += "DELETE FROM dtm_kv WHERE ";
      }
      name(" AND ");
      out += " AND version = " + std::to_string(value.before);
    }
    out += ';';
    out += kExpectOne;
  }
}

/// A batch as one message. Rows are answered by: the fence, each value, the inserts (id, gid of the new rows), the updates
/// (id, version before it). `ids`: of the inserts.
inline std::string BatchText(std::uint64_t member, std::int64_t epoch,
                             const shared_store::BatchRows& batch,
                             const std::vector<std::int64_t>& ids) {
  std::string text =
      Fence("id = " + std::to_string(member) + " AND epoch = " + std::to_string(epoch));
  AppendValues(text, batch.values);
  if (!batch.inserts.empty()) AppendInserts(text, member, batch.inserts, ids);
  if (!batch.updates.empty()) AppendUpdates(text, member, batch);
  return text + "COMMIT";
}

}  // namespace mysql_store
}  // namespace v1
}  // namespace dtm
