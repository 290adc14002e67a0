/// The quick start: money goes from bank A to bank B, through a success, a refusal and a crash.
/// Needs: cpp-httplib, SQLite, POSIX. Run it with examples/run.sh.
///
/// It is two programs in one. Started with --program it is what you would write: two banks that
/// serve HTTP, an embedded coordinator, and a transfer. Started without, it runs that program in a
/// process of its own for each act, and shows what happened.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "bank.hpp"
#include <dtm/dtm.hpp>
#include <dtm/http.hpp>

/// What bank B says when it is called: nothing, and it does what it is asked, or why it refuses.
std::string RefusalOfBankB(const std::string& run, const std::string& path) {
  if (path != "/TransIn") return "";
  if (run == "refuse") return "account closed";
  if (run == "crash") ::kill(::getpid(), SIGKILL);  // what `kill -9` does: nothing is cleaned up
  return "";
}

void Program(const std::string& run, const std::string& folder) {
  Bank bank_a("bank A", folder + "/bank_a.db", [](auto&) { return ""; });
  Bank bank_b("bank B", folder + "/bank_b.db",
              [&run](auto& path) { return RefusalOfBankB(run, path); });

  dtm::Coordinator tm(folder + "/bank.db");
  tm.Use(dtm::HttpBranches());
  tm.Start();  // from here on it also goes on with what a crash has left unfinished

  std::string gid;
  if (run != "again") {
    gid = dtm::MustGenGid(tm);
    dtm::NewSaga(tm, gid)
        .Add(bank_a.Url("/TransOut"), bank_a.Url("/TransOutCom"), Transfer{30})
        .Add(bank_b.Url("/TransIn"), bank_b.Url("/TransInCom"), Transfer{30})
        .Submit();
  } else {
    gid = tm.List().transactions.at(0).definition->gid;  // the newest: only to watch it
  }
  (void)tm.Wait(gid, std::chrono::seconds(30));
}

/// The transaction as its journal tells it. The coordinator knows the banks by their URLs, people by their names.
std::string Drawing(const dtm::Timeline& story) {
  dtm::Diagram diagram = dtm::MakeDiagram(story);
  diagram.lifelines.at(2).name = "bank A";
  diagram.lifelines.at(3).name = "bank B";
  dtm::DrawOptions options;
  options.colour = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return dtm::Draw(diagram, dtm::DrawFormat::kText, options);
}

/// One act: runs the program, in a process of its own.
class Stage {
 public:
  explicit Stage(std::string self) : self_(std::move(self)) {}
  ~Stage() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  static void Begin(const char* title) { std::printf("\n%s\n\n", title); }

  void Run(const std::string& run) const {
    const int status = RunProcess({self_, "--program", run, folder_});
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (killed != (run == "crash") || (!killed && status != 0)) {
      throw std::runtime_error("the program did not end as it should, but with wait status " +
                               std::to_string(status));
    }
  }

  /// The process is gone; what has it left?
  void LookAround() const {
    std::printf(
        "   kill -9, and nobody is there: %s, and half a saga in bank.db. Started again:\n\n",
        Balances().c_str());
  }

  /// Shows what happened, and checks it.
  void End(dtm::Status expected, const std::string& expected_balances) const {
    dtm::Coordinator tm(folder_ + "/bank.db");
    const auto saga = tm.List().transactions.at(0);
    std::puts(Drawing(tm.Timeline(saga.definition->gid).value()).c_str());
    std::printf("   status: %s   balances: %s\n", dtm::Name(saga.status), Balances().c_str());
    if (!saga.reason.empty()) std::printf("   reason: %s\n", saga.reason.c_str());
    std::fflush(stdout);
    if (saga.status != expected || Balances() != expected_balances) {
      throw std::runtime_error(std::string("expected was: ") + dtm::Name(expected) + ", " +
                               expected_balances);
    }
  }

 private:
  std::string Balances() const {
    const std::int64_t a = Account(folder_ + "/bank_a.db").Balance();
    const std::int64_t b = Account(folder_ + "/bank_b.db").Balance();
    return "bank A " + std::to_string(a) + ", bank B " + std::to_string(b);
  }

  static std::string MakeFolder() {
    std::string folder = std::filesystem::temp_directory_path() / "dtm_quick_start_XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("cannot create " + folder);
    return folder;
  }

  static int RunProcess(std::vector<std::string> arguments) {
    std::fflush(stdout);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_t process = 0;
    if (::posix_spawnp(&process, argv[0], nullptr, nullptr, argv.data(), environ) != 0) {
      throw std::runtime_error("cannot start " + arguments[0]);
    }
    int status = 0;
    ::waitpid(process, &status, 0);
    return status;
  }

  const std::string self_;
  const std::string folder_ = MakeFolder();
};

void Play(const Stage& stage) {
  std::puts("Bank A and bank B are HTTP services with an account of 100 each.");

  Stage::Begin("1. Transfer 30 from A to B.");
  stage.Run("transfer");
  stage.End(dtm::Status::kSucceed, "bank A 70, bank B 130");

  Stage::Begin(
      "2. The same, but bank B refuses: what may have been done is undone, the last first.");
  stage.Run("refuse");
  stage.End(dtm::Status::kFailed, "bank A 70, bank B 130");

  Stage::Begin("3. The same, but the process is killed between TransOut and TransIn.");
  stage.Run("crash");
  stage.LookAround();
  stage.Run("again");
  stage.End(dtm::Status::kSucceed, "bank A 40, bank B 160");
}

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::string(argv[1]) == "--program") {
      Program(argv[2], argv[3]);
    } else {
      const Stage stage(argv[0]);
      Play(stage);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quick_start: %s\n", error.what());
    return 1;
  }
}
