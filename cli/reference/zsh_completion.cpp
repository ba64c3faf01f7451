#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/reference/command_reference.h"

namespace meshplan::cli {
namespace {

constexpr const char* kHelpers = R"zsh(
_meshplan_or_file() { _alternative "names:name:($*)" 'files:file:_files'
}
)zsh";

/// For single quotes, inside brackets of _arguments.
std::string in_quotes(std::string text) {
  for (const char* special : {"\\", "[", "]", ":"})
    text = CLI::detail::find_and_replace(text, special, std::string("\\") + special);
  return CLI::detail::find_and_replace(text, "'", "'\\''");
}

std::string action(const ValueKind& kind) {
  const std::string words = typed_words(kind);
  if (!words.empty()) return kind.files ? " _meshplan_or_file " + words : "(" + words + ")";
  if (kind.files) return "_files";
  // One space: a value of which nothing is known.
  return kind.folders ? "_files -/" : " ";
}

/// The argument as specification of _arguments; a flag's names exclude each other.
std::string specification(const ArgumentReference& argument) {
  const std::string value =
      fmt::format(":{}:{}", in_quotes(argument.value.empty() ? "value" : argument.value),
                  in_quotes(action(argument.kind)));
  if (argument.positional()) return fmt::format("    '{}{}'", argument.required ? "" : ":", value);
  std::string text;
  for (const std::string& flag : argument.flags) {
    const char* const takes = !argument.takes_value ? "" : (flag.starts_with("--") ? "=" : "+");
    const std::string others =
        argument.repeated ? "*" : fmt::format("({})", fmt::join(argument.flags, " "));
    text += fmt::format("{}    '{}{}{}[{}]{}'", text.empty() ? "" : " \\\n", others, flag, takes,
                        in_quotes(argument.help), argument.takes_value ? value : "");
  }
  return text;
}

std::string function_name(const CommandReference& command) {
  std::string name = "_" + command.name();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ' ' || c == '-'; }, '_');
  return name;
}

std::string function_of(const CommandReference& command) {
  std::string text = fmt::format("\n{}() {{\n", function_name(command));
  std::string specifications;
  for (const ArgumentReference& argument : command.arguments)
    specifications += " \\\n" + specification(argument);
  if (command.subcommands.empty())
    return text + fmt::format("  _arguments -S :{}\n}}\n", specifications);
  text +=
      "  local state line curcontext=$curcontext\n  typeset -A opt_args\n  local -a commands=(\n";
  for (const CommandReference& below : command.subcommands)
    text += fmt::format("    '{}:{}'\n", below.word(), in_quotes(below.summary));
  text += fmt::format(
      "  )\n  _arguments -C -S :{} \\\n    '1: :->command' '*:: :->arguments' && return\n"
      "  case $state in\n    command) _describe -t commands command commands ;;\n"
      "    arguments)\n      case $line[1] in\n",
      specifications);
  for (const CommandReference& below : command.subcommands)
    text += fmt::format("        {}) {} ;;\n", below.word(), function_name(below));
  return text + "      esac\n      ;;\n  esac\n}\n";
}

}  // namespace

std::string zsh_completion(const CommandReference& root) {
  std::string script = "#compdef meshplan\n# Made from the program's own tables.\n";
  script += kHelpers;
  for (const CommandReference* command : all_commands(root)) script += function_of(*command);
  return script + "\n_meshplan \"$@\"\n";
}

}  // namespace meshplan::cli
