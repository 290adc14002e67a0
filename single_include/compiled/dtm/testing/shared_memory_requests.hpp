/// Generated from include/dtm/testing/shared_memory_requests.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../dtm.hpp"
#include "../sql/rows.hpp"
#include "../store/shared/batch.hpp"
#include "../store/shared/database.hpp"
#include "shared_memory_tables.hpp"

// ---- dtm/testing/shared_memory_requests.hpp ----------------------------------------------------

/// The statements of a shared store by which members know of each other and ask each other, on its tables in memory; and what
/// all statements there have in common.
/// Needs: store/shared. Threads: one thread.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace testing {

class SharedMemoryRequests {
 public:
  explicit SharedMemoryRequests(SharedMemoryTables& tables) : tables_(tables) {}

 protected:
  using Query = shared_store::Query;
  using Row = SharedMemoryTables::Row;
  using Node = SharedMemoryTables::Node;
  using Ids = std::vector<std::int64_t>;
  using Cell = std::variant<std::monostate, std::int64_t, std::string>;
  using Rows = std::vector<std::vector<Cell>>;
  struct Answer : SqlRows {
    Rows rows;
    std::size_t Count() const override { return rows.size(); }
    bool IsNull(std::size_t row, std::size_t column) const override {
      return rows.at(row).at(column).index() == 0;
    }
    std::int64_t Number(std::size_t row, std::size_t column) const override {
      const auto* const number = std::get_if<std::int64_t>(&rows.at(row).at(column));
      return number == nullptr ? 0 : *number;
    }
    std::string_view View(std::size_t row, std::size_t column) const override {
      const auto* const text = std::get_if<std::string>(&rows.at(row).at(column));
      return text == nullptr ? std::string_view() : std::string_view(*text);
    }
  };
  std::int64_t Number(std::size_t place) const {
    return std::get<std::int64_t>(values_->at(place));
  }
  std::string_view Text(std::size_t place) const {
    return std::get<std::string_view>(values_->at(place));
  }
  const Ids& List(std::size_t place) const { return *std::get<const Ids*>(values_->at(place)); }
  /// As many as the parameter in this place says.
  bool Full(const Rows& rows, std::size_t place) const {
    return static_cast<std::int64_t>(rows.size()) >= Number(place);
  }

  static bool IsStuck(const Row& row) {
    return row.owner < 0 ||
           (*row.due == INT64_MAX && row.state.size() > 1 && (row.state[1] & 1) != 0);
  }
  /// See Query::kSearch.
  bool MayMatch(const Row& row) const {
    const std::string_view part = std::get<SqlBytes>(values_->at(6)).bytes;
    return (Number(0) == 0 || row.type == Number(0)) &&
           (Number(1) == 0 || row.status == Number(1)) && row.created >= Number(2) &&
           row.created <= Number(3) && (Number(4) == 0 || row.due) &&
           (Number(4) < 2 || IsStuck(row)) &&
           (Number(5) == 0 || row.state.substr(3, 2) != std::string(2, '\0')) &&
           (!row.steps.empty() || row.definition.find(part) != std::string::npos);
  }

