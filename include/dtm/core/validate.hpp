/// Refuses a definition that could not be carried out, before anything is stored.
/// Needs: std. Threads: pure function. Protocol: §2.1, §4.1; the limits also hold in process.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/base/text.hpp>
#include <dtm/core/endpoint.hpp>
#include <dtm/core/limits.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/core/url.hpp>

namespace dtm {
inline namespace v1 {

/// @throws BadInput  `problem` is one, and that of this gid.
inline void RefuseOf(const std::string& gid, const std::string& problem) {
  if (!problem.empty()) throw BadInput("gid '" + gid + "': " + problem);
}

inline std::string GidProblem(const std::string& gid) {
  if (gid.empty()) return "the gid is empty; take one from NewGid()";
  if (gid.size() > kMaxGidBytes) {
    return "the gid has " + std::to_string(gid.size()) + " bytes; the limit is " +
           std::to_string(kMaxGidBytes);
  }
  for (const char c : gid) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F || c == ';') {
      return "gid '" + Printable(gid) + "' contains a control character or ';'; leave it out";
    }
  }
  if (!IsUtf8(gid)) return "gid '" + Printable(gid) + "' is not valid UTF-8";
  return {};
}

/// Steps in a cycle of orders would never run. Kahn's algorithm over the steps.
inline std::string OrdersProblem(const Definition& definition) {
  if (definition.orders.empty()) return {};
  std::size_t entries = 0;
  for (const auto& order : definition.orders) entries += order.second.size();
  if (entries > kMaxOrders) {
    return "gid '" + definition.gid + "': " + std::to_string(entries) +
           " entries of branch orders; the limit is " + std::to_string(kMaxOrders);
  }
  const std::size_t count = definition.steps.size();
  std::vector<std::vector<std::size_t>> followers(count);
  std::vector<std::size_t> waits_for(count, 0);
  const auto add = [&](std::size_t before, std::size_t step) {
    followers[before].push_back(step);
    ++waits_for[step];
  };
  const auto missing = [&definition, count](int step) {
    if (step >= 0 && static_cast<std::size_t>(step) < count) return std::string();
    return "gid '" + definition.gid + "': a branch order names step " + std::to_string(step) +
           ", which does not exist; there are " + std::to_string(count) + ", counted from 0";
  };
  for (const auto& order : definition.orders) {
    std::string problem = missing(order.first);
    if (!problem.empty()) return problem;
    for (const int before : order.second) {
      problem = missing(before);
      if (!problem.empty()) return problem;
      add(static_cast<std::size_t>(before), static_cast<std::size_t>(order.first));
    }
  }
  for (std::size_t step = 1; !definition.concurrent && step < count; ++step) add(step - 1, step);
  std::vector<std::size_t> ready;
  for (std::size_t step = 0; step < count; ++step) {
    if (waits_for[step] == 0) ready.push_back(step);
  }
  std::size_t done = 0;
  while (!ready.empty()) {
    const std::size_t step = ready.back();
    ready.pop_back();
    ++done;
    for (const std::size_t next : followers[step]) {
      if (--waits_for[next] == 0) ready.push_back(next);
    }
  }
  if (done == count) return {};
  return "gid '" + definition.gid +
         "': the branch orders form a cycle, so these steps would wait for each other for ever";
}

/// Empty, or why it cannot be prepared, besides Problem.
inline std::string PrepareProblem(const Definition& definition) {
  if (definition.type != TransType::kMsg || !definition.query_prepared.empty()) return {};
  return "gid '" + definition.gid +
         "': a message that is prepared needs query_prepared, which is asked whether to deliver it "
         "when "
         "no submit comes";
}

/// Empty, or why it cannot be submitted, besides Problem.
inline std::string SubmitProblem(const Definition& definition) {
  if (definition.type != TransType::kWorkflow) return {};
  return "gid '" + definition.gid + "': a workflow is prepared, and finished with its status";
}

/// @throws LogicError  a workflow cannot end with this status.
inline void CheckEnd(Status status) {
  if (!IsFinal(status)) throw LogicError("a workflow ends as succeed or failed");
}

