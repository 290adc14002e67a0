/// TCC: freeze the money on both sides, then confirm both (the first transfer) or cancel both (the second).
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

/// Money that is frozen belongs to nobody. Every operation may be repeated, and a cancel may come without a try.
class Account {
 public:
  explicit Account(int balance) : balance_(balance) {}
  void Freeze(const std::string& gid, int amount) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (frozen_.count(gid) > 0) return;
    if (balance_ + amount < 0) throw dtm::FailureError("not enough money");
    frozen_[gid] = amount;
    if (amount < 0) balance_ += amount;  // gone from here; not yet there
  }
  void Confirm(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (frozen_[gid] > 0) balance_ += frozen_[gid];
    frozen_.erase(gid);
  }
  void Cancel(const std::string& gid) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (frozen_[gid] < 0) balance_ -= frozen_[gid];
    frozen_.erase(gid);
  }
  int Balance() { return std::lock_guard<std::mutex>(mutex_), balance_; }

 private:
  std::mutex mutex_;
  int balance_;
  std::map<std::string, int> frozen_;
};

int main() {
  using Who = dtm::BranchInfo;
  Account alice(100), bob(100);
  dtm::Coordinator tm("tcc.db");
  const auto add = [&tm](const char* name, Account& to, auto operation) {
    return tm.Register<Transfer>(name,
                                 [&to, operation](Transfer t, Who who) { operation(to, t, who); });
  };
  auto out =
      add("OutTry", alice, [](Account& a, Transfer t, Who who) { a.Freeze(who.gid, -t.amount); });
  auto in = add("InTry", bob, [](Account& a, Transfer t, Who who) {
    if (t.amount > 50) throw dtm::FailureError("bob takes at most 50");
    a.Freeze(who.gid, t.amount);
  });
  const auto confirm = [](Account& a, Transfer, Who who) { a.Confirm(who.gid); };
  const auto cancel = [](Account& a, Transfer, Who who) { a.Cancel(who.gid); };
  auto out_confirm = add("OutConfirm", alice, confirm),
       out_cancel = add("OutCancel", alice, cancel);
  auto in_confirm = add("InConfirm", bob, confirm), in_cancel = add("InCancel", bob, cancel);
  tm.Start();
  for (const int amount : {30, 60}) {
    const std::string gid = dtm::MustGenGid(tm);
    try {
      dtm::TccGlobalTransaction(tm, gid, [&](dtm::Tcc& tcc) {
        tcc.CallBranch(Transfer{amount}, out, out_confirm, out_cancel);
        tcc.CallBranch(Transfer{amount}, in, in_confirm, in_cancel);
      });
    } catch (const dtm::FailureError& error) {
      std::printf("  %s\n", error.what());
    }
    const dtm::TransResult result = tm.Wait(gid, std::chrono::seconds(30));
    std::printf("transfer %d: %s; alice has %d, bob %d\n", amount, dtm::Name(result.status),
                alice.Balance(), bob.Balance());
  }
  return alice.Balance() == 70 && bob.Balance() == 130 ? 0 : 1;
}
