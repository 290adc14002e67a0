/// What the errors of the servers mean, by the stage in which they come.
#include <string>

#include "tests/catch.hpp"
#include <dtm/sql/sql_errors.hpp>

using dtm::FaultOf;
using dtm::SqlDialect;
using dtm::SqlFault;
using dtm::SqlStage;

TEST_CASE("errors in doubt are those of a commit") {
  const struct {
    SqlDialect dialect;
    const char* code;
    SqlFault in_statement;
    SqlFault at_commit;
  } rows[] = {
      {SqlDialect::kPostgres, "", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kPostgres, "57P01", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kPostgres, "58030", SqlFault::kOther, SqlFault::kInDoubt},
      {SqlDialect::kPostgres, "XX000", SqlFault::kOther, SqlFault::kInDoubt},
      {SqlDialect::kPostgres, "08006", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kPostgres, "40001", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kPostgres, "40P01", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kPostgres, "53300", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kPostgres, "25006", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kPostgres, "42P01", SqlFault::kMisuse, SqlFault::kMisuse},
      {SqlDialect::kPostgres, "28000", SqlFault::kMisuse, SqlFault::kMisuse},
      {SqlDialect::kPostgres, "23514", SqlFault::kOther, SqlFault::kOther},
      {SqlDialect::kPostgres, "     ", SqlFault::kTemporary, SqlFault::kInDoubt},  // SOCI
      {SqlDialect::kPostgres, "timeout", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kPostgres, "P0001", SqlFault::kOther, SqlFault::kOther},
      {SqlDialect::kMysql, "", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "2013", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "2027", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "HY000", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "0", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "20000", SqlFault::kOther, SqlFault::kOther},
      {SqlDialect::kMysql, "1180", SqlFault::kOther, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "1317", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "1927", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "1969", SqlFault::kTemporary, SqlFault::kInDoubt},
      {SqlDialect::kMysql, "2014", SqlFault::kMisuse, SqlFault::kMisuse},  // it was not sent
      {SqlDialect::kMysql, "1213", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kMysql, "1205", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kMysql, "1047", SqlFault::kTemporary, SqlFault::kTemporary},
      {SqlDialect::kMysql, "1146", SqlFault::kMisuse, SqlFault::kMisuse},
      {SqlDialect::kMysql, "1062", SqlFault::kOther, SqlFault::kOther},
  };
  for (const auto& row : rows) {
    CAPTURE(row.code);
    CHECK(FaultOf(row.dialect, row.code, SqlStage::kStatement) == row.in_statement);
    CHECK(FaultOf(row.dialect, row.code, SqlStage::kCommit) == row.at_commit);
  }
}

TEST_CASE("each error is followed by what to do") {
  CHECK(dtm::SqlAdvice(SqlDialect::kPostgres, "42P01", SqlStage::kStatement)
            .find("CreateBarrierTable") != std::string::npos);
  CHECK(dtm::SqlAdvice(SqlDialect::kMysql, "1142", SqlStage::kStatement).find("grant") !=
        std::string::npos);
  CHECK(dtm::SqlAdvice(SqlDialect::kMysql, "", SqlStage::kCommit).find("settles it") !=
        std::string::npos);
  CHECK(dtm::SqlAdvice(SqlDialect::kMysql, "", SqlStage::kStatement).find("may come again") !=
        std::string::npos);
}
