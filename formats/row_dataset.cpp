#include "formats/row_dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"

namespace meshplan::formats {
namespace {

constexpr const char* kRows = "rows";

[[noreturn]] void refuse(const std::filesystem::path& path, std::int64_t width,
                         const std::string& problem) {
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format(
          "{}; the model reads rows of numbers: use synthetic, or a safetensors file with a "
          "float32 tensor {} [N, {}]",
          problem, kRows, width),
      path.string());
}

SafetensorsFile open(const std::filesystem::path& path, std::int64_t width) {
  std::error_code ignored;
  const bool tokens = std::filesystem::is_regular_file(path.string() + ".idx", ignored);
  if (tokens && !std::filesystem::is_regular_file(path, ignored))
    refuse(path, width, "is a token dataset");
  return SafetensorsFile(path);
}

const SafetensorsEntry* find_rows(const SafetensorsFile& file, std::int64_t width) {
  const SafetensorsEntry* entry = file.find(kRows);
  if (entry == nullptr) refuse(file.path(), width, fmt::format("has no tensor {}", kRows));
  if (entry->type != TensorType::kF32 || entry->shape.size() != 2 || entry->shape[1] != width) {
    refuse(file.path(), width,
           fmt::format("tensor {} is {} [{}]", kRows, to_string(entry->type),
                       fmt::join(entry->shape, ", ")));
  }
  return entry;
}

}  // namespace

RowDataset::RowDataset(const std::filesystem::path& path, std::int64_t width)
    : file_(open(path, width)), width_(width), entry_(find_rows(file_, width)) {}

void RowDataset::read(std::int64_t first, std::span<float> out) const {
  file_.read(*entry_, first * width_ * static_cast<std::int64_t>(sizeof(float)),
             std::as_writable_bytes(out));
}

}  // namespace meshplan::formats
