// error: deleted function|explicitly deleted
#include <memory>

#include <dtm/dtm.hpp>

void Build() {
#ifndef DTM_RIGHT
  dtm::NewSaga(dtm::Coordinator(std::make_unique<dtm::MemoryStore>()), "g").Submit();
#else
  dtm::Coordinator here(std::make_unique<dtm::MemoryStore>());
  dtm::NewSaga(here, "g").Submit();
#endif
}
