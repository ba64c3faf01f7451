#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/launch.h"
#include "cli/options.h"
#include "planner/layout/rules.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;
using planner::Axis;

struct CalibrateFlags {
  std::int64_t ranks = 0;
  std::string model = "demo-qwen2";
  std::int64_t seq_length = 128;
  std::int64_t microbatch_size = 2;
  std::optional<std::int64_t> tp;
  std::string output = "cluster.json";
  LaunchOptions launch;
};

int run_calibrate(const CalibrateFlags& flags) {
  const std::int64_t tp = flags.tp.value_or(flags.ranks % 2 == 0 ? 2 : 1);
  if (tp < 1 || flags.ranks % tp != 0) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("tp={}: must divide ranks={}", tp, flags.ranks));
  }
  const planner::LoadedModel model = planner::load_model_with_source(flags.model);
  planner::Layout layout;
  layout.microbatch_size = flags.microbatch_size;
  layout.mesh.sizes[Axis::kTp] = tp;
  layout.mesh.sizes[Axis::kDpShard] = flags.ranks / tp;
  if (const auto broken = planner::violations(model.spec, {.seq_length = flags.seq_length}, layout);
      !broken.empty()) {
    throw Error(ErrorCode::kInvalidInput, to_string(broken));
  }
  const std::string output = std::filesystem::absolute(flags.output).string();
  const std::vector<std::string> arguments = {"calibrate",
                                              "--output",
                                              output,
                                              "--model",
                                              model.source,
                                              "--seq-length",
                                              std::to_string(flags.seq_length),
                                              "--microbatch-size",
                                              std::to_string(flags.microbatch_size),
                                              "--dp-shard",
                                              std::to_string(layout.mesh.sizes[Axis::kDpShard]),
                                              "--tp",
                                              std::to_string(tp)};
  if (const auto place = place_in_job(flags.launch)) {
    if (place->world_size != flags.ranks) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("ranks={}: must equal WORLD_SIZE={} of the job that this rank is in",
                              flags.ranks, place->world_size));
    }
    become_rank(arguments, flags.launch);
  }
  launch_ranks({.count = flags.ranks}, arguments, std::nullopt);
  fmt::print(stderr, "meshplan calibrate: wrote {}\n", output);
  return 0;
}

}  // namespace

Action define_calibrate(CLI::App& app) {
  app.description(
      "Measure this machine, or as a rank of a job a cluster, with so many ranks at once, and "
      "write it as a cluster file; takes less "
      "than a minute\n\n"
      "Examples:\n"
      "  meshplan calibrate --ranks 4 -o cluster.json\n"
      "  meshplan calibrate --ranks 8 --tp 4 --model llama-3.2-1b --seq-length 2048 "
      "--microbatch-size 1\n"
      "  srun --ntasks 16 --ntasks-per-node 8 meshplan calibrate --ranks 16 --tp 8 -o "
      "cluster.json");
  const auto flags = std::make_shared<CalibrateFlags>();
  app.add_option("--ranks", flags->ranks, "Ranks to start")
      ->required()
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  const auto add = [&app](const char* name, auto& value, const char* help, const char* type) {
    app.add_option(name, value, help)->capture_default_str()->type_name(type);
  };
  add("--model", flags->model, "Whose shapes are measured", "M");
  add("--seq-length", flags->seq_length, "Tokens of a sequence", "S");
  add("--microbatch-size", flags->microbatch_size, "Sequences of a rank and forward pass", "B");
  add("--tp", flags->tp,
      "Ranks of a tensor-parallel group (default: 2, 1 for an odd number of ranks)", "T");
  add("-o,--output", flags->output, "The cluster file", "FILE");
  add_rank_flags(app, flags->launch);
  return [flags] { return run_calibrate(*flags); };
}

}  // namespace meshplan::cli
