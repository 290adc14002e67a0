/// Generated from include/dtm/store/shared/records.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/rows.hpp"
#include "batch.hpp"
#include "database.hpp"

// ---- dtm/store/shared/records.hpp --------------------------------------------------------------

/// Records as they come from a database server. Needs: std. Threads: pure functions. Document: docs/store_format.md.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// The columns of a record, in their order. `steps`: each as its place among the steps (4 bytes, high ones first), its
/// length (the same) and its bytes, one after the other in their order; null if there are none.
enum Column : std::size_t {
  kId,
  kGid,
  kType,
  kStatus,
  kVersion,
  kCreated,
  kFinished,
  kDue,
  kOwner,
  kState,
  kDefinition,
  kContent,
  kSteps,
  kApp
};

/// What no transaction and no topic can be called is not looked for: the server would refuse it.
inline bool IsStorable(const std::string& text) {
  return text.find('\0') == std::string::npos && IsUtf8(text);
}

inline std::size_t TakeLength(std::string_view& bytes) {
  if (bytes.size() < 4) codec::Reader::Fail();
  std::size_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  bytes.remove_prefix(4);
  return number;
}

/// @throws StoreError  damaged.
inline void ReadAddedSteps(std::string_view bytes, Definition& definition) {
  while (!bytes.empty()) {
    if (TakeLength(bytes) != definition.steps.size()) codec::Reader::Fail();
    const std::size_t length = TakeLength(bytes);
    if (length > bytes.size()) codec::Reader::Fail();
    definition.steps.push_back(codec::DecodeStep(bytes.substr(0, length)));
    bytes.remove_prefix(length);
  }
}

/// A record that cannot be read comes back `unreadable`, with its gid and the reason. `app`: of this coordinator; empty: it
/// does not matter.
inline Transaction ReadTransaction(const SqlRows& rows, std::size_t row,
                                   std::string_view app = {}) {
  const std::string gid(rows.View(row, kGid));
  const auto type = static_cast<TransType>(rows.Number(row, kType));
  Transaction transaction;
  transaction.id = rows.Number(row, kId);
  transaction.status = static_cast<Status>(rows.Number(row, kStatus));
  transaction.version = static_cast<std::uint64_t>(rows.Number(row, kVersion));
  transaction.created = FromStored(rows.Number(row, kCreated));
  transaction.finished = FromStored(rows.Number(row, kFinished));
  if (transaction.id < 0) {  // only the gid is kept
    return RecordOf({gid, type, transaction.status, transaction.finished,
                     static_cast<std::uint64_t>(rows.Number(row, kContent))});
  }
  transaction.due = rows.IsNull(row, kDue) ? kNever : FromStored(rows.Number(row, kDue));
  transaction.owner = static_cast<std::uint64_t>(rows.Number(row, kOwner));
  const std::string_view of = rows.View(row, kApp);
  transaction.other_app = !app.empty() && !of.empty() && of != app;
  try {
    const auto known = [](std::int64_t number) { return number >= 1 && number <= 5; };
    if (!known(rows.Number(row, kType)) || !known(rows.Number(row, kStatus))) codec::Reader::Fail();
    codec::DecodeState(rows.View(row, kState), transaction);
    auto definition = codec::DecodeDefinition(gid, type, rows.View(row, kDefinition));
    ReadAddedSteps(rows.View(row, kSteps), *definition);
    transaction.definition = std::move(definition);
  } catch (const StoreError& error) {
    auto unreadable = std::make_shared<Definition>();
    unreadable->gid = gid;
    unreadable->type = type;
    transaction.definition = std::move(unreadable);
    transaction.branches.clear();
    transaction.unreadable = true;
    transaction.last_error = error.what();
  }
  return transaction;
}

/// These are the answer to a statement that was bounded so, and there may be more records behind them.
inline bool MayHaveMore(const SqlRows& rows, const Bounded& bounded) {
  if (rows.Count() >= bounded.limit) return true;
  std::size_t bytes = 0;
  for (std::size_t row = 0; row < rows.Count(); ++row) {
    for (const Column column : {kState, kDefinition, kSteps})
      bytes += rows.View(row, column).size();
  }
  return bytes >= bounded.bytes;
}

/// What was moved out of the row, and what came since, from `column` on.
inline std::vector<JournalEntry> ReadJournal(const SqlRows& rows, std::size_t row,
                                             std::size_t column) {
  std::vector<JournalEntry> entries;
  codec::DecodeJournal(rows.View(row, column), entries);
  codec::DecodeJournal(rows.View(row, column + 1), entries);
  return entries;
}

inline KeyValue ReadValue(const SqlRows& rows, std::size_t row) {
  KeyValue value;
  value.id = rows.Number(row, 0);
  value.category = rows.View(row, 1);
  value.key = rows.View(row, 2);
  value.value = rows.View(row, 3);
  value.version = static_cast<std::uint64_t>(rows.Number(row, 4));
  value.created = FromStored(rows.Number(row, 5));
  value.updated = FromStored(rows.Number(row, 6));
  return value;
}

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
