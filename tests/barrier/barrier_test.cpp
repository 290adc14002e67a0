/// The barrier without a database: what a call must say, its numbers, and the whole table of
/// decisions.
#include <map>
#include <string>
#include <type_traits>

#include "tests/catch.hpp"
#include <dtm/barrier/barrier.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Barrier;
using dtm::barrier::Decide;
using dtm::barrier::Decision;
using dtm::barrier::OriginOf;
using Query = std::multimap<std::string, std::string>;

static_assert(std::is_nothrow_move_constructible_v<Barrier>);

namespace {

template <typename Function>
std::string Refusal(const Function& function) {
  try {
    function();
  } catch (const dtm::Error& error) {
    return error.what();
  }
  return "accepted";
}

Query Complete() {
  return {{"trans_type", "saga"}, {"gid", "g1"}, {"branch_id", "01"}, {"op", "action"}};
}

}  // namespace

TEST_CASE("an op knows what it undoes") {
  const std::map<std::string, std::string> origins{
      {"cancel", "try"}, {"compensate", "action"}, {"rollback", "action"}};
  for (const char* op : {"action", "compensate", "try", "confirm", "cancel", "commit", "rollback",
                         "msg", "business", "", "Cancel", "anything"}) {
    CAPTURE(op);
    const auto found = origins.find(op);
    CHECK(OriginOf(op) == (found == origins.end() ? std::string() : found->second));
  }
}

TEST_CASE("every decision: op, origin inserted, own inserted") {
  struct Row {
    const char* op;
    bool origin;
    bool own;
    Decision decision;
  };
  const Decision run = Decision::kRun;
  const Decision null = Decision::kNullCompensation;
  const Decision repeated = Decision::kRepeated;
  const Decision duplicated = Decision::kDuplicated;
  const Row rows[] = {
      {"action", false, true, run},
      {"action", false, false, repeated},
      {"try", false, true, run},
      {"try", false, false, repeated},
      {"confirm", false, true, run},
      {"confirm", false, false, repeated},
      {"commit", false, true, run},
      {"commit", false, false, repeated},
      {"business", false, true, run},
      {"business", false, false, repeated},
      {"anything", false, true, run},
      {"anything", false, false, repeated},
      {"msg", false, true, run},
      {"msg", false, false, duplicated},
      {"compensate", false, true, run},
      {"compensate", false, false, repeated},
      {"compensate", true, true, null},
      {"compensate", true, false, null},
      {"cancel", false, true, run},
      {"cancel", false, false, repeated},
      {"cancel", true, true, null},
      {"cancel", true, false, null},
      {"rollback", false, true, run},
      {"rollback", false, false, repeated},
      {"rollback", true, true, null},
      {"rollback", true, false, null},
      // What has no origin inserts none, whatever the caller says.
      {"action", true, true, run},
      {"action", true, false, repeated},
      {"msg", true, true, run},
      {"msg", true, false, duplicated},
  };
  for (const Row& row : rows) {
    CAPTURE(row.op, row.origin, row.own);
    CHECK(Decide(row.op, row.origin, row.own) == row.decision);
  }
}

TEST_CASE("a barrier is read from the query of the call") {
  Query query = Complete();
  query.insert({"dtm", "http://tm"});
  query.insert({"amount", "30"});
  const Barrier barrier = dtm::BarrierFromQuery(query);
  CHECK(barrier.Type() == "saga");
  CHECK(barrier.Gid() == "g1");
  CHECK(barrier.BranchId() == "01");
  CHECK(barrier.Op() == "action");
  CHECK(barrier.Who() == "saga gid 'g1', branch 01, op action");

  // Stripped as dtm does.
  const Barrier stripped = dtm::BarrierFromQuery(
      {{"trans_type", "t\ncc;"}, {"gid", ";g\r\n1"}, {"branch_id", "02\n01"}, {"op", "\rtry;"}});
  CHECK(stripped.Who() == "tcc gid 'g1', branch 0201, op try");
}

