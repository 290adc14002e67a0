/// The coordinator in a program that has an event loop of its own, here poll(2), and no thread for it.
/// Needs: dtm/http.hpp, POSIX. The loop with Boost.Asio: event_loop_asio.cpp.
///
///   Poll  does what there is to do and says how long the loop may sleep,
///   WakeFd  ends that sleep early: a URL has answered, or another thread has submitted something.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <poll.h>
#include <string>
#include <thread>

#include <httplib.h>

#include <dtm/http.hpp>

using namespace std::chrono_literals;

namespace {

/// poll(2) counts in milliseconds; rounded up, since waking too early would spin.
int Milliseconds(dtm::Duration sleep) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(sleep).count());
}

/// Runs the loop until `done()`, at most for `limit`; returns how often Poll was called.
template <typename Done>
int RunLoop(dtm::Coordinator& tm, const dtm::WakeFd& wake, dtm::Duration limit, const Done& done) {
  const auto end = std::chrono::steady_clock::now() + limit;
  int polls = 0;
  while (std::chrono::steady_clock::now() < end) {
    const dtm::Duration sleep = tm.Poll();
    ++polls;
    if (done()) break;
    pollfd watched[] = {{wake.Fd(), POLLIN, 0} /*, and those of the program */};
    ::poll(watched, 1, Milliseconds((std::min)(sleep, limit)));
    if ((watched[0].revents & POLLIN) != 0) wake.Clear();
  }
  return polls;
}

}  // namespace

int main() {
  httplib::Server bank;  // a service elsewhere, which takes its time
  bank.Post("/TransIn", [](const httplib::Request&, httplib::Response& response) {
    std::this_thread::sleep_for(200ms);
    response.status = 200;
  });
  const std::string url = "http://127.0.0.1:" + std::to_string(bank.bind_to_any_port("127.0.0.1"));
  std::thread service([&] { bank.listen_after_bind(); });
  bool good = false;
  {
    dtm::WakeFd wake;
    dtm::Options options;
    options.on_wake = wake.OnWake();
    dtm::Coordinator tm(std::make_unique<dtm::MemoryStore>(), options);
    tm.Use(dtm::HttpBranches());
    auto out =
        tm.Register<int>("TransOut", [](const int& amount) { std::printf("debit %d\n", amount); });

    // Another thread submits, while the loop sleeps.
    std::thread client([&] {
      std::this_thread::sleep_for(100ms);
      dtm::NewSaga(tm, "g1")
          .Add(out, dtm::kNoBranch, 30)
          .Add(url + "/TransIn", dtm::kNoBranch, 30)
          .Submit();
    });
    const auto begin = std::chrono::steady_clock::now();
    const auto ended = [&] {
      const auto transaction = tm.Query("g1");
      return transaction && dtm::IsFinal(transaction->status);
    };
    RunLoop(tm, wake, 20s, ended);
    const auto took = std::chrono::steady_clock::now() - begin;
    client.join();
    std::printf("g1: %s, the URL answered and the loop went on\n",
                ended() ? "succeed" : "not finished");

    // With nothing to do it costs nothing.
    const std::clock_t cpu = std::clock();
    const int polls = RunLoop(tm, wake, 1s, [] { return false; });
    const double used = 1000.0 * static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
    std::printf("idle for a second: %d polls, %.1f ms of CPU\n", polls, used);
    good = ended() && took < 10s && polls <= 5 && used < 100;
    (void)tm.Stop(1s);
  }
  bank.stop();
  service.join();
  return good ? 0 : 1;
}
