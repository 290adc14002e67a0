/// How to replay what happened elsewhere: an order failed in production, its transaction was exported, and here the shop's
/// own functions are called as they were called then. A change of the code is found at the first call that differs.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <dtm/dtm.hpp>
#include <dtm/testing/incident.hpp>
#include <dtm/testing/test_coordinator.hpp>
#include <dtm/timeline/export.hpp>

namespace {

using dtm::Result;

/// The shop as the real program has it. `credit` is what a change of its code will change.
struct Shop {
  int credit = 100;
  std::string calls;

  void Register(dtm::Coordinator& tm) {
    reserve = tm.Register<int>("Reserve", [this](const int&) { calls += "Reserve "; });
    put_back = tm.Register<int>("PutBack", [this](const int&) { calls += "PutBack "; });
    pay = tm.Register<int>("Pay", [this](const int& amount) -> Result {
      calls += "Pay ";  // set a breakpoint here
      return amount > credit ? Result::Failure("no credit for it") : Result::Success();
    });
    refund = tm.Register<int>("Refund", [this](const int&) { calls += "Refund "; });
  }
  dtm::LocalBranch<int> reserve, put_back, pay, refund;
};

/// What happened there. In your case `dtm export order-17 > order-17.dtm` has written it.
std::string WhatHappened() {
  Shop shop;
  dtm::testing::TestCoordinator kit([&shop](dtm::Coordinator& tm) { shop.Register(tm); });
  kit.Branches().On("http://mail/send", Result::Error("no connection"));  // at first
  dtm::NewSaga(*kit, "order-17")
      .Add(shop.reserve, shop.put_back, 1)
      .Add("http://mail/send", "", "thank you")
      .Add(shop.pay, shop.refund, 250)
      .Submit();
  kit.Advance(std::chrono::minutes(10));
  return dtm::Export(*kit->Timeline("order-17"), dtm::ExportContent::kFull,
                     dtm::ExportSettings::Of(kit->Settings()));
}

void Expect(bool good, const char* what) {
  if (good) return;
  std::printf("FAILED: %s\n", what);
  std::exit(1);
}

}  // namespace

int main() {
  // Of a file: const dtm::testing::Incident incident("order-17.dtm");
  const auto incident = dtm::testing::Incident::FromText(WhatHappened(), "order-17.dtm");

  Shop same;
  const auto report = incident.ReplayInto([&same](dtm::Coordinator& tm) { same.Register(tm); });
  std::printf("called: %s\n", same.calls.c_str());
  Expect(report.same, report.first_difference.c_str());
  Expect(same.calls == "Reserve Pay Refund PutBack ", "the same calls in the same order");

  Shop changed;
  changed.credit = 1000;
  const auto other =
      incident.ReplayInto([&changed](dtm::Coordinator& tm) { changed.Register(tm); });
  std::printf("%s\n", other.first_difference.c_str());
  Expect(other.first_difference ==
             "recorded: attempt 1 of branch 03 action (local:Pay): failure 'no credit for it'; "
             "now: success",
         "the change is found");
  return 0;
}
