/// Drawings for a terminal, as they are seen: of each type, and of all that can happen to a transaction.
#include <cstddef>
#include <string>

#include "tests/catch.hpp"
#include "tests/timeline/story_kit.hpp"
#include <dtm/timeline/draw.hpp>

namespace {

/// With an empty line before it, as the texts below.
std::string Drawn(const dtm::Timeline& story, std::size_t width = 96) {
  return '\n' + dtm::Draw(story, dtm::DrawFormat::kText, {false, width});
}

}  // namespace

TEST_CASE("draw: a saga that succeeds") {
  CHECK(Drawn(story_kit::Success()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
    0.2       │                 ├── 01 TransOut ─────────────▶│                             │
    4.0       │                 │◀─ success ──────────────────┤                             │
    4.2       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7.4       │                 │◀────────────────────────────┼── success ──────────────────┤
    7.4       │◀─ succeed ──────┤                             │                             │
)drawn");
}

TEST_CASE("draw: a rollback") {
  CHECK(Drawn(story_kit::Rollback()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
    0.2       │                 ├── 01 TransOut ─────────────▶│                             │
    4.0       │                 │◀─ success ──────────────────┤                             │
    4.2       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7.4       │                 │◀────────────────────────────┼── failure: account closed ──┤
    7.4       │                 ● rolls back                  │                             │
    7.6       │                 ├── 02 compensate TransInCom ─┼────────────────────────────▶│
    9.0       │                 │◀────────────────────────────┼── success ──────────────────┤
    9.1       │                 ├─ 01 compensate TransOutCom ▶│                             │
   11.0       │                 │◀─ success ──────────────────┤                             │
   11.0       │◀─ failed ───────┤                             │                             │
)drawn");
}

TEST_CASE("draw: the process is gone, and another one takes over: two lives") {
  CHECK(Drawn(story_kit::TakenOver()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
    0.2       │                 ├── 01 TransOut ─────────────▶│                             │
    4.0       │                 │◀─ success ──────────────────┤                             │
    4.2       │                 ├╌╌ 02 TransIn ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┼╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌▶│
              ╧═════════════════╧═════ process 7 is gone ═════╧═════════════════════════════╧
                                  3.4 s later
 3447.0       ╤═════════════════╤═══ taken up by process 9 ═══╤═════════════════════════════╤
 3447.2       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
 3450.0       │                 │◀────────────────────────────┼── success ──────────────────┤
 3450.0       │◀─ succeed ──────┤                             │                             │
)drawn");
}

TEST_CASE("draw: two hundred tries") {
  CHECK(Drawn(story_kit::ManyTries(200).Make()) == R"drawn(
   time  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
      0.0 ms  ├── submit ──────▶│                             │                             │
      0.2 ms  │                 ├── 01 TransOut ─────────────▶│                             │
      4.0 ms  │                 │◀─ success ──────────────────┤                             │
      5.0 ms  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
      7.0 ms  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 998 ms                ┊                             ┊
       1.0 s  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
       1.0 s  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 2.0 s                 ┊                             ┊
       3.0 s  ┊                 ┊ 196 more tries over 7 d 18 h, 174 error, 22 ongoing:      ┊
              ┊                 ┊ connection refused          ┊                             ┊
              ┊                 ┊ waits 1 h 0 min             ┊                             ┊
    7 d 19 h  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7 d 19 h  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 1 h 0 min             ┊                             ┊
    7 d 20 h  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7 d 20 h  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 1 h 0 min             ┊                             ┊
    7 d 21 h  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7 d 21 h  │                 │◀────────────────────────────┼── success ──────────────────┤
    7 d 21 h  │◀─ succeed ──────┤                             │                             │
)drawn");
}

TEST_CASE("draw: two hundred tries, not all of them kept") {
  CHECK(Drawn(story_kit::ManyTriesKeptInPart(200)) == R"drawn(
   time  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
      0.0 ms  ├── submit ──────▶│                             │                             │
      0.2 ms  │                 ├── 01 TransOut ─────────────▶│                             │
      4.0 ms  │                 │◀─ success ──────────────────┤                             │
      5.0 ms  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
      7.0 ms  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 998 ms                ┊                             ┊
       1.0 s  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
       1.0 s  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 2.0 s                 ┊                             ┊
       3.0 s  ┊                 ┊ 196 more tries over 7 d 18 h (347 entries not kept), 20 error,
              ┊                 ┊ 3 ongoing: connection refused                             ┊
              ┊                 ┊ waits 1 h 0 min             ┊                             ┊
    7 d 19 h  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7 d 19 h  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 1 h 0 min             ┊                             ┊
    7 d 20 h  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7 d 20 h  │                 │◀────────────────────────────┼── error: connection refused ┤
              ┊                 ┊ waits 1 h 0 min             ┊                             ┊
    7 d 21 h  │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7 d 21 h  │                 │◀────────────────────────────┼── success ──────────────────┤
    7 d 21 h  │◀─ succeed ──────┤                             │                             │
)drawn");
}

TEST_CASE("draw: a tcc with a branch in a branch") {
  CHECK(Drawn(story_kit::NestedTcc()) == R"drawn(
     ms  application       coordinator           bank-a             functions             fees
              │                 │                   │                   │                   │
    0.0       ├── prepare ─────▶│                   │                   │                   │
    1.0       ├── register 01 ─▶│                   │                   │                   │
    2.0       │                 │◀─ register 0101 ──┤                   │                   │
    4.0       ├── register 02 ─▶│                   │                   │                   │
    9.0       ├── submit ──────▶│                   │                   │                   │
    9.1       │                 ├── 02 confirm InConfirm ──────────────▶│                   │
   11.0       │                 │◀──────────────────┼── success ────────┤                   │
   11.1       │                 ├── 0101 Confirm ───┼───────────────────┼──────────────────▶│
   13.0       │                 │◀──────────────────┼───────────────────┼── success ────────┤
   13.1       │                 ├── 01 Confirm ────▶│                   │                   │
   15.0       │                 │◀─ success ────────┤                   │                   │
   15.0       │◀─ succeed ──────┤                   │                   │                   │
)drawn");
}

TEST_CASE("draw: a tcc that nobody submits") {
  CHECK(Drawn(story_kit::TccTimeout()) == R"drawn(
     ms  application       coordinator                               bank-a
              │                 │                                       │
    0.0       ├── prepare ─────▶│                                       │
    1.0       ├── register 01 ─▶│                                       │
              ┊                 ┊ 35.0 s later                          ┊
35000.0       │                 ● rolls back: it was not submitted within 35 s
35001.0       │                 ├── 01 Cancel ─────────────────────────▶│
35002.0       │                 │◀─ success ────────────────────────────┤
35002.0       │◀─ failed ───────┤                                       │
)drawn");
}

TEST_CASE("draw: an xa that its initiator cancels") {
  CHECK(Drawn(story_kit::CancelledXa()) == R"drawn(
     ms  application       coordinator                               bank-a
              │                 │                                       │
    0.0       ├── prepare ─────▶│                                       │
    1.0       ├── register 01 ─▶│                                       │
    2.0       ├────────────────▶│ cancel: no money                      │
    2.0       │                 ● rolls back                            │
    2.0       │                 ├── 01 rollback Xa ────────────────────▶│
    5.0       │                 │◀─ success ────────────────────────────┤
    5.0       │◀─ failed ───────┤                                       │
)drawn");
}

TEST_CASE("draw: a message whose initiator is asked, and branches at once") {
  CHECK(Drawn(story_kit::QueriedMessage()) == R"drawn(
     ms  application       coordinator                     bank-b                         mail
              │                 │                             │                             │
    0.0       ├── prepare ─────▶│                             │                             │
              ┊                 ┊ 35.0 s later                ┊                             ┊
35000.0       │◀────────────────┤ 00 WasItCommitted           │                             │
35002.0       ├── ongoing ─────▶│                             │                             │
              ┊                 ┊ waits 10.0 s                ┊                             ┊
45000.0       │◀────────────────┤ 00 WasItCommitted           │                             │
45002.0       ├── success ─────▶│                             │                             │
45002.0       │                 ├── 01 TransIn ──────────────▶│                             │
45002.0       │                 ├── 02-01 Transfers ──────────┼────────────────────────────▶│
45009.0       │                 │◀────────────────────────────┼── success ──────────────────┤
45020.0       │                 │◀─ 01 success ───────────────┤                             │
45020.0       │◀─ succeed ──────┤                             │                             │
)drawn");
}

TEST_CASE("draw: a workflow that is resumed") {
  CHECK(Drawn(story_kit::ResumedWorkflow()) == R"drawn(
     ms  application       coordinator
              │                 │
    0.0       ├── prepare ─────▶│
    4.0       ├────────────────▶│ record 01 reserve
              ╧═════════════════╧ process 7 is gone
                                  2.0 s later
 2000.0       ╤═════════════════╤ taken up by process 8
 2001.0       │◀─ 00 resume ────┤
 2003.0       ├────────────────▶│ record 02 pay failed: no money
 2004.0       ├────────────────▶│ fail: no money
 2004.0       │                 ● rolls back
 2004.0       │◀─ failed ───────┤
)drawn");
}

TEST_CASE("draw: errors, and what people do") {
  CHECK(Drawn(story_kit::People()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
    0.2       │                 ├── 01 TransOut ─────────────▶│                             │
    4.0       │                 │◀─ success ──────────────────┤                             │
    4.2       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7.4       │                 │◀────────────────────────────┼── error ────────────────────┤
              │                 │ the connection to bank-b:80 was closed by its side after 0
              │                 │ bytes of the reply, while the body of the request was sent
              ┊                 ┊ waits 2.0 s                 ┊                             ┊
 2008.0       │                 ● 02 TransIn not sent: no slot                              │
              ┊                 ┊ waits 492 ms                ┊                             ┊
 2500.0       │                 ● retry now by alice          │                             │
 2501.0       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
 2502.0       │                 │◀────────────────────────────┼── ongoing: come back later ─┤
              ┊                 ┊ waits 1.5 s                 ┊                             ┊
 4000.0       │                 ● 02 TransIn skipped by bob: paid by hand, ticket 4711      │
 4000.0       │                 ● cancelled by carol: customer left                         │
 4000.0       │                 ● rolls back: customer left   │                             │
 4000.0       │                 ├─ 01 compensate TransOutCom ▶│                             │
 4003.0       │                 │◀─ error: busy ──────────────┤                             │
              ┊                 ┊ waits 997 ms                ┊                             ┊
 5000.0       │                 ● force-stopped by dave: enough                             │
 5000.0       │◀─ failed ───────┤                             │                             │
)drawn");
}

TEST_CASE("draw: a call is running") {
  CHECK(Drawn(story_kit::Running()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
    0.2       │                 ├── 01 TransOut ─────────────▶│                             │
    4.0       │                 │◀─ success ──────────────────┤                             │
    4.2       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7.4       │                 │◀────────────────────────────┼── error: busy ──────────────┤
              ┊                 ┊ waits 2.0 s                 ┊                             ┊
 2000.0       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
              │                 ● running: 02 TransIn         │                             │
              │                 ● due at 37.0 s               │                             │
)drawn");
}

TEST_CASE("draw: a try is waited for") {
  CHECK(Drawn(story_kit::Waiting()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
    0.2       │                 ├── 01 TransOut ─────────────▶│                             │
    4.0       │                 │◀─ success ──────────────────┤                             │
    4.2       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
    7.4       │                 │◀────────────────────────────┼── error: busy ──────────────┤
              │                 ● waits to try again: 02 TransIn                            │
              │                 ● due at 10.0 s               │                             │
)drawn");
}

TEST_CASE("draw: stuck") {
  CHECK(Drawn(story_kit::Stuck()) == R"drawn(
     ms  application       coordinator                               bank-a
              │                 │                                       │
    0.0       ├── submit ──────▶│                                       │
    0.2       │                 ├── 01 TransOut ───────────────────────▶│
    4.0       │                 │◀─ success ────────────────────────────┤
    4.0       │                 ● stuck: branch 01 was done twice       │
)drawn");
}

TEST_CASE("draw: only a record") {
  CHECK(Drawn(story_kit::NoJournal()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
              │                 ● no journal was kept: this is from the record              │
    4.0       │                 │◀─ 01 TransOut success ──────┤                             │
              ┊                 ┊ 2.0 s later                 ┊                             ┊
 2009.0       │                 │◀─ 02 TransIn failure after 4 tries ───────────────────────┤
 2010.0       │                 │◀─ 02 compensate TransInCom success ───────────────────────┤
 2011.0       │                 │◀────────────────────────────┤                             │
              │                 │ 01 compensate TransOutCom success                         │
 2011.0       │◀────────────────┤ failed: account closed      │                             │
)drawn");
}

TEST_CASE("draw: nine hosts at once") {
  CHECK(Drawn(story_kit::NineHosts()) == R"drawn(
                    coordinator
     ms  application     │       host-0     host-1     host-2     host-3     host-4    4 others
              │          │          │          │          │          │          │          │
    0.0       ├─ submit ▶│          │          │          │          │          │          │
    0.1       │          ├── 01 Do ▶│          │          │          │          │          │
    0.1       │          ├── 02 Do ─┼─────────▶│          │          │          │          │
    0.1       │          ├── 03 Do ─┼──────────┼─────────▶│          │          │          │
    0.1       │          ├── 04 Do ─┼──────────┼──────────┼─────────▶│          │          │
    0.1       │          ├── 05 Do ─┼──────────┼──────────┼──────────┼─────────▶│          │
    0.1       │          ├── 06 Do at host-5 ──┼──────────┼──────────┼──────────┼─────────▶│
    0.1       │          ├── 07 Do at host-6 ──┼──────────┼──────────┼──────────┼─────────▶│
    0.1       │          ├── 08 Do at host-7 ──┼──────────┼──────────┼──────────┼─────────▶│
    0.1       │          ├── 09 Do at host-8 ──┼──────────┼──────────┼──────────┼─────────▶│
    1.5       │          │◀─────────┤ 01 success          │          │          │          │
    2.5       │          │◀─ 02 success ───────┤          │          │          │          │
    3.5       │          │◀─ 03 success ───────┼──────────┤          │          │          │
    4.5       │          │◀─ 04 success ───────┼──────────┼──────────┤          │          │
    5.5       │          │◀─ 05 failure: sold out ────────┼──────────┼──────────┤          │
    6.5       │          │◀─ 06 success ───────┼──────────┼──────────┼──────────┼──────────┤
    7.5       │          │◀─ 07 success ───────┼──────────┼──────────┼──────────┼──────────┤
    8.5       │          │◀─ 08 success ───────┼──────────┼──────────┼──────────┼──────────┤
    9.5       │          │◀─ 09 success ───────┼──────────┼──────────┼──────────┼──────────┤
   11.0       │          ● rolls back because of 05 Do: sold out     │          │          │
   12.0       │          ├── 09 compensate Undo at host-8 ┼──────────┼──────────┼─────────▶│
   12.5       │          │◀─ success ──────────┼──────────┼──────────┼──────────┼──────────┤
   13.0       │          ├── 08 compensate Undo at host-7 ┼──────────┼──────────┼─────────▶│
   13.5       │          │◀─ success ──────────┼──────────┼──────────┼──────────┼──────────┤
   14.0       │          ├── 07 compensate Undo at host-6 ┼──────────┼──────────┼─────────▶│
   14.5       │          │◀─ success ──────────┼──────────┼──────────┼──────────┼──────────┤
   15.0       │          ├── 06 compensate Undo at host-5 ┼──────────┼──────────┼─────────▶│
   15.5       │          │◀─ success ──────────┼──────────┼──────────┼──────────┼──────────┤
   16.0       │          ├── 05 compensate Undo ──────────┼──────────┼─────────▶│          │
   16.5       │          │◀─ success ──────────┼──────────┼──────────┼──────────┤          │
   17.0       │          ├── 04 compensate Undo ──────────┼─────────▶│          │          │
   17.5       │          │◀─ success ──────────┼──────────┼──────────┤          │          │
   18.0       │          ├── 03 compensate Undo ─────────▶│          │          │          │
   18.5       │          │◀─ success ──────────┼──────────┤          │          │          │
   19.0       │          ├──────────┼─────────▶│ 02 compensate Undo  │          │          │
   19.5       │          │◀─ success ──────────┤          │          │          │          │
   20.0       │          ├─────────▶│ 01 compensate Undo  │          │          │          │
   20.5       │          │◀ success ┤          │          │          │          │          │
   21.0       │◀─ failed ┤          │          │          │          │          │          │
)drawn");
}

TEST_CASE("draw: a clock that was set back") {
  CHECK(Drawn(story_kit::ClockSetBack()) == R"drawn(
     ms  application       coordinator                     bank-a                        bank-b
              │                 │                             │                             │
    0.0       ├── submit ──────▶│                             │                             │
              ┊                 ┊ 5.0 s later                 ┊                             ┊
 5000.0       │                 ├── 01 TransOut ─────────────▶│                             │
 5004.0       │                 │◀─ success ──────────────────┤                             │
 5004.0       │                 ● the clock was set back by 4.0 s                           │
              ╧═════════════════╧═════ process 7 is gone ═════╧═════════════════════════════╧
 5004.0       ╤═════════════════╤═══════ started again ═══════╤═════════════════════════════╤
 5004.0       │                 ├── 02 TransIn ───────────────┼────────────────────────────▶│
 5007.0       │                 │◀────────────────────────────┼── success ──────────────────┤
 5007.0       │◀─ succeed ──────┤                             │                             │
)drawn");
}

TEST_CASE("draw: hostile texts") {
  CHECK(Drawn(story_kit::Hostile()) == R"drawn(
     ms  application       coordinator           bank-a        http://***@[broken?     functions
              │                 │                   │                   │                   │
    0.0       ├── submit ──────▶│                   │                   │                   │
    1.0       │                 ├──────────────────▶│ 01 Tr?[31mans<b>Out                   │
    2.0       │                 │◀─ error ──────────┤                   │                   │
              │                 │ ?]0;title? </text><script>&amp;"'; ? ? gnp.exe            │
              │                 │ 日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語
    3.0       │                 ├── 02 x ───────────┼──────────────────▶│                   │
    4.0       │                 │◀──────────────────┼── success ────────┤                   │
    5.0       │                 ├── 03 日本語の関数 ┼───────────────────┼──────────────────▶│
    6.0       │                 │◀──────────────────┼───────────────────┼── success ────────┤
    6.0       │                 ● 03 compensate Undo                    │                   │
    7.0       │                 ● 03 success        │                   │                   │
    7.0       │◀─ failed ───────┤                   │                   │                   │
)drawn");
}

TEST_CASE("draw: texts that a narrow terminal has no room for stand below") {
  CHECK(Drawn(story_kit::Rollback(), 60) == R"drawn(
     ms  application   coordinator     bank-a        bank-b
              │             │             │             │
    0.0       ├── submit ──▶│             │             │
    0.2       │             ├────────────▶│ 01 TransOut │
    4.0       │             │◀─ success ──┤             │
    4.2       │             ├── 02 TransIn ────────────▶│
    7.4       │             │◀─ failure: account closed ┤
    7.4       │             ● rolls back  │             │
    7.6       │             ├─────────────┼────────────▶│
              │             │ 02 compensate TransInCom  │
    9.0       │             │◀────────────┼── success ──┤
    9.1       │             ├────────────▶│             │
              │             │ 01 compensate TransOutCom │
   11.0       │             │◀─ success ──┤             │
   11.0       │◀─ failed ───┤             │             │
)drawn");
}

TEST_CASE("draw: a width that nobody can mean is the nearest one") {
  CHECK(Drawn(story_kit::People(), 0) == Drawn(story_kit::People(), 40));
  CHECK(Drawn(story_kit::People(), 5000) == Drawn(story_kit::People(), 1000));
}

TEST_CASE("draw: colours by what happened, only if asked for") {
  const std::string drawn = dtm::Draw(story_kit::Rollback(), dtm::DrawFormat::kText, {true, 96});
  CHECK(drawn.find("\033[36m── 02 TransIn ──") != std::string::npos);
  CHECK(drawn.find("\033[32m◀─ success ──") != std::string::npos);
  CHECK(drawn.find("\033[31m◀────") != std::string::npos);
  CHECK(drawn.find("\033[31m● rolls back\033[0m") != std::string::npos);
  std::string plain = drawn;
  for (std::size_t at = 0; (at = plain.find('\033')) != std::string::npos;) {
    plain.erase(at, plain.find('m', at) + 1 - at);
  }
  CHECK('\n' + plain == Drawn(story_kit::Rollback()));
}

TEST_CASE("draw: a program may change a diagram before it is drawn") {
  dtm::Diagram diagram = dtm::MakeDiagram(story_kit::Success());
  diagram.lifelines[2].name = "my bank";
  CHECK(dtm::Draw(diagram, dtm::DrawFormat::kText).find("my bank") != std::string::npos);
}
