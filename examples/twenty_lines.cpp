// examples/twenty_lines.cpp: g++ -std=c++17 -Isingle_include examples/twenty_lines.cpp -lsqlite3 -pthread
#include <cstdio>

#include <dtm/dtm.hpp>

struct Transfer {
  int amount;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Transfer, amount)

int main() {
  dtm::Coordinator tm("twenty_lines.db");  // opens, checks and locks the file
  auto out = tm.Register<Transfer>("TransOut", [](const Transfer&) { std::puts("debit A"); });
  auto out_undo = tm.Register<Transfer>("TransOutCom", [](const Transfer&) { std::puts("undo"); });
  auto in = tm.Register<Transfer>("TransIn", [](const Transfer& transfer) {
    if (transfer.amount > 50) return dtm::Result::Failure("at most 50");  // definite: roll back
    std::puts("credit B");
    return dtm::Result::Success();  // an exception would mean: try again later
  });
  tm.Start();  // first goes on with what a crash left

  for (const int amount : {30, 60}) {
    const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                        .Add(out, out_undo, Transfer{amount})
                                        .Add(in, dtm::kNoBranch, Transfer{amount})
                                        .SubmitAndWait(std::chrono::seconds(10));
    std::printf("%d: %s %s\n", amount, dtm::Name(result.status), result.reason.c_str());
  }
}
