#include "formats/metrics.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/json.h"
#include "formats/json_lines.h"
#include "formats/random_access_file.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;
using common::JsonObject;

double number_or_nan(const JsonObject& object, const std::string& key) {
  return object.at(key).is_null() ? std::numeric_limits<double>::quiet_NaN() : object.number(key);
}

/// The bytes up to and with the last newline.
std::int64_t finished_bytes(const RandomAccessFile& file) {
  std::array<char, 4096> chunk{};
  for (std::int64_t end = file.size(); end > 0;) {
    const auto part =
        std::span(chunk).first(std::min<std::size_t>(chunk.size(), static_cast<std::size_t>(end)));
    end -= static_cast<std::int64_t>(part.size());
    file.read_at(end, std::as_writable_bytes(part));
    const std::size_t newline = std::string_view(part.data(), part.size()).rfind('\n');
    if (newline != std::string_view::npos) return end + static_cast<std::int64_t>(newline) + 1;
  }
  return 0;
}

void cut_unfinished_line(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  const std::int64_t finished = finished_bytes(file);
  if (finished == file.size()) return;
  std::error_code failure;
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(finished), failure);
  if (failure) {
    throw Error(ErrorCode::kIo, "cannot cut its unfinished last line: " + failure.message(),
                path.string());
  }
}

}  // namespace

MetricsWriter::MetricsWriter(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code failure;
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), failure);
  if (failure) {
    throw Error(ErrorCode::kIo, "cannot make its folder: " + failure.message(), path_.string());
  }
  if (std::filesystem::is_regular_file(path_, failure)) cut_unfinished_line(path_);
  stream_.open(path_, std::ios::app);
  if (!stream_) {
    throw Error(ErrorCode::kIo, std::string("cannot open: ") + std::strerror(errno),
                path_.string());
  }
}

void MetricsWriter::append(const StepMetrics& metrics) {
  const Json line = {{"step", metrics.step},
                     {"epoch", metrics.epoch},
                     {"loss", metrics.loss},
                     {"grad_norm", metrics.grad_norm},
                     {"learning_rate", metrics.learning_rate},
                     {"step_time_s", metrics.step_time.value},
                     {"tokens_per_second", metrics.tokens_per_second},
                     {"peak_memory_bytes", metrics.peak_memory.value}};
  stream_ << line.dump() + "\n" << std::flush;
  if (!stream_) {
    throw Error(ErrorCode::kIo, std::string("cannot write: ") + std::strerror(errno),
                path_.string());
  }
}

std::vector<StepMetrics> read_metrics(const std::filesystem::path& path) {
  std::vector<StepMetrics> steps;
  read_json_lines(path, [&steps](const JsonObject& line) {
    StepMetrics metrics;
    metrics.step = line.integer("step");
    metrics.epoch = line.integer("epoch");
    metrics.loss = number_or_nan(line, "loss");
    metrics.grad_norm = number_or_nan(line, "grad_norm");
    metrics.learning_rate = number_or_nan(line, "learning_rate");
    metrics.step_time = common::Seconds(number_or_nan(line, "step_time_s"));
    metrics.tokens_per_second = number_or_nan(line, "tokens_per_second");
    metrics.peak_memory = common::Bytes(line.integer("peak_memory_bytes"));
    line.reject_unknown_keys();
    steps.push_back(metrics);
  });
  return steps;
}

}  // namespace meshplan::formats
