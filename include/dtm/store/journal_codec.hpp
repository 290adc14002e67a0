/// The stored form of a journal: the entries of each change one after the other, so that those of the next are
/// appended without reading the others.
/// Needs: std. Threads: pure functions. Document: docs/store_format.md; change both together, and only with a
/// new format number.
#pragma once

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
inline constexpr std::uint8_t kJournalWithoutWho = 1;  // before entries said who

/// Appends the entries to `out`; nothing if there are none. The number of bytes is even: what SQLite concatenates
/// in a file of UTF-16 it takes for text, and cuts half a character off.
inline void EncodeJournal(const std::vector<JournalEntry>& entries, std::string& out) {
  if (entries.empty()) return;
  const std::size_t begin = out.size();
  Writer writer(out);
  Time before = entries.front().time;
  writer.Byte(kJournalFormat);
  writer.Number(entries.size());
  writer.Number(Micros(before));
  for (const JournalEntry& entry : entries) {
    writer.Byte(static_cast<std::uint8_t>(entry.kind));
    writer.Byte(static_cast<std::uint8_t>(entry.op));
    writer.Number(entry.row == kNoRow ? 0 : static_cast<std::uint64_t>(entry.row) + 1);
    writer.Number(MicrosAfter(before, entry.time));  // 0 if the clock was set back
    writer.Text(entry.text);
    writer.Text(entry.who);
    if (entry.time > before) before = entry.time;
  }
  if ((out.size() - begin) % 2 != 0) writer.Byte(0);
}

/// @throws StoreError  damaged, or of a newer format.
inline void ReadEntries(Reader& reader, std::vector<JournalEntry>& entries) {
  const std::uint8_t format = reader.Byte();
  if (format == 0) return;  // fills up the entries before it
  if (format != kJournalFormat && format != kJournalWithoutWho) Reader::Fail();
  std::size_t count = reader.Count();
  Time time = FromMicros(reader.Number());
  for (; count > 0; --count) {
    JournalEntry entry;
    entry.kind = static_cast<JournalKind>(reader.Byte());
    entry.op = static_cast<Op>(reader.Byte());
    const std::uint64_t row = reader.Number();
    entry.row = row == 0 ? kNoRow : static_cast<std::size_t>(row - 1);
    entry.time = time = FromMicrosAfter(time, reader.Number());
    entry.text = reader.Text();
    if (format != kJournalWithoutWho) entry.who = reader.Text();
    entries.push_back(std::move(entry));
  }
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
