/// Stories of transactions for tests of drawings: told entry by entry, and those that every format is tested with.
/// Needs: std. Threads: one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <dtm/core/journal.hpp>
#include <dtm/core/rows.hpp>
#include <dtm/core/transaction.hpp>
#include <dtm/timeline/timeline.hpp>

namespace story_kit {

using dtm::JournalKind;

/// Microseconds after the epoch: the creation of every transaction here.
constexpr std::int64_t kCreated = 1764525600000000;

inline dtm::Time At(double ms) {
  return dtm::Time(dtm::Duration(kCreated + static_cast<std::int64_t>(ms * 1000 + 0.5)));
}

class Story {
 public:
  explicit Story(dtm::TransType type = dtm::TransType::kSaga, std::string gid = "gid-1") {
    definition.type = type;
    definition.gid = std::move(gid);
    definition.prepared_first = dtm::RegistersSteps(type);
    record.created = At(0);
    record.status = dtm::Status::kSubmitted;
    record.due = dtm::kNever;
  }

  /// A step at this host: /Name and, with `undo`, /Undo.
  Story& Step(const std::string& action, const std::string& undo = {}, const std::string& id = {}) {
    dtm::Step step{action, undo, "{}", id};
    definition.steps.push_back(step);
    return *this;
  }

  Story& Tell(double ms, JournalKind kind, std::size_t row = dtm::kNoRow, std::string text = {},
              std::string who = {}) {
    now = ms;
    const bool known = row < dtm::RowCount(definition);
    entries.push_back({At(ms), row, known ? dtm::OpOf(definition, row) : dtm::Op{}, kind,
                       std::move(text), std::move(who)});
    return *this;
  }

  /// A call of that row from `begin` to `end`.
  Story& Call(double begin, double end, std::size_t row, JournalKind kind = JournalKind::kSuccess,
              const std::string& text = {}) {
    return Tell(begin, JournalKind::kStarted, row).Tell(end, kind, row, text);
  }

  Story& End(double ms, dtm::Status status) {
    record.status = status;
    record.finished = At(ms);
    return Tell(ms,
                status == dtm::Status::kSucceed ? JournalKind::kSucceeded : JournalKind::kFailed);
  }

  dtm::Timeline Make() const {
    dtm::Transaction transaction = record;
    transaction.branches.resize(dtm::RowCount(definition));
    for (std::size_t i = 0; i < branches.size() && i < transaction.branches.size(); ++i) {
      transaction.branches[i] = branches[i];
    }
    transaction.definition = std::make_shared<dtm::Definition>(definition);
    return dtm::MakeTimeline(std::move(transaction), entries);
  }

