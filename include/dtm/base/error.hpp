/// The errors that this library throws: one small tree.
/// Needs: std. Threads: values only.
#pragma once

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>

namespace dtm {
inline namespace v1 {

/// Base of everything this library throws; `what()` is a sentence that names the thing and says
/// what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  /// The caller was asked (Retry-After) to try again no sooner than this; 0: not asked. A branch function may set it
  /// before it throws; at most an hour counts.
  std::chrono::microseconds retry_after{0};
};

/// The error, with its `retry_after` set.
template <typename Kind>
Kind AskingToWait(Kind error, std::chrono::microseconds retry_after) {
  error.retry_after = retry_after;
  return error;
}

/// Definite: the transaction was rolled back. Thrown by a branch function it means "roll back".
class FailureError : public Error {
 public:
  using Error::Error;
};

/// Not finished yet, and not failed: the branch is called again after the plain retry interval. Thrown by a branch
/// function it means the same as Result::Ongoing; thrown by a call it is the result of the branch.
class OngoingError : public Error {
 public:
  using Error::Error;
};

/// Definite: refused, and nothing was changed (other content under this gid, a limit, a status
/// that does not allow it).
class RejectedError : public Error {
 public:
  using Error::Error;
};

/// Refused whatever is stored: a limit is exceeded, a value is malformed, or there is no transaction with this gid.
class BadInput : public RejectedError {
 public:
  using RejectedError::RejectedError;
};

/// Refused because the transaction has ended already.
class EndedError : public RejectedError {
 public:
  using RejectedError::RejectedError;
};

/// Refused because too much is waiting already; the same may be accepted a moment later.
class BusyError : public RejectedError {
 public:
  using RejectedError::RejectedError;
};

/// In doubt: there was no answer, so the transaction may be stored. Submitting the same content under the same
/// gid again is safe and settles it.
class InDoubtError : public Error {
 public:
  using Error::Error;
};

/// The local step of a message ran before, or is forbidden by now, so it was not run. The text begins
/// with DUPLICATED. This is not a failure; asking whether the step was committed settles it.
class DuplicatedError : public Error {
 public:
  using Error::Error;
};

/// Definite: the store failed and nothing was stored (disk full, read-only, damaged, in use by
/// another coordinator).
class StoreError : public Error {
 public:
  using Error::Error;
};

/// Misuse of the library; the program has to be changed.
class LogicError : public Error {
 public:
  using Error::Error;
};

/// Inside a `catch (...)`: the text of the exception, for people; short if no memory is left for it.
inline std::string WhatWasThrown() noexcept {
  try {
    try {
      throw;
    } catch (const std::exception& error) {
      return error.what();
    } catch (...) {
      return "it threw something that is not a std::exception";
    }
  } catch (...) {
    return "out of memory";  // so short that it takes none
  }
}

/// The sentence, or nothing if no memory is left for it.
template <typename Sentence>
std::string IfThereIsMemory(const Sentence& sentence) noexcept {
  try {
    return sentence();
  } catch (...) {
    return {};
  }
}

}  // namespace v1
}  // namespace dtm
