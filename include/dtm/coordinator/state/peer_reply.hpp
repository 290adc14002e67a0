/// The answer to a command, as it goes through the store to the coordinator that asked for it.
/// Needs: std. Threads: pure functions.
#pragma once

#include <exception>
#include <string>

#include <dtm/base/error.hpp>
#include <dtm/core/endpoint.hpp>

namespace dtm {
inline namespace v1 {

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