/// Empty, or why this branch cannot be registered with any transaction of that gid and type.
inline std::string RegistrationProblem(const std::string& gid, TransType type, const Step& step) {
  std::string problem = GidProblem(gid);
  if (!problem.empty()) return problem;
  const std::string who = "gid '" + gid + "': ";
  if (!RegistersSteps(type)) {
    return who + "no branches are registered with a " + Name(type) +
           "; tcc, xa and workflow register them";
  }
  if (step.branch_id.empty() || step.branch_id.size() > kMaxGidBytes) {
    return who + "branch_id must have 1 to " + std::to_string(kMaxGidBytes) + " bytes";
  }
  if (!IsUtf8(step.branch_id)) return who + "branch_id is not valid UTF-8";
  if (type == TransType::kWorkflow && (step.op == Op{} || step.op > Op::kBusiness)) {
    return who + "a workflow records what was done: action, commit, rollback, ...";
  }
  if (type == TransType::kWorkflow) return {};  // what it was is called by nobody
  if (IsTopic(step.action) || IsTopic(step.compensate)) {
    return who + "a branch that is registered is no topic";
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    problem = UrlProblem(*url);
    if (!problem.empty()) return who + "branch " + step.branch_id + ": " + problem;
  }
  return {};
}

/// @throws RejectedError  it is no URL of http or https, so this program cannot make the call without its coordinator.
inline void CheckCallable(const InitiatorCall& call) {
  try {
    (void)ParseHttpUrl(call.url);
  } catch (const Error& error) {
    throw RejectedError("gid '" + call.info.gid + "': " + error.what());
  }
}

namespace limit {

/// "gid 'x': the payload of step 3 has 300000 bytes; the limit is 262144"
inline std::string Above(const std::string& gid, const std::string& what, std::size_t is,
                         std::size_t most) {
  return "gid '" + gid + "': " + what + " has " + std::to_string(is) + " bytes; the limit is " +
         std::to_string(most);
}

inline std::string AboveSteps(const std::string& gid, std::size_t count) {
  if (count <= kMaxSteps) return {};
  return "gid '" + gid + "': " + std::to_string(count) + " steps; the limit is " +
         std::to_string(kMaxSteps);
}

/// Checks the limit of the whole transaction.
inline std::string AboveBytes(const Definition& definition, std::size_t more) {
  std::size_t bytes = more + definition.data.size();
  for (const Step& step : definition.steps) bytes += step.UrlAndPayloadBytes();
  for (const auto& header : definition.options.branch_headers) {
    bytes += header.first.size() + header.second.size();
  }
  const std::size_t most =
      definition.type == TransType::kWorkflow ? kMaxWorkflowBytes : kMaxDefinitionBytes;
  return bytes <= most ? std::string() : Above(definition.gid, "the transaction", bytes, most);
}

}  // namespace limit

/// A function could never read it. Each level takes a byte at least, so most payloads are not looked at.
inline bool TooDeep(const std::string& json) {
  return json.size() > kMaxJsonDepth && JsonDepth(json) > kMaxJsonDepth;
}

/// Empty, or why this cannot be the `index`-th step of such a transaction, counted from 0.
inline std::string StepProblem(const Definition& definition, const Step& step, std::size_t index) {
  const auto who = [&definition] { return "gid '" + definition.gid + "': "; };
  const auto name = [index] { return "step " + std::to_string(index); };
  const bool workflow = definition.type == TransType::kWorkflow;
  for (const std::string* url : {&step.action, &step.compensate, &step.branch_id, &step.topic}) {
    if (url->size() > kMaxUrlBytes) {
      return limit::Above(definition.gid, "a url of " + name(), url->size(), kMaxUrlBytes);
    }
    if (!IsUtf8(*url)) return who() + "a url of " + name() + " is not valid UTF-8";
  }
  for (const std::string* url : {&step.action, &step.compensate}) {
    if (workflow) break;  // what was recorded is called by nobody
    const std::string problem = UrlProblem(*url);
    if (!problem.empty()) return who() + name() + ": " + problem;
  }
  const std::size_t most = workflow ? kMaxRecordBytes : kMaxPayloadBytes;
  if (step.payload.size() > most) {
    return limit::Above(definition.gid, "the payload of " + name(), step.payload.size(), most);
  }
  const bool function = IsLocal(step.action) || IsLocal(step.compensate);
  if (function && !workflow && TooDeep(step.payload)) {
    return who() + "the payload of " + name() + " is nested more than " +
           std::to_string(kMaxJsonDepth) + " levels deep; no function could read it";
  }
  const bool undone = definition.type != TransType::kMsg;  // a message has no compensations
  if (undone && (IsTopic(step.action) || IsTopic(step.compensate))) {
    return who() + name() + " goes to a topic; only messages do";
  }
  return {};
}

