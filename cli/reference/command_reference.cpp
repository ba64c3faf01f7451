#include "cli/reference/command_reference.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "planner/catalog/catalog.h"

namespace meshplan::cli {
namespace {

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(separator, begin)) != std::string::npos;
       begin = end + separator.size())
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

/// "one of a, b or c" as {a, b, c}; nothing where it is no list of words.
std::vector<std::string> words_of_list(std::string list) {
  if (list.starts_with("one of ")) list.erase(0, 7);
  list = CLI::detail::find_and_replace(list, " or ", ", ");
  std::vector<std::string> words = split(list, ", ");
  const auto is_phrase = [](const std::string& word) {
    return word.empty() || word.find_first_of(" ;:'\"()") != std::string::npos;
  };
  if (std::any_of(words.begin(), words.end(), is_phrase)) words.clear();
  return words;
}

/// What the option says that it takes when it is given what it cannot: "...; use on or off".
std::vector<std::string> choices_by_asking(CLI::Option& option) {
  std::string refusal;
  try {
    option.add_result("?");
    option.run_callback();
  } catch (const CLI::ParseError& error) {
    refusal = error.what();
  }
  option.clear();
  const std::size_t use = refusal.rfind("; use ");
  return use == std::string::npos ? std::vector<std::string>{}
                                  : words_of_list(refusal.substr(use + 6));
}

/// What CLI::IsMember adds to the name of the type: "TEXT:{a,b}".
std::vector<std::string> choices_of_type(const std::string& type) {
  const std::size_t begin = type.find(":{");
  const std::size_t end = type.find('}', begin);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return split(type.substr(begin + 2, end - begin - 2), ",");
}

ValueKind kind_of(CLI::Option& option, const std::string& value) {
  const std::string type = option.get_type_name();
  ValueKind kind;
  kind.choices = choices_of_type(type);
  if (kind.choices.empty() && value.empty()) kind.choices = choices_by_asking(option);
  if (!kind.choices.empty()) return kind;
  const auto is_flag = [&option](const char* name) { return option.check_lname(name); };
  for (const std::string& part : split(value, "|")) {
    if (part == "M") kind.names = ValueKind::Names::kModels;
    if (part == "C") kind.names = ValueKind::Names::kClusters;
    if (part == "NAME" && is_flag("network")) kind.names = ValueKind::Names::kNetworks;
    kind.files |= part == "M" || part == "C" || part == "FILE" || part == "PATH" ||
                  part == "PREFIX" || is_flag("dataset-name") || option.get_positional();
    kind.folders |= part == "DIR";
    if (std::all_of(part.begin(), part.end(),
                    [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; }))
      kind.choices.push_back(part);
  }
  return kind;
}

ArgumentReference describe_option(CLI::Option& option) {
  ArgumentReference argument;
  for (const std::string& name : option.get_snames()) argument.flags.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) argument.flags.push_back("--" + name);
  argument.takes_value = option.get_items_expected_max() > 0;
  argument.required = option.get_required();
  argument.repeated = option.get_items_expected_max() > 1;
  argument.group = option.get_group();
  argument.help = option.get_description();
  if (const std::string standard = option.get_default_str(); !standard.empty())
    argument.help += fmt::format(" (default: {})", standard);
  if (!argument.takes_value) return argument;
  const std::string type = option.get_type_name();
  const std::string value = type.substr(0, type.find(':'));
  argument.kind = kind_of(option, argument.positional() ? "TEXT" : value);
  argument.value = argument.positional() ? option.get_name(true) : value;
  return argument;
}

/// Takes the description apart: summary, paragraphs and "Examples:".
void describe_text(const std::string& text, CommandReference& command) {
  std::vector<std::string> paragraphs = split(text, "\n\n");
  command.summary = paragraphs.front();
  paragraphs.erase(paragraphs.begin());
  for (const std::string& paragraph : paragraphs) {
    if (!paragraph.starts_with("Examples:\n")) {
      command.description.push_back(paragraph);
      continue;
    }
    for (const std::string& line : split(paragraph.substr(10), "\n"))
      command.examples.push_back(line.substr(line.starts_with("  ") ? 2 : 0));
  }
}

std::vector<std::string> catalog_choices(ValueKind::Names names) {
  switch (names) {
    case ValueKind::Names::kModels:
      return planner::catalog_names("models");
    case ValueKind::Names::kClusters:
      return planner::catalog_names("clusters");
    case ValueKind::Names::kNetworks:
      return planner::catalog_names("networks");
    case ValueKind::Names::kNone:
      break;
  }
  return {};
}

CommandReference describe_from(CLI::App& app, std::vector<std::string> path) {
  CommandReference command;
  command.path = std::move(path);
  describe_text(app.get_description(), command);
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) command.arguments.push_back(describe_option(*option));
  }
  for (CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; })) {
    std::vector<std::string> below = command.path;
    below.push_back(subcommand->get_name());
    command.subcommands.push_back(describe_from(*subcommand, std::move(below)));
  }
  return command;
}

}  // namespace

std::string CommandReference::name() const { return fmt::format("{}", fmt::join(path, " ")); }

std::string CommandReference::key() const {
  return fmt::format("{}", fmt::join(path.begin() + 1, path.end(), " "));
}

CommandReference describe(CLI::App& app) { return describe_from(app, {app.get_name()}); }

std::vector<const CommandReference*> all_commands(const CommandReference& root) {
  std::vector<const CommandReference*> commands = {&root};
  for (const CommandReference& subcommand : root.subcommands) {
    const auto below = all_commands(subcommand);
    commands.insert(commands.end(), below.begin(), below.end());
  }
  return commands;
}

std::string typed_words(const ValueKind& kind) {
  std::vector<std::string> words = kind.choices;
  const std::vector<std::string> names = catalog_choices(kind.names);
  words.insert(words.end(), names.begin(), names.end());
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace meshplan::cli
