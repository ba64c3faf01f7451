#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace meshplan::formats {

inline constexpr const char* kMetadataName = "metadata.json";

/// Where a training run stands: metadata.json of a checkpoint. Nothing else is random in a run, so
/// that position and seed say what comes next; both hold on every mesh.
struct CheckpointMetadata {
  /// Updates done.
  std::int64_t step = 0;
  /// The pass over the data that the next batch belongs to, from 0.
  std::int64_t epoch = 0;
  /// Samples of that pass that all data-parallel ranks together have seen.
  std::int64_t samples = 0;
  /// Steps of that pass whose losses are in the sum, which makes the pass's average loss.
  std::int64_t epoch_steps = 0;
  double epoch_loss_sum = 0;
  /// Of float16: the factor of the loss, updates since it changed, and steps left out.
  double loss_scale = 1;
  std::int64_t good_steps = 0;
  std::int64_t skipped_steps = 0;
  /// Of the order of samples and of random initial weights.
  std::uint64_t seed = 0;

  bool operator==(const CheckpointMetadata&) const = default;
};

std::string to_text(const CheckpointMetadata& metadata);

/// Throws kIo where the file cannot be read, kInvalidInput where a field is missing or wrong.
CheckpointMetadata read_metadata(const std::filesystem::path& path);

}  // namespace meshplan::formats