  dtm::Definition definition;
  dtm::Transaction record;
  std::vector<dtm::Branch> branches;
  std::vector<dtm::JournalEntry> entries;
  double now = 0;  // when the last one was told
};

// --- the stories that every format is tested with

/// A saga of two banks, submitted.
inline Story Transfer() {
  return Story()
      .Step("http://bank-a/TransOut", "http://bank-a/TransOutCom")
      .Step("http://bank-b/TransIn", "http://bank-b/TransInCom")
      .Tell(0, JournalKind::kSubmitted, dtm::kNoRow, "", "host:7");
}

inline dtm::Timeline Success() {
  return Transfer().Call(0.2, 4, 1).Call(4.2, 7.4, 3).End(7.4, dtm::Status::kSucceed).Make();
}

inline dtm::Timeline Rollback() {
  return Transfer()
      .Call(0.2, 4, 1)
      .Call(4.2, 7.4, 3, JournalKind::kFailure, "account closed")
      .Tell(7.4, JournalKind::kRollback, 3, "account closed")
      .Call(7.6, 9, 2)
      .Call(9.1, 11, 0)
      .End(11, dtm::Status::kFailed)
      .Make();
}

inline dtm::Timeline TakenOver() {
  return Transfer()
      .Call(0.2, 4, 1)
      .Tell(4.2, JournalKind::kStarted, 3)
      .Tell(3447, JournalKind::kTakenUp, dtm::kNoRow, "", "host:9")
      .Call(3447.2, 3450, 3)
      .End(3450, dtm::Status::kSucceed)
      .Make();
}

/// Errors with a wait that is doubled up to an hour, some ONGOING among them, then a success.
inline Story ManyTries(int errors) {
  Story story = Transfer().Call(0.2, 4, 1);
  double begin = 5, wait = 1000;
  for (int i = 0; i < errors; ++i) {
    const JournalKind kind = i % 9 == 4 ? JournalKind::kOngoing : JournalKind::kError;
    story.Call(begin, begin + 2, 3, kind, "connection refused");
    begin += wait;
    wait = wait < 1800000 ? wait * 2 : 3600000;
  }
  story.branches.resize(4);
  story.branches[3].tries = static_cast<std::uint32_t>(errors + 1);
  return story.Call(begin, begin + 3, 3).End(begin + 3, dtm::Status::kSucceed);
}

/// The same, of which the middle is not kept.
inline dtm::Timeline ManyTriesKeptInPart(int errors) {
  Story story = ManyTries(errors);
  const auto begin = story.entries.begin() + 17, end = story.entries.end() - 42;
  dtm::JournalEntry gap{end[-1].time, static_cast<std::size_t>(end - begin), {}, JournalKind::kGap};
  story.entries.insert(story.entries.erase(begin, end), gap);
  return story.Make();
}

/// With a branch that is nested in another one, and one of this program.
inline dtm::Timeline NestedTcc() {
  return Story(dtm::TransType::kTcc)
      .Step("http://bank-a/Confirm", "http://bank-a/Cancel", "01")
      .Step("http://fees/Confirm", "http://fees/Cancel", "0101")
      .Step("local:InConfirm", "local:InCancel", "02")
      .Tell(0, JournalKind::kPrepared, dtm::kNoRow, "", "host:7")
      .Tell(1, JournalKind::kRegistered, 1)
      .Tell(2, JournalKind::kRegistered, 3)
      .Tell(4, JournalKind::kRegistered, 5)
      .Tell(9, JournalKind::kSubmitted)
      .Call(9.1, 11, 5)
      .Call(11.1, 13, 3)
      .Call(13.1, 15, 1)
      .End(15, dtm::Status::kSucceed)
      .Make();
}

inline dtm::Timeline TccTimeout() {
  return Story(dtm::TransType::kTcc)
      .Step("http://bank-a/Confirm", "http://bank-a/Cancel", "01")
      .Tell(0, JournalKind::kPrepared)
      .Tell(1, JournalKind::kRegistered, 1)
      .Tell(35000, JournalKind::kRollback, dtm::kNoRow, "it was not submitted within 35 s")
      .Call(35001, 35002, 0)
      .End(35002, dtm::Status::kFailed)
      .Make();
}

inline dtm::Timeline CancelledXa() {
  return Story(dtm::TransType::kXa)
      .Step("http://bank-a/Xa", "http://bank-a/Xa", "01")
      .Tell(0, JournalKind::kPrepared)
      .Tell(1, JournalKind::kRegistered, 1)
      .Tell(2, JournalKind::kCancel, dtm::kNoRow, "no money")
      .Tell(2, JournalKind::kRollback, dtm::kNoRow, "no money")
      .Call(2, 5, 0)
      .End(5, dtm::Status::kFailed)
      .Make();
}

/// Its initiator is asked; two branches, one of them a subscriber of a topic, are called at once.
inline dtm::Timeline QueriedMessage() {
  Story story(dtm::TransType::kMsg);
  story.definition.prepared_first = true;
  story.definition.query_prepared = "http://bank-a/WasItCommitted";
  return story.Step("http://bank-b/TransIn")
      .Step("http://mail/Transfers?x=1", "", "02-01")
      .Tell(0, JournalKind::kPrepared)
      .Call(35000, 35002, 0, JournalKind::kOngoing)
      .Call(45000, 45002, 0)
      .Tell(45002, JournalKind::kStarted, 1)
      .Tell(45002, JournalKind::kStarted, 2)
      .Tell(45009, JournalKind::kSuccess, 2)
      .Tell(45020, JournalKind::kSuccess, 1)
      .End(45020, dtm::Status::kSucceed)
      .Make();
}

inline dtm::Timeline ResumedWorkflow() {
  Story story(dtm::TransType::kWorkflow);
  story.definition.workflow = "checkout";
  story.definition.query_prepared = "local:checkout";
  story.Step("http://shop/Reserve", "", "01").Step("do:", "", "02");
  story.definition.steps[0].topic = "reserve";
  story.definition.steps[1].topic = "pay";
  return story.Tell(0, JournalKind::kPrepared, dtm::kNoRow, "", "host:7")
      .Tell(4, JournalKind::kRegistered, 1)
      .Tell(2000, JournalKind::kTakenUp, dtm::kNoRow, "", "host:8")
      .Tell(2001, JournalKind::kStarted, 0)
      .Tell(2003, JournalKind::kRegistered, 2, "no money")
      .Tell(2004, JournalKind::kFinish, dtm::kNoRow, "no money")
      .Tell(2004, JournalKind::kRollback, dtm::kNoRow, "no money")
      .End(2004, dtm::Status::kFailed)
      .Make();
}

/// Errors, and everything that people can ask for.
inline dtm::Timeline People() {
  return Transfer()
      .Call(0.2, 4, 1)
      .Call(
          4.2, 7.4, 3, JournalKind::kError,
          "the connection to bank-b:80 was closed by its side after 0 bytes of the reply, while the"
          " body of the request was sent")
      .Call(2007, 2008, 3, JournalKind::kNotSent, "no slot")
      .Tell(2500, JournalKind::kRetryNow, dtm::kNoRow, "", "alice")
      .Call(2501, 2502, 3, JournalKind::kOngoing, "come back later")
      .Tell(4000, JournalKind::kRepair, 3, "paid by hand, ticket 4711", "bob")
      .Tell(4000, JournalKind::kCancel, dtm::kNoRow, "customer left", "carol")
      .Tell(4000, JournalKind::kRollback, dtm::kNoRow, "customer left")
      .Call(4000, 4003, 0, JournalKind::kError, "busy")
      .Tell(5000, JournalKind::kForceStop, dtm::kNoRow, "enough", "dave")
      .End(5000, dtm::Status::kFailed)
      .Make();
}

inline dtm::Timeline Running() {
  Story story = Transfer()
                    .Call(0.2, 4, 1)
                    .Call(4.2, 7.4, 3, JournalKind::kError, "busy")
                    .Tell(2000, JournalKind::kStarted, 3);
  story.record.due = At(37000);
  return story.Make();
}

inline dtm::Timeline Waiting() {
  Story story = Transfer().Call(0.2, 4, 1).Call(4.2, 7.4, 3, JournalKind::kError, "busy");
  story.record.due = At(10007);
  story.branches.resize(4);
  story.branches[3].tries = 1;
  story.branches[3].next_try = At(10007);
  return story.Make();
}

inline dtm::Timeline Stuck() {
  Story story = Transfer().Call(0.2, 4, 1).Tell(4, JournalKind::kStuck, dtm::kNoRow,
                                                "branch 01 was done twice");
  story.record.stuck = true;
  return story.Make();
}

/// Only a record: the second step failed at its fourth try.
inline dtm::Timeline NoJournal() {
  Story story = Transfer();
  story.entries.clear();
  story.branches.resize(4);
  const std::vector<double> finished{2011, 4, 2010, 2009};
  for (std::size_t row = 0; row < finished.size(); ++row) {
    story.branches[row].status = dtm::BranchStatus::kSucceed;
    story.branches[row].tries = 1;
    story.branches[row].finished = At(finished[row]);
  }
  story.branches[3].status = dtm::BranchStatus::kFailed;
  story.branches[3].tries = 4;
  story.record.status = dtm::Status::kFailed;
  story.record.reason = "account closed";
  story.record.finished = At(2011);
  return story.Make();
}

/// Nine hosts are called at once, one refuses.
inline dtm::Timeline NineHosts() {
  Story story;
  for (int i = 0; i < 9; ++i) {
    const std::string host = "http://host-" + std::to_string(i) + ".example.org:8080";
    story.Step(host + "/Do", host + "/Undo");
  }
  story.definition.concurrent = true;
  story.Tell(0, JournalKind::kSubmitted);
  for (std::size_t i = 0; i < 9; ++i) story.Tell(0.1, JournalKind::kStarted, 2 * i + 1);
  for (std::size_t i = 0; i < 9; ++i) {
    const bool refuses = i == 4;
    story.Tell(1.5 + static_cast<double>(i),
               refuses ? JournalKind::kFailure : JournalKind::kSuccess, 2 * i + 1,
               refuses ? "sold out" : "");
  }
  story.Tell(11, JournalKind::kRollback, 9, "sold out");
  for (std::size_t i = 9; i-- > 0;) {
    const double begin = 20 - static_cast<double>(i);
    story.Call(begin, begin + 0.5, 2 * i);
  }
  return story.End(21, dtm::Status::kFailed).Make();
}

/// The clock of the second process is four seconds behind.
inline dtm::Timeline ClockSetBack() {
  return Transfer()
      .Call(5000, 5004, 1)
      .Tell(1000, JournalKind::kTakenUp, dtm::kNoRow, "", "host:7")
      .Call(1000, 1003, 3)
      .End(1003, dtm::Status::kSucceed)
      .Make();
}

/// What somebody may write who wishes no good, and characters that take two cells.
inline dtm::Timeline Hostile() {
  return Story(dtm::TransType::kSaga, "</text><script>alert(1)</script>\nend")
      .Step("http://user:secret@bank-a/Tr%1b[31mans<b>Out", "http://bank-a/X")
      .Step("http://user:secret@[broken\x1b/x?y", "")
      .Step("local:日本語の関数", "local:tx/Undo")
      .Tell(0, JournalKind::kSubmitted)
      .Call(1, 2, 1, JournalKind::kError,
            "\x1b]0;title\x07 </text><script>&amp;\"'; \xff \xe2\x80\xae gnp.exe"
            " 日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語")
      .Call(3, 4, 3)
      .Call(5, 6, 5)
      .Call(6, 7, 4)
      .End(7, dtm::Status::kFailed)
      .Make();
}

inline dtm::Timeline ThousandSteps() {
  Story story;
  for (int i = 0; i < 1000; ++i) story.Step("local:Do", "local:Undo");
  story.Tell(0, JournalKind::kSubmitted);
  for (std::size_t i = 0; i < 1000; ++i) {
    const auto begin = static_cast<double>(i);
    story.Call(begin, begin + 0.5, 2 * i + 1);
  }
  return story.End(1001, dtm::Status::kSucceed).Make();
}

inline std::vector<std::pair<std::string, dtm::Timeline>> AllStories() {
  return {{"success", Success()},
          {"rollback", Rollback()},
          {"taken over", TakenOver()},
          {"many tries", ManyTries(200).Make()},
          {"many tries kept in part", ManyTriesKeptInPart(200)},
          {"nested tcc", NestedTcc()},
          {"tcc timeout", TccTimeout()},
          {"cancelled xa", CancelledXa()},
          {"queried message", QueriedMessage()},
          {"resumed workflow", ResumedWorkflow()},
          {"people", People()},
          {"running", Running()},
          {"waiting", Waiting()},
          {"stuck", Stuck()},
          {"no journal", NoJournal()},
          {"nine hosts", NineHosts()},
          {"clock set back", ClockSetBack()},
          {"hostile", Hostile()},
          {"thousand steps", ThousandSteps()}};
}

}  // namespace story_kit
