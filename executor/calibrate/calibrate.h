#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "formats/launch_flags.h"

namespace CLI {
class App;
}

namespace meshplan::executor {

/// What to measure: the shapes that this model has in this layout.
struct CalibrationOptions {
  std::filesystem::path output;
  std::string model;
  std::int64_t seq_length = 128;
  std::int64_t microbatch_size = 2;
  std::int64_t dp_shard = 1;
  std::int64_t tp = 1;
  formats::LaunchFlags launch;
};

/// Measures the devices and links under this process's launcher, all ranks at once, so that what
/// they share (cores, memory, links) is shared in the figures: matrix multiplies of the model's
/// shapes, memory bandwidth, the cost of the smallest kernel, every collective over each axis, and
/// how much of a collective runs beside compute. Rank 0 writes the cluster file.
void calibrate(const CalibrationOptions& options);

/// Adds the subcommand that runs calibrate().
void add_calibrate(CLI::App& program, CalibrationOptions& options);

}  // namespace meshplan::executor
