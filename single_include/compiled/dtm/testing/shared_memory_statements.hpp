/// Generated from include/dtm/testing/shared_memory_statements.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "../sql/rows.hpp"
#include "../store/shared/batch.hpp"
#include "../store/shared/database.hpp"
#include "../store/shared/records.hpp"
#include "shared_memory_requests.hpp"
#include "shared_memory_tables.hpp"

// ---- dtm/testing/shared_memory_statements.hpp --------------------------------------------------

/// The statements of a shared store on its tables in memory.
/// Needs: store/shared. Threads: each by one thread, several on the same tables.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

class SharedMemoryStatements : SharedMemoryRequests {
 public:
  explicit SharedMemoryStatements(SharedMemoryTables& tables) : SharedMemoryRequests(tables) {}

  /// See shared_store::Query for the parameters and the answer.
  std::unique_ptr<SqlRows> Run(shared_store::Query query, const std::vector<SqlValue>& values) {
    const std::lock_guard<std::mutex> lock(tables_.Mutex());
    values_ = &values;
    auto answer = std::make_unique<Answer>();
    Read(query, answer->rows);
    Change(query, answer->rows);
    Tell(query, answer->rows);
    return answer;
  }

 private:
  static void AppendLength(std::string& bytes, std::uint64_t number) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes += static_cast<char>(static_cast<unsigned char>(number >> shift & 0xFF));
    }
  }
  static std::vector<Cell> Record(const Row& row) {
    std::string steps;
    for (const auto& [nr, step] : row.steps) {
      AppendLength(steps, static_cast<std::uint64_t>(nr));
      AppendLength(steps, step.size());
      steps += step;
    }
    const Cell due = row.due ? Cell(*row.due) : Cell();
    const Cell added = row.steps.empty() ? Cell() : Cell(steps);
    return {row.id, row.gid,   row.type,  row.status,     row.version, row.created, row.finished,
            due,    row.owner, row.state, row.definition, row.content, added,       row.app};
  }

  /// See shared_store::Bounded, which begins at this place of the parameters. False: it is reached.
  bool Add(const Row& row, std::size_t place, Rows& rows) const {
    std::int64_t bytes = 0;
    for (const std::vector<Cell>& each : rows) bytes += BytesOf(each);
    if (Full(rows, place) || bytes >= Number(place + 1)) return false;
    rows.push_back(Record(row));
    return true;
  }
  static std::int64_t BytesOf(const std::vector<Cell>& record) {
    std::int64_t bytes = 0;
    for (const auto column :
         {shared_store::kState, shared_store::kDefinition, shared_store::kSteps}) {
      const std::string* const blob = std::get_if<std::string>(&record[column]);
      bytes += blob == nullptr ? 0 : static_cast<std::int64_t>(blob->size());
    }
    return bytes;
  }

  void Read(Query query, Rows& rows) const {
    switch (query) {
      case Query::kFind:
        if (const Row* row = tables_.Find(std::string(Text(0)))) rows.push_back(Record(*row));
        break;
      case Query::kUnfinished:
        for (auto key = tables_.Due().lower_bound({Number(0), Number(1), INT64_MIN});
             key != tables_.Due().end() && std::get<0>(*key) == Number(0) && !Full(rows, 2);
             ++key) {
          rows.push_back({std::get<2>(*key)});
        }
        break;
      case Query::kGids:
        for (const auto& [id, row] : tables_.Rows()) {
          if (Full(rows, 2)) break;
          if (row.gid >= Text(0) && (Text(1).empty() || row.gid < Text(1))) rows.push_back({id});
        }
        break;
      case Query::kBelow:
        for (auto row = tables_.Rows().lower_bound(Number(0)); row != tables_.Rows().begin();) {
          --row;
          if (row->first <= 0 || Full(rows, 1)) break;
          rows.push_back({row->first});
        }
        break;
      case Query::kSearchRange:
        for (auto row = tables_.Rows().upper_bound(Number(10)); row != tables_.Rows().begin();) {
          --row;
          if (row->first < Number(9)) break;
          if (MayMatch(row->second) && !Add(row->second, 7, rows)) break;
        }
        break;
      case Query::kSearch:
        for (const std::int64_t id : List(9)) {
          const Row* row = tables_.At(id);
          if (row != nullptr && MayMatch(*row) && !Add(*row, 7, rows)) break;
        }
        break;
      case Query::kDue:
        for (auto key = tables_.Due().upper_bound({Number(0), Number(1), Number(2)});
             key != tables_.Due().end(); ++key) {
          if (std::get<0>(*key) != Number(0) || std::get<1>(*key) > Number(3)) break;
          if (!Add(*tables_.At(std::get<2>(*key)), 4, rows)) break;
        }
        break;
      case Query::kNextDue: {
        const auto key = tables_.Due().upper_bound({Number(0), Number(1), INT64_MAX});
        const bool found = key != tables_.Due().end() && std::get<0>(*key) == Number(0);
        rows.push_back({found ? Cell(std::get<1>(*key)) : Cell()});
        break;
      }
      case Query::kCount: {
        std::int64_t unfinished = 0;
        std::int64_t waiting = 0;
        std::int64_t stuck = 0;
        std::int64_t oldest = INT64_MAX;
        for (const auto& [id, row] : tables_.Rows()) {
          if (!row.due || row.owner != Number(1)) continue;
          ++unfinished;
          const bool is_stuck = IsStuck(row);
          stuck += is_stuck;
          waiting += !is_stuck && *row.due > Number(0);
          oldest = (std::min)(oldest, row.created);
        }
        rows.push_back({unfinished, waiting, stuck, unfinished > 0 ? Cell(oldest) : Cell()});
        break;
      }
      case Query::kJournal: {
        const Row* row = tables_.Find(std::string(Text(0)));
        if (row != nullptr && row->id > 0) rows.push_back({row->folded, row->journal});
        break;
      }
      case Query::kJournals:
        for (const std::int64_t id : List(0)) {
          if (const Row* row = tables_.At(id)) rows.push_back({id, row->folded, row->journal});
        }
        break;
      case Query::kValues:
        for (auto entry = tables_.Values().upper_bound(Number(0)); entry != tables_.Values().end();
             ++entry) {
          const KeyValue& value = entry->second;
          if (Full(rows, 3)) break;
          const bool wanted = (Text(1).empty() || Text(1) == value.category) &&
                              (Text(2).empty() || Text(2) == value.key);
          if (!wanted) continue;
          rows.push_back({value.id, value.category, value.key, value.value,
                          static_cast<std::int64_t>(value.version),
                          shared_store::Stored(value.created),
                          shared_store::Stored(value.updated)});
        }
        break;
      case Query::kNewest:
        if (!tables_.Rows().empty()) rows.push_back({tables_.Rows().rbegin()->second.created});
        break;
      case Query::kLook:
        for (auto row = tables_.Rows().upper_bound(Number(0)); row != tables_.Rows().end(); ++row) {
          if (Full(rows, 1)) break;
          const Row& one = row->second;
          rows.push_back({one.id, one.created, one.finished, BytesOf(Record(one))});
        }
        break;
      case Query::kRecords:
        for (const std::int64_t id : List(0)) {
          if (const Row* row = tables_.At(id)) rows.push_back(Record(*row));
        }
        break;
      case Query::kFree:
        for (auto key = tables_.DueOf(Number(0));
             key != tables_.Due().end() && std::get<0>(*key) == Number(0) && !Full(rows, 1);
             ++key) {
          const std::int64_t id = std::get<2>(*key);
          if (IsOneOf(tables_.At(id)->app, 2)) rows.push_back({id});
        }
        break;
      case Query::kOrphans:
        for (auto key = tables_.DueOf(Number(0) + 1); key != tables_.Due().end() && !Full(rows, 1);
             key = tables_.DueOf(std::get<0>(*key) + 1)) {
          const std::int64_t owner = std::get<0>(*key);
          rows.push_back({owner, std::int64_t{tables_.Find(owner) == nullptr}});
        }
        break;
      case Query::kLookKept:
        for (auto row = tables_.Rows().lower_bound(-Number(0)); row != tables_.Rows().begin();) {
          --row;
          if (row->first >= 0) continue;
          if (Full(rows, 1)) break;
          rows.push_back({-row->first, row->second.finished});
        }
        break;
      default: break;
    }
  }

  void Change(Query query, Rows& rows) {
    switch (query) {
      case Query::kRemove:
        for (const std::int64_t id : List(0)) tables_.Remove(id);
        break;
      case Query::kKeep:
        for (std::size_t i = 0; i < List(0).size(); ++i) {
          tables_.Keep(List(0)[i], List(1)[i], List(2)[i]);
        }
        break;
      case Query::kForget:
        for (const std::int64_t id : List(0)) tables_.Remove(-id);
        break;
      case Query::kTime: rows.push_back({Clock()}); break;
      case Query::kJoin:
        rows.push_back({tables_.Join(Number(3))});
        Introduce(std::get<std::int64_t>(rows.back()[0]), 0);
        break;
      case Query::kRejoin:
        if (Node* me = Me(1)) rows.push_back({++me->epoch});
        break;
      case Query::kBeat: {
        Node* const me = Me(2);
        const bool counts = me != nullptr && me->beat >= Number(3);
        const std::int64_t counted = counts ? ++me->beat : 0;
        for (const auto& [id, node] : tables_.Nodes()) {
          rows.push_back({id, node.beat, node.heir, node.epoch, counted,
                          std::int64_t{IsAsked(Number(0))}, std::int64_t{HasUnfinished(Number(1))},
                          std::int64_t{HasUnfinished(0)}, Clock()});
        }
        break;
      }
      case Query::kInherit: {
        Node* const dead = tables_.AnyNode(Number(0));
        const bool is_heir = tables_.IsMember(Number(3)) && dead != nullptr &&
                             dead->beat == Number(1) && dead->heir == Number(2);
        if (!is_heir) break;
        dead->heir = Number(3);
        rows.push_back({Number(0)});
        break;
      }
      case Query::kClaim:
        if (!tables_.IsMember(Number(1))) break;
        for (auto key = tables_.DueOf(Number(0));
             key != tables_.Due().end() && std::get<0>(*key) == Number(0) && !Full(rows, 2);
             ++key) {
          const std::int64_t id = std::get<2>(*key);
          if (IsOneOf(tables_.At(id)->app, 3)) rows.push_back({id});
        }
        for (const auto& row : rows) {
          tables_.TakeOver(std::get<std::int64_t>(row[0]), Number(4), Number(1));
        }
        break;
      case Query::kTakeFree:
        for (const std::int64_t id : List(2)) {
          const Row* const row = tables_.At(id);
          if (!tables_.IsMember(Number(0)) || row == nullptr || row->owner != Number(1)) continue;
          tables_.TakeOver(id, Number(0), Number(0));
          rows.push_back({id});
        }
        break;
      case Query::kApps: {
        std::map<std::string, std::int64_t> apps;
        for (const auto& [id, row] : tables_.Rows()) {
          if (row.due && row.owner == Number(0)) ++apps[row.app];
        }
        for (const auto& [app, number] : apps) rows.push_back({app, number});
        break;
      }
      case Query::kBury: {
        const Node* dead = tables_.AnyNode(Number(0));
        const bool mine = dead != nullptr && dead->heir == Number(1);
        if (mine && !HasUnfinished(Number(0))) tables_.Bury(Number(0));
        break;
      }
      case Query::kLeave:
        if (Node* me = Me(1)) me->heir = -1;
        break;
      default: break;
    }
  }

  std::int64_t Clock() const { return shared_store::Stored(tables_.Clock()); }

  /// Null: it is no member, or one of another epoch than the parameter in this place.
  Node* Me(std::size_t place) {
    Node* const me = tables_.Member(Number(0));
    const std::int64_t epochs = me == nullptr ? -1 : me->epoch - Number(place);
    return epochs >= 0 && epochs < shared_store::kEpochs ? me : nullptr;
  }

  bool HasUnfinished(std::int64_t owner) const {
    const auto first = tables_.DueOf(owner);
    return first != tables_.Due().end() && std::get<0>(*first) == owner;
  }
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
