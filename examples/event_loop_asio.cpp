/// The coordinator inside a Boost.Asio io_context, without a thread for it: everything of it, branch functions too,
/// runs where io_context::run is called.
/// Needs: dtm/dtm.hpp, Boost.Asio. It is built if CMake finds Boost.
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>

#include <dtm/dtm.hpp>

namespace {

/// Polls a coordinator when it is time, or when it wakes us. Belongs to the thread that runs the io_context.
class AsioLoop {
 public:
  AsioLoop(boost::asio::io_context& io, dtm::Options options) : io_(io), timer_(io) {
    // From any thread, so it only posts.
    options.on_wake = [this] { boost::asio::post(io_, [this] { Poll(); }); };
    tm_ = std::make_unique<dtm::Coordinator>(std::make_unique<dtm::MemoryStore>(), options);
  }

  dtm::Coordinator& Tm() { return *tm_; }

  /// The first call begins it.
  void Poll() {
    timer_.expires_after(tm_->Poll());  // ends the wait before
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) Poll();
    });
    ++polls_;
    if (after_poll) after_poll();
  }
  int Polls() const { return polls_; }

  std::function<void()> after_poll;

 private:
  boost::asio::io_context& io_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<dtm::Coordinator> tm_;
  int polls_ = 0;
};

}  // namespace

int main() {
  boost::asio::io_context io;
  AsioLoop loop(io, {});
  dtm::Coordinator& tm = loop.Tm();
  const auto io_thread = std::this_thread::get_id();
  bool in_loop = true;
  int tries = 0;
  auto out = tm.Register<int>("TransOut", [&](const int& amount) {
    in_loop = in_loop && std::this_thread::get_id() == io_thread;
    std::printf("debit %d\n", amount);
  });
  auto in = tm.Register<int>("TransIn", [&](const int&) {
    return ++tries < 3 ? dtm::Result::Ongoing() : dtm::Result::Success();  // asked again after 1 s
  });
  loop.Poll();

  // Inside the loop nothing waits, so a callback is told that it is stored.
  boost::asio::post(io, [&] {
    dtm::NewSaga(tm, "g1")
        .Add(out, dtm::kNoBranch, 30)
        .Add(in, dtm::kNoBranch, 30)
        .SetRetryInterval(std::chrono::seconds(1))
        .SubmitAsync(
            [](const dtm::Answer& reply) { std::puts(reply.error ? "refused" : "stored"); });
  });

  dtm::Status status = dtm::Status::kSubmitted;
  loop.after_poll = [&] {
    const auto transaction = tm.Query("g1");
    if (transaction) status = transaction->status;
    if (dtm::IsFinal(status)) io.stop();
  };
  io.run_for(std::chrono::seconds(20));
  std::printf("g1: %s after %d tries and %d polls\n", dtm::Name(status), tries, loop.Polls());
  (void)tm.Stop(std::chrono::seconds(1));
  return status == dtm::Status::kSucceed && in_loop && loop.Polls() < 30 ? 0 : 1;
}
