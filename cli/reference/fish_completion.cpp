#include <fmt/format.h>

#include "cli/reference/command_reference.h"

namespace meshplan::cli {
namespace {

std::string in_quotes(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\'' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return "'" + escaped + "'";
}

/// Which command the line is for, and whether that is the one asked for.
std::string predicate(const CommandReference& root) {
  std::string text =
      "function __meshplan_command_is\n    set -l chosen ''\n"
      "    for word in (commandline -opc)\n        switch \"$chosen/$word\"\n";
  for (const CommandReference* command : all_commands(root)) {
    for (const CommandReference& below : command->subcommands)
      text += fmt::format("            case {}\n                set chosen {}\n",
                          in_quotes(command->key() + "/" + below.word()), in_quotes(below.key()));
  }
  return text + "        end\n    end\n    test \"$chosen\" = \"$argv\"\nend\n\n";
}

std::string value_of(const ValueKind& kind) {
  const std::string text = kind.files ? " -F" : "";
  std::string list = typed_words(kind);
  if (kind.folders) list += "(__fish_complete_directories)";
  return list.empty() ? text : text + " -a " + in_quotes(list);
}

std::string line_of(const std::string& condition, const ArgumentReference& argument) {
  if (argument.positional()) return condition + value_of(argument.kind) + "\n";
  std::string text = condition;
  for (const std::string& flag : argument.flags)
    text += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
  if (argument.takes_value) text += (argument.kind.files ? " -r" : " -x") + value_of(argument.kind);
  return text + " -d " + in_quotes(argument.help) + "\n";
}

}  // namespace

std::string fish_completion(const CommandReference& root) {
  std::string script = "# fish completion for meshplan, made from the program's own tables\n" +
                       predicate(root) + "complete -c meshplan -f\n";
  for (const CommandReference* command : all_commands(root)) {
    const std::string condition =
        "complete -c meshplan -n " + in_quotes("__meshplan_command_is " + command->key());
    for (const CommandReference& below : command->subcommands)
      script += fmt::format("{} -a {} -d {}\n", condition, below.word(), in_quotes(below.summary));
    for (const ArgumentReference& argument : command->arguments)
      script += line_of(condition, argument);
  }
  return script;
}

}  // namespace meshplan::cli
