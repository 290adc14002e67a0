/// A branch service on a plain httplib server: whose call it is, what it answers, and a saga and
/// its barriers over real HTTP, with calls that come twice.
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/barrier/bank.hpp"
#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/barrier/sqlite_barrier.hpp>
#include <dtm/client/saga.hpp>
#include <dtm/coordinator/coordinator.hpp>
#include <dtm/http/branches.hpp>
#include <dtm/http/httplib/branch_service.hpp>
#include <dtm/store/memory.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm::Result;

namespace {

template <typename Serve>
std::string Answered(const Serve& serve) {
  httplib::Response response;
  dtm::AnswerBranch(response, serve);
  CHECK(response.get_header_value("Content-Type") == "application/json; charset=utf-8");
  return std::to_string(response.status) + " " + response.body;
}

/// A bank behind HTTP: each request opens the file for itself.
class BankService {
 public:
  explicit BankService(const std::string& path) : path_(path) {
    const dtm_test::Bank create(path);
    const auto serve = [this](void (*business)(sqlite3*), const char* refused) {
      return
          [this, business, refused](const httplib::Request& request, httplib::Response& response) {
            const auto deliver = [&](httplib::Response& answer) {
              dtm::AnswerBranch(answer, [&] {
                dtm::Barrier barrier = dtm::BarrierFromRequest(request);
                dtm_test::Bank bank(path_, "WAL", 60000);
                dtm::SqliteBarrierTable table(bank.db.Handle());
                return table.Call(barrier, [&](sqlite3* db) {
                  business(db);
                  if (*refused != '\0') throw dtm::FailureError(refused);
                });
              });
            };
            httplib::Response lost;  // the first answer does not arrive, and the call comes again
            deliver(lost);
            deliver(response);
          };
    };
    server_.Post("/Out", serve(dtm_test::Debit, ""));
    server_.Post("/OutCom", serve(dtm_test::Credit, ""));
    server_.Post("/In", serve(dtm_test::Credit, ""));
    server_.Post("/InCom", serve(dtm_test::Debit, ""));
    server_.Post("/Refuse", serve(dtm_test::Credit, "the account is closed"));
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~BankService() {
    server_.stop();
    thread_.join();
  }
  std::string Url(const std::string& name) const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + name;
  }

 private:
  std::string path_;
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a request says whose call it is") {
  httplib::Request request;
  request.params = {{"gid", "g;1"}, {"trans_type", "tcc"}, {"branch_id", "01"}, {"op", "try"}};
  CHECK(dtm::BarrierFromRequest(request).Who() == "tcc gid 'g1', branch 01, op try");
  request.params.erase("op");
  CHECK_THROWS_AS(dtm::BarrierFromRequest(request), dtm::Error);
  // Whoever calls like that gets no FAILURE, which would roll back.
  CHECK_THAT(Answered([&] { (void)dtm::BarrierFromRequest(request); }),
             ContainsSubstring("500 {\"error\":\"the call does not say its op;"));
}

TEST_CASE("a branch answers what it comes to") {
  CHECK(Answered([] {}) == R"(200 {"dtm_result":"SUCCESS"})");
  CHECK(Answered([] { return Result::Success(); }) == R"(200 {"dtm_result":"SUCCESS"})");
  CHECK(Answered([] { return Result::Failure("no"); }) ==
        R"(409 {"dtm_result":"FAILURE","message":"no"})");
  CHECK(Answered([] { throw dtm::FailureError("no"); }) ==
        R"(409 {"dtm_result":"FAILURE","message":"no"})");
  CHECK(Answered([] { return Result::Ongoing("later"); }) ==
        R"(425 {"dtm_result":"ONGOING","message":"later"})");
  CHECK(Answered([] { return Result::Error("odd"); }) == R"(500 {"error":"odd"})");
  CHECK(Answered([] { throw std::runtime_error("FAILURE of a disk"); }) ==
        R"(500 {"error":"\u0046AILURE of a disk"})");
  CHECK(Answered([] { throw dtm::RejectedError("too much"); }) == R"(500 {"error":"too much"})");
  CHECK(Answered([] { throw dtm::DuplicatedError("DUPLICATED"); }) ==
        R"(500 {"error":"DUPLICATED"})");
  CHECK_THAT(Answered([] { throw 7; }), ContainsSubstring("500 {\"error\":"));
}

TEST_CASE("a saga whose every call comes twice moves the money once, or not at all") {
  const dtm_test::TempDir dir;
  const BankService bank(dir / "bank.db");
  dtm_test::Bank look(dir / "bank.db");
  dtm::Coordinator tm{std::make_unique<dtm::MemoryStore>()};
  tm.Use(dtm::HttpBranches());
  tm.Start();
  using std::chrono::seconds;

  const dtm::TransResult paid = dtm::NewSaga(tm, "paid")
                                    .Add(bank.Url("Out"), bank.Url("OutCom"), 30)
                                    .Add(bank.Url("Out"), bank.Url("OutCom"), 30)
                                    .Add(bank.Url("In"), bank.Url("InCom"), 30)
                                    .SubmitAndWait(seconds(30));
  CHECK(paid.Succeeded());
  CHECK(look.Balance() == 70);

  const dtm::TransResult refused = dtm::NewSaga(tm, "refused")
                                       .Add(bank.Url("Out"), bank.Url("OutCom"), 30)
                                       .Add(bank.Url("Refuse"), bank.Url("InCom"), 30)
                                       .SubmitAndWait(seconds(30));
  CHECK(refused.Failed());
  CHECK_THAT(refused.reason, ContainsSubstring("the account is closed"));
  CHECK(look.Balance() == 70);
  // The refused step left nothing to compensate; its compensation, if it came, did nothing.
  CHECK(look.Number("SELECT count(*) FROM barrier WHERE gid = 'refused' AND branch_id = '01'") ==
        2);
}
