/// The setters of every builder: what they record, and that a chain keeps type and value category.
#include <chrono>
#include <string>
#include <type_traits>
#include <utility>

#include "tests/catch.hpp"
#include "tests/client/fake_endpoint.hpp"
#include <dtm/client/option_setters.hpp>
#include <dtm/client/saga.hpp>

using std::chrono::seconds;

namespace {

/// Any builder, so that nothing of Saga is needed.
class Builder : public dtm::OptionSetters<Builder> {
 public:
  Builder() = default;
  Builder(Builder&&) = default;
  Builder& operator=(Builder&&) = default;
  dtm::TransOptions& MutableOptions() { return options; }
  dtm::TransOptions options;
};

template <typename B>
void CheckTypes() {
  using L = B&;
  using R = B&&;
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetWaitResult()), B&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetWaitResult()), B>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetTimeoutToFail(seconds(1))), B&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetTimeoutToFail(seconds(1))), B>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetRetryInterval(seconds(1))), B&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetRetryInterval(seconds(1))), B>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetRetryLimit(1)), B&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetRetryLimit(1)), B>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().SetRequestTimeout(seconds(1))), B&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().SetRequestTimeout(seconds(1))), B>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<L>().AddBranchHeader("a", "b")), B&>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<R>().AddBranchHeader("a", "b")), B>);
}

void CheckAllSet(const dtm::TransOptions& options) {
  CHECK(options.wait_result);
  CHECK(options.timeout_to_fail == seconds(101));
  CHECK(options.retry_interval == seconds(102));
  CHECK(options.request_timeout == seconds(103));
  CHECK(options.retry_limit == 104);
  CHECK(options.branch_headers == std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}});
}

}  // namespace

TEST_CASE("options: a chain keeps the builder's type and value category") {
  CheckTypes<Builder>();
  CheckTypes<dtm::Saga>();
}

TEST_CASE("options: nothing is set by itself") {
  const dtm::TransOptions options = Builder().options;
  CHECK_FALSE(options.wait_result);
  CHECK(options.timeout_to_fail == seconds(0));
  CHECK(options.retry_interval == seconds(0));
  CHECK(options.request_timeout == seconds(0));
  CHECK(options.retry_limit == 0);
  CHECK(options.branch_headers.empty());
}

TEST_CASE("options: all of them, on a named builder") {
  Builder builder;
  Builder& same = builder.SetWaitResult()
                      .SetTimeoutToFail(seconds(101))
                      .SetRetryInterval(seconds(102))
                      .SetRequestTimeout(seconds(103))
                      .SetRetryLimit(104)
                      .AddBranchHeader("a", "1")
                      .AddBranchHeader("b", "2");
  CHECK(&same == &builder);
  CheckAllSet(builder.options);
  CHECK_FALSE(builder.SetWaitResult(false).options.wait_result);
  CHECK(builder.AddBranchHeader("a", "3").options.branch_headers["a"] == "3");  // the last one wins
}

TEST_CASE("options: all of them, on a temporary builder that is only movable") {
  const Builder builder = Builder()
                              .SetWaitResult()
                              .SetTimeoutToFail(seconds(101))
                              .SetRetryInterval(seconds(102))
                              .SetRequestTimeout(seconds(103))
                              .SetRetryLimit(104)
                              .AddBranchHeader("a", "1")
                              .AddBranchHeader("b", "2");
  CheckAllSet(builder.options);
}

TEST_CASE("options: minutes and hours are taken, and reach the coordinator") {
  FakeEndpoint endpoint;
  dtm::NewSaga(endpoint, "g")
      .SetTimeoutToFail(std::chrono::hours(2))
      .SetRetryInterval(std::chrono::minutes(3))
      .Submit();
  CHECK(endpoint.submitted.at(0).options.timeout_to_fail == seconds(7200));
  CHECK(endpoint.submitted.at(0).options.retry_interval == seconds(180));
}
