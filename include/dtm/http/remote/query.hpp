/// The query for one transaction, and what the coordinator tells of it.
/// Needs: POSIX, nlohmann/json. Threads: thread-safe. Protocol: §2.6.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/http/remote/http_connection.hpp>
#include <dtm/http/remote/remote_requests.hpp>
#include <dtm/http/wire/json_input.hpp>
#include <dtm/http/wire/names.hpp>
#include <dtm/http/wire/told_transaction.hpp>

namespace dtm {
inline namespace v1 {

struct ToldTransaction {
  TransResult result;
  nlohmann::json transaction, branches;

  /// @throws InDoubtError  it cannot be understood.
  bool MayBe(const Definition& definition, const RemoteRequests& requests) const {
    try {
      return wire::MayBeSame(definition, transaction, branches);
    } catch (const std::exception& error) {  // of JSON, or BadInput
      throw InDoubtError(requests.NoAnswer(definition.gid) + "its query says " + error.what());
    }
  }
};

/// Nothing if there is no such transaction.
/// @throws InDoubtError, RejectedError, BusyError  there was no answer, or none of dtm's, or it was refused.
inline std::optional<ToldTransaction> QueryTransaction(RemoteRequests& requests,
                                                       const std::string& gid) {
  const Exchanged reply = requests.Send(
      "GET", "/query?" + std::string(wire::kGid) + "=" + PercentEncoded(gid), gid, {});
  if (reply.status != 200) requests.Refuse("the query of gid '" + gid + "'", reply);
  nlohmann::json body = wire::json_input::Parse(reply.body);
  if (!body.is_object() || !body.contains(wire::kTransaction)) {
    throw requests.NotOfDtm(gid, reply);
  }
  ToldTransaction stored{{}, std::move(body[wire::kTransaction]), std::move(body[wire::kBranches])};
  const nlohmann::json& told = stored.transaction;
  if (!told.is_object()) return std::nullopt;
  try {
    stored.result = {gid, wire::StatusNamed(told.value(wire::kStatus, "")),
                     told.value(wire::kRollbackReason, ""), told.value(wire::kRollbackFrom, ""),
                     told.value(wire::kLastError, "")};
  } catch (const nlohmann::json::exception&) {
    throw requests.NotOfDtm(gid, reply);
  }
  return stored;
}

}  // namespace v1
}  // namespace dtm
