/// Sagas, messages and tccs of two HTTP branches over the HTTP API: dtm-server of this project beside the Go server on
/// boltdb and on Redis, with the same load. Then what each takes when idle, and how soon it answers
/// after its start; and ours with the same load beside nearly 10,000 idle connections, and without. Exits with 1 if an acknowledged saga was lost or done wrong.
///   http [seconds per point] [folder for the stores] [--ours FILE] [--go FILE] [--redis FILE]
///   http [seconds per point] [folder for the stores] --databases [--ours FILE] [--go FILE]   on the servers of tools/with_*.sh
///   http [seconds per point] --url http://127.0.0.1:PORT/api/dtmsvr [--pids NAME=PID,...]
///   http [seconds per point] --self | --self-faulty    what the load can reach; what it must notice
/// and for all: [--connections N,...] [--max-open N] [--types saga,msg,tcc]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "bench.hpp"
#include "child.hpp"
#include "http_load.hpp"
#include "http_self.hpp"
#include "http_servers.hpp"

namespace {

using Kind = bench::ServerUnderTest::Kind;

struct Arguments {
  double seconds = 8;
  std::string folder = ".";
  bench::Programs programs;
  std::string url;
  std::vector<bench::NamedProcess> processes;
  bool databases = false;
  bool self = false;
  bool faulty = false;
  std::vector<std::size_t> connections;
  std::vector<std::string> types = {"saga", "msg", "tcc"};
  std::size_t max_open = bench::LoadOptions().max_open;
};

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  arguments.programs.ours = DTM_SERVER;
  int position = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw std::runtime_error(name + " needs a value");
      return argv[++i];
    };
    if (name == "--ours") {
      arguments.programs.ours = value();
    } else if (name == "--go") {
      arguments.programs.go = value();
    } else if (name == "--redis") {
      arguments.programs.redis = value();
    } else if (name == "--url") {
      arguments.url = value();
    } else if (name == "--pids") {
      for (const std::string& pair : Split(value())) {
        const std::size_t equals = pair.find('=');
        if (equals == std::string::npos) throw std::runtime_error("--pids wants NAME=PID,...");
        arguments.processes.push_back(
            {pair.substr(0, equals), std::atoi(pair.c_str() + equals + 1)});
      }
    } else if (name == "--databases") {
      arguments.databases = true;
    } else if (name == "--self" || name == "--self-faulty") {
      arguments.self = true;
      arguments.faulty = name == "--self-faulty";
    } else if (name == "--connections") {
      for (const std::string& number : Split(value())) {
        arguments.connections.push_back(std::strtoul(number.c_str(), nullptr, 10));
      }
    } else if (name == "--types") {
      arguments.types = Split(value());
    } else if (name == "--max-open") {
      arguments.max_open = std::strtoul(value().c_str(), nullptr, 10);
    } else if (name.substr(0, 1) == "-" || position == 2) {
      throw std::runtime_error("unknown: " + name + "; see the head of bench/http.cpp");
    } else if (position++ == 0) {
      arguments.seconds = std::atof(name.c_str());
    } else {
      arguments.folder = name;
    }
  }
  return arguments;
}

/// Nothing but this machine is ever a target.
void ReadUrl(const std::string& url, bench::LoadOptions& options) {
  for (const std::string host : {"http://127.0.0.1:", "http://localhost:"}) {
    if (url.compare(0, host.size(), host) != 0) continue;
    options.port = std::atoi(url.c_str() + host.size());
    options.path = url.substr((std::min)(url.find('/', host.size()), url.size()));
    if (options.port > 0) return;
  }
  throw std::runtime_error("--url wants http://127.0.0.1:PORT/PATH, not " + url);
}

std::string StatusOf(const bench::LoadOptions& options, const std::string& gid) {
  const auto body = bench::Get(options.port, options.path + "/query?gid=" + gid);
  if (!body) return "no answer";
  const auto answer = nlohmann::json::parse(*body, nullptr, false);
  if (!answer.is_object() || !answer.contains("transaction"))
    return "an answer without transaction";
  const auto& transaction = answer["transaction"];
  return transaction.is_object() ? transaction.value("status", "no status") : "not known";
}

/// How many of the sample do not succeed within 5 s, by what the coordinator says itself.
double CountNotSucceeded(const bench::LoadOptions& options, const std::vector<std::string>& gids) {
  double count = 0;
  const bench::Watch watch;
  for (const std::string& gid : gids) {
    std::string status;
    while ((status = StatusOf(options, gid)) != "succeed" && watch.Wall() < 5) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (status == "succeed") continue;
    if (count++ == 0) std::fprintf(stderr, "http: %s is %s\n", gid.c_str(), status.c_str());
  }
  return count;
}