/// Empty, or why this step cannot be added at the end.
inline std::string AddedStepProblem(const Definition& definition, const Step& step) {
  const std::size_t index = definition.steps.size();
  std::string problem = limit::AboveSteps(definition.gid, index + 1);
  if (problem.empty()) problem = StepProblem(definition, step, index);
  if (problem.empty()) problem = limit::AboveBytes(definition, step.UrlAndPayloadBytes());
  return problem;
}

/// Empty if the definition can be carried out, else the sentence that says why not.
inline std::string Problem(const Definition& definition) {
  std::string problem = GidProblem(definition.gid);
  if (!problem.empty()) return problem;
  const auto who = [&definition] { return "gid '" + definition.gid + "': "; };
  const auto above = [&definition](const std::string& what, std::size_t is, std::size_t most) {
    return limit::Above(definition.gid, what, is, most);
  };
  problem = limit::AboveSteps(definition.gid, definition.steps.size());
  for (std::size_t i = 0; problem.empty() && i < definition.steps.size(); ++i) {
    problem = StepProblem(definition, definition.steps[i], i);
  }
  if (!problem.empty()) return problem;
  for (const std::string* text : {&definition.query_prepared, &definition.workflow}) {
    if (text->size() > kMaxUrlBytes)
      return above("query_prepared or the name", text->size(), kMaxUrlBytes);
    if (!IsUtf8(*text)) return who() + "query_prepared or the name is not valid UTF-8";
  }
  const std::string asked = UrlProblem(definition.query_prepared);
  if (!asked.empty()) return who() + "query_prepared: " + asked;
  if (IsTopic(definition.query_prepared)) {
    return who() + "query_prepared is a topic; one place is asked, not its subscribers";
  }
  if (definition.data.size() > kMaxPayloadBytes) {
    return above("its data", definition.data.size(), kMaxPayloadBytes);
  }
  if (IsLocal(definition.query_prepared) && TooDeep(definition.data)) {
    return who() + "its data is nested more than " + std::to_string(kMaxJsonDepth) +
           " levels deep; no function could read it";
  }
  if (definition.delay.count() < 0 || definition.delay > kMaxDelay) {
    return who() + "the delay is " + std::to_string(definition.delay.count()) +
           " s; it must be 0 to " + std::to_string(kMaxDelay.count()) + " s";
  }
  const TransOptions& options = definition.options;
  if (options.branch_headers.size() > kMaxHeaders) {
    return who() + std::to_string(options.branch_headers.size()) +
           " branch headers; the limit is " + std::to_string(kMaxHeaders);
  }
  for (const auto& header : options.branch_headers) {
    const std::size_t size = header.first.size() + header.second.size();
    if (size > kMaxHeaderBytes)
      return above("branch header " + header.first, size, kMaxHeaderBytes);
    const bool name_ok =
        !header.first.empty() && header.first.find_first_of(": \t") == std::string::npos;
    if (!name_ok)
      return who() + "branch header '" + Printable(header.first) + "' has no valid name";
    for (const char c : header.first + header.second) {
      if (c == '\r' || c == '\n' || c == '\0') {
        return who() + "branch header '" + Printable(header.first) +
               "' contains a line break or NUL";
      }
    }
  }
  problem = limit::AboveBytes(definition, 0);
  if (!problem.empty()) return problem;
  const auto out_of_range = [&who](const char* name, std::chrono::seconds value) {
    return who() + name + " is " + std::to_string(value.count()) +
           " s; it must be 0 (default) to " + std::to_string(kMaxOptionSeconds.count()) + " s";
  };
  const auto bad = [](std::chrono::seconds s) { return s.count() < 0 || s > kMaxOptionSeconds; };
  if (bad(options.timeout_to_fail)) {
    return out_of_range("timeout_to_fail", options.timeout_to_fail);
  }
  if (bad(options.request_timeout)) {
    return out_of_range("request_timeout", options.request_timeout);
  }
  if (bad(options.retry_interval)) return out_of_range("retry_interval", options.retry_interval);
  if (options.retry_limit < 0 || options.retry_limit > kMaxRetryLimit) {
    return who() + "retry_limit is " + std::to_string(options.retry_limit) +
           "; it must be 0 (no limit) to " + std::to_string(kMaxRetryLimit);
  }
  // The submit of a prepared one may bring orders for steps that it does not repeat.
  return definition.steps.empty() ? std::string() : OrdersProblem(definition);
}

inline std::string NothingToResume(const std::string& gid) {
  return "gid '" + gid +
         "' is not stored, so there is no workflow to go on with; nothing was run or stored";
}

}  // namespace v1
}  // namespace dtm
