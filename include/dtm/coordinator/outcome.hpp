/// What came of what was asked of a coordinator, in the few kinds that every protocol to the outside tells apart.
/// Needs: std. Threads: pure functions.
#pragma once

#include <exception>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/core/endpoint.hpp>

namespace dtm {
inline namespace v1 {

struct Outcome {
  enum class Kind {
    kDone,
    kBadInput,     ///< it can never be accepted as it is; nothing was changed
    kRejected,     ///< it does not fit what is stored; nothing was changed
    kRolledBack,   ///< the transaction was, or will be
    kOngoing,      ///< not finished yet; ask again
    kUnavailable,  ///< not possible now; nothing was changed, the same may work later
    kUnknown       ///< it may have happened or not; ask for the same again
  };
  Kind kind = Kind::kDone;
  std::string message{};  ///< unless it is done
};

/// An error that the coordinator has thrown or answered with.
inline Outcome OutcomeOf(const std::exception_ptr& error) {
  using Kind = Outcome::Kind;
  try {
    std::rethrow_exception(error);
  } catch (const BadInput& bad) {
    return {Kind::kBadInput, bad.what()};
  } catch (const BusyError& busy) {
    return {Kind::kUnavailable, busy.what()};
  } catch (const RejectedError& rejected) {
    return {Kind::kRejected, rejected.what()};
  } catch (const FailureError& failure) {
    return {Kind::kRolledBack, failure.what()};
  } catch (const OngoingError& ongoing) {
    return {Kind::kOngoing, ongoing.what()};
  } catch (const StoreError& failed) {
    return {Kind::kUnavailable, failed.what()};
  } catch (const LogicError& stopped) {
    return {Kind::kUnavailable, stopped.what()};
  } catch (...) {  // in doubt, or an unknown exception
    return {Kind::kUnknown, WhatWasThrown()};
  }
}

inline Outcome OutcomeOf(const Answer& answer) {
  if (!answer.error) return {};
  // The error says more than the clients of dtm are told of a rollback.
  if (answer.result.Failed()) return {Outcome::Kind::kRolledBack, answer.result.reason};
  return OutcomeOf(answer.error);
}

}  // namespace v1
}  // namespace dtm
