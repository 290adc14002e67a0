/// What the tests of the engine share: sagas and their rows, written as text.
/// Needs: std. Threads: pure functions.
///
/// A saga:  "3 concurrent 2:0,1 timeout=60 limit=2 interval=5 request=4 local empty=a1,c2"
///          (3 steps; step 2 after 0 and 1; all branches are functions; two have no url)
/// Its rows, in row order c1 a1 c2 a2 ..., as they stand at a time:
///   P untouched   S succeeded   F failed   > called, not answered   >2 the same, after 2 errors in a row
///   r   may have run, may be called now      w10  may have run, waits 10 s (after ONGOING)
///   n10 never ran, waits 10 s (after NotSent)
///   e2  waits after the 2nd error in a row   x2   the same, and the wait is over
///   ~4  behind one of these: a call of a previous run may be running for 4 s more
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/engine/machine.hpp>

namespace saga_kit {

using std::chrono::seconds;

inline constexpr dtm::Time kStart{std::chrono::hours(500000)};

inline std::size_t RowOf(const std::string& name) {
  const std::size_t step = std::stoul(name.substr(1)) - 1;
  return name.at(0) == 'a' ? dtm::ActionOf(step) : dtm::CompensateOf(step);
}

inline std::string NameOfRow(std::size_t row) {
  return (dtm::OpOf(dtm::TransType::kSaga, row) == dtm::Op::kAction ? "a" : "c") +
         std::to_string(dtm::StepOf(dtm::TransType::kSaga, row) + 1);
}

inline std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

inline dtm::Definition Saga(const std::string& text) {
  dtm::Definition saga;
  saga.gid = "gid-of-the-test";
  const std::vector<std::string> words = Split(text, ' ');
  saga.steps.resize(std::stoul(words.at(0)));
  std::string prefix = "http://bank/";
  std::vector<std::size_t> empty;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&word] { return word.substr(word.find('=') + 1); };
    const auto number = [&value] { return std::stoi(value()); };
    const auto is = [&word](const char* name) { return word.rfind(name, 0) == 0; };
    if (word == "concurrent") {
      saga.concurrent = true;
    } else if (word == "local") {
      prefix = dtm::kLocalPrefix;
    } else if (is("timeout=")) {
      saga.options.timeout_to_fail = seconds(number());
    } else if (is("limit=")) {
      saga.options.retry_limit = number();
    } else if (is("interval=")) {
      saga.options.retry_interval = seconds(number());
    } else if (is("request=")) {
      saga.options.request_timeout = seconds(number());
    } else if (is("empty=")) {
      for (const std::string& name : Split(value(), ',')) empty.push_back(RowOf(name));
    } else {
      std::vector<int>& before = saga.orders[std::stoi(word)];
      for (const std::string& step : Split(word.substr(word.find(':') + 1), ',')) {
        before.push_back(std::stoi(step));
      }
    }
  }
  for (std::size_t i = 0; i < saga.steps.size(); ++i) {
    saga.steps[i] = {prefix + NameOfRow(dtm::ActionOf(i)), prefix + NameOfRow(dtm::CompensateOf(i)),
                     "{\"step\":" + std::to_string(i) + "}"};
  }
  for (const std::size_t row : empty) {
    dtm::Step& step = saga.steps[dtm::StepOf(dtm::TransType::kSaga, row)];
    (dtm::OpOf(dtm::TransType::kSaga, row) == dtm::Op::kAction ? step.action : step.compensate)
        .clear();
  }
  return saga;
}

inline dtm::Branch Row(const std::string& token, dtm::Time now) {
  dtm::Branch row;
  const std::vector<std::string> parts = Split(token, '~');
  const int number = parts[0].size() > 1 ? std::stoi(parts[0].substr(1)) : 0;
  switch (parts[0][0]) {
    case 'P': break;
    case 'S': row.status = dtm::BranchStatus::kSucceed; break;
    case 'F': row.status = dtm::BranchStatus::kFailed; break;
    case '>':
      row.in_flight = true;
      row.errors = static_cast<std::uint32_t>(number);
      row.deadline = now + seconds(6);
      break;
    case 'r': break;
    case 'w':
    case 'n': row.next_try = now + seconds(number); break;
    case 'e': row.next_try = now + seconds(10 << (number - 1)); break;
    case 'x': row.next_try = now; break;
    default: throw std::invalid_argument("no such row: " + token);
  }
  const bool counts = parts[0][0] == 'e' || parts[0][0] == 'x';
  if (counts) row.errors = static_cast<std::uint32_t>(number);
  row.tries = counts ? row.errors : parts[0][0] == 'P' || parts[0][0] == 'n' ? 0u : 1u;
  if (parts.size() > 1) row.deadline = now + seconds(std::stoi(parts[1]));
  return row;
}

inline std::vector<dtm::Branch> Rows(const std::string& text, dtm::Time now) {
  std::vector<dtm::Branch> rows;
  for (const std::string& token : Split(text, ' ')) rows.push_back(Row(token, now));
  return rows;
}

inline std::string InText(const dtm::Branch& row, dtm::Time now) {
  const auto left = [now](dtm::Time time) {
    return std::to_string(std::chrono::duration_cast<seconds>(time - now).count());
  };
  if (row.in_flight) return ">";
  std::string text = "P";
  if (row.status == dtm::BranchStatus::kSucceed) {
    text = "S";
  } else if (row.status == dtm::BranchStatus::kFailed) {
    text = "F";
  } else if (row.errors > 0) {
    text = (row.next_try > now ? "e" : "x") + std::to_string(row.errors);
  } else if (row.next_try > now) {
    text = (row.tries > 0 ? "w" : "n") + left(row.next_try);
  } else if (row.tries > 0) {
    text = "r";
  }
  return row.deadline > now ? text + "~" + left(row.deadline) : text;
}

inline std::string InText(const std::vector<dtm::Branch>& rows, dtm::Time now) {
  std::string text;
  for (const dtm::Branch& row : rows) text += (text.empty() ? "" : " ") + InText(row, now);
  return text;
}

/// "a1 c2" of the rows to call.
inline std::string InText(const std::vector<std::size_t>& calls) {
  std::string text;
  for (const std::size_t row : calls) text += (text.empty() ? "" : " ") + NameOfRow(row);
  return text;
}

/// The rows' statuses as Appendix A of the protocol writes them: "S S S F".
inline std::string Statuses(const dtm::Transaction& transaction) {
  std::string text;
  for (const dtm::Branch& row : transaction.branches) {
    text += text.empty() ? "" : " ";
    text += row.status == dtm::BranchStatus::kSucceed  ? 'S'
            : row.status == dtm::BranchStatus::kFailed ? 'F'
                                                       : 'P';
  }
  return text;
}

inline dtm::Transaction NewTransaction(dtm::Definition saga) {
  dtm::Transaction transaction;
  transaction.definition = std::make_shared<dtm::Definition>(std::move(saga));
  return transaction;
}

/// What the store keeps of it.
inline dtm::Transaction Stored(dtm::Transaction transaction) {
  for (dtm::Branch& row : transaction.branches) row.in_flight = false;
  return transaction;
}

inline dtm::engine::Event Happens(dtm::engine::EventKind kind) {
  dtm::engine::Event event;
  event.kind = kind;
  return event;
}

inline dtm::engine::Event Answer(std::size_t row, dtm::Result result) {
  dtm::engine::Event event;
  event.kind = dtm::engine::EventKind::kResult;
  event.row = row;
  event.result = std::move(result);
  return event;
}

}  // namespace saga_kit
