#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/train_flags.h"
#include "planner/plan/jobs/job.h"

namespace meshplan::cli {

/// The flags of `meshplan submit`.
struct SubmitFlags {
  std::string to;
  planner::JobRequest request;
  std::string launcher = "srun";
  std::string time_limit;
  std::string signal_ahead = "180s";
  std::vector<std::string> environment;
  std::string hosts;
  bool anyscale = false;

  bool dry_run = false;
  std::string output;
  bool json = false;

  /// Those of the run, which `meshplan train` is given; the plan is TrainFlags::plan.
  TrainFlags train;
  std::vector<const CLI::Option*> of_train;
  /// Options that mean something to one target alone, with its name.
  std::vector<std::pair<const CLI::Option*, std::string>> of_target;
};

/// Adds them; `flags` outlives the app.
void add_submit_flags(CLI::App& app, SubmitFlags& flags);

/// The request without its name, programs, plan and words of `meshplan train`. Throws kUsage for
/// flags of another target, kInvalidInput for values that cannot be read.
planner::JobRequest read_request(const SubmitFlags& flags);

/// Seconds of "90s", "30m", "12h", "2d", "HH:MM:SS" or "D-HH:MM:SS". Throws kInvalidInput.
std::int64_t parse_time(const std::string& text, const std::string& where);

}  // namespace meshplan::cli
