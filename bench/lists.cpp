/// Pages of lists, with each filter, on a store of many finished and some unfinished sagas: how long the slowest page took.
/// Usage: lists [finished] [unfinished] [folder for the store | postgres | mysql]
/// A server is the one that tools/with_postgres.sh or tools/with_mariadb.sh has started.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench.hpp"
#include "sagas.hpp"
#include <dtm/dtm.hpp>
#ifdef DTM_BENCH_SERVERS
#include <dtm/store/mysql/mysql_store.hpp>
#include <dtm/store/postgres/postgres_store.hpp>
#endif

namespace {

std::unique_ptr<dtm::Store> Open(const std::string& where) {
#ifdef DTM_BENCH_SERVERS
  const auto of = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (where == "postgres") {
    dtm::PostgresStoreOptions options;
    options.durability = dtm::Durability::kProcess;
    options.store_timeout = std::chrono::seconds(60);
    return dtm::PostgresStore(of("DTM_POSTGRES"), options);
  }
  if (where == "mysql") {
    dtm::MysqlAddress address;
    address.socket = of("DTM_MYSQL_SOCKET");
    address.user = of("DTM_MYSQL_USER");
    address.database = of("DTM_MYSQL_DATABASE");
    dtm::MysqlStoreOptions options;
    options.store_timeout = std::chrono::seconds(60);
    return dtm::MysqlStore(address, options);
  }
#endif
  return std::make_unique<dtm::SqliteStore>(where, dtm::Durability::kProcess);
}

/// Of a thousand finished ones one had an error, and one has failed; the unfinished are spread among the older half.
dtm::Transaction Saga(int i, bool unfinished) {
  dtm::Transaction saga =
      bench::NewTransaction((i % 1000 == 7 ? "order-" : "gid-") + std::to_string(i), bench::Now());
  auto definition = std::make_shared<dtm::Definition>(*saga.definition);
  for (dtm::Step& step : definition->steps) {
    step.action = "http://bank-" + std::to_string(i % 100) + ".internal:8080/api/TransIn";
    step.compensate = "http://bank-" + std::to_string(i % 100) + ".internal:8080/api/TransInCom";
    step.payload = R"({"account":"AB12345678","amount":100,"currency":"EUR","text":"for tests"})";
  }
  if (i % 5000 == 11) definition->steps[0].action += "/rare";
  saga.definition = definition;
  if (i % 1000 == 3) saga.last_error = "branch 01 action gave no definite answer: it timed out";
  if (unfinished) {
    saga.due = i % 100 == 0 ? dtm::kNever : saga.due + std::chrono::hours(1000);
    saga.stuck = i % 1000 == 0;
    return saga;
  }
  saga.status = i % 1000 == 5 ? dtm::Status::kFailed : dtm::Status::kSucceed;
  saga.finished = saga.created;
  for (std::size_t step = 0; step < 2; ++step) {
    dtm::Branch& action = saga.branches[dtm::ActionOf(step)];
    action.tries = 1;
    action.finished = saga.created;
    action.status = dtm::BranchStatus::kSucceed;
  }
  return saga;
}

void Fill(dtm::Store& store, int finished, int unfinished) {
  const int all = finished + unfinished;
  const int each = unfinished == 0 ? all + 1 : (std::max)(1, all / unfinished / 2);
  int left = unfinished;
  for (int done = 0; done < all;) {
    std::vector<dtm::Transaction> sagas;
    for (; done < all && sagas.size() < 5000; ++done) {
      const bool open = left > 0 && done % each == 0;
      left -= open;
      sagas.push_back(Saga(done, open));
    }
    std::vector<dtm::Change> changes;
    for (dtm::Transaction& saga : sagas) changes.push_back({&saga});
    store.Begin();
    store.Apply(changes);
    store.Commit();
  }
}

void Measure(dtm::Store& store, const char* name, const dtm::ScanFilter& filter) {
  std::int64_t position = 0;
  double slowest = 0, first = 0, found = 0;
  int pages = 0;
  do {
    const bench::Watch watch;
    const dtm::ScanPage page = store.Scan(filter, position, 100);
    const double took = watch.Wall() * 1e3;
    if (pages == 0) first = took;
    slowest = (std::max)(slowest, took);
    found += static_cast<double>(page.transactions.size());
    position = page.next;
    ++pages;
  } while (position != 0 && pages < 300);
  bench::Print(
      "lists",
      {{"first_page_ms", first}, {"slowest_page_ms", slowest}, {"pages", pages}, {"found", found}},
      {{"store", store.Kind()}, {"filter", name}});
}

}  // namespace

int main(int argc, char** argv) {
  const int finished = argc > 1 ? std::atoi(argv[1]) : 1000000;
  const int unfinished = argc > 2 ? std::atoi(argv[2]) : 10000;
  const std::string where = argc > 3 ? argv[3] : ".";
  const bool is_file = where != "postgres" && where != "mysql";
  const bench::TempFile file(is_file ? where + "/lists_bench.db" : "/tmp/dtm_lists_no_such_file");
  const bench::Watch watch;
  const std::unique_ptr<dtm::Store> store = Open(is_file ? file.Path() : where);
  Fill(*store, finished, unfinished);
  std::fprintf(stderr, "lists: written in %.1f s\n", watch.Wall());
  using Filter = dtm::ScanFilter;
  const std::vector<std::pair<const char*, void (*)(Filter&)>> filters = {
      {"none", [](Filter&) {}},
      {"short", [](Filter& f) { f.may_be_short = true; }},
      {"status=succeed, short",
       [](Filter& f) { f.may_be_short = true, f.status = dtm::Status::kSucceed; }},
      {"status=failed, short",
       [](Filter& f) { f.may_be_short = true, f.status = dtm::Status::kFailed; }},
      {"status=submitted, short",
       [](Filter& f) { f.may_be_short = true, f.status = dtm::Status::kSubmitted; }},
      {"type=tcc, short", [](Filter& f) { f.may_be_short = true, f.type = dtm::TransType::kTcc; }},
      {"unfinished", [](Filter& f) { f.unfinished = true; }},
      {"unfinished, errors", [](Filter& f) { f.unfinished = f.errors = true; }},
      {"unfinished, target", [](Filter& f) { f.unfinished = true, f.target = "bank-77."; }},
      {"stuck", [](Filter& f) { f.stuck = true; }},
      {"errors", [](Filter& f) { f.errors = true; }},
      {"gid_prefix, many", [](Filter& f) { f.gid_prefix = "gid-"; }},
      {"gid_prefix, some", [](Filter& f) { f.gid_prefix = "order-"; }},
      {"gid_prefix, one", [](Filter& f) { f.gid_prefix = "order-7007"; }},
      {"gid_prefix, none", [](Filter& f) { f.gid_prefix = "zzz"; }},
      {"target, many", [](Filter& f) { f.target = "TransIn"; }},
      {"target, one in 100", [](Filter& f) { f.target = "bank-77."; }},
      {"target, rare", [](Filter& f) { f.target = "/rare"; }},
      {"target, none", [](Filter& f) { f.target = "nowhere"; }}};
  for (const auto& [name, set] : filters) {
    Filter filter;
    set(filter);
    Measure(*store, name, filter);
  }
  const bench::Watch counting;
  const dtm::Backlog backlog = store->CountUnfinished(bench::Now());
  bench::Print("lists",
               {{"first_page_ms", counting.Wall() * 1e3},
                {"found", static_cast<double>(backlog.unfinished)},
                {"stuck", static_cast<double>(backlog.stuck)}},
               {{"store", store->Kind()}, {"filter", "(count)"}});
  return 0;
}