/// One point; false if something was lost or done wrong.
bool Measure(const Kind& kind, const bench::LoadOptions& options) {
  const bench::LoadResult result = bench::HttpLoad(options).Run();
  const bench::SagaTally::Sums& sums = result.sums;
  const double not_succeeded = CountNotSucceeded(options, result.sample);
  const auto per_saga = [&](double cpu) {
    return sums.finished > 0 ? 1e6 * cpu / sums.finished : 0;
  };
  const bool saga = options.type == "saga";
  std::vector<std::pair<std::string, double>> values = {
      {"connections", static_cast<double>(options.connections)},
      {"sagas_per_s", sums.finished / result.window}};
  for (std::size_t i = 0; i < options.processes.size(); ++i) {
    // That of the server has the name it has in the other benchmarks.
    const std::string& name = options.processes[i].name;
    const std::string prefix = i == 0 ? "" : name + "_";
    values.emplace_back(prefix + "cpu_us_per_saga", per_saga(result.cpu[i]));
    values.emplace_back(prefix + "memory_mb", result.memory_mb[i]);
  }
  values.insert(values.end(), {{"loadgen_cpu_us_per_saga", per_saga(result.own_cpu)},
                               {"submit_p50_ms", bench::Percentile(sums.submit_ms, 0.5)},
                               {"submit_p99_ms", bench::Percentile(sums.submit_ms, 0.99)},
                               {"end_to_end_p50_ms", bench::Percentile(sums.end_to_end_ms, 0.5)},
                               {"end_to_end_p99_ms", bench::Percentile(sums.end_to_end_ms, 0.99)},
                               {"other_cores", result.other_cores},
                               {"acknowledged", sums.acknowledged},
                               {"refused", result.refused},
                               {"missing", sums.missing},
                               {"duplicates", sums.duplicates},
                               {"out_of_order", sums.out_of_order},
                               {"unexpected", sums.unexpected},
                               {"not_succeeded", not_succeeded}});
  bench::Print(saga ? "http" : "http_" + options.type, values,
               {{"server", kind.server}, {"store", kind.store}});
  if (result.refused > 0) {
    std::fprintf(stderr, "http: %s refused %.0f submits, the first with: %s\n", kind.server.c_str(),
                 result.refused, result.refusal.c_str());
  }
  // A call may come twice where the reference starts a slow saga again after 10 s.
  const double wrong = sums.missing + sums.out_of_order + sums.unexpected + not_succeeded +
                       (kind.server == "go" ? 0 : sums.duplicates);
  if (wrong > 0) std::fprintf(stderr, "http: %s did sagas wrong\n", kind.server.c_str());
  return wrong == 0 && sums.finished > 0;
}

void MeasureIdle(const Kind& kind, const Arguments& arguments) {
  const std::string& program =
      kind.server == "ours" ? arguments.programs.ours : arguments.programs.go;
  std::vector<double> answers_ms;
  std::vector<double> memory;
  for (int i = 0; i < 3; ++i) {
    const bench::ServerUnderTest server(arguments.programs, kind, arguments.folder);
    answers_ms.push_back(1e3 * server.FirstAnswer());
    std::this_thread::sleep_for(std::chrono::seconds(1));
    memory.push_back(bench::ResidentMegabytes(server.Processes().front().pid));
  }
  bench::Print("http_idle",
               {{"first_answer_ms", bench::Percentile(answers_ms, 0.5)},
                {"idle_memory_mb", bench::Percentile(memory, 0.5)},
                {"stripped_mb", bench::StrippedMegabytes(program, arguments.folder)}},
               {{"server", kind.server}, {"store", kind.store}});
}

/// Connections that have asked once and say no more, in a process of their own.
class IdleConnections {
 public:
  IdleConnections(int port, std::size_t count) {
    int told[2];
    if (::pipe(told) != 0) throw std::runtime_error("no pipe");
    const std::string request = "GET /api/dtmsvr/newGid HTTP/1.1\r\nHost: localhost\r\n\r\n";
    child_.emplace([&] {
      const sockaddr_in address = bench::Loopback(port);
      for (std::size_t i = 0; i < count; ++i) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char answer[1024];
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0 ||
            ::recv(fd, answer, sizeof answer, 0) <= 0)
          throw std::runtime_error("idle connection " + std::to_string(i) + " was not served");
      }
      (void)!::write(told[1], "", 1);
      while (true) ::pause();
    });
    ::close(told[1]);
    char byte = 0;
    const bool all = ::read(told[0], &byte, 1) == 1;
    ::close(told[0]);
    if (!all) throw std::runtime_error("the idle connections are not there");
  }

 private:
  std::optional<bench::Child> child_;
};

