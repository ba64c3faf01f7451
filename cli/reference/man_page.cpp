#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/reference/command_reference.h"

namespace meshplan::cli {
namespace {

/// Text for roff: hyphens that can be copied, no control lines, no escapes.
std::string roff(const std::string& text) {
  std::string escaped;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
    line_start = c == '\n';
  }
  return escaped;
}

std::string bold(const std::string& text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff(text) + "\\fR"; }

std::string page_name(const CommandReference& command) {
  return fmt::format("{}", fmt::join(command.path, "-"));
}

std::string section(const std::string& title) { return ".SH " + title + "\n"; }

std::string synopsis(const CommandReference& command) {
  std::string text = bold(command.name()) + " [" + italic("OPTIONS") + "]";
  for (const ArgumentReference& argument : command.arguments) {
    if (!argument.positional()) continue;
    text += argument.required ? " " + italic(argument.value) : " [" + italic(argument.value) + "]";
  }
  if (!command.subcommands.empty()) text += " " + italic("SUBCOMMAND");
  return text + "\n";
}

std::string entry(const ArgumentReference& argument) {
  std::string head;
  for (const std::string& flag : argument.flags) head += (head.empty() ? "" : ", ") + bold(flag);
  if (!argument.value.empty()) head += (head.empty() ? "" : " ") + italic(argument.value);
  std::string text = argument.help + (argument.required ? " (required)" : "");
  const std::vector<std::string>& choices = argument.kind.choices;
  const bool said = std::all_of(choices.begin(), choices.end(), [&](const std::string& choice) {
    return text.find(choice) != std::string::npos ||
           argument.value.find(choice) != std::string::npos;
  });
  if (!said) text += fmt::format(". One of: {}", fmt::join(choices, ", "));
  return ".TP\n" + head + "\n" + roff(text) + "\n";
}

/// The arguments by group, in the order in which the groups first come.
std::string arguments(const CommandReference& command) {
  std::vector<std::string> groups;
  for (const ArgumentReference& argument : command.arguments) {
    if (!argument.positional() &&
        std::find(groups.begin(), groups.end(), argument.group) == groups.end())
      groups.push_back(argument.group);
  }
  std::string text;
  for (const ArgumentReference& argument : command.arguments) {
    if (argument.positional()) text += entry(argument);
  }
  if (!text.empty()) text = section("ARGUMENTS") + text;
  text += section("OPTIONS");
  for (const std::string& group : groups) {
    if (group != "Options") text += ".SS " + roff(group) + "\n";
    for (const ArgumentReference& argument : command.arguments) {
      if (!argument.positional() && argument.group == group) text += entry(argument);
    }
  }
  return text;
}

std::string subcommands(const CommandReference& command) {
  if (command.subcommands.empty()) return "";
  std::string text = section("COMMANDS");
  for (const CommandReference& subcommand : command.subcommands)
    text += ".TP\n" + bold(subcommand.word()) + "\n" + roff(subcommand.summary) + "\n";
  return text;
}

/// Subcommands of a subcommand have no page of their own.
std::string nested(const CommandReference& command) {
  if (command.path.size() < 2) return "";
  std::string text;
  for (const CommandReference& subcommand : command.subcommands) {
    text += ".SS " + roff(subcommand.name()) + "\n" + roff(subcommand.summary) + "\n.PP\n" +
            synopsis(subcommand);
    for (const ArgumentReference& argument : subcommand.arguments) text += entry(argument);
  }
  return text;
}

std::string examples(const CommandReference& command) {
  if (command.examples.empty()) return "";
  std::string text = section("EXAMPLES") + ".nf\n";
  for (const std::string& line : command.examples) text += roff(line) + "\n";
  return text + ".fi\n";
}

/// What holds of the whole program stands on its own page.
constexpr const char* kWholeProgram = R"(.SH EXIT STATUS
.TP
0
fine
.TP
1
a fault of meshplan's own
.TP
2
wrong usage
.TP
3
invalid input
.TP
4
no layout fits
.TP
5
a file or a program cannot be reached
.TP
6
a corrupt checkpoint
.TP
7
training diverged
.TP
8
a rank hung or died
.TP
130
interrupted
.SH ENVIRONMENT
.TP
\fBMESHPLAN_TORCH_PYTHON\fR
The Python whose PyTorch the ranks of a training run use, and that prepares data. Without it: the one recorded at
installation, else the python3 that PATH has first.
.TP
\fBMESHPLAN_PREPARE_DATA\fR
The program that makes a dataset of \fB\-\-dataset\-name\fR, instead of the one installed.
)";

std::string see_also(const CommandReference& command) {
  std::string text = section("SEE ALSO");
  if (command.path.size() > 1) return text + ".BR meshplan (1)\n";
  for (std::size_t i = 0; i < command.subcommands.size(); ++i) {
    text += fmt::format(".BR {} (1){}\n", roff(page_name(command.subcommands[i])),
                        i + 1 < command.subcommands.size() ? "," : "");
  }
  return text;
}

}  // namespace

std::string man_page(const CommandReference& command, const std::string& version) {
  std::string title = page_name(command);
  std::transform(title.begin(), title.end(), title.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  std::string page =
      fmt::format(".TH \"{}\" 1 \"\" \"meshplan {}\" \"User Commands\"\n", roff(title), version);
  page += section("NAME") + roff(page_name(command)) + " \\- " + roff(command.summary) + "\n";
  page += section("SYNOPSIS") + synopsis(command);
  if (!command.description.empty()) {
    page += section("DESCRIPTION");
    for (const std::string& paragraph : command.description)
      page += ".PP\n" + roff(paragraph) + "\n";
  }
  page += subcommands(command) + arguments(command) + nested(command) + examples(command);
  if (command.path.size() == 1) page += kWholeProgram;
  return page + see_also(command);
}

}  // namespace meshplan::cli
