/// One branch call: what answers of all kinds become.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/http/raw_server.hpp"
#include <dtm/http/calls/branch_http_call.hpp>
#include <dtm/http/hosts/blocking_host.hpp>

using Catch::Matchers::ContainsSubstring;
using dtm_test::CallTo;
using dtm_test::Clock;
using dtm_test::Ms;
using dtm_test::RawServer;
using Kind = dtm::Result::Kind;

namespace {

struct Telling final : dtm::BranchHttpCall {
  Telling(const dtm::BranchCall& one, const dtm::Url& url)
      : BranchHttpCall(one, url, Clock::now() + one.timeout), call(one), where(url) {}
  void OnDone(dtm::hosts::HttpOutcome outcome) override { told = Interpret(outcome, call, where); }
  const dtm::BranchCall& call;
  const dtm::Url& where;
  dtm::CallOutcome told;
};

dtm::CallOutcome Send(dtm::hosts::BlockingHost& host, const dtm::BranchCall& call) {
  const dtm::Url url = dtm::ParseUrl(call.Url());
  Telling telling(call, url);
  host.Send(telling);
  return telling.told;
}

dtm::CallOutcome SendOnce(const dtm::BranchCall& call) {
  dtm::hosts::BlockingHost host(dtm::ParseUrl(call.Url()));
  return Send(host, call);
}

/// The answer to `bytes`.
dtm::CallOutcome ReplyTo(const std::string& bytes, Ms timeout = Ms(3000)) {
  RawServer server([&](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, bytes);
  });
  return SendOnce(CallTo(server.Url(), "{}", timeout));
}

}  // namespace

TEST_CASE("rule A over a real connection") {
  struct Row {
    const char* bytes;
    Kind kind;
    const char* text;
  };
  const Row rows[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Kind::kSuccess, ""},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Kind::kSuccess, ""},
      {"HTTP/1.0 200 OK\r\n\r\nuntil the end", Kind::kSuccess, ""},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nFAI\r\n4\r\nLURE\r\n0\r\n\r\n",
       Kind::kFailure, "FAILURE"},
      {"HTTP/1.1 409 No\r\nContent-Length: 8\r\n\r\nno money", Kind::kFailure, "no money"},
      {"HTTP/1.1 425 Wait\r\nContent-Length: 0\r\n\r\n", Kind::kOngoing, "HTTP status 425"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nONGOING", Kind::kOngoing, "ONGOING"},
      {"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nboom", Kind::kError, "HTTP status 500: boom"},
      {"HTTP/1.1 500 Oops\r\nContent-Length: 7\r\n\r\nFAILURE", Kind::kFailure, "FAILURE"},
      {"HTTP/1.1 204 None\r\n\r\n", Kind::kError, "HTTP status 204"},
      {"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", Kind::kError, "HTTP status 201"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Kind::kSuccess,
       ""},
      // Compressed although not asked for: what it says is not known, unless the status says it.
      {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", Kind::kError,
       "compressed"},
      {"HTTP/1.1 409 No\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", Kind::kFailure,
       "HTTP status 409"},
      // No answers at all.
      {"", Kind::kError, "closed the connection without a valid HTTP answer"},
      {"garbage\r\n\r\n", Kind::kError, "without a valid HTTP answer"},
      {"HTTP/1.1 2OO OK\r\n\r\n", Kind::kError, "without a valid HTTP answer"},
      {"HTTP/1.1 200 OK\r\nContent-Le", Kind::kError, "without a valid HTTP answer"},
      {"HTTP/1.1 409 No\r\nContent-Length: 10\r\n\r\nshort", Kind::kError, "broke off its answer"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.bytes);
    const dtm::CallOutcome reply = ReplyTo(row.bytes);
    CHECK(reply.result.kind == row.kind);
    CHECK_THAT(reply.result.text, ContainsSubstring(row.text));
    CHECK_FALSE(reply.silent);
  }
}

