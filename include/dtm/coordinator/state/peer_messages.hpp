/// What coordinators say to one another through the store: a command as a request, and its answer as a reply.
/// Needs: std. Threads: pure functions.
#pragma once

#include <exception>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/coordinator/parts/answers.hpp>
#include <dtm/coordinator/state/inbox.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/store/peers.hpp>

namespace dtm {
inline namespace v1 {

/// The reply when a branch was skipped; what an earlier version replies to what it does not know says only "no error".
inline constexpr char kSkipped[] = "+skipped";

/// What is asked of the coordinator that drives it.
inline Request RequestFor(const Command& command) {
  Request request;
  request.kind = command.kind == Command::Kind::kCancel ? Request::Kind::kCancel
                 : command.kind == Command::Kind::kSkip ? Request::Kind::kSkip
                                                        : Request::Kind::kRetryNow;
  request.gid = command.gid;
  request.reason = command.reason;
  request.who = command.who;
  request.branch_id = command.step.branch_id;
  request.op = command.step.op;
  return request;
}

inline Command CommandFor(const Request& request) {
  Command command;
  switch (request.kind) {
    case Request::Kind::kCancel: command.kind = Command::Kind::kCancel; break;
    case Request::Kind::kRetryNow: command.kind = Command::Kind::kRetryNow; break;
    case Request::Kind::kSkip: command.kind = Command::Kind::kSkip; break;
    case Request::Kind::kLook: command.kind = Command::Kind::kLook; break;
  }
  command.gid = request.gid;
  command.reason = request.reason;
  command.who = request.who;
  command.step.branch_id = request.branch_id;
  command.step.op = request.op;
  command.asked = request.id;
  return command;
}

/// An answer to another coordinator, as it is stored: the kind of the error in one letter, and its sentence. "+": no error.
inline std::string ReplyOf(const Answer& answer) {
  if (!answer.error) return "+";
  try {
    std::rethrow_exception(answer.error);
  } catch (const EndedError& error) {
    return std::string("e") + error.what();
  } catch (const BadInput& error) {
    return std::string("b") + error.what();
  } catch (const RejectedError& error) {
    return std::string("r") + error.what();
  } catch (const StoreError& error) {
    return std::string("s") + error.what();
  } catch (...) {
    return "d" + WhatWasThrown();
  }
}

/// To a request of a kind that only a later version knows.
inline std::string NotKnown(const Request& request) {
  return ReplyOf({{},
                  Answers::Rejected("gid '" + request.gid +
                                    "' was not changed: the coordinator that drives it is of "
                                    "an earlier version of dtm; replace it, then ask again")});
}

/// Null: no error.
inline std::exception_ptr ErrorOf(const std::string& reply) {
  const std::string sentence = reply.empty() ? std::string() : reply.substr(1);
  switch (reply.empty() ? 'd' : reply[0]) {
    case '+': return nullptr;
    case 'e': return std::make_exception_ptr(EndedError(sentence));
    case 'b': return std::make_exception_ptr(BadInput(sentence));
    case 'r': return std::make_exception_ptr(RejectedError(sentence));
    case 's': return std::make_exception_ptr(StoreError(sentence));
    default: return std::make_exception_ptr(InDoubtError(sentence));
  }
}

}  // namespace v1
}  // namespace dtm
