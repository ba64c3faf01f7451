#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "cli/application.h"
#include "cli/command.h"
#include "cli/help.h"
#include "common/error.h"
#include "formats/error_record.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;

/// Flags may be written with underscores: --seq_length=8 becomes --seq-length=8. Values stay as
/// they are.
std::vector<std::string> with_hyphens(std::span<char*> arguments) {
  std::vector<std::string> written;
  bool flags = true;
  for (const char* argument : arguments) {
    std::string text = argument;
    if (text == "--") flags = false;
    if (flags && text.starts_with("--")) {
      const auto end =
          text.begin() + static_cast<std::ptrdiff_t>(std::min(text.find('='), text.size()));
      std::replace(text.begin(), end, '_', '-');
    }
    written.push_back(std::move(text));
  }
  return written;
}

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// What to type instead of the argument that nothing took.
std::string alternative(const CLI::App& root, const std::string& word) {
  const std::vector<CLI::App*> chosen = root.get_subcommands();
  if (!chosen.empty()) {
    const std::string name = word.substr(0, word.find('='));
    return name.starts_with("--") ? suggestion(name, flag_names(*chosen.front())) : "";
  }
  return suggestion(word, subcommand_names());
}

/// Reads the command line; false when it asked for help or the version, which is then printed.
bool parse(CLI::App& root, const std::vector<std::string>& arguments) {
  // CLI11 takes them from the back.
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    root.parse(reversed);
    return true;
  } catch (const CLI::Success& done) {
    root.exit(done);
    return false;
  } catch (const CLI::ParseError& error) {
    const std::vector<CLI::App*> chosen = root.get_subcommands();
    const bool converted = dynamic_cast<const CLI::ConversionError*>(&error) == nullptr;
    // A mistyped flag explains a missing one better than the other way round.
    const std::vector<std::string> unexpected = root.remaining(true);
    const std::string problem =
        unexpected.empty()
            ? error.what() +
                  std::string(converted ? "" : ": must be a number, and whole if it counts")
            : fmt::format("unexpected argument {}{}", unexpected.front(),
                          alternative(root, unexpected.front()));
    throw Error(ErrorCode::kUsage,
                fmt::format("{}; see meshplan {}--help", problem,
                            chosen.empty() ? "" : chosen.front()->get_name() + " "));
  }
}

int run(const std::vector<std::string>& arguments) {
  const Application application = define_application();
  CLI::App& root = *application.root;
  if (!parse(root, arguments)) return 0;
  const int code = application.actions.at(root.get_subcommands().front()->get_name())();
  if (std::fflush(stdout) != 0)
    throw Error(ErrorCode::kIo, std::strerror(errno), "standard output");
  return code;
}

/// Says what went wrong on stderr, and as the one object on stdout where --json asked for one.
int report(const std::vector<std::string>& arguments, const Error& error) {
  const std::vector<std::string> names = subcommand_names();
  const bool known =
      !arguments.empty() && std::find(names.begin(), names.end(), arguments.front()) != names.end();
  std::fflush(stdout);
  fmt::print(stderr, "meshplan{}: {}\n", known ? " " + arguments.front() : "", error.what());
  try {
    formats::tell_torchrun(error.what());
  } catch (const Error&) {
    // The message is on stderr, and the exit code tells torchrun that there is one.
  }
  if (std::find(arguments.begin(), arguments.end(), "--json") != arguments.end()) {
    print_json({{"schema_version", 1},
                {"error",
                 {{"code", to_string(error.code())},
                  {"message", error.message()},
                  {"where", error.where()}}}});
  }
  return error.exit_code();
}

int run_reporting_errors(const std::vector<std::string>& arguments) {
  try {
    return run(arguments);
  } catch (const Error& error) {
    return report(arguments, error);
  } catch (const std::exception& error) {
    return report(arguments, Error(ErrorCode::kInternal, error.what(),
                                   "a fault of meshplan's own, please report it"));
  }
}

}  // namespace
}  // namespace meshplan::cli

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  return meshplan::cli::run_reporting_errors(
      meshplan::cli::with_hyphens(arguments.subspan(argc > 0 ? 1 : 0)));
}
