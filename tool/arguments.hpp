/// The command line, read by the table of commands.
/// Needs: std. Threads: values.
#pragma once

#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "command_table.hpp"
#include "terminal.hpp"

namespace tool {

/// The command line is wrong; a sentence.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments {
  const Command* command = nullptr;  ///< null: none was named
  std::vector<std::string> values;   ///< its arguments
  std::map<std::string, std::string> options;

  bool Has(const std::string& option) const { return options.count(option) > 0; }
  std::string Get(const std::string& option, const std::string& otherwise = {}) const {
    const auto found = options.find(option);
    return found == options.end() ? otherwise : found->second;
  }
  /// An option, or a variable of the environment.
  std::string Get(const std::string& option, const char* variable,
                  const std::string& otherwise) const {
    const char* const value = std::getenv(variable);
    return Get(option, value != nullptr && *value != 0 ? value : otherwise);
  }
};

inline const Command* FindCommand(const std::string& name) {
  for (const Command& command : Commands()) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

inline const Option* FindOption(const std::vector<Option>& options, const std::string& name) {
  for (const Option& option : options) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

inline void CheckWord(const Option& option, const std::string& value) {
  const std::string words = option.words;
  if (words.empty() || (" " + words + " ").find(" " + value + " ") != std::string::npos) return;
  throw UsageError("--" + std::string(option.name) + " is '" + Safe(value) +
                   "'; it must be one of: " + words);
}

/// Options may stand anywhere; behind -- nothing is one.
/// @throws UsageError
inline Arguments ReadArguments(const std::vector<std::string>& words) {
  Arguments read;
  for (const std::string& word : words) {  // first: its options may come before it
    if (word == "--") break;
    if (word.size() > 1 && word[0] == '-') continue;
    if ((read.command = FindCommand(word)) != nullptr) break;
  }
  bool named = false, only_values = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i] == "-h" ? "--help" : words[i];
    if (only_values || word.compare(0, 2, "--") != 0) {
      if (!only_values && word.size() > 1 && word[0] == '-')
        throw UsageError("'" + Safe(word) + "' is not known; see dtm --help");
      if (!named) {
        read.command = FindCommand(word);
        if (read.command == nullptr)
          throw UsageError("there is no command '" + Safe(word) + "'; dtm --help lists them");
        named = true;
      } else {
        read.values.push_back(word);
      }
      continue;
    }
    if (word == "--") {
      only_values = true;
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    const Option* option = FindOption(GlobalOptions(), name);
    if (option == nullptr && read.command != nullptr)
      option = FindOption(read.command->options, name);
    if (option == nullptr) {
      throw UsageError("'--" + Safe(name) + "' is not known" +
                       (read.command == nullptr ? "" : std::string(" to ") + read.command->name) +
                       "; see --help");
    }
    std::string value;
    if (*option->value == 0) {
      if (equals != std::string::npos) throw UsageError("--" + name + " takes no value");
    } else if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (++i < words.size()) {
      value = words[i];
    } else {
      throw UsageError("--" + name + " needs a value: " + option->value);
    }
    CheckWord(*option, value);
    read.options[name] = value;
  }
  return read;
}

/// @throws UsageError
inline void CheckComplete(const Arguments& arguments) {
  if (arguments.command == nullptr) throw UsageError("name a command; dtm --help lists them");
  const Command& command = *arguments.command;
  const std::string name = command.name;
  if (arguments.values.size() < command.arguments.size()) {
    throw UsageError(name + " needs " + command.arguments[arguments.values.size()] + "; see dtm " +
                     name + " --help");
  }
  if (arguments.values.size() > command.arguments.size()) {
    throw UsageError("'" + Safe(arguments.values[command.arguments.size()]) + "' is too much for " +
                     name);
  }
  if (arguments.Has("file") && arguments.Has("url"))
    throw UsageError("give --file or --url, not both");
}

}  // namespace tool
