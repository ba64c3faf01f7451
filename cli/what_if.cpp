#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "cli/command.h"
#include "cli/search_flags.h"
#include "cli/sweep_table.h"

namespace meshplan::cli {
namespace {

using planner::Sweep;
using planner::SweepPoint;
using planner::Variation;

struct WhatIfFlags {
  SearchFlags search;
  std::vector<std::string> vary;
  bool csv = false;
  bool json = false;
};

constexpr int kMostVaried = 2;

volatile sig_atomic_t interrupted = 0;

/// While it lives, the first SIGINT is noted, so that the sweep ends between two points; another
/// ends the program at once.
class NotedInterrupt {
 public:
  NotedInterrupt() {
    struct sigaction noted {};
    noted.sa_handler = [](int) { interrupted = 1; };
    noted.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGINT, &noted, &before_);
  }
  ~NotedInterrupt() { ::sigaction(SIGINT, &before_, nullptr); }
  NotedInterrupt(const NotedInterrupt&) = delete;
  NotedInterrupt& operator=(const NotedInterrupt&) = delete;

 private:
  struct sigaction before_ {};
};

/// Tells on stderr how far a sweep is, once a second, from its second second on.
class Progress {
 public:
  bool operator()(std::size_t done, std::size_t all) {
    const Clock::time_point now = Clock::now();
    if (now >= next_) {
      fmt::print(stderr, "meshplan what-if: {} of {} points\n", done, all);
      next_ = now + std::chrono::seconds(1);
    }
    return interrupted == 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point next_ = Clock::now() + std::chrono::seconds(2);
};

std::vector<Variation> read_variations(const std::vector<std::string>& texts) {
  std::vector<Variation> variations;
  for (const std::string& text : texts)
    variations.push_back(planner::parse_variation(text, "--vary"));
  return variations;
}

planner::SweepInputs read_inputs(const SearchFlags& flags,
                                 const std::vector<Variation>& variations) {
  const Inputs inputs = load_inputs(flags.model, flags.cluster);
  const bool length_varies =
      std::any_of(variations.begin(), variations.end(),
                  [](const Variation& v) { return v.input == planner::VariedInput::kSeqLength; });
  // A length that is varied need not be given as well.
  const auto length = length_varies ? std::optional<std::int64_t>(1) : std::nullopt;
  return {.model = inputs.model.spec,
          .cluster = flags.cluster.cluster,
          .changes = flags.cluster.changes,
          .job = make_job(flags.job, inputs.model.spec, inputs.cluster, length),
          .request = make_request(flags)};
}

int run_what_if(const WhatIfFlags& flags) {
  const std::vector<Variation> variations = read_variations(flags.vary);
  const planner::SweepInputs inputs = read_inputs(flags.search, variations);
  const NotedInterrupt noted;
  const Sweep sweep = planner::sweep(inputs, variations, Progress());
  if (flags.json) {
    common::Json json = {{"schema_version", 1},
                         {"model", inputs.model.name},
                         {"cluster", inputs.cluster},
                         {"objective", to_string(inputs.request.objective)}};
    json.update(to_json(sweep));
    print_json(json);
  } else {
    fmt::print("{}", flags.csv ? sweep_csv(sweep) : sweep_table(sweep));
  }
  const bool any = std::any_of(sweep.points.begin(), sweep.points.end(),
                               [](const SweepPoint& point) { return point.best.has_value(); });
  return any ? 0 : static_cast<int>(common::ErrorCode::kNoLayoutFits);
}

}  // namespace

Action define_what_if(CLI::App& app) {
  app.description(
      "Sweep one or two inputs and give the best layout at each point (exit 4: none fits "
      "anywhere)\n\n"
      "What can be varied: seq-length, microbatch-size, global-batch-size, nodes, gpus-per-node; "
      "and,\n"
      "as factors of what the cluster has: inter-bandwidth, intra-bandwidth, latency, memory.\n"
      "Values: a,b,c or from:to:step or from:to:xfactor, 1000 points at most.\n\n"
      "Examples:\n"
      "  meshplan what-if --model llama-3.1-8b --cluster h100-sxm --nodes 2 --vary "
      "seq-length=2048:32768:x2\n"
      "  meshplan what-if --model llama-3-70b --cluster h100-sxm --seq-length 8192 --tp auto "
      "--vary "
      "nodes=8,16,32 \\\n"
      "    --vary inter-bandwidth=0.5,1,2 --csv");
  const auto flags = std::make_shared<WhatIfFlags>();
  add_search_flags(app, flags->search);
  app.add_option("--vary", flags->vary, "An input and its values; once or twice")
      ->required()
      ->expected(1, kMostVaried)
      ->allow_extra_args(false)
      ->type_name("INPUT=VALUES");
  CLI::Option* csv = app.add_flag("--csv", flags->csv, "Print a table for programs on stdout");
  add_json_flag(app, flags->json);
  csv->excludes("--json");
  return [flags] { return run_what_if(*flags); };
}

}  // namespace meshplan::cli
