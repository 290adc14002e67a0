// error: deleted function|explicitly deleted
#include <utility>

#include <dtm/client/saga.hpp>

class Somewhere : public dtm::Endpoint {
 public:
  std::string NewGid() override { return "g"; }
  dtm::TransResult Submit(dtm::Definition) override { return {}; }
  dtm::TransResult SubmitAndWait(dtm::Definition, dtm::Duration) override { return {}; }
  void SubmitAsync(dtm::Definition, dtm::ReplyCallback) override {}
  std::string UrlOfLocal(const std::string& name, std::uint64_t) const override { return name; }
};

void Build() {
#ifndef DTM_RIGHT
  dtm::NewSaga(Somewhere(), "g").Submit();
#else
  Somewhere here;
  dtm::NewSaga(here, "g").Submit();
#endif
}
