#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace meshplan::formats {

/// A curve's value at a step.
struct Scalar {
  std::string tag;
  float value = 0;
};

/// One record of TFRecord framing: length, its checksum, data, its checksum; CRC-32C, masked
/// (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
std::string tfrecord(std::string_view data);

/// The event of protocol buffer `tensorboard.Event` with these scalars, in wire format. No library
/// writes it for C++ but protobuf itself, which would be a large dependency for four fields
/// (https://github.com/tensorflow/tensorboard, tensorboard/compat/proto/event.proto).
std::string scalar_event(double wall_time, std::int64_t step, std::span<const Scalar> scalars);

/// Writes an event file of TensorBoard's: each step is in the file before add() returns.
class TensorboardWriter {
 public:
  /// A new file in the folder, which is made. Throws kIo.
  explicit TensorboardWriter(const std::filesystem::path& folder);

  /// Throws kIo.
  void add(std::int64_t step, std::span<const Scalar> scalars);

 private:
  void write(std::string_view event);

  std::filesystem::path path_;
  std::ofstream stream_;
};

}  // namespace meshplan::formats