TEST_CASE("Retry-After counts where it can mean the next try") {
  struct Row {
    const char* head;
    Kind kind;
    int seconds;
  };
  const Row rows[] = {
      {"425 x\r\nRetry-After: 120", Kind::kOngoing, 120},
      {"429 x\r\nretry-after: 120", Kind::kError, 120},
      {"503 x\r\nRetry-After: 120", Kind::kError, 120},
      {"503 x\r\nRetry-After: 86400", Kind::kError, 3600},
      {"503 x\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT",
       Kind::kError, 60},
      {"503 x\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT", Kind::kError, 0},
      {"503 x\r\nRetry-After: soon", Kind::kError, 0},
      {"503 x", Kind::kError, 0},
      {"500 x\r\nRetry-After: 120", Kind::kError, 0},
      {"200 x\r\nRetry-After: 120", Kind::kSuccess, 0},
      {"409 x\r\nRetry-After: 120", Kind::kFailure, 0},
  };
  for (const Row& row : rows) {
    CAPTURE(row.head);
    const dtm::CallOutcome reply =
        ReplyTo("HTTP/1.1 " + std::string(row.head) + "\r\nContent-Length: 0\r\n\r\n");
    CHECK(reply.result.kind == row.kind);
    CHECK(reply.result.retry_after == std::chrono::seconds(row.seconds));
  }
}

TEST_CASE("redirects are not followed") {
  RawServer target([](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, RawServer::Ok());
  });
  for (const char* status : {"301", "302", "303", "307", "308"}) {
    const dtm::CallOutcome reply =
        ReplyTo("HTTP/1.1 " + std::string(status) +
                " Moved\r\nContent-Length: 0\r\nLocation: " + target.Url() + "\r\n\r\n");
    CHECK(reply.result.kind == Kind::kError);
    CHECK(reply.result.text == "HTTP status " + std::string(status));
  }
  CHECK(target.Connections() == 0);
}

TEST_CASE("answers without end are cut off") {
  struct Row {
    const char* head;
    Kind kind;
  };
  const Row rows[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", Kind::kError},
      {"HTTP/1.1 200 OK\r\n\r\n", Kind::kError},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", Kind::kError},
      {"HTTP/1.1 409 No\r\nContent-Length: 1073741824\r\n\r\n", Kind::kFailure},
  };
  for (const Row& row : rows) {
    CAPTURE(row.head);
    std::size_t sent = 0;
    dtm::CallOutcome reply;
    {
      RawServer server([&](int fd, int) {
        RawServer::ReadRequest(fd);
        RawServer::Write(fd, row.head);
        const std::string block(65536, 'x');
        while (sent < (std::size_t{1} << 30) && RawServer::Write(fd, block)) sent += block.size();
      });
      reply = SendOnce(CallTo(server.Url()));
    }
    CHECK(reply.result.kind == row.kind);
    CHECK(reply.result.text.size() <= dtm::kMaxReasonBytes);
    CHECK(sent < (std::size_t{1} << 26));  // what the socket buffers hold, not the gigabyte
  }
  CHECK(ReplyTo(RawServer::Ok(std::string(dtm::kMaxReplyBytes, 'x'))).result.kind ==
        Kind::kSuccess);
  const std::size_t limit = dtm::BranchHttpCall::kMaxReadBytes;
  CHECK(ReplyTo(RawServer::Ok(std::string(limit, 'x'))).result.kind == Kind::kSuccess);
  const dtm::CallOutcome too_long = ReplyTo(RawServer::Ok(std::string(limit + 1, 'x')));
  CHECK_THAT(too_long.result.text, ContainsSubstring("more than 8388608 bytes"));
  CHECK(too_long.result.done);
}

TEST_CASE("nobody there, and nobody answering") {
  std::string url;
  {
    RawServer server([](int, int) {});
    url = server.Url();
  }
  const dtm::CallOutcome refused = SendOnce(CallTo(url));
  CHECK(refused.result.kind == Kind::kError);
  CHECK_THAT(refused.result.text, ContainsSubstring("cannot be reached: nothing listens there"));
  CHECK(refused.silent);
  const dtm::CallOutcome unknown = SendOnce(CallTo("http://no-such-host.invalid/x"));
  CHECK(unknown.result.kind == Kind::kError);
  CHECK_THAT(unknown.result.text, ContainsSubstring("cannot be reached: its name is unknown"));
  CHECK(unknown.silent);

  RawServer silent([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) continue;
  });
  const auto start = Clock::now();
  const dtm::CallOutcome reply = SendOnce(CallTo(silent.Url(), "{}", Ms(200)));
  CHECK(reply.result.kind == Kind::kError);
  CHECK_THAT(reply.result.text, ContainsSubstring("gave no answer within 200 ms"));
  CHECK(reply.silent);
  CHECK(Clock::now() - start >= Ms(190));
}

