/// dtm: looks at the transactions of a coordinator, or of its file, and mends what is stuck. `dtm --help` says how it is used.
/// Needs: dtm/http.hpp, POSIX.
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "backup.hpp"
#include "doctor.hpp"
#include "documents.hpp"
#include "lists.hpp"
#include "one.hpp"
#include "source.hpp"

namespace {

using Run = int (*)(tool::Source&, const tool::Arguments&);

Run FindRun(const std::string& name) {
  static const std::vector<std::pair<const char*, Run>> kRuns = {
      {"ls", tool::Ls},          {"show", tool::Show},
      {"watch", tool::Watch},    {"topics", tool::Topics},
      {"stats", tool::Stats},    {"nodes", tool::Nodes},
      {"export", tool::Export},  {"backup", tool::Backup},
      {"doctor", tool::Examine}, {"retry", tool::Change},
      {"cancel", tool::Change},  {"stop", tool::Change},
      {"skip", tool::Change},    {"unsubscribe", tool::Unsubscribe}};
  for (const auto& [known, run] : kRuns) {
    if (name == known) return run;
  }
  throw tool::UsageError("'" + name + "' is not built into this dtm");
}

int Fail(const tool::Arguments& arguments, int code, const std::string& text) {
  if (arguments.Has("json")) tool::PrintJson({{"error", text}});
  std::fprintf(stderr, "dtm: %s\n", text.c_str());
  return code;
}

int Print(const std::string& text) { return std::fputs(text.c_str(), stdout) < 0 ? 3 : 0; }

int Do(tool::Arguments& arguments, const std::vector<std::string>& words) {
  arguments = tool::ReadArguments(words);
  if (arguments.Has("help"))
    return Print(arguments.command != nullptr ? tool::Help(*arguments.command) : tool::Help());
  if (arguments.Has("version")) return Print(std::string("dtm ") + dtm::kVersion + "\n");
  if (arguments.Has("man")) return Print(tool::Man());
  if (arguments.Has("completion"))
    return Print(arguments.Get("completion") == "bash" ? tool::BashCompletion()
                                                       : tool::ZshCompletion());
  tool::CheckComplete(arguments);
  const std::unique_ptr<tool::Source> source = tool::OpenSource(arguments);
  return FindRun(arguments.command->name)(*source, arguments);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_DFL);  // as `dtm ls | head` expects
  tool::Arguments arguments;
  try {
    const int code = Do(arguments, std::vector<std::string>(argv + 1, argv + argc));
    return std::fflush(stdout) != 0 && code == 0 ? 3 : code;
  } catch (const tool::UsageError& error) {
    return Fail(arguments, 2, error.what());
  } catch (const tool::Failed& error) {
    return Fail(arguments, error.code, error.what());
  } catch (const tool::Json::exception& error) {
    return Fail(arguments, 3,
                "what was answered is not of the form of dtm for C++, of this version: " +
                    tool::Safe(error.what()));
  } catch (const std::exception& error) {
    return Fail(arguments, 3, tool::Safe(error.what()));
  }
}