/// Both take turns, so that whatever else the machine does concerns them alike.
void MeasureBesideIdle(const Kind& kind, const Arguments& arguments) {
  constexpr std::size_t kIdle = 9950;  // the others are among the 10,000 too
  constexpr int kPairs = 3;
  std::vector<double> alone, beside, ratios, memory;
  for (int i = 0; i < kPairs; ++i) {
    const bench::ServerUnderTest server(arguments.programs, kind, arguments.folder);
    bench::LoadOptions options;
    options.port = server.Port();
    options.warm_up = 1;
    options.seconds = (std::min)(arguments.seconds, 2.0);
    const auto p99 = [&] {
      return bench::Percentile(bench::HttpLoad(options).Run().sums.submit_ms, 0.99);
    };
    alone.push_back(p99());
    const pid_t pid = server.Processes().front().pid;
    const double before = bench::ResidentMegabytes(pid);
    const IdleConnections idle(server.Port(), kIdle);
    memory.push_back(bench::ResidentMegabytes(pid) - before);
    beside.push_back(p99());
    ratios.push_back(beside.back() / alone.back());
  }
  bench::Print("http_beside_idle",
               {{"idle_connections", kIdle},
                {"submit_p99_ms_alone", bench::Percentile(alone, 0.5)},
                {"submit_p99_ms", bench::Percentile(beside, 0.5)},
                {"times", bench::Percentile(ratios, 0.5)},
                {"memory_mb_more", bench::Percentile(memory, 0.5)}},
               {{"server", kind.server}, {"store", kind.store}});
}

std::vector<Kind> Kinds(const Arguments& arguments) {
  const bench::Programs& programs = arguments.programs;
  std::vector<Kind> kinds;
  if (arguments.databases) {
    for (const char* store : {"postgres", "mysql"}) {
      if (!programs.ours.empty()) kinds.push_back({"ours", store});
      if (!programs.go.empty()) kinds.push_back({"go", store});
    }
    return kinds;
  }
  if (!programs.ours.empty()) kinds.push_back({"ours", "sqlite"});
  if (!programs.go.empty()) kinds.push_back({"go", "boltdb"});
  if (!programs.go.empty() && !programs.redis.empty()) kinds.push_back({"go", "redis"});
  return kinds;
}

/// False if one of the points was bad.
bool Run(const Arguments& arguments) {
  bool good = true;
  bench::LoadOptions options;
  options.seconds = arguments.seconds;
  options.max_open = arguments.max_open;
  const auto each = [&](std::vector<std::size_t> connections, const auto& measure) {
    if (!arguments.connections.empty()) connections = arguments.connections;
    for (const std::size_t count : connections) {
      options.connections = count;
      if (!measure()) good = false;
    }
  };

  if (arguments.self) {
    each({16, 64, 256}, [&] {
      bench::ToyCoordinator toy(arguments.faulty);
      const bench::Child process([&toy] { toy.Serve(); });
      options.port = toy.Port();
      options.processes = {{"server", process.Pid()}};
      return Measure({"self", "none"}, options);
    });
    return good;
  }
  if (!arguments.url.empty()) {
    ReadUrl(arguments.url, options);
    options.processes = arguments.processes;
    for (const std::string& type : arguments.types) {
      options.type = type;
      each({16, 64}, [&] { return Measure({"url", "unknown"}, options); });
    }
    return good;
  }
  const std::vector<Kind> kinds = Kinds(arguments);
  if (kinds.empty())
    throw std::runtime_error("no server to measure: --ours, --go, --url or --self");
  for (const Kind& kind : kinds) {
    const bool ours = kind.server == "ours";
    for (const std::string& type : arguments.types) {
      options.type = type;
      const bool many = ours && type == "saga";
      each(many ? std::vector<std::size_t>{16, 64, 256} : std::vector<std::size_t>{16, 64}, [&] {
        const bench::ServerUnderTest server(arguments.programs, kind, arguments.folder);
        options.port = server.Port();
        options.processes = server.Processes();
        return Measure(kind, options);
      });
    }
  }
  if (arguments.databases) return good;
  for (const Kind& kind : kinds) MeasureIdle(kind, arguments);
  if (kinds.front().server == "ours") MeasureBesideIdle(kinds.front(), arguments);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::RaiseDescriptorLimit(
        14000);  // also for the server: of those, three quarters are for connections
    return Run(Parse(argc, argv)) ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "http: %s\n", error.what());
    return 1;
  }
}
