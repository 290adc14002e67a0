/// The embedded coordinator on a file and in memory: SQLite, no HTTP.
#include <cstdio>
#include <memory>

#include <dtm/dtm.hpp>

bool Runs(dtm::Coordinator& tm) {
  int sum = 0;
  auto add = tm.Register<int>("Add", [&](const int& amount) { sum += amount; });
  tm.Start();
  const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                      .Add(add, dtm::kNoBranch, 30)
                                      .Add(add, dtm::kNoBranch, 12)
                                      .SubmitAndWait(std::chrono::seconds(10));
  return tm.Stop(std::chrono::seconds(10)) && result.Succeeded() && sum == 42;
}

int main() {
  dtm::Coordinator on_file("embedded.db");
  dtm::Coordinator in_memory(std::make_unique<dtm::MemoryStore>());
  return Runs(on_file) && Runs(in_memory) ? 0 : 1;
}
