/// A concurrent saga: flight and hotel are booked at the same time, and paid for after both.
/// Needs: SQLite. Prints the order of the calls; fails if it is not what it says.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include <dtm/dtm.hpp>

struct Trip {
  int price;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Trip, price)

/// The calls in the order of their coming.
class Calls {
 public:
  void Add(const std::string& call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back(call);
  }
  std::vector<std::string> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> calls;
    calls.swap(calls_);
    return calls;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> calls_;
};

int main() {
  Calls calls;
  dtm::Coordinator tm("saga_concurrent.db");
  const auto step = [&](const std::string& name) {
    return tm.Register<Trip>(name, [&calls, name](const Trip&) { calls.Add(name); });
  };
  const auto flight = step("Flight"), flight_com = step("FlightCom");
  const auto hotel = step("Hotel"), hotel_com = step("HotelCom");
  const auto pay_com = step("PayCom");
  const auto pay = tm.Register<Trip>("Pay", [&](const Trip& trip) {
    calls.Add("Pay");
    return trip.price <= 1000 ? dtm::Result::Success() : dtm::Result::Failure("card declined");
  });
  tm.Start();

  bool as_expected = true;
  for (const int price : {900, 1100}) {
    const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                        .SetConcurrent()
                                        .Add(flight, flight_com, Trip{price})
                                        .Add(hotel, hotel_com, Trip{price})
                                        .Add(pay, pay_com, Trip{price})
                                        .AddBranchOrder(2, {0, 1})  // Pay after Flight and Hotel
                                        .SubmitAndWait(std::chrono::seconds(30));
    std::vector<std::string> order = calls.Take();
    std::printf("price %d: %s:", price, dtm::Name(result.status));
    for (const std::string& call : order) std::printf(" %s", call.c_str());
    std::puts("");

    // Flight and Hotel may come in either order, and so may their compensations.
    if (order.size() >= 2) std::sort(order.begin(), order.begin() + 2);
    if (order.size() == 6) std::sort(order.begin() + 4, order.end());
    const std::vector<std::string> expected =
        price == 900
            ? std::vector<std::string>{"Flight", "Hotel", "Pay"}
            : std::vector<std::string>{"Flight", "Hotel", "Pay", "PayCom", "FlightCom", "HotelCom"};
    as_expected = as_expected && order == expected && result.Succeeded() == (price == 900);
  }
  return as_expected ? 0 : 1;
}
