/// Help, manual page and completions, from the table of commands.
/// Needs: std. Threads: pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "command_table.hpp"
#include <dtm/base/version.hpp>

namespace tool {

inline std::string Usage(const Command& command) {
  std::string text = std::string("dtm ") + command.name;
  for (const char* argument : command.arguments) text += std::string(" ") + argument;
  return text + (command.options.empty() ? "" : " [options]");
}

inline std::string Flag(const Option& option) {
  return std::string("--") + option.name +
         (*option.value == 0 ? "" : std::string(" ") + option.value);
}

/// A text behind a word, in lines of 80 columns.
inline std::string Entry(const std::string& word, std::size_t width, const std::string& text) {
  std::string line = "  " + word;
  line += std::string((std::max)(width + 4, line.size() + 2) - line.size(), ' ');
  const std::size_t indent = width + 4;
  std::string out;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = (std::min)(text.find(' ', begin), text.size());
    const std::string next = text.substr(begin, end - begin);
    if (line.size() + next.size() > 80 && line.size() > indent) {
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
      line = std::string(indent, ' ');
    }
    line += next + " ";
    begin = end + 1;
  }
  return out + line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

inline std::string EntriesOf(const std::vector<Option>& options) {
  std::size_t width = 0;
  for (const Option& option : options) width = (std::max)(width, Flag(option).size());
  std::string text;
  for (const Option& option : options) text += Entry(Flag(option), width, option.help);
  return text;
}

inline std::string Help() {
  std::string text =
      "dtm: looks at distributed transactions, and mends what is stuck.\n\n"
      "  dtm [--url URL | --file FILE] [--json] COMMAND [options]\n\nCommands:\n";
  for (const Command& command : Commands()) text += Entry(command.name, 8, command.summary);
  text += "\nOptions of all commands:\n" + EntriesOf(GlobalOptions()) + "\nEnvironment:\n";
  for (const Meaning& variable : Variables()) text += Entry(variable.what, 9, variable.means);
  text += "\nIt ends with\n";
  for (const Meaning& code : ExitCodes()) text += Entry(code.what, 1, code.means);
  return text + "\ndtm COMMAND --help says more.\n";
}

inline std::string Help(const Command& command) {
  std::string text = Usage(command) + "\n" + Entry("", 0, command.summary);
  if (*command.more != 0) text += "\n" + Entry("", 0, command.more);
  if (!command.options.empty()) text += "\nOptions:\n" + EntriesOf(command.options);
  return text + "\nOptions of all commands: dtm --help\n";
}

/// As a text of roff.
inline std::string Roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out.empty() || (out[0] != '.' && out[0] != '\'') ? out : "\\&" + out;
}

inline std::string RoffOptions(const std::vector<Option>& options) {
  std::string text;
  for (const Option& option : options) {
    text += ".TP\n.B " + Roff(std::string("--") + option.name) + "\n";
    if (*option.value != 0)
      text.insert(text.size() - 1, std::string(" \\fI") + option.value + "\\fR");
    text += Roff(option.help) + (*option.words == 0 ? "" : ": " + Roff(option.words)) + "\n";
  }
  return text;
}

inline std::string Man() {
  std::string text =
      ".TH DTM 1 2026-11-30 \"dtm " + Roff(dtm::kVersion) +
      "\"\n.SH NAME\ndtm \\- looks at distributed transactions, and mends what is stuck\n"
      ".SH SYNOPSIS\n.B dtm\n[\\fB\\-\\-url\\fR \\fIURL\\fR | \\fB\\-\\-file\\fR \\fIFILE\\fR] "
      "[\\fB\\-\\-json\\fR] \\fICOMMAND\\fR [options]\n"
      ".SH DESCRIPTION\nIt talks to a running coordinator over HTTP, or looks into the SQLite file "
      "of one, which it never changes.\n.SH COMMANDS\n";
  for (const Command& command : Commands()) {
    text += ".SS " + Roff(Usage(command)) + "\n" + Roff(command.summary) + ".\n" +
            Roff(command.more) + (*command.more == 0 ? "" : "\n") + RoffOptions(command.options);
  }
  text += ".SH OPTIONS\n" + RoffOptions(GlobalOptions()) + ".SH ENVIRONMENT\n";
  for (const Meaning& variable : Variables())
    text += ".TP\n.B " + Roff(variable.what) + "\n" + Roff(variable.means) + "\n";
  text += ".SH EXIT STATUS\n";
  for (const Meaning& code : ExitCodes())
    text += ".TP\n.B " + Roff(code.what) + "\n" + Roff(code.means) + "\n";
  return text;
}

