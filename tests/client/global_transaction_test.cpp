/// What tcc and xa have in common: prepare, the initiator's code, submit or abort; what comes out when each of them
/// goes wrong. Protocol §11.2.
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/global_transaction.hpp>

using Lines = std::vector<std::string>;

namespace {

dtm::Definition Tcc() {
  dtm::Definition definition;
  definition.gid = "g";
  definition.type = dtm::TransType::kTcc;
  definition.options.timeout_to_fail = std::chrono::seconds(9);
  return definition;
}

struct Fixture {
  FakeEndpoint endpoint;
  int runs = 0;

  template <typename Thrown>
  void RunThrowing(const Thrown& thrown) {
    dtm::RunGlobalTransaction(endpoint, Tcc(), [&] {
      ++runs;
      throw thrown;
    });
  }
};

}  // namespace

TEST_CASE("global transaction: prepare, the body, submit, and the submit's answer") {
  Fixture f;
  f.endpoint.status = dtm::Status::kSucceed;
  const dtm::TransResult result = dtm::RunGlobalTransaction(f.endpoint, Tcc(), [&] {
    ++f.runs;
    CHECK(f.endpoint.log == Lines{"prepare g"});
  });
  CHECK(result.Succeeded());
  CHECK(f.runs == 1);
  CHECK(f.endpoint.log == Lines{"prepare g", "submit g"});
  for (const dtm::Definition& sent : {f.endpoint.prepared.at(0), f.endpoint.submitted.at(0)}) {
    CHECK(sent.gid == "g");
    CHECK(sent.type == dtm::TransType::kTcc);
    CHECK(sent.options.timeout_to_fail == std::chrono::seconds(9));
  }
}

TEST_CASE("global transaction: what cannot be prepared does not run, and nothing is aborted") {
  Fixture f;
  f.endpoint.instead_of_taking["prepare g"] = [] { throw dtm::InDoubtError("no answer"); };
  CHECK_THROWS_AS(dtm::RunGlobalTransaction(f.endpoint, Tcc(), [&] { ++f.runs; }),
                  dtm::InDoubtError);
  CHECK(f.runs == 0);
  CHECK(f.endpoint.log == Lines{"prepare g"});
}

TEST_CASE(
    "global transaction: what the body throws aborts it, with its text, and comes out as it was") {
  Fixture f;
  CHECK_THROWS_AS(f.RunThrowing(dtm::FailureError("no money")), dtm::FailureError);
  CHECK_THROWS_AS(f.RunThrowing(std::out_of_range("a bug")), std::out_of_range);
  CHECK_THROWS_AS(f.RunThrowing(dtm::RejectedError("timed out")), dtm::RejectedError);
  CHECK(f.endpoint.submitted.empty());
  CHECK(f.endpoint.aborted == std::vector<std::pair<std::string, std::string>>{
                                  {"g", "no money"}, {"g", "a bug"}, {"g", "timed out"}});
  CHECK(f.endpoint.log.at(1) == "abort tcc g");
}

TEST_CASE("global transaction: what is not a std::exception aborts it too") {
  Fixture f;
  CHECK_THROWS_AS(f.RunThrowing(42), int);
  CHECK(f.endpoint.log == Lines{"prepare g", "abort tcc g"});
  CHECK(f.endpoint.aborted.at(0).second == "it threw something that is not a std::exception");
}

TEST_CASE("global transaction: an error of the abort itself is ignored, the body's comes out") {
  Fixture f;
  f.endpoint.instead_of_taking["abort tcc g"] = [] { throw dtm::InDoubtError("no answer"); };
  CHECK_THROWS_WITH(f.RunThrowing(dtm::FailureError("no money")), "no money");
  CHECK_THROWS_AS(f.RunThrowing(42), int);
  CHECK(f.endpoint.aborted.size() == 2);
}

TEST_CASE("global transaction: an error of the submit comes out, and is not followed by an abort") {
  Fixture f;
  f.endpoint.instead_of_taking["submit g"] = [] { throw dtm::RejectedError("it was rolled back"); };
  CHECK_THROWS_AS(dtm::RunGlobalTransaction(f.endpoint, Tcc(), [&] { ++f.runs; }),
                  dtm::RejectedError);
  CHECK(f.runs == 1);
  CHECK(f.endpoint.aborted.empty());
}
