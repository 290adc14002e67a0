/// A workflow: the transaction is a C++ function; its steps are recorded, so that after a crash it goes on where it was.
/// Here the "crash" is an exception in the middle; the coordinator runs the workflow again, and the first step is not
/// done twice.
/// Needs: SQLite. Fails if the outcome is not what it says.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>

#include <dtm/dtm.hpp>

struct Order {
  int price;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, price)

int main() {
  std::atomic<int> reserved{0}, paid{0}, given_back{0}, runs{0};

  dtm::Coordinator tm("workflow.db");
  auto pay = tm.Register<Order>("Pay", [&](const Order& order) {
    if (order.price > 100) throw dtm::FailureError("the card is refused");
    ++paid;
  });
  auto checkout =
      dtm::RegisterWorkflow<Order>(tm, "checkout", [&](dtm::Workflow& wf, const Order& order) {
        ++runs;
        auto reserve = wf.NewBranch();
        reserve.OnRollback([&] { ++given_back; });
        const std::string place = reserve.Do([&] { return "shelf " + std::to_string(++reserved); });
        if (order.price == 42 && runs == 1) throw std::runtime_error("the power goes out");
        wf.NewBranch().Call(pay, order);
        return "sent from " + place;
      });
  tm.Start();

  // Fine at the second go.
  dtm::TransOptions options;
  options.retry_interval = std::chrono::seconds(1);
  const std::string first = dtm::MustGenGid(tm);
  try {
    checkout.Execute(first, Order{42}, options);
  } catch (const std::runtime_error& error) {
    std::printf("order 42: %s; the coordinator will have it run again\n", error.what());
  }
  const dtm::TransResult result = tm.Wait(first, std::chrono::seconds(30));
  std::printf("order 42: %s after %d runs, reserved %d time(s): %s\n", dtm::Name(result.status),
              runs.load(), reserved.load(), tm.Query(first)->result.c_str());
  const bool fine = result.Succeeded() && runs == 2 && reserved == 1 && paid == 1;

  // Rolled back.
  bool refused = false;
  try {
    checkout.Execute(dtm::MustGenGid(tm), Order{500});
  } catch (const dtm::FailureError& error) {
    refused = true;
    std::printf("order 500: %s; given back %d time(s)\n", error.what(), given_back.load());
  }
  return fine && refused && given_back == 1 ? 0 : 1;
}
