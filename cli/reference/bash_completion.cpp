#include <fmt/format.h>

#include "cli/reference/command_reference.h"

namespace meshplan::cli {
namespace {

/// Finds the command and the flag whose value is being typed; bash makes three words of
/// --flag=value.
constexpr const char* kHead = R"(# bash completion for meshplan, made from the program's own tables
_meshplan() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' flag='' word
  local words='' files='' folders=''
  COMPREPLY=()
  if [[ $current == = ]]; then
    flag=$before current=''
  elif [[ $before == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $before == -* ]]; then
    flag=$before
  fi
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$command/$word" in
)";

constexpr const char* kTail =
    R"(  [[ $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  if [[ $files || $folders ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen ${folders:+-d} ${files:+-f} -- "$current")
  fi
}
complete -F _meshplan meshplan
)";

std::string settings(const ValueKind& kind) {
  std::string text;
  if (const std::string words = typed_words(kind); !words.empty())
    text += fmt::format(" words+=' {}'", words);
  if (kind.files) text += " files=yes";
  if (kind.folders) text += " folders=yes";
  return text.empty() ? " :" : text;
}

std::string value_case(const CommandReference& command) {
  std::string text;
  for (const ArgumentReference& argument : command.arguments) {
    if (argument.positional() || !argument.takes_value) continue;
    std::string patterns;
    for (const std::string& flag : argument.flags)
      patterns += fmt::format("{}'{}/{}'", patterns.empty() ? "" : " | ", command.key(), flag);
    text += fmt::format("    {}){} ;;\n", patterns, settings(argument.kind));
  }
  return text;
}

/// What may stand where no flag waits for its value.
std::string free_case(const CommandReference& command) {
  std::string flags;
  std::string positionals;
  for (const ArgumentReference& argument : command.arguments) {
    if (argument.positional()) positionals += settings(argument.kind);
    for (const std::string& flag : argument.flags) flags += " " + flag;
  }
  for (const CommandReference& subcommand : command.subcommands)
    positionals += fmt::format(" words+=' {}'", subcommand.word());
  return fmt::format("        '{}/'-*) words='{}' ;;\n        '{}/'*){} ;;\n", command.key(), flags,
                     command.key(), positionals.empty() ? " words='" + flags + "'" : positionals);
}

}  // namespace

std::string bash_completion(const CommandReference& root) {
  std::string script = kHead;
  for (const CommandReference* command : all_commands(root)) {
    for (const CommandReference& below : command->subcommands)
      script += fmt::format("      '{}/{}') command='{}' ;;\n", command->key(), below.word(),
                            below.key());
  }
  script += "    esac\n  done\n  case \"$command/$flag\" in\n";
  for (const CommandReference* command : all_commands(root)) script += value_case(*command);
  script += "    *)\n      case \"$command/$current\" in\n";
  for (const CommandReference* command : all_commands(root)) script += free_case(*command);
  return script + "      esac\n      ;;\n  esac\n" + kTail;
}

}  // namespace meshplan::cli
