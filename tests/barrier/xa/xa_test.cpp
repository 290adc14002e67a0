/// What an xa branch is called with, and what its transaction is named.
#include <chrono>
#include <map>
#include <string>

#include "tests/catch.hpp"
#include <dtm/barrier/xa/xa.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::SqlDialect;

namespace {

using Query = std::multimap<std::string, std::string>;
Query QueryOf(const std::string& op) {
  Query query{{"gid", "g"}, {"branch_id", "01"}, {"trans_type", "xa"}, {"op", op}};
  if (op == "action") {
    query.emplace("phase2_url", "http://b/Xa");
    query.emplace("dtm", "http://c/api/dtmsvr");
  }
  return query;
}
dtm::XaCall CallOf(const std::string& gid, const std::string& branch_id = "01") {
  return {gid, branch_id, dtm::Op::kAction, "", ""};
}

}  // namespace

TEST_CASE("an xa call is read from the query") {
  const dtm::XaCall action = dtm::XaFromQuery(QueryOf("action"));
  CHECK(action.gid == "g");
  CHECK(action.branch_id == "01");
  CHECK(action.op == dtm::Op::kAction);
  CHECK(action.phase2_url == "http://b/Xa");
  CHECK(action.coordinator == "http://c/api/dtmsvr");
  CHECK(action.Who() == "xa gid 'g', branch 01, op action");
  CHECK(dtm::XaFromQuery(QueryOf("commit")).op == dtm::Op::kCommit);
  CHECK(dtm::XaFromQuery(QueryOf("rollback")).op == dtm::Op::kRollback);

  Query bare = QueryOf("action");
  bare.erase("dtm");
  CHECK(dtm::XaFromQuery(bare).coordinator.empty());
  bare.erase("phase2_url");
  CHECK_THROWS_WITH(dtm::XaFromQuery(bare), ContainsSubstring("no phase2_url"));
  for (const char* op : {"try", "compensate", "prepare"}) {
    CHECK_THROWS_WITH(dtm::XaFromQuery(QueryOf(op)), ContainsSubstring("no call of an xa branch"));
  }
  Query saga = QueryOf("commit");
  saga.erase("trans_type");
  CHECK_THROWS_WITH(dtm::XaFromQuery(saga), ContainsSubstring("does not say its trans_type"));
  saga.emplace("trans_type", "saga");
  CHECK_THROWS_WITH(dtm::XaFromQuery(saga), ContainsSubstring("no call of an xa branch"));
}

TEST_CASE("an xa call is read from what a registered function gets") {
  const dtm::XaCall call =
      dtm::XaFrom({"g", dtm::TransType::kXa, "02", dtm::Op::kRollback}, "local:Xa");
  CHECK(call.Who() == "xa gid 'g', branch 02, op rollback");
  CHECK(call.phase2_url == "local:Xa");
}

TEST_CASE("the name of an xa transaction, and what the servers cannot use") {
  CHECK(dtm::xa::Xid(SqlDialect::kMysql, CallOf("g")) == "g-01");
  CHECK(dtm::xa::Xid(SqlDialect::kMysql, CallOf(std::string(61, 'g'))).size() == 64);
  CHECK_THROWS_WITH(dtm::xa::Xid(SqlDialect::kMysql, CallOf(std::string(62, 'g'))),
                    ContainsSubstring("65 bytes"));
  CHECK(dtm::xa::Xid(SqlDialect::kPostgres, CallOf(std::string(196, 'g'))).size() == 199);
  CHECK_THROWS_AS(dtm::xa::Xid(SqlDialect::kPostgres, CallOf(std::string(197, 'g'))),
                  dtm::RejectedError);
  for (const SqlDialect dialect : {SqlDialect::kMysql, SqlDialect::kPostgres}) {
    for (int c = 0; c < 256; ++c) {
      const bool good = c >= ' ' && c <= '~' && c != '\'' && c != '"' && c != '\\' && c != '`';
      INFO(c);
      if (good) {
        CHECK_NOTHROW(dtm::xa::Xid(dialect, CallOf(std::string("a") + static_cast<char>(c))));
      } else {
        CHECK_THROWS_AS(dtm::xa::Xid(dialect, CallOf(std::string("a") + static_cast<char>(c))),
                        dtm::RejectedError);
        CHECK_THROWS_AS(dtm::xa::Xid(dialect, CallOf("g", std::string(1, static_cast<char>(c)))),
                        dtm::RejectedError);
      }
    }
    CHECK_THROWS_AS(dtm::xa::Xid(dialect, CallOf("")), dtm::RejectedError);
    CHECK_THROWS_AS(dtm::xa::Xid(dialect, CallOf("g", "")), dtm::RejectedError);
  }
}

TEST_CASE("errors of xa statements say what to do") {
  using dtm::SqlStage;
  const auto advice = [](SqlDialect dialect, const char* code) {
    return dtm::xa::Advice(dialect, code, SqlStage::kCommit);
  };
  CHECK_THAT(advice(SqlDialect::kPostgres, "55000"),
             ContainsSubstring("max_prepared_transactions"));
  CHECK_THAT(advice(SqlDialect::kPostgres, "0A000"), ContainsSubstring("temporary tables"));
  CHECK_THAT(advice(SqlDialect::kPostgres, "26000"), ContainsSubstring("pooler"));
  CHECK_THAT(advice(SqlDialect::kMysql, "1235"), ContainsSubstring("Galera"));
  CHECK_THAT(advice(SqlDialect::kMysql, ""), ContainsSubstring("may be stored"));
  CHECK(dtm::xa::IsUnknownXid(SqlDialect::kMysql, "1397"));
  CHECK_FALSE(dtm::xa::IsUnknownXid(SqlDialect::kPostgres, "1397"));
  CHECK(dtm::xa::BusinessMisuse("1614").empty());
  CHECK(dtm::xa::Seconds(std::chrono::hours(1)) == "3600");
}
