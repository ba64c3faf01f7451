#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

#include "common/units.h"

namespace meshplan::formats {

/// What one training step reports. Numbers that are not finite (a diverged loss) are null in the
/// file, as JSON has no other word for them, and are read back as NaN.
struct StepMetrics {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  double loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  common::Seconds step_time;
  double tokens_per_second = 0;
  common::Bytes peak_memory;

  bool operator==(const StepMetrics&) const = default;
};

/// Writes metrics.jsonl: one object a step, in the file before append() returns.
class MetricsWriter {
 public:
  /// Continues an existing file, after cutting off a last line that was not written to the end.
  /// Makes missing parent folders. Throws kIo.
  explicit MetricsWriter(std::filesystem::path path);

  /// Throws kIo, for instance on a full disk.
  void append(const StepMetrics& metrics);

 private:
  std::filesystem::path path_;
  std::ofstream stream_;
};

/// The steps of a metrics.jsonl. Throws kIo where it cannot be read and kInvalidInput, naming line
/// and field.
std::vector<StepMetrics> read_metrics(const std::filesystem::path& path);

}  // namespace meshplan::formats
