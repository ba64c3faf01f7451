#include "cli/launch_flags.h"

#include "common/error.h"

namespace meshplan::cli {
namespace {

constexpr const char* kGroup = "Launch";

}  // namespace

void add_rank_flags(CLI::App& app, LaunchOptions& options) {
  for (const formats::LaunchFlag& flag : formats::launch_flags()) {
    const auto set = [&options, flag](const std::string& value) {
      try {
        flag.set(options.rank, value);
      } catch (const common::Error& error) {
        throw CLI::ValidationError(error.what());
      }
      options.given.insert(options.given.end(), {flag.name, value});
    };
    app.add_option_function<std::string>(flag.name, set, flag.help)
        ->type_name(flag.type)
        ->group(kGroup);
  }
}

void add_node_flags(CLI::App& app, LaunchOptions& options) {
  app.add_option("--nnodes", options.nodes,
                 "Nodes of the job, where this command starts the ranks of each (default: the "
                 "plan's, with --node-rank)")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--node-rank", options.node_rank,
                 "Which of them this one is; --master-addr names the first")
      ->check(CLI::NonNegativeNumber)
      ->type_name("K")
      ->group(kGroup);
  app.add_option("--max-restarts", options.max_restarts,
                 "Start all ranks anew, from the last checkpoint, so many times after one failed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
}

}  // namespace meshplan::cli