TEST_CASE("what is missing is named") {
  for (const char* name : {"trans_type", "gid", "branch_id", "op"}) {
    CAPTURE(name);
    Query query = Complete();
    query.erase(name);
    CHECK_THAT(Refusal([&] { dtm::BarrierFromQuery(query); }),
               ContainsSubstring("does not say its " + std::string(name) + ";"));
    query.insert({name, "\r\n;"});  // nothing is left of it
    CHECK_THAT(Refusal([&] { dtm::BarrierFromQuery(query); }),
               ContainsSubstring("does not say its " + std::string(name) + ";"));
  }
  CHECK_THAT(Refusal([] { dtm::BarrierFromQuery({}); }),
             ContainsSubstring("its trans_type, gid, branch_id, op; a coordinator puts"));
}

TEST_CASE("a value said twice must be the same") {
  for (const char* name : {"trans_type", "gid", "branch_id", "op"}) {
    CAPTURE(name);
    Query query = Complete();
    query.insert(*query.find(name));
    CHECK(Refusal([&] { dtm::BarrierFromQuery(query); }) == "accepted");
    query.insert({name, "other"});
    CHECK_THAT(Refusal([&] { dtm::BarrierFromQuery(query); }),
               ContainsSubstring("says " + std::string(name) + " twice"));
  }
  Query other = Complete();
  other.insert({"amount", "1"});
  other.insert({"amount", "2"});
  CHECK(Refusal([&] { dtm::BarrierFromQuery(other); }) == "accepted");
}

TEST_CASE("values have limits") {
  const std::string at45(45, 'x');
  const std::string at128(128, 'x');
  CHECK(Refusal([&] { Barrier(at45, at128, at128, at45); }) == "accepted");
  CHECK_THAT(Refusal([&] { Barrier(at45 + "x", at128, at128, at45); }),
             ContainsSubstring("the trans_type") && ContainsSubstring("46 bytes; the limit is 45"));
  CHECK_THAT(Refusal([&] { Barrier(at45, at128 + "x", at128, at45); }),
             ContainsSubstring("the gid") && ContainsSubstring("129 bytes; the limit is 128"));
  CHECK_THAT(Refusal([&] { Barrier(at45, at128, at128 + "x", at45); }),
             ContainsSubstring("the branch_id"));
  CHECK_THAT(Refusal([&] { Barrier(at45, at128, at128, at45 + "x"); }),
             ContainsSubstring("the op"));
  for (const std::string& odd : {std::string("a\0b", 3), std::string("a\tb"), std::string("\xFF"),
                                 std::string("a\nb"), std::string("\x7F")}) {
    CAPTURE(odd);
    CHECK_THAT(Refusal([&] { Barrier("saga", odd, "01", "action"); }),
               ContainsSubstring("the gid") && ContainsSubstring("control characters"));
  }
  CHECK(Refusal([] { Barrier("saga", "gr\xC3\xBC\xC3\x9F '\"\\%", "01", "action"); }) ==
        "accepted");
}

TEST_CASE("calls are numbered, and not beyond one that failed") {
  Barrier barrier("saga", "g", "01", "action");
  CHECK(barrier.BeginCall() == "01");
  CHECK(barrier.BeginCall() == "02");
  for (int i = 3; i < 99; ++i) barrier.BeginCall();
  CHECK(barrier.BeginCall() == "99");
  CHECK(barrier.BeginCall() == "100");
  barrier.Fail();
  CHECK_THROWS_AS(barrier.BeginCall(), dtm::LogicError);
  CHECK_THAT(
      Refusal([&] { barrier.BeginCall(); }),
      ContainsSubstring("saga gid 'g', branch 01, op action") && ContainsSubstring("new Barrier"));
}

TEST_CASE("a C++ function has a barrier too") {
  dtm::BranchInfo info;
  info.gid = "g";
  info.branch_id = "02";
  info.op = dtm::Op::kCompensate;
  CHECK(dtm::BarrierFrom(info).Who() == "saga gid 'g', branch 02, op compensate");
}
