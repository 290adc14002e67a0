/// A saga of C++ functions: one transfer that succeeds, and one that is rolled back.
/// Needs: SQLite. Fails if the outcome is not what it says.
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <string>

#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

/// Books under the gid, so that a call that is repeated changes nothing, nor does undoing what was
/// never done. A real one keeps its bookings in a database: see bank.hpp.
class Account {
 public:
  void Book(const dtm::BranchInfo& who, int amount) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bookings_[who.gid] = amount;
  }
  void Undo(const dtm::BranchInfo& who) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bookings_.erase(who.gid);
  }
  int Balance() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    int balance = 100;
    for (const auto& booking : bookings_) balance += booking.second;
    return balance;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, int> bookings_;
};

int main() {
  using Who = dtm::BranchInfo;
  Account alice, bob;

  dtm::Coordinator tm("saga.db");
  auto out = tm.Register<Transfer>(
      "TransOut", [&](const Transfer& t, const Who& who) { alice.Book(who, -t.amount); });
  auto out_com = tm.Register<Transfer>("TransOutCom",
                                       [&](const Transfer&, const Who& who) { alice.Undo(who); });
  auto in = tm.Register<Transfer>("TransIn", [&](const Transfer& t, const Who& who) {
    if (t.amount > 50) throw dtm::FailureError("bob takes at most 50");  // roll back
    bob.Book(who, t.amount);
  });
  auto in_com =
      tm.Register<Transfer>("TransInCom", [&](const Transfer&, const Who& who) { bob.Undo(who); });
  tm.Start();

  bool as_expected = true;
  for (const int amount : {30, 60}) {
    const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                        .Add(out, out_com, Transfer{amount})
                                        .Add(in, in_com, Transfer{amount})
                                        .SubmitAndWait(std::chrono::seconds(30));
    std::printf("transfer %d: %s; alice has %d, bob %d\n", amount, dtm::Name(result.status),
                alice.Balance(), bob.Balance());
    if (result.Failed()) std::printf("  because %s\n", result.reason.c_str());
    as_expected = as_expected && (amount == 30 ? result.Succeeded() : result.Failed());
  }
  return as_expected && alice.Balance() == 70 && bob.Balance() == 130 ? 0 : 1;
}
