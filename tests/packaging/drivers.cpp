/// What a program takes for its databases, beside dtm in one header or compiled once: it compiles and links. Never run.
#include <string>

#include <dtm/barrier/mysql_barrier.hpp>
#include <dtm/barrier/postgres_barrier.hpp>
#include <dtm/barrier/redis_barrier.hpp>
#include <dtm/barrier/xa/mysql_xa.hpp>
#include <dtm/barrier/xa/postgres_xa.hpp>
#include <dtm/outbox/mysql_outbox.hpp>
#include <dtm/outbox/postgres_outbox.hpp>

void UseDrivers(PGconn* postgres, MYSQL* mysql, redisContext* redis, dtm::Coordinator& tm) {
  dtm::Barrier barrier("saga", "1", "01", "action");
  (void)dtm::PgBarrierTable(postgres).Call(barrier, [](PGconn*) {});
  (void)dtm::MysqlBarrierTable(mysql).Call(barrier, [](MYSQL*) {});
  (void)dtm::RedisBarrier(redis).CheckAdjustAmount(barrier, "account", 1);
  const dtm::XaCall call =
      dtm::XaFromQuery({{"gid", "1"}, {"branch_id", "01"}, {"op", "commit"}, {"trans_type", "xa"}});
  (void)dtm::PgXaBranch(postgres).Handle(call, tm, [](PGconn*) {});
  (void)dtm::MysqlXaBranch([] { return mysql_init(nullptr); }).Handle(call, tm, [](MYSQL*) {});
  dtm::PgOutbox outbox(postgres);
  dtm::NewSaga(outbox, "1").Add(std::string("http://b/In"), dtm::kNoBranch, 1).Submit();
  dtm::CreateOutboxTable(mysql);
  tm.Relay(dtm::PgRelay("host=/nowhere"));
  tm.Relay(dtm::MysqlRelay({}));
}
