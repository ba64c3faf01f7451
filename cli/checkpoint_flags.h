#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace meshplan::cli {

/// When a training run saves, and what it starts from.
struct CheckpointFlags {
  std::int64_t interval = 0;
  std::int64_t keep_latest_k = 0;
  bool asynchronous = false;
  std::string resume = "auto";
  std::string files = "auto";
};

/// --checkpoint-interval, --keep-latest-k, --async-checkpoint, --resume, --checkpoint-files.
void add_checkpoint_flags(CLI::App& app, CheckpointFlags& flags);

/// Those that are not at their defaults, for the rank's program.
void add_checkpoint_arguments(const CheckpointFlags& flags, std::vector<std::string>& arguments);

}  // namespace meshplan::cli
