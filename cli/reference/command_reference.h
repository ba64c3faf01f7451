#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace meshplan::cli {

/// What may be typed for a value, as far as a shell can complete it.
struct ValueKind {
  enum class Names { kNone, kModels, kClusters, kNetworks };
  /// Everything that may be typed, but for numbers, paths and names.
  std::vector<std::string> choices;
  /// Names of the catalog.
  Names names = Names::kNone;
  bool files = false;
  bool folders = false;
};

/// A flag or a positional argument.
struct ArgumentReference {
  /// As typed, "-o" and "--output"; empty for a positional.
  std::vector<std::string> flags;
  /// What help calls its value ("FILE"); a positional's own name.
  std::string value;
  std::string help;
  std::string group;
  ValueKind kind;
  bool takes_value = false;
  bool required = false;
  bool repeated = false;

  bool positional() const { return flags.empty(); }
};

/// A command as its help has it; the root, a subcommand or a subcommand's own.
struct CommandReference {
  /// From the root: {"meshplan", "checkpoint", "list"}.
  std::vector<std::string> path;
  /// The first line of its description.
  std::string summary;
  /// Paragraphs between summary and examples.
  std::vector<std::string> description;
  /// Lines, as they are typed.
  std::vector<std::string> examples;
  std::vector<ArgumentReference> arguments;
  std::vector<CommandReference> subcommands;

  /// "meshplan checkpoint list".
  std::string name() const;
  /// The words after the program's: "checkpoint list"; empty for the root.
  std::string key() const;
  /// The word that chooses it: "list".
  const std::string& word() const { return path.back(); }
};

/// Everything that the application's help says, in order. Asks each choice what it accepts by
/// giving it a value that it refuses, so `app` is of no use for parsing afterwards.
CommandReference describe(CLI::App& app);

/// The root and all below it, each before its own subcommands.
std::vector<const CommandReference*> all_commands(const CommandReference& root);

/// The words that may be typed for such a value, catalog names too; separated by spaces.
std::string typed_words(const ValueKind& kind);

/// Sections of roff for man(1), section 1. `version` is of the program.
std::string man_page(const CommandReference& command, const std::string& version);

/// Scripts that complete commands, flags, choices, catalog names and files.
std::string bash_completion(const CommandReference& root);
std::string zsh_completion(const CommandReference& root);
std::string fish_completion(const CommandReference& root);

}  // namespace meshplan::cli
