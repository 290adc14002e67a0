/// A client of the coordinator at the URL in argv[1], which calls a branch here: HTTP, no SQLite.
#include <chrono>

#include "service.hpp"
#include <dtm/client/saga.hpp>
#include <dtm/http/remote_coordinator.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Service service;
  dtm::RemoteCoordinator remote(argv[1]);
  const dtm::TransResult result = dtm::NewSaga(remote, dtm::MustGenGid(remote))
                                      .Add(service.Url(), dtm::kNoBranch, 30)
                                      .SubmitAndWait(std::chrono::seconds(10));
  return result.Succeeded() && service.calls == 1 ? 0 : 1;
}
