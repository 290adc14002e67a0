/// Sends a batch to a database server: what is too large for one message in several, and one that met another again.
/// Needs: std. Threads: the owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/sql/sql_errors.hpp>
#include <dtm/store/shared/batch.hpp>
#include <dtm/store/shared/database.hpp>
#include <dtm/store/store.hpp>

namespace dtm {
inline namespace v1 {
namespace shared_store {

/// A sorted batch as several of at most `most` bytes, or with one transaction; the values are in the first.
inline std::vector<BatchRows> Parts(BatchRows&& batch, std::size_t most) {
  std::vector<BatchRows> parts(1);
  parts.back().values = std::move(batch.values);
  std::size_t bytes = parts.back().Bytes();
  const auto with_room_for = [&](std::size_t more) -> BatchRows& {
    if (!parts.back().Empty() && bytes + more > most) {
      parts.emplace_back();
      bytes = 0;
    }
    bytes += more;
    return parts.back();
  };
  for (NewRow& row : batch.inserts) {
    with_room_for(BytesOf(row)).inserts.push_back(std::move(row));
  }
  std::map<std::int64_t, std::vector<AddedStep>> steps;
  for (AddedStep& step : batch.steps) steps[step.transaction].push_back(std::move(step));
  const std::set<std::int64_t> redefined(batch.redefined.begin(), batch.redefined.end());
  for (ChangedRow& row : batch.updates) {
    std::vector<AddedStep>& added = steps[row.id];
    std::size_t size = BytesOf(row);
    for (const AddedStep& step : added) size += BytesOf(step);
    BatchRows& part = with_room_for(size);
    std::move(added.begin(), added.end(), std::back_inserter(part.steps));
    added.clear();
    if (redefined.count(row.id) > 0) part.redefined.push_back(row.id);
    part.updates.push_back(std::move(row));
  }
  return parts;
}

/// In one message. False: it is a member no more, and nothing is stored.
/// @throws CommitInDoubt  it may be stored. BatchLost, StoreError: it is not.
inline bool SendOne(Connection& connection, SqlDialect dialect, std::uint64_t member,
                    std::int64_t epoch, BatchRows& batch) {
  constexpr int kMostDeadlocks = 5;
  for (int deadlocks = 0;; ++deadlocks) {
    try {
      return connection.Write(member, epoch, batch);
    } catch (const SqlError& error) {
      if (IsDeadlock(error.Code()) && deadlocks < kMostDeadlocks) continue;
      const std::string text = std::string(error.what());
      if (FaultOf(dialect, error.Code(), SqlStage::kCommit) == SqlFault::kInDoubt) {
        throw CommitInDoubt(text + "; it may or may not be stored");
      }
      throw StoreError(text + "; nothing of the batch was stored");
    } catch (const BatchLost&) {
      throw;
    } catch (...) {  // no memory, perhaps for the answer
      throw CommitInDoubt("the answer to a commit was not read; it may or may not be stored");
    }
  }
}

/// All of it. Each transaction is whole in one message; if one that is not the first fails, more is stored than of that one.
inline bool Send(Connection& connection, SqlDialect dialect, std::uint64_t member,
                 std::int64_t epoch, BatchRows& batch) {
  const std::size_t most = connection.MostBytes();
  if (batch.Bytes() <= most) return SendOne(connection, dialect, member, epoch, batch);
  bool first = true;
  for (BatchRows& part : Parts(std::move(batch), most)) {
    std::string problem = "others have taken over meanwhile";
    try {
      if (SendOne(connection, dialect, member, epoch, part)) {
        first = false;
        continue;
      }
      if (first) return false;
    } catch (const StoreError& error) {
      if (first) throw;
      problem = error.what();
    }
    throw CommitInDoubt(problem + "; the batch was too large for one message, and some is stored");
  }
  return true;
}

}  // namespace shared_store
}  // namespace v1
}  // namespace dtm
