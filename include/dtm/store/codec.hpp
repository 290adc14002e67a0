/// The stored form of a definition and of a state. No other file knows it.
/// Needs: std. Threads: pure functions. Document: docs/store_format.md; change both together, and
/// only with a new format number.
///
/// It has its own format because a record is written three times per saga, on the thread that bounds the
/// throughput: a JSON or MessagePack document of the same content costs more than the database
/// does.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/core/transaction.hpp>
#include <dtm/store/codec_bytes.hpp>

namespace dtm {
inline namespace v1 {
namespace codec {

inline constexpr std::uint8_t kFormat = 2;
/// Flags of a definition: fields follow that a plain saga does not have; the custom_data of a client follows.
inline constexpr std::uint8_t kMore = 8;
inline constexpr std::uint8_t kCustomData = 32;
/// Flags of a state.
inline constexpr std::uint8_t kStuck = 1;
inline constexpr std::uint8_t kResult = 2;
inline constexpr std::uint8_t kUpdated = 4;
inline constexpr std::uint8_t kReasonFrom = 8;
inline constexpr std::uint8_t kDriver = 16;  // in shared stores only

inline std::uint64_t Micros(Time time) {
  const auto count = time.time_since_epoch().count();
  return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}
inline Time FromMicros(std::uint64_t micros) {
  return Time(Duration(static_cast<Duration::rep>(micros)));
}

/// Times are stored relative to the creation, which takes a few bytes.
inline std::uint64_t MicrosAfter(Time created, Time time) {
  return time <= created ? 0 : static_cast<std::uint64_t>((time - created).count());
}
inline Time FromMicrosAfter(Time created, std::uint64_t micros) {
  const auto since = static_cast<std::uint64_t>(created.time_since_epoch().count());
  return Time(Duration(static_cast<Duration::rep>(since + micros)));  // damaged ones overflow
}

/// @throws StoreError  no version has written this format.
inline std::uint8_t ReadFormat(Reader& reader) {
  const std::uint8_t format = reader.Byte();
  if (format == 0 || format > kFormat) Reader::Fail();
  return format;
}

/// `more`: as of all but plain sagas.
inline void WriteStep(Writer& writer, const Step& step, bool more) {
  writer.Text(step.action);
  writer.Text(step.compensate);
  writer.Text(step.payload);
  if (!more) return;
  writer.Text(step.branch_id);
  writer.Text(step.topic);
  writer.Byte(static_cast<std::uint8_t>(step.op));
  writer.Byte(step.failed ? 1 : 0);
}

inline Step ReadStep(Reader& reader, bool more) {
  Step step;
  step.action = reader.Text();
  step.compensate = reader.Text();
  step.payload = reader.Text();
  if (!more) return step;
  step.branch_id = reader.Text();
  step.topic = reader.Text();
  step.op = static_cast<Op>(reader.Byte());
  step.failed = reader.Byte() != 0;
  return step;
}

/// A step that was added to the stored definition later, in a row of its own.
inline void EncodeStep(const Step& step, std::string& out) {
  out.clear();
  Writer writer(out);
  writer.Byte(kFormat);
  WriteStep(writer, step, true);
}

/// @throws StoreError  damaged, or of a newer format.
inline Step DecodeStep(std::string_view bytes) {
  Reader reader(bytes);
  (void)ReadFormat(reader);
  Step step = ReadStep(reader, true);
  reader.ExpectEnd();
  return step;
}

/// Everything of a definition but its gid and type, which are columns.
inline std::string EncodeDefinition(const Definition& definition) {
  std::string out;
  std::size_t size = 32;
  for (const Step& step : definition.steps) {
    size += step.action.size() + step.compensate.size() + step.payload.size() + 12;
  }
  out.reserve(size);
  Writer writer(out);
  const TransOptions& options = definition.options;
  const bool more = definition.type != TransType::kSaga || !definition.query_prepared.empty();
  writer.Byte(kFormat);
  writer.Byte(static_cast<std::uint8_t>(
      (definition.concurrent ? 1 : 0) | (options.wait_result ? 2 : 0) |
      (definition.prepared_first ? 4 : 0) | (more ? kMore : 0) | (definition.json_rpc ? 16 : 0) |
      (definition.custom_data.empty() ? 0 : kCustomData)));
  writer.Number(static_cast<std::uint64_t>(options.timeout_to_fail.count()));
  writer.Number(static_cast<std::uint64_t>(options.request_timeout.count()));
  writer.Number(static_cast<std::uint64_t>(options.retry_interval.count()));
  writer.Number(static_cast<std::uint64_t>(options.retry_limit));
  writer.Number(options.branch_headers.size());
  for (const auto& header : options.branch_headers) {
    writer.Text(header.first);
    writer.Text(header.second);
  }
  writer.Number(definition.orders.size());
  for (const auto& order : definition.orders) {
    writer.Number(static_cast<std::uint64_t>(order.first));
    writer.Number(order.second.size());
    for (const int before : order.second) writer.Number(static_cast<std::uint64_t>(before));
  }
  writer.Number(definition.steps.size());
  for (const Step& step : definition.steps) WriteStep(writer, step, more);
  if (more) {
    writer.Text(definition.query_prepared);
    writer.Number(static_cast<std::uint64_t>(definition.delay.count()));
    writer.Text(definition.workflow);
    writer.Text(definition.data);
  }
  if (!definition.custom_data.empty()) writer.Text(definition.custom_data);
  return out;
}

/// @throws StoreError  damaged, or of a newer format.
inline std::shared_ptr<Definition> DecodeDefinition(std::string gid, TransType type,
                                                    std::string_view bytes) {
  auto definition = std::make_shared<Definition>();
  definition->gid = std::move(gid);
  definition->type = type;
  Reader reader(bytes);
  (void)ReadFormat(reader);
  const std::uint8_t flags = reader.Byte();
  definition->concurrent = (flags & 1) != 0;
  TransOptions& options = definition->options;
  options.wait_result = (flags & 2) != 0;
  definition->prepared_first = (flags & 4) != 0;
  const bool more = (flags & kMore) != 0;
  definition->json_rpc = (flags & 16) != 0;
  options.timeout_to_fail = std::chrono::seconds(reader.Number());
  options.request_timeout = std::chrono::seconds(reader.Number());
  options.retry_interval = std::chrono::seconds(reader.Number());
  options.retry_limit = static_cast<int>(reader.Number());
  for (std::size_t n = reader.Count(); n > 0; --n) {
    std::string name = reader.Text();
    options.branch_headers[std::move(name)] = reader.Text();
  }
  for (std::size_t n = reader.Count(); n > 0; --n) {
    std::vector<int>& before = definition->orders[static_cast<int>(reader.Number())];
    for (std::size_t m = reader.Count(); m > 0; --m) {
      before.push_back(static_cast<int>(reader.Number()));
    }
  }
  definition->steps.resize(reader.Count());
  for (Step& step : definition->steps) step = ReadStep(reader, more);
  if (more) {
    definition->query_prepared = reader.Text();
    definition->delay = std::chrono::seconds(reader.Number());
    definition->workflow = reader.Text();
    definition->data = reader.Text();
  }
  if ((flags & kCustomData) != 0) definition->custom_data = reader.Text();
  reader.ExpectEnd();
  const auto known = [&](int step) {
    return step >= 0 && static_cast<std::size_t>(step) < definition->steps.size();
  };
  for (const auto& order : definition->orders) {  // they are used as indexes
    if (!known(order.first)) Reader::Fail();
    for (const int before : order.second) {
      if (!known(before)) Reader::Fail();
    }
  }
  return definition;
}

/// How far a transaction has come: what is not in a column. `in_flight` is not stored.
inline void EncodeState(const Transaction& transaction, std::string& out) {
  out.clear();
  Writer writer(out);
  const Time created = transaction.created;
  const bool updated = transaction.updated > created && !IsFinal(transaction.status);
  writer.Byte(kFormat);
  writer.Byte(static_cast<std::uint8_t>(
      (transaction.stuck ? kStuck : 0) | (transaction.result.empty() ? 0 : kResult) |
      (updated ? kUpdated : 0) | (transaction.reason_from == 0 ? 0 : kReasonFrom) |
      (transaction.driver == 0 ? 0 : kDriver)));
  writer.Number(transaction.retry_count);
  writer.Text(transaction.reason);
  writer.Text(transaction.last_error);
  writer.Number(transaction.branches.size());
  for (const Branch& branch : transaction.branches) {
    const bool next_try = branch.next_try != Time{};
    const bool deadline = branch.deadline != Time{};
    const bool finished = branch.finished != Time{};
    writer.Byte(static_cast<std::uint8_t>(
        static_cast<unsigned>(branch.status) | (branch.tries > 0 ? 4u : 0u) |
        (branch.errors > 0 ? 8u : 0u) | (next_try ? 16u : 0u) | (deadline ? 32u : 0u) |
        (finished ? 64u : 0u) | (branch.asked_when ? 128u : 0u)));
    if (branch.tries > 0) writer.Number(branch.tries);
    if (branch.errors > 0) writer.Number(branch.errors);
    if (next_try) writer.Number(Micros(branch.next_try));
    if (deadline) writer.Number(Micros(branch.deadline));
    if (finished) writer.Number(MicrosAfter(created, branch.finished));
  }
  if (!transaction.result.empty()) writer.Text(transaction.result);
  if (updated) writer.Number(MicrosAfter(created, transaction.updated));
  if (transaction.reason_from != 0) writer.Number(transaction.reason_from);
  if (transaction.driver != 0) writer.Number(transaction.driver);
}

/// `transaction` has what is in columns already.
/// @throws StoreError  damaged, or of a newer format.
inline void DecodeState(std::string_view bytes, Transaction& transaction) {
  Reader reader(bytes);
  const bool old = ReadFormat(reader) == 1;
  const std::uint8_t flags = reader.Byte();
  if (flags >= (old ? 4 : 32)) Reader::Fail();
  const Time created = transaction.created;
  transaction.stuck = (flags & kStuck) != 0;
  transaction.retry_count = static_cast<std::uint32_t>(reader.Number());
  transaction.reason = reader.Text();
  transaction.last_error = reader.Text();
  transaction.branches.assign(reader.Count(), Branch{});
  for (Branch& branch : transaction.branches) {
    const std::uint8_t bits = reader.Byte();
    const unsigned status = bits & 3u;
    if (status == 0 || (old && bits >= 64)) Reader::Fail();
    branch.status = static_cast<BranchStatus>(status);
    if ((bits & 4u) != 0) branch.tries = static_cast<std::uint32_t>(reader.Number());
    if ((bits & 8u) != 0) branch.errors = static_cast<std::uint32_t>(reader.Number());
    if ((bits & 16u) != 0) branch.next_try = FromMicros(reader.Number());
    if ((bits & 32u) != 0) branch.deadline = FromMicros(reader.Number());
    branch.asked_when = (bits & 128u) != 0;
    if ((bits & 64u) != 0) branch.finished = FromMicrosAfter(created, reader.Number());
  }
  transaction.result = (flags & kResult) != 0 ? reader.Text() : std::string();
  transaction.updated = IsFinal(transaction.status) ? transaction.finished : created;
  if ((flags & kUpdated) != 0) transaction.updated = FromMicrosAfter(created, reader.Number());
  transaction.reason_from =
      (flags & kReasonFrom) != 0 ? static_cast<std::uint32_t>(reader.Number()) : 0;
  transaction.driver = (flags & kDriver) != 0 ? reader.Number() : 0;
  reader.ExpectEnd();
}

}  // namespace codec
}  // namespace v1
}  // namespace dtm
