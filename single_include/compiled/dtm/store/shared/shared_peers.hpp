/// Generated from include/dtm/store/shared/shared_peers.hpp by tools/amalgamate.py; do not edit.
/// MIT License, copyright (c) dtm for C++ authors.
#pragma once

#include "../../dtm.hpp"
#include "../../sql/sql_errors.hpp"
#include "../request_codec.hpp"
#include "database.hpp"
#include "membership.hpp"
#include "reader.hpp"
#include "records.hpp"

// ---- dtm/store/shared/shared_peers.hpp ---------------------------------------------------------

/// What coordinators on one database know of each other, and ask of each other.
/// Needs: std. Threads: any, on the connection of the reader.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtm {
inline namespace v1 {
namespace shared_store {

class SharedPeers : public Peers {
 public:
  SharedPeers(const Database& database, Reader& reader, Membership& membership)
      : database_(database), reader_(reader), membership_(membership) {}

  const NodeName& Me() const { return me_; }

  void Introduce(const NodeName& me) override {
    me_ = me;
    reader_.SetApp(me.app);
    membership_.SetApp(me.app);
    (void)reader_.Run(Query::kIntroduce, {Id(), std::string_view(me_.name),
                                          std::string_view(me_.url), std::string_view(me_.app)});
  }

  std::vector<Progress> Look(const std::vector<std::string>& gids) override {
    const auto rows = reader_.Run(Query::kProgress, {&gids});
    std::vector<Progress> found;
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      std::optional<Time> due;
      if (!rows->IsNull(row, 1)) due = FromStored(rows->Number(row, 1));
      found.push_back({std::string(rows->View(row, 0)), due});
    }
    return found;
  }

  std::int64_t Ask(const Request& request) override {
    const std::string text = codec::EncodeAsked(request);
    const auto rows = reader_.Run(
        Query::kAsk, {std::string_view(request.gid), static_cast<std::int64_t>(request.kind),
                      SqlBytes{text}, static_cast<std::int64_t>(request.member)});
    return rows->Number(0, 0);
  }

  std::map<std::int64_t, std::string> TakeReplies(const std::vector<std::int64_t>& ids) override {
    std::map<std::int64_t, std::string> replies;
    const auto rows = reader_.Run(Query::kReplies, {&ids});
    std::vector<std::int64_t> replied;
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      replied.push_back(rows->Number(row, 0));
      replies[replied.back()] = rows->View(row, 1);
    }
    if (!replied.empty()) (void)reader_.Run(Query::kDropAsked, {&replied});
    return replies;
  }

  bool Withdraw(std::int64_t id, bool at_all_costs) override {
    if (reader_.Run(Query::kWithdraw, {id})->Count() > 0) return true;
    const std::vector<std::int64_t> ids{id};
    if (at_all_costs) (void)reader_.Run(Query::kDropAsked, {&ids});
    return false;
  }

  std::uint64_t AskedTimes() const override { return membership_.AskedTimes(); }
  std::vector<Request> Asked() override { return membership_.Asked(); }

  bool TakeUp(std::int64_t id) override {
    try {
      return reader_.Run(Query::kTakeUp, {id, Id()})->Count() > 0;
    } catch (...) {
      membership_.Forget(id);
      throw;
    }
  }

  void Reply(std::int64_t id, const std::string& text) override {
    if (text.empty()) return membership_.Forget(id);
    try {
      (void)reader_.Run(Query::kReply, {id, SqlBytes{text}});
    } catch (...) {
      membership_.Forget(id);
      throw;
    }
  }

  std::optional<Peer> Find(std::uint64_t owner) override {
    if (WaitsForApp(owner)) {
      const auto apps = reader_.Run(Query::kApps, {static_cast<std::int64_t>(owner)});
      if (apps->Count() == 0) return std::nullopt;
      return Peer{{{}, {}, std::string(apps->View(0, 0))}};
    }
    const auto rows = reader_.Run(Query::kPeer, {static_cast<std::int64_t>(owner)});
    if (rows->Count() == 0) return std::nullopt;
    return PeerIn(*rows, 0, 0, owner);
  }

  std::vector<Peer> All() override {
    const auto rows = reader_.Run(Query::kPeers, {kMostPeers});
    std::vector<Peer> all;
    for (std::size_t row = 0; row < rows->Count(); ++row) {
      all.push_back(PeerIn(*rows, row, 1, static_cast<std::uint64_t>(rows->Number(row, 0))));
    }
    return all;
  }

  PeerCounts Count() override {
    PeerCounts counts = membership_.Counts();
    counts.driven = static_cast<std::uint64_t>(reader_.Run(Query::kDriven, {Id()})->Number(0, 0));
    return counts;
  }

  std::vector<std::string> Waiting(Time after, std::size_t limit) override {
    std::vector<std::string> gids;
    const auto rows =
        reader_.Run(Query::kWaiting, {Stored(after), static_cast<std::int64_t>(limit)});
    for (std::size_t row = 0; row < rows->Count(); ++row) gids.emplace_back(rows->View(row, 0));
    return gids;
  }

  std::vector<std::string> TakeNews() override { return membership_.TakeNews(); }

  Result ChangeValue(const std::string& category, const std::string& key,
                     const ValueChange& change) override {
    for (;;) {
      const KeyValuePage page = reader_.ScanValues(category, key, 0, 1);
      std::optional<KeyValue> value;
      if (!page.values.empty()) value = page.values[0];
      Result result = change(value);
      if (result.kind != Result::Kind::kSuccess) return result;
      if (page.values.empty() && !value) return result;
      if (WriteValue(page, category, key, value)) return result;
    }
  }

 private:
  static constexpr std::int64_t kMostPeers = 1000;

  /// Its name, url, app and heir are in the columns from `column` on.
  Peer PeerIn(const SqlRows& rows, std::size_t row, std::size_t column, std::uint64_t id) {
    const auto text = [&](std::size_t place) {
      return std::string(rows.View(row, column + place));
    };
    Peer peer;
    peer.node = {text(0), text(1), text(2)};
    peer.is_member = rows.Number(row, column + 3) == 0;
    peer.is_self = id == membership_.Owner();
    peer.silent = peer.is_self ? Duration(0) : membership_.Silent(id);
    return peer;
  }

  std::int64_t Id() const { return static_cast<std::int64_t>(membership_.Owner()); }

  /// False: another one was first.
  bool WriteValue(const KeyValuePage& before, const std::string& category, const std::string& key,
                  const std::optional<KeyValue>& value) {
    try {
      if (before.values.empty()) {
        return reader_
                   .RunOnce(Query::kNewValue, {std::string_view(category), std::string_view(key),
                                               SqlBytes{value->value}, Stored(value->updated)})
                   ->Count() > 0;
      }
      const std::int64_t id = before.values[0].id;
      const auto version = static_cast<std::int64_t>(before.values[0].version);
      if (!value) return reader_.RunOnce(Query::kRemoveValue, {id, version})->Count() > 0;
      return reader_
                 .RunOnce(Query::kChangeValue,
                          {id, version, SqlBytes{value->value}, Stored(value->updated)})
                 ->Count() > 0;
    } catch (const SqlError& error) {
      const SqlFault fault = FaultOf(database_.Dialect(), error.Code(), SqlStage::kCommit);
      if (fault != SqlFault::kInDoubt) throw;
      throw InDoubtError(std::string(error.what()) + "; '" + key +
                         "' may or may not be written: look, and try again");
    }
  }

  const Database& database_;
  Reader& reader_;
  Membership& membership_;
  NodeName me_;
};

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
