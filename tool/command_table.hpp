/// All commands of the tool dtm, in one table: its help, its manual page and its completions are made from it.
/// Needs: std. Threads: constants.
#pragma once

#include <string>
#include <vector>

namespace tool {

struct Option {
  const char* name;   ///< without --
  const char* value;  ///< what follows it, for people; empty: nothing follows
  const char* help;   ///< a sentence without its point
  const char* words;  ///< what it may be, with blanks between; empty: anything
};

struct Command {
  const char* name;
  std::vector<const char*> arguments;  ///< all of them are needed
  const char* summary;
  const char* more;  ///< sentences
  std::vector<Option> options;
  bool changes = false;  ///< needs a coordinator that runs
};

struct Meaning {
  const char* what;
  const char* means;
};

inline const std::vector<Option>& GlobalOptions() {
  static const std::vector<Option> kOptions = {
      {"url", "URL", "the coordinator (http://127.0.0.1:36789, or DTM_URL)", ""},
      {"token", "TOKEN",
       "what its requests need; better in DTM_TOKEN, since everybody on the machine can read a "
       "command line",
       ""},
      {"file", "FILE",
       "instead of a coordinator: look into this SQLite file, also while one has it open; nothing "
       "is changed",
       ""},
      {"json", "", "JSON for programs instead of text for people", ""},
      {"help", "", "what a command does", ""},
      {"version", "", "the version of this tool", ""},
      {"man", "", "this page, for man -l", ""},
      {"completion", "SHELL", "a script that completes commands: source <(dtm --completion bash)",
       "bash zsh"}};
  return kOptions;
}

inline const std::vector<Option>& WhoOptions() {
  static const std::vector<Option> kOptions = {
      {"because", "REASON", "why; the journal of the transaction keeps it (200 bytes)", ""},
      {"who", "NAME", "who asks (user@host); the journal keeps it (64 bytes)", ""}};
  return kOptions;
}

inline const std::vector<Command>& Commands() {
  static const std::vector<Command> kCommands = {
      {"ls",
       {},
       "lists transactions, newest first",
       "Filters are combined. Times are like 90s, 15m, 2h, 7d. With --json: {\"transactions\": "
       "[...], \"next_position\": \"\"}, each as the HTTP API shows it.",
       {{"unfinished", "", "those that have not ended", ""},
        {"stuck", "", "those that nothing but a person will wake", ""},
        {"errors", "", "those that had an error", ""},
        {"status", "STATUS", "those with this status",
         "prepared submitted aborting succeed failed"},
        {"type", "TYPE", "those of this type", "saga msg tcc xa workflow"},
        {"prefix", "TEXT", "those whose gid begins with this", ""},
        {"target", "TEXT", "those that call a URL, function or topic with this in its name", ""},
        {"older", "TIME", "those made longer ago than this", ""},
        {"newer", "TIME", "those made since then", ""},
        {"limit", "N", "at most so many (50)", ""},
        {"position", "P", "go on there: next_position of the page before", ""}}},
      {"show",
       {"GID"},
       "shows one transaction: its branches, what happened, what it waits for",
       "With --json: what GET timeline replies.",
       {{"payloads", "", "and the payloads of its branches", ""}}},
      {"watch",
       {"GID"},
       "shows what happens to a transaction until it ends",
       "With --json: a line for each entry of its journal, {\"time\", \"kind\", ...}, and at the "
       "end {\"gid\", \"status\"}.",
       {}},
      {"retry",
       {"GID"},
       "makes the waiting calls of a transaction at once, and drives a stuck one again",
       "",
       WhoOptions(),
       true},
      {"cancel",
       {"GID"},
       "rolls a transaction back: what may have run is compensated",
       "",
       WhoOptions(),
       true},
      {"stop",
       {"GID"},
       "ends a transaction as failed: nothing more is called, and nothing is undone",
       "",
       WhoOptions(),
       true},
      {"skip",
       {"GID", "BRANCH", "OP"},
       "counts a branch that keeps failing as done, and lets the rest go on",
       "BRANCH and OP are as show names them, such as 01 action. It needs --because.",
       WhoOptions(),
       true},
      {"topics",
       {},
       "lists the topics with their subscribers",
       "With --json: {\"topics\": [{\"topic\", \"subscribers\"}]}.",
       {}},
      {"unsubscribe",
       {"TOPIC", "URL"},
       "removes a subscriber of a topic: new messages do not go to it any more",
       "URL is as topics shows it, without its user and password; give it whole where two are "
       "shown "
       "alike.",
       {},
       true},
      {"stats",
       {},
       "shows the numbers: what is unfinished, what ended, how long calls and commits took",
       "With --json: what GET overview replies.",
       {}},
      {"nodes",
       {},
       "lists the coordinators on the store",
       "With --json: what GET nodes replies.",
       {}},
      {"export",
       {"GID"},
       "writes a transaction with its journal as one JSON document, to keep, to send or to replay",
       "The document is printed, with its payloads unless it is redacted.",
       {{"redacted", "", "without payloads, results, texts of errors and names", ""}}},
      {"backup",
       {"COPY"},
       "copies the file of --file as it is at one moment, while its coordinator goes on",
       "COPY must not be there. It is checked before this ends well.",
       {}},
      {"doctor",
       {},
       "looks for what is wrong: file, version, clock, limits, what is stuck and why",
       "With --json: {\"checks\": [{\"name\", \"level\", \"text\", \"details\"}]}; level is ok, "
       "warning or problem. Ends with 1 if there is a problem.",
       {{"bundle", "FILE",
         "writes what helps others to help: no payloads, headers, texts of errors or queries of "
         "URLs, but gids",
         ""}}}};
  return kCommands;
}

inline const std::vector<Meaning>& ExitCodes() {
  static const std::vector<Meaning> kCodes = {
      {"0", "done"},
      {"1",
       "there is no such transaction, it was refused, or doctor found a problem; nothing was "
       "changed"},
      {"2", "the command line is wrong"},
      {"3", "no connection, or no answer: it may or may not be done"}};
  return kCodes;
}

inline const std::vector<Meaning>& Variables() {
  static const std::vector<Meaning> kVariables = {
      {"DTM_URL", "the coordinator, if there is no --url"},
      {"DTM_TOKEN", "the token, if there is no --token"},
      {"NO_COLOR",
       "if it is set: no colours. There are none either where the output is no terminal"}};
  return kVariables;
}

}  // namespace tool
