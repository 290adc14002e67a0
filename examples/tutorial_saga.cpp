/// Tutorial, step 1 (docs/tutorial.md): a saga in one process. An order reserves goods, then takes the money.
/// Needs: SQLite.
#include <chrono>
#include <cstdio>
#include <string>

#include <dtm/dtm.hpp>

struct Order {
  std::string item;
  int price = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, item, price)

int main() {
  dtm::Coordinator tm("tutorial.db");  // the file is made if it is not there

  const auto reserve = tm.Register<Order>(
      "Reserve", [](const Order& o) { std::printf("  reserve a %s\n", o.item.c_str()); });
  const auto release = tm.Register<Order>(
      "Release", [](const Order& o) { std::printf("  put the %s back\n", o.item.c_str()); });
  const auto pay = tm.Register<Order>("Pay", [](const Order& o) {
    if (o.price > 100) return dtm::Result::Failure("no credit for " + std::to_string(o.price));
    std::printf("  take %d\n", o.price);
    return dtm::Result::Success();
  });
  tm.Start();  // from here on it drives what is unfinished

  for (const Order& order : {Order{"chair", 40}, Order{"sofa", 400}}) {
    const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                        .Add(reserve, release, order)
                                        .Add(pay, dtm::kNoBranch, order)
                                        .SubmitAndWait(std::chrono::seconds(10));
    std::printf("%s: %s %s\n", order.item.c_str(), dtm::Name(result.status), result.reason.c_str());
  }
}