  /// What members know of each other, and ask.
  void Tell(Query query, Rows& rows) {
    auto& asked = tables_.AllAsked();
    const auto value = tables_.AllValues().find(
        query == Query::kChangeValue || query == Query::kRemoveValue ? Number(0) : 0);
    const bool same = value != tables_.AllValues().end() &&
                      static_cast<std::int64_t>(value->second.version) == Number(1);
    switch (query) {
      case Query::kIntroduce: Introduce(Number(0), 1); break;
      case Query::kPeer:
        if (const Node* node = tables_.Find(Number(0))) {
          rows.push_back({node->name, node->url, node->app, node->heir});
        }
        break;
      case Query::kPeers:
        for (const auto& [id, node] : tables_.Nodes()) {
          if (!Full(rows, 0)) rows.push_back({id, node.name, node.url, node.app, node.heir});
        }
        break;
      case Query::kProgress:
        for (const std::string& gid : *std::get<const std::vector<std::string>*>(values_->at(0))) {
          const Row* row = tables_.Find(gid);
          if (row != nullptr) rows.push_back({row->gid, row->due ? Cell(*row->due) : Cell()});
        }
        break;
      case Query::kWaiting: {
        std::multimap<std::int64_t, std::string> waiting;
        for (const auto& [id, row] : tables_.Rows()) {
          if (row.due && *row.due > Number(0) && *row.due < INT64_MAX) {
            waiting.emplace(*row.due, row.gid);
          }
        }
        for (const auto& [due, gid] : waiting) {
          if (!Full(rows, 1)) rows.push_back({gid});
        }
        break;
      }
      case Query::kDriven: {
        std::int64_t driven = 0;
        for (const auto& entry : tables_.Rows()) {
          driven += entry.second.due && entry.second.owner == Number(0);
        }
        rows.push_back({driven});
        break;
      }
      case Query::kAsk:
        rows.push_back(
            {tables_.Ask({std::string(Text(0)), Bytes(2), Number(1), Number(3), 0, std::nullopt})});
        break;
      case Query::kAsked:
        for (const auto& [id, one] : asked) {
          if (tables_.IsAsked(one, Number(0))) rows.push_back({id, one.gid, one.kind, one.reason});
        }
        break;
      case Query::kTakeUp:
        if (asked.count(Number(0)) == 0 || asked[Number(0)].outcome) break;
        asked[Number(0)].taker = Number(1);
        rows.push_back({Number(0)});
        break;
      case Query::kReply:
        if (asked.count(Number(0)) > 0) asked[Number(0)].outcome = Bytes(1);
        break;
      case Query::kReplies:
        for (const std::int64_t id : List(0)) {
          if (asked.count(id) > 0 && asked[id].outcome) rows.push_back({id, *asked[id].outcome});
        }
        break;
      case Query::kWithdraw:
        if (asked.count(Number(0)) == 0 || asked[Number(0)].taker != 0) break;
        asked.erase(Number(0));
        rows.push_back({Number(0)});
        break;
      case Query::kDropAsked:
        for (const std::int64_t id : List(0)) asked.erase(id);
        break;
      case Query::kNewValue: {
        for (const auto& entry : tables_.AllValues()) {
          if (entry.second.category == Text(0) && entry.second.key == Text(1)) return;
        }
        const std::int64_t id = tables_.NewValueId();
        const Time now = shared_store::FromStored(Number(3));
        tables_.AllValues()[id] = {
            std::string(Text(0)), std::string(Text(1)), Bytes(2), 1, now, now, id};
        rows.push_back({id});
        break;
      }
      case Query::kChangeValue:
        if (!same) break;
        value->second.value = Bytes(2);
        ++value->second.version;
        value->second.updated = shared_store::FromStored(Number(3));
        rows.push_back({Number(0)});
        break;
      case Query::kRemoveValue:
        if (!same) break;
        tables_.AllValues().erase(value);
        rows.push_back({Number(0)});
        break;
      default: break;
    }
  }

  void Introduce(std::int64_t id, std::size_t from) {
    if (Node* const node = tables_.AnyNode(id)) {
      node->name = Text(from);
      node->url = Text(from + 1);
      node->app = Text(from + 2);
    }
  }
  bool IsAsked(std::int64_t member) {
    const auto& asked = tables_.AllAsked();
    return std::any_of(asked.begin(), asked.end(),
                       [&](const auto& entry) { return tables_.IsAsked(entry.second, member); });
  }
  std::string Bytes(std::size_t place) const {
    return std::string(std::get<SqlBytes>(values_->at(place)).bytes);
  }
  bool IsOneOf(const std::string& app, std::size_t place) const {
    const auto& apps = *std::get<const std::vector<std::string>*>(values_->at(place));
    return std::find(apps.begin(), apps.end(), app) != apps.end();
  }

  SharedMemoryTables& tables_;
  const std::vector<SqlValue>* values_ = nullptr;  // of the statement that runs
};

}  // namespace testing
}  // namespace v1
}  // namespace dtm
