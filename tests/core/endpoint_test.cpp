/// A coordinator as a client sees it: replies, and gids.
#include <exception>
#include <string>

#include "tests/catch.hpp"
#include <dtm/core/endpoint.hpp>

namespace {

class OneGid : public dtm::Endpoint {
 public:
  std::string NewGid() override { return "gid-1"; }
  dtm::TransResult Submit(dtm::Definition) override { return {}; }
  dtm::TransResult SubmitAndWait(dtm::Definition, dtm::Duration) override { return {}; }
  void SubmitAsync(dtm::Definition, dtm::ReplyCallback) override {}
  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override { return name; }
};

}  // namespace

TEST_CASE("endpoint: a reply is a result or the error") {
  const dtm::Reply good{{"g", dtm::Status::kSucceed, ""}, nullptr};
  CHECK(good.Get().gid == "g");
  CHECK(good.Get().Succeeded());
  const dtm::Reply bad{{}, std::make_exception_ptr(dtm::StoreError("disk full"))};
  CHECK_THROWS_AS(bad.Get(), dtm::StoreError);
  CHECK_THROWS_WITH(bad.Get(), "disk full");
}

TEST_CASE("endpoint: MustGenGid takes the coordinator's") {
  OneGid endpoint;
  CHECK(dtm::MustGenGid(endpoint) == "gid-1");
}
