#include "cli/scenario_flags.h"

#include <string>
#include <vector>

#include "cli/options.h"
#include "common/error.h"

namespace meshplan::cli {
namespace {

constexpr const char* kGroup = "What is otherwise than in the plan";

/// A flag that may be repeated, each time for another rank or node.
void add_exceptions(CLI::App& app, const std::string& flag,
                    std::vector<simulator::Exception>& exceptions, const char* type,
                    const char* help) {
  const auto read = [&exceptions, flag](const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      try {
        exceptions.push_back(simulator::parse_exception(text, flag));
      } catch (const common::Error& error) {
        throw CLI::ValidationError(error.what());
      }
    }
  };
  app.add_option_function<std::vector<std::string>>(flag, read, help)
      ->type_name(type)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(kGroup);
}

}  // namespace

void add_scenario_flags(CLI::App& app, simulator::Scenario& scenario) {
  add_exceptions(app, "--slow-rank", scenario.slow_ranks, "PAIR",
                 "R:X: rank R's kernels take X times as long; may be repeated");
  add_exceptions(app, "--slow-node", scenario.slow_nodes, "PAIR",
                 "N:X: the same of all ranks of node N");
  app.add_option(
         "--speed-spread", scenario.speed_spread,
         "Standard deviation of the ranks' speeds, relative to 1: each has one for the step")
      ->capture_default_str()
      ->type_name("X")
      ->group(kGroup);
  app.add_option("--jitter", scenario.jitter,
                 "The same of a rank's kernels from one collective to the next")
      ->capture_default_str()
      ->type_name("X")
      ->group(kGroup);
  add_choice(app, "--seed", scenario.seed, parse_seed, "Of both; the same everywhere (default: 1)")
      ->type_name("N")
      ->group(kGroup);
  add_exceptions(app, "--degraded-link", scenario.degraded_links, "PAIR",
                 "N:X: the network of node N carries X of its bandwidth; may be repeated");
  app.add_flag("--no-overlap", scenario.no_overlap, "Compute stands still while collectives run")
      ->group(kGroup);
  app.add_option("--overlap", scenario.overlap,
                 "Part of a collective's time that does not slow compute beside it (default: the "
                 "cluster's)")
      ->type_name("X")
      ->group(kGroup);
  app.add_flag("--shared-links", scenario.shared_links,
               "Collectives that run at once slow each other on the links that they share; in the "
               "estimate each has them to itself")
      ->group(kGroup);
  app.add_flag("--infinite-bandwidth", scenario.infinite_bandwidth,
               "Links carry any number of bytes at once: what a faster network could win")
      ->group(kGroup);
  app.add_flag("--zero-latency", scenario.zero_latency,
               "Collectives take no time beside that of their bytes")
      ->group(kGroup);
}

}  // namespace meshplan::cli
