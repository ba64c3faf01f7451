#include "cli/application.h"

#include <array>

#include "cli/help.h"
#include "cli/options.h"

namespace meshplan::cli {
namespace {

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

constexpr const char* kDescription =
    "Plan, simulate and run the layout of a transformer's training over a GPU cluster\n\n"
    "Examples:\n"
    "  meshplan plan --model llama-3-8b --cluster h100-sxm --seq-length 8192 -o plan.json\n"
    "  meshplan simulate plan.json --trace trace.json\n"
    "  meshplan train plan.json --data build/data/text --init random --steps 30\n"
    "  meshplan compare plan.json runs/my-run";

/// Whether help shows the option's value as one letter, or as a list of them: those are numbers of
/// 63 bits, but for M and C, a model and a cluster, and the seed, which has 64.
bool takes_numbers(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const bool letter = type.size() == 1 || (type.size() > 1 && (type[1] == ',' || type[1] == '|'));
  return letter && type[0] != 'M' && type[0] != 'C' && option.get_single_name() != "seed";
}

}  // namespace

std::vector<std::string> subcommand_names() {
  std::vector<std::string> names;
  for (const Subcommand& subcommand : kSubcommands) names.emplace_back(subcommand.name);
  return names;
}

Application define_application() {
  Application application{std::make_unique<CLI::App>(kDescription, "meshplan"), {}};
  CLI::App& root = *application.root;
  root.formatter(std::make_shared<HelpFormatter>());
  root.set_version_flag("--version", "meshplan " MESHPLAN_VERSION, "Print the version");
  root.require_subcommand(1);
  for (const Subcommand& subcommand : kSubcommands) {
    CLI::App* app = root.add_subcommand(subcommand.name);
    application.actions[subcommand.name] = subcommand.define(*app);
    for (CLI::Option* option : app->get_options()) {
      if (takes_numbers(*option)) option->check(within_64_bits(option->get_name()));
    }
  }
  return application;
}

}  // namespace meshplan::cli
