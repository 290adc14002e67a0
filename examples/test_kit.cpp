/// How to test your own saga with the test kit: virtual time, scripted services, crashes.
/// An order reserves goods, then waits for a payment for at most an hour. The test lives through
/// that hour in about a millisecond: no threads, no ports, no sleeps.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <dtm/dtm.hpp>
#include <dtm/testing/test_coordinator.hpp>

namespace {

using dtm::Result;
using dtm::testing::ScriptedAnswer;
using dtm::testing::TestCoordinator;

struct Order {
  std::string item;
  int count = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, item, count)

/// What is tested: a shop with its functions, as the real program has it.
struct Shop {
  int on_stock = 10;

  void Register(dtm::Coordinator& tm) {
    reserve = tm.Register<Order>("Reserve", [this](const Order& o) { on_stock -= o.count; });
    put_back = tm.Register<Order>("PutBack", [this](const Order& o) { on_stock += o.count; });
  }
  void Submit(dtm::Coordinator& tm, const std::string& gid, const Order& order) const {
    dtm::NewSaga(tm, gid)
        .Add(reserve, put_back, order)
        .Add("http://bank/pay", "http://bank/refund", order)
        .SetTimeoutToFail(std::chrono::hours(1))
        .SetRetryInterval(std::chrono::seconds(60))
        .Submit();
  }
  dtm::LocalBranch<Order> reserve, put_back;
};

void Expect(bool good, const char* what) {
  if (good) return;
  std::printf("FAILED: %s\n", what);
  std::exit(1);
}

}  // namespace

int main() {
  const auto begin = std::chrono::steady_clock::now();
  Shop shop;  // before the coordinator: its functions use it
  TestCoordinator kit([&shop](dtm::Coordinator& tm) { shop.Register(tm); });

  // The bank says "not paid yet" whenever it is asked.
  kit.Branches().On("http://bank/pay",
                    std::vector<ScriptedAnswer>(100, {Result::Ongoing(), {}, false}));
  shop.Submit(*kit, "order-1", {"chair", 4});
  kit.Advance(std::chrono::minutes(59));
  Expect(shop.on_stock == 6, "the chairs are reserved for an hour");
  Expect(!dtm::IsFinal(kit->Query("order-1")->status), "it waits for the payment");
  kit.Crash();  // kill -9 and a new start: the order and its timeout survive
  kit.Advance(std::chrono::minutes(2));
  Expect(kit->Query("order-1")->status == dtm::Status::kFailed, "after the hour it is rolled back");
  Expect(shop.on_stock == 10, "the chairs are back");
  Expect(kit.Branches().Urls().back() == "http://bank/refund", "whatever was paid is refunded");
  std::printf("%s\n", kit->Explain("order-1").c_str());

  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  std::printf("61 minutes in %.2f ms\n", took.count());
}