TEST_CASE("an answer is complete also when the server resets afterwards") {
  RawServer server([](int fd, int) {
    RawServer::ReadRequest(fd);
    RawServer::Write(fd, RawServer::Ok("{}"));
    std::this_thread::sleep_for(Ms(50));
    RawServer::Reset(fd);
  });
  const dtm::BranchCall call = CallTo(server.Url());
  dtm::hosts::BlockingHost connection(dtm::ParseUrl(call.Url()));
  for (int i = 0; i < 3; ++i) {
    CHECK(Send(connection, call).result.kind == Kind::kSuccess);
    std::this_thread::sleep_for(Ms(100));
  }
  CHECK(server.Connections() == 3);
}

TEST_CASE(
    "a kept connection that the service closes without a byte of an answer is replaced, once") {
  RawServer server([&](int fd, int n) {
    for (int i = 0;; ++i) {
      const std::string request = RawServer::ReadRequest(fd);
      if (request.empty() || (i == 1 && n % 2 == 0)) return;  // takes the second call, and dies
      RawServer::Write(fd, RawServer::Ok());
    }
  });
  const dtm::BranchCall call = CallTo(server.Url());
  dtm::hosts::BlockingHost connection(dtm::ParseUrl(call.Url()));
  CHECK(Send(connection, call).result.kind == Kind::kSuccess);
  CHECK(Send(connection, call).result.kind == Kind::kSuccess);
  CHECK(server.Connections() == 2);
}

TEST_CASE("what real services answer is understood") {
  std::string headers;
  for (int i = 0; i < 300; ++i) headers += "X-" + std::to_string(i) + ": y\r\n";
  const std::string hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  const std::string no = "HTTP/1.1 409 No\r\n";
  for (const std::string& bytes :
       {hints + "HTTP/1.1 102 Processing\r\n\r\n" + no + "Content-Length: 8\r\n\r\nno money",
        no + headers + "Content-Length: 8\r\n\r\nno money",
        no + "X: " + std::string(30000, 'v') + "\r\nContent-Length: 8\r\n\r\nno money",
        no + "X: folded\r\n here\r\nContent-Length: 8\r\n\r\nno money",
        no + "Transfer-Encoding: chunked\r\n\r\n8\r\nno money\r\n0\r\nX-Sum: 1\r\n\r\n"}) {
    CAPTURE(bytes.substr(0, 100));
    const dtm::CallOutcome reply = ReplyTo(bytes);
    CHECK(reply.result.kind == Kind::kFailure);
    CHECK(reply.result.text == "no money");
  }
}

TEST_CASE("what exceeds a limit against abuse is an error that says so") {
  const dtm::CallOutcome head =
      ReplyTo("HTTP/1.1 409 No\r\nX: " + std::string(300000, 'v') + "\r\n\r\n");
  CHECK(head.result.kind == Kind::kError);
  CHECK_THAT(head.result.text, ContainsSubstring("a header is too long"));
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "X: y\r\n";
  CHECK_THAT(ReplyTo("HTTP/1.1 409 No\r\n" + many + "\r\n").result.text,
             ContainsSubstring("it has too many headers"));
  const dtm::CallOutcome body = ReplyTo("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n");
  CHECK(body.result.kind == Kind::kError);
  CHECK_THAT(body.result.text, ContainsSubstring("a body of more than 8388608 bytes"));
}

