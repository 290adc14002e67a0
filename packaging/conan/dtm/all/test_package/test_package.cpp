#include <chrono>
#include <cstdlib>
#include <memory>

#include <dtm/http.hpp>

int main() {
    int sum = 0;
    dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>());
    auto add = tm.Register<int>("Add", [&](const int& amount) { sum += amount; });
    tm.Use(dtm::HttpBranches());
    tm.Start();
    const dtm::TransResult result =
        dtm::NewSaga(tm, dtm::MustGenGid(tm)).Add(add, dtm::kNoBranch, 42).SubmitAndWait(std::chrono::seconds(10));
    return result.Succeeded() && sum == 42 ? EXIT_SUCCESS : EXIT_FAILURE;
}
