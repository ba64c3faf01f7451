#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/help.h"
#include "cli/options.h"
#include "common/error.h"
#include "formats/error_record.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;

struct Subcommand {
  const char* name;
  Action (*define)(CLI::App& app);
};

constexpr std::array kSubcommands = {
    Subcommand{"plan", define_plan},         Subcommand{"estimate", define_estimate},
    Subcommand{"simulate", define_simulate}, Subcommand{"train", define_train},
    Subcommand{"compare", define_compare},   Subcommand{"calibrate", define_calibrate},
    Subcommand{"catalog", define_catalog},   Subcommand{"checkpoint", define_checkpoint},
    Subcommand{"validate", define_validate}, Subcommand{"what-if", define_what_if},
    Subcommand{"goodput", define_goodput},   Subcommand{"submit", define_submit},
    Subcommand{"export", define_export},
};

std::vector<std::string> subcommand_names() {
  std::vector<std::string> names;
  for (const Subcommand& subcommand : kSubcommands) names.emplace_back(subcommand.name);
  return names;
}

constexpr const char* kDescription =
    "Plan, simulate and run the layout of a transformer's training over a GPU cluster\n\n"
    "Examples:\n"
    "  meshplan plan --model llama-3-8b --cluster h100-sxm --seq-length 8192 -o plan.json\n"
    "  meshplan simulate plan.json --trace trace.json\n"
    "  meshplan train plan.json --data build/data/text --init random --steps 30\n"
    "  meshplan compare plan.json runs/my-run";

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

/// Whether help shows the option's value as one letter, or as a list of them: those are numbers of
/// 63 bits, but for M and C, a model and a cluster, and the seed, which has 64.
bool takes_numbers(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const bool letter = type.size() == 1 || (type.size() > 1 && (type[1] == ',' || type[1] == '|'));
  return letter && type[0] != 'M' && type[0] != 'C' && option.get_single_name() != "seed";
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
  CLI::App root(kDescription, "meshplan");
  root.formatter(std::make_shared<HelpFormatter>());
  root.set_version_flag("--version", "meshplan " MESHPLAN_VERSION, "Print the version");
  root.require_subcommand(1);
  std::map<std::string, Action> actions;
  for (const Subcommand& subcommand : kSubcommands) {
    CLI::App* app = root.add_subcommand(subcommand.name);
    actions[subcommand.name] = subcommand.define(*app);
    for (CLI::Option* option : app->get_options()) {
      if (takes_numbers(*option)) option->check(within_64_bits(option->get_name()));
    }
  }
  if (!parse(root, arguments)) return 0;
  const int code = actions.at(root.get_subcommands().front()->get_name())();
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
