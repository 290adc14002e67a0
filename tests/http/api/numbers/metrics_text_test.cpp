/// The text of the metrics, line by line, as Prometheus reads it.
#include <chrono>
#include <clocale>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.hpp"
#include "tests/support/temp_dir.hpp"
#include <dtm/base/version.hpp>
#include <dtm/engine/explain.hpp>
#include <dtm/http/api/numbers/metrics_text.hpp>

using dtm::ApiCounters;
using dtm::Histogram;
using dtm::Metrics;
using dtm::Op;
using dtm::Status;
using dtm::TransType;
using Ms = std::chrono::milliseconds;

namespace {

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool Has(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("metrics_text: requests are counted by name, and as fail from 400 on") {
  ApiCounters counters;
  CHECK(counters.Get().empty());
  for (const int status : {200, 399, 400, 409, 425, 500, 503}) {
    counters.Answered("submit", status, Ms(20));
  }
  counters.Answered("query", 200, Ms(1));
  const auto counted = counters.Get();
  REQUIRE(counted.size() == 2);
  CHECK(counted.at("submit").ok == 2);
  CHECK(counted.at("submit").failed == 5);
  CHECK(counted.at("submit").durations.counts[2] == 7);  // above 0.01, at most 0.025
  CHECK(counted.at("query").ok == 1);
  CHECK(counted.at("query").failed == 0);
}

TEST_CASE("metrics_text: counted from many threads, none is lost") {
  ApiCounters counters;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) {
        counters.Answered(n % 2 == 0 ? "a" : "b", n % 4 == 0 ? 500 : 200, Ms(1));
        if (n % 100 == 0) (void)counters.Get();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto counted = counters.Get();
  CHECK(counted.at("a").ok == 1000);
  CHECK(counted.at("a").failed == 1000);
  CHECK(counted.at("b").ok == 2000);
  CHECK(counted.at("b").durations.counts[0] == 2000);
}

TEST_CASE("metrics_text: numbers without zeros at the end") {
  struct Row {
    double value;
    const char* text;
  };
  for (const Row& row : {Row{0, "0"}, Row{.005, "0.005"}, Row{2.5, "2.5"}, Row{10, "10"},
                         Row{123456789, "123456789"}, Row{1e-6, "1e-06"}}) {
    CHECK(dtm::metrics_text::Number(row.value) == row.text);
  }
}

TEST_CASE("metrics_text: a histogram is cumulative, bounds included") {
  Histogram histogram;
  for (const auto time : {Ms(0), Ms(5), Ms(6), Ms(2500), Ms(10000), Ms(10001), Ms(3600000)}) {
    histogram.Add(time);
  }
  std::string out;
  dtm::metrics_text::Lines(out, "m", "a=\"b\"", histogram);
  CHECK(Lines(out) == std::vector<std::string>{
                          R"(m_bucket{a="b",le="0.005"} 2)",
                          R"(m_bucket{a="b",le="0.01"} 3)",
                          R"(m_bucket{a="b",le="0.025"} 3)",
                          R"(m_bucket{a="b",le="0.05"} 3)",
                          R"(m_bucket{a="b",le="0.1"} 3)",
                          R"(m_bucket{a="b",le="0.25"} 3)",
                          R"(m_bucket{a="b",le="0.5"} 3)",
                          R"(m_bucket{a="b",le="1"} 3)",
                          R"(m_bucket{a="b",le="2.5"} 4)",
                          R"(m_bucket{a="b",le="5"} 4)",
                          R"(m_bucket{a="b",le="10"} 5)",
                          R"(m_bucket{a="b",le="+Inf"} 7)",
                          R"(m_sum{a="b"} 3622.512)",
                          R"(m_count{a="b"} 7)",
                      });
}

TEST_CASE("metrics_text: everything that was counted, under dtm's names") {
  ApiCounters counters;
  counters.Answered("submit", 200, Ms(2));
  counters.Answered("submit", 409, Ms(30));
  Metrics::Snapshot done;
  done.ended[{TransType::kSaga, Status::kSucceed}] = 3;
  done.ended[{TransType::kSaga, Status::kFailed}] = 2;
  done.durations[TransType::kSaga].Add(Ms(700));
  done.branches[{TransType::kSaga, "01", Op::kAction, true}] = 5;
  done.branches[{TransType::kSaga, "01", Op::kCompensate, false}] = 1;
  done.repaired[TransType::kTcc] = 6;
  dtm::Gauges now;
  now.store = "postgres";
  now.outboxes = dtm::OutboxGauges{7, 1, Ms(2500)};
  now.hooks["on_event"] = {2, 9};
  now.peers = dtm::PeerCounts{3, 4, 5};
  now.backlog = dtm::Backlog{7, 4, 1, {}};
  now.oldest_age = Ms(1500);
  now.in_memory = 5;
  now.damaged = 2;
  now.store_fails = true;
  now.functions = {3, 9, {}};
  now.urls = {8, 100, {{"http://a:1", 1, 0, false}, {"http://b\\\"", 7, 100, true}}};
  done.commits.Add(std::chrono::microseconds(700));
  const std::string text = "\n" + dtm::metrics_text::Text(counters.Get(), done, now);
  const std::string version = dtm::kVersion;
  for (const std::string& line : {
           std::string("# TYPE dtm_server_info gauge"),
           "dtm_server_info{version=\"" + version + "\",store=\"postgres\"} 1",
           std::string("# TYPE dtm_server_process_total counter"),
           std::string(R"(dtm_server_process_total{type="http",api="submit",status="ok"} 1)"),
           std::string(R"(dtm_server_process_total{type="http",api="submit",status="fail"} 1)"),
           std::string("# TYPE dtm_server_response_duration histogram"),
           std::string(
               R"(dtm_server_response_duration_bucket{type="http",api="submit",le="0.005"} 1)"),
           std::string(
               R"(dtm_server_response_duration_bucket{type="http",api="submit",le="+Inf"} 2)"),
           std::string(R"(dtm_server_response_duration_sum{type="http",api="submit"} 0.032)"),
           std::string(R"(dtm_server_response_duration_count{type="http",api="submit"} 2)"),
           std::string("# TYPE dtm_transaction_process_total counter"),
           std::string(R"(dtm_transaction_process_total{model="saga",status="ok"} 3)"),
           std::string(R"(dtm_transaction_process_total{model="saga",status="fail"} 2)"),
           std::string("# TYPE dtm_transaction_handled_duration histogram"),
           std::string(R"(dtm_transaction_handled_duration_bucket{model="saga",le="0.5"} 0)"),
           std::string(R"(dtm_transaction_handled_duration_bucket{model="saga",le="1"} 1)"),
           std::string(R"(dtm_transaction_handled_duration_count{model="saga"} 1)"),
           std::string("# TYPE dtm_branch_process_total counter"),
           std::string(R"(dtm_branch_process_total{model="saga",branchid="01",)"
                       R"(branchtype="action",status="ok"} 5)"),
           std::string(R"(dtm_branch_process_total{model="saga",branchid="01",)"
                       R"(branchtype="compensate",status="fail"} 1)"),
           std::string("# TYPE dtm_branches_skipped_total counter"),
           std::string(R"(dtm_branches_skipped_total{model="tcc"} 6)"),
           std::string("# TYPE dtm_store_commit_duration histogram"),
           std::string(R"(dtm_store_commit_duration_bucket{le="0.0005"} 0)"),
           std::string(R"(dtm_store_commit_duration_bucket{le="0.001"} 1)"),
           std::string("dtm_store_commit_duration_sum 0.0007"),
           std::string("dtm_store_commit_duration_count 1"),
           std::string("# TYPE dtm_transactions_unfinished gauge"),
           std::string("dtm_transactions_unfinished 7"),
           std::string("dtm_transactions_waiting 4"),
           std::string("dtm_transactions_stuck 3"),
           std::string("dtm_oldest_unfinished_seconds 1.5"),
           std::string("dtm_transactions_in_memory 5"),
           std::string(R"(dtm_calls_in_flight{to="function"} 3)"),
           std::string(R"(dtm_calls_in_flight{to="url"} 8)"),
           std::string(R"(dtm_calls_waiting{to="function"} 9)"),
           std::string(R"(dtm_calls_waiting{to="url"} 100)"),
           std::string(R"(dtm_host_calls_in_flight{host="http://a:1"} 1)"),
           std::string(R"(dtm_host_calls_waiting{host="http://b\\\""} 100)"),
           std::string(R"(dtm_host_limited{host="http://a:1"} 0)"),
           std::string(R"(dtm_host_limited{host="http://b\\\""} 1)"),
           std::string("dtm_store_failing 1"),
           std::string("dtm_outbox_rows_total{status=\"ok\"} 7"),
           std::string("dtm_outbox_rows_total{status=\"fail\"} 1"),
           std::string("dtm_outbox_oldest_seconds 2.5"),
           std::string(R"(dtm_hook_waiting{hook="on_event"} 2)"),
           std::string(R"(dtm_hook_dropped_total{hook="on_event"} 9)"),
           std::string("dtm_cluster_members 3"),
           std::string("dtm_cluster_driven 5"),
           std::string("dtm_cluster_taken_over_total 4"),
       }) {
    INFO(line);
    CHECK(Has(text, line));
  }
}

TEST_CASE("metrics_text: the format, with nothing counted and with much") {
  ApiCounters counters;
  Metrics::Snapshot done;
  dtm::Gauges now;
  for (const bool much : {false, true}) {
    if (much) {
      now.backlog = dtm::Backlog{};
      now.outboxes = dtm::OutboxGauges{7, 1, Ms(2500)};
      now.hooks["on_event"] = {2, 9};
      for (std::size_t i = 0; i < 1000; ++i) {
        now.urls.hosts.push_back({"http://h" + std::to_string(i), 1, i, false});
      }
      for (const char* api : {"a", "b"}) counters.Answered(api, 200, Ms(1));
      for (const TransType type : {TransType::kSaga, TransType::kMsg, TransType::kWorkflow}) {
        done.ended[{type, Status::kSucceed}] = UINT64_MAX;
        done.durations[type].Add(Ms(1));
        done.branches[{type, "100", Op::kAction, true}] = 1;
      }
    }
    const std::string text = dtm::metrics_text::Text(counters.Get(), done, now);
    REQUIRE_FALSE(text.empty());
    CHECK(text.back() == '\n');
    std::set<std::string> series, families;
    std::string family;
    for (const std::string& line : Lines(text)) {
      INFO(line);
      if (line.compare(0, 7, "# HELP ") == 0) continue;
      if (line.compare(0, 7, "# TYPE ") == 0) {
        family = line.substr(7, line.find(' ', 7) - 7);
        CHECK(families.insert(family).second);
        continue;
      }
      const std::string name = line.substr(0, line.rfind(' '));
      CHECK(line.compare(0, family.size(), family) == 0);  // behind its TYPE
      CHECK(series.insert(name).second);                   // once
      CHECK(name.find_first_of("{ ") == (name.back() == '}' ? name.find('{') : std::string::npos));
      CHECK(line.substr(line.rfind(' ') + 1).find_first_not_of("0123456789.e+-") ==
            std::string::npos);
    }
    CHECK(families.size() == (much ? 23 : 15));
    CHECK(series.size() == (much ? 81 + 14 + 10 + 3 + 2 + 300 : 1 + 14 + 6));
  }
}

TEST_CASE("metrics_text: a program whose locale writes commas changes no number") {
  dtm_test::TempDir dir;  // with a locale of its own: a machine for builds may have none
  std::ofstream(dir / "source") << "LC_NUMERIC\ndecimal_point \"<U002C>\"\nthousands_sep \"\"\n"
                                   "grouping -1\nEND LC_NUMERIC\n";
  const std::string make = "localedef -c -i '" + (dir / "source") + "' -f ANSI_X3.4-1968 '" +
                           (dir / "comma") + "' 2>/dev/null";
  (void)!std::system(make.c_str());  // it warns of all the other categories
  const std::string path = dir / "";
  setenv("LOCPATH", path.c_str(), 1);
  const bool set = std::setlocale(LC_NUMERIC, "comma") != nullptr;
  char plain[16];
  std::snprintf(plain, sizeof plain, "%.1f", 1.5);
  const std::string number = dtm::metrics_text::Number(1234567.25);
  const std::string words = dtm::engine::Seconds(Ms(2500));
  std::setlocale(LC_NUMERIC, "C");
  unsetenv("LOCPATH");
  REQUIRE(set);
  REQUIRE(std::string(plain) == "1,5");
  CHECK(number == "1234567.25");
  CHECK(words == "2.5");
}
