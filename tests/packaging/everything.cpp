/// The embedded coordinator with a branch by URL, and a server of the program that has its API: SQLite, HTTP, cpp-httplib.
#include "service.hpp"
#include <dtm/http.hpp>
#include <dtm/httplib.hpp>

int main() {
  Service service;
  int sum = 0;
  dtm::Coordinator tm("everything.db");
  auto add = tm.Register<int>("Add", [&](const int& amount) { sum += amount; });
  tm.Use(dtm::HttpBranches());
  tm.Start();
  const dtm::TransResult result = dtm::NewSaga(tm, dtm::MustGenGid(tm))
                                      .Add(add, dtm::kNoBranch, 42)
                                      .Add(service.Url(), dtm::kNoBranch, 30)
                                      .SubmitAndWait(std::chrono::seconds(10));
  httplib::Server mounted;
  dtm::MountApi(tm, mounted);
  const bool ran = result.Succeeded() && sum == 42 && service.calls == 1;
  return tm.Stop(std::chrono::seconds(10)) && ran ? 0 : 1;
}
