/// The stored form of a journal: the entries of each change one after the other, so that those of the next are
/// appended without reading the others.
/// Needs: std. Threads: pure functions. Document: docs/store_format.md; change both together, and only with a
/// new format number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dtm/base/error.hpp>
#include <dtm/core/journal.hpp>
#include <dtm/store/codec.hpp>
#include <dtm/store/codec_bytes.hpp>

namespace dtm {
inline namespace v1 {
namespace codec {

inline constexpr std::uint8_t kJournalFormat = 2;
inline constexpr std::uint8_t kCountedJournal = 1;  // its format before entries said who
/// Flags beside the kind.
inline constexpr std::uint8_t kHasText = 32;
inline constexpr std::uint8_t kHasWho = 64;
inline constexpr std::uint8_t kHasRow = 128;
inline constexpr std::uint8_t kKindBits = 31;

/// Writes the entries of one change, one after the other, without making them first.
class JournalWriter {
 public:
  /// Appends to `out`; nothing if nothing is told.
  explicit JournalWriter(std::string& out) : begin_(out.size()), out_(out) {}

  void Tell(Time time, JournalKind kind, std::size_t row, Op op, std::string_view text,
            std::string_view who) {
    char bytes[kMostEntryBytes];
    char* at = bytes;
    if (out_.size() == begin_) {
      *at++ = static_cast<char>(kJournalFormat);
      at = PutNumber(at, Micros(time));
      before_ = (std::max)(time, Time{});
    }
    const bool has_row = row != kNoRow;
    *at++ = static_cast<char>(static_cast<unsigned>(kind) | (has_row ? kHasRow : 0u) |
                              (text.empty() ? 0u : kHasText) | (who.empty() ? 0u : kHasWho));
    at = PutNumber(at, MicrosAfter(before_, time));  // 0 if the clock was set back
    if (has_row) {
      *at++ = static_cast<char>(op);
      at = PutNumber(at, row);
    }
    out_.append(bytes, static_cast<std::size_t>(at - bytes));
    if (!text.empty()) Writer(out_).Text(text);
    if (!who.empty()) Writer(out_).Text(who);
    if (time > before_) before_ = time;
  }

  /// The number of bytes is even: what SQLite concatenates in a file of UTF-16 it takes for text, and cuts half a
  /// character off.
  void End() {
    const std::size_t size = out_.size() - begin_;
    if (size > 0) out_.append("\0", 2 - size % 2);  // at least the end
  }

 private:
  static constexpr std::size_t kMostEntryBytes = 4 + 4 * kMostNumberBytes;

  const std::size_t begin_;
  std::string& out_;
  Time before_{};
};

/// Appends the entries to `out`; nothing if there are none.
inline void EncodeJournal(const std::vector<JournalEntry>& entries, std::string& out) {
  JournalWriter writer(out);
  for (const JournalEntry& entry : entries) {
    writer.Tell(entry.time, entry.kind, entry.row, entry.op, entry.text, entry.who);
  }
  writer.End();
}

inline JournalEntry ReadCountedEntry(Reader& reader, Time before) {
  JournalEntry entry;
  entry.kind = static_cast<JournalKind>(reader.Byte());
  entry.op = static_cast<Op>(reader.Byte());
  const std::uint64_t row = reader.Number();
  entry.row = row == 0 ? kNoRow : static_cast<std::size_t>(row - 1);
  entry.time = FromMicrosAfter(before, reader.Number());
  entry.text = reader.Text();
  return entry;
}

inline JournalEntry ReadEntry(Reader& reader, std::uint8_t first, Time before) {
  JournalEntry entry;
  entry.kind = static_cast<JournalKind>(first & kKindBits);
  entry.time = FromMicrosAfter(before, reader.Number());
  if ((first & kHasRow) != 0) {
    entry.op = static_cast<Op>(reader.Byte());
    entry.row = static_cast<std::size_t>(reader.Number());
  }
  if ((first & kHasText) != 0) entry.text = reader.Text();
  if ((first & kHasWho) != 0) entry.who = reader.Text();
  return entry;
}

/// @throws StoreError  damaged, or of a newer format.
inline void ReadEntries(Reader& reader, std::vector<JournalEntry>& entries) {
  const std::uint8_t format = reader.Byte();
  if (format == 0) return;  // fills up the entries before it
  const bool counted = format == kCountedJournal;
  if (!counted && format != kJournalFormat) Reader::Fail();
  std::size_t count = counted ? reader.Count() : 0;
  Time time = FromMicros(reader.Number());
  const auto keep = [&](JournalEntry entry) {
    time = entry.time;
    entries.push_back(std::move(entry));
  };
  for (; count > 0; --count) keep(ReadCountedEntry(reader, time));
  if (counted) return;
  while (const std::uint8_t first = reader.Byte()) keep(ReadEntry(reader, first, time));
}

/// Appends what `bytes` hold to `entries`. In place of what is damaged there is a gap: a journal is for people, and
/// keeps nothing from going on.
inline void DecodeJournal(std::string_view bytes, std::vector<JournalEntry>& entries) {
  Reader reader(bytes);
  try {
    while (!reader.AtEnd()) ReadEntries(reader, entries);
  } catch (const StoreError&) {
    const Time time = entries.empty() ? Time{} : entries.back().time;
    entries.push_back({time, 0, {}, JournalKind::kGap, {}});
  }
}

}  // namespace codec
}  // namespace v1
}  // namespace dtm
