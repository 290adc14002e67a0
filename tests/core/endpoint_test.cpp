/// A coordinator as a client sees it: replies, and gids.
#include <exception>
#include <string>
#include <type_traits>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/core/endpoint.hpp>

TEST_CASE("endpoint: a reply is a result or the error") {
  const dtm::Answer good{{"g", dtm::Status::kSucceed, ""}, nullptr};
  CHECK(good.Get().gid == "g");
  CHECK(good.Get().Succeeded());
  const dtm::Answer bad{{}, std::make_exception_ptr(dtm::StoreError("disk full"))};
  CHECK_THROWS_AS(bad.Get(), dtm::StoreError);
  CHECK_THROWS_WITH(bad.Get(), "disk full");
}

TEST_CASE("endpoint: MustGenGid takes the coordinator's") {
  FakeEndpoint endpoint;
  CHECK(dtm::MustGenGid(endpoint) == "gid-1");
}

TEST_CASE("local branch: a copyable value; the payload type is part of its own") {
  const dtm::LocalBranch<int> branch{"TransOut", 7};
  const dtm::LocalBranch<int> copy = branch;
  CHECK(copy.name == "TransOut");
  CHECK(copy.registered_with == 7);
  CHECK(dtm::LocalBranch<int>{}.registered_with == 0);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<dtm::LocalBranch<int>, dtm::LocalBranch<long>>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<dtm::LocalBranch<int>, std::string>);
}