inline std::string Flags(const std::vector<Option>& options) {
  std::string text;
  for (const Option& option : options)
    text += std::string(text.empty() ? "" : " ") + "--" + option.name;
  return text;
}

inline std::string BashCompletion() {
  std::string names, words, cases;
  const auto add_words = [&words](const std::vector<Option>& options) {
    for (const Option& option : options) {
      const std::string name = std::string("--") + option.name;
      const bool file = name == "--file" || name == "--bundle";
      if (*option.words != 0)
        words += "    " + name + ") COMPREPLY=($(compgen -W '" + option.words +
                 "' -- \"$word\")); return ;;\n";
      if (file) words += "    " + name + ") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n";
      if (*option.words == 0 && !file && *option.value != 0)
        words += "    " + name + ") return ;;\n";
    }
  };
  add_words(GlobalOptions());
  for (const Command& command : Commands()) {
    names += std::string(names.empty() ? "" : " ") + command.name;
    if (std::string(command.name) != "cancel" && std::string(command.name) != "stop" &&
        std::string(command.name) != "skip")
      add_words(command.options);
    cases += std::string("    ") + command.name + ") flags='" + Flags(command.options) + "' ;;\n";
  }
  return "# Completion of dtm for bash: source <(dtm --completion bash)\n_dtm() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= "
         "flags= each\n"
         "  local names='" +
         names +
         "'\n"
         "  case $before in\n" +
         words +
         "  esac\n"
         "  for each in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case \" $names \" in *\" $each \"*) command=$each; break ;; esac\n  done\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "  if [ -z \"$command\" ]; then flags=$names; fi\n"
         "  COMPREPLY=($(compgen -W \"$flags " +
         Flags(GlobalOptions()) + "\" -- \"$word\"))\n}\ncomplete -F _dtm dtm\n";
}

inline std::string ZshQuoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (c == '[' || c == ']' || c == ':' || c == '\\')
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out;
}

inline std::string ZshOptions(const std::vector<Option>& options) {
  std::string text;
  for (const Option& option : options) {
    text += std::string(" \\\n      '--") + option.name + "[" + ZshQuoted(option.help) + "]";
    if (*option.value != 0) {
      const std::string name = option.name;
      const std::string what = *option.words != 0 ? "(" + std::string(option.words) + ")"
                               : name == "file" || name == "bundle" ? "_files"
                                                                    : " ";
      text += ":" + ZshQuoted(option.value) + ":" + what;
    }
    text += "'";
  }
  return text;
}

inline std::string ZshCompletion() {
  std::string names, cases;
  for (const Command& command : Commands()) {
    names += std::string("    '") + command.name + ":" + ZshQuoted(command.summary) + "'\n";
    cases += std::string("    ") + command.name + ") _arguments -S $all" +
             ZshOptions(command.options) + " '*:GID:( )' ;;\n";
  }
  return "#compdef dtm\n# Completion of dtm for zsh: dtm --completion zsh > a folder of $fpath, as "
         "_dtm\n_dtm() {\n  local -a names all\n  names=(\n" +
         names + "  )\n  all=(" + ZshOptions(GlobalOptions()) +
         ")\n  local command= each\n"
         "  for each in $words[2,CURRENT-1]; do\n    if (( ${${(@)names%%:*}[(Ie)$each]} )); then "
         "command=$each; break; fi\n  done\n"
         "  if [[ -z $command ]]; then _describe command names; _arguments -S $all; return; fi\n"
         "  case $command in\n" +
         cases + "  esac\n}\n_dtm \"$@\"\n";
}

}  // namespace tool