TEST_CASE("a long body counts as a short one, with its words wherever they are") {
  const std::string page(dtm::kMaxReplyBytes - 3, 'x');
  CHECK(ReplyTo(RawServer::Ok(page + page)).result.kind == Kind::kSuccess);
  CHECK(ReplyTo(RawServer::Ok(page + "FAILURE")).result.kind == Kind::kFailure);
  CHECK(ReplyTo(RawServer::Ok(page + page + page + "ONGOING" + page)).result.kind ==
        Kind::kOngoing);
  CHECK(ReplyTo(RawServer::Ok(page + page + "FAILURE" + page + "ONGOING")).result.kind ==
        Kind::kOngoing);
  CHECK(ReplyTo("HTTP/1.1 500 x\r\n\r\n" + page + page).result.kind == Kind::kError);
  CHECK(ReplyTo("HTTP/1.1 409 x\r\n\r\n" + page + page).result.kind == Kind::kFailure);
  CHECK(ReplyTo("HTTP/1.1 409 x\r\n\r\n" + page + page).result.text.size() == dtm::kMaxReasonBytes);
}

TEST_CASE("words that come in pieces beyond what is kept are found") {
  const std::string text = "12345FAILURE";
  for (std::size_t piece = 1; piece < 8; ++piece) {
    for (std::size_t kept = 0; kept < text.size(); ++kept) {
      dtm::WordsBeyond words;
      for (std::size_t at = 0; at < text.size(); at += piece) {
        const std::string_view one = std::string_view(text).substr(at, piece);
        words.Look(one, (std::min)(one.size(), kept > at ? kept - at : 0));
      }
      CAPTURE(piece, kept);
      CHECK(std::string(words.Found()) == "FAILURE");
    }
  }
}

TEST_CASE("a reply for which there is no room counts by its status and its words") {
  struct Row {
    int status;
    const char* body;
    bool wanted;
    Kind kind;
  };
  const Row rows[] = {
      {200, "x", false, Kind::kSuccess},       {200, "FAILURE", false, Kind::kFailure},
      {200, "ONGOING", false, Kind::kOngoing}, {409, "x", false, Kind::kFailure},
      {500, "x", false, Kind::kError},         {409, "x", true, Kind::kFailure},
      {425, "x", true, Kind::kOngoing},        {200, "x", true, Kind::kError},
  };
  for (const Row& row : rows) {
    CAPTURE(row.status, row.body, row.wanted);
    dtm::BranchCall call = CallTo("http://b/x");
    call.keep_body = row.wanted;
    const dtm::Url url = dtm::ParseUrl(call.Url());
    Telling telling(call, url);
    telling.OnBody(row.body, 0);
    dtm::hosts::HttpOutcome outcome;
    outcome.status = row.status;
    outcome.cut = outcome.crowded = true;
    telling.OnDone(outcome);
    CHECK(telling.told.result.kind == row.kind);
    CHECK_FALSE(telling.told.silent);
    CHECK_FALSE(telling.told.result.done);
    const bool lost = row.wanted && row.kind == Kind::kError;
    CHECK((telling.told.result.text.find("it is called again") != std::string::npos) == lost);
  }
}

TEST_CASE("who wants the body gets it up to its limit, and is told what was done") {
  for (const std::size_t size : {dtm::kMaxPayloadBytes, dtm::kMaxPayloadBytes + 1}) {
    RawServer server([size](int fd, int) {
      RawServer::ReadRequest(fd);
      RawServer::Write(fd, RawServer::Ok(std::string(size, 'x')));
    });
    dtm::BranchCall call = CallTo(server.Url());
    call.keep_body = true;
    const dtm::CallOutcome reply = SendOnce(call);
    const bool fits = size == dtm::kMaxPayloadBytes;
    CHECK(reply.result.kind == (fits ? Kind::kSuccess : Kind::kError));
    if (fits) CHECK(reply.result.text.size() == size);
    if (!fits) CHECK_THAT(reply.result.text, ContainsSubstring("more than 262144 bytes"));
    CHECK(reply.result.done != fits);
  }
}

TEST_CASE("an answer that belongs to nobody is not taken for the next one") {
  RawServer server([](int fd, int) {
    while (!RawServer::ReadRequest(fd).empty()) {
      RawServer::Write(fd, RawServer::Ok() + RawServer::Ok("FAILURE"));
    }
  });
  const dtm::BranchCall call = CallTo(server.Url());
  dtm::hosts::BlockingHost connection(dtm::ParseUrl(call.Url()));
  for (int i = 0; i < 3; ++i) {
    CHECK(Send(connection, call).result.kind == Kind::kSuccess);
    std::this_thread::sleep_for(Ms(20));
  }
}
