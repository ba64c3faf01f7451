#include "formats/safetensors.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "common/checked.h"
#include "common/error.h"
#include "common/json.h"
#include "formats/replacement_file.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;

static_assert(std::endian::native == std::endian::little, "the format is little endian");

/// The format's own limit, as of the reference implementation.
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;
constexpr std::int64_t kLengthBytes = 8;

SafetensorsHeader read_header(const RandomAccessFile& file) {
  const std::string name = file.path().string();
  if (file.size() < kLengthBytes) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("has {} bytes, too few for a safetensors file; it is truncated: copy "
                            "or make it again",
                            file.size()),
                name);
  }
  std::array<std::byte, kLengthBytes> prefix{};
  file.read_at(0, prefix);
  std::uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof length);
  if (length > static_cast<std::uint64_t>(kMaxHeaderBytes)) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("its first 8 bytes give a header of {} bytes, over the limit of {}; it "
                            "is no safetensors file",
                            length, kMaxHeaderBytes),
                name);
  }
  const std::int64_t data_begin = kLengthBytes + static_cast<std::int64_t>(length);
  if (data_begin > file.size()) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("its header takes {} bytes, the whole file has {}; it is truncated: "
                            "copy or make it again",
                            data_begin, file.size()),
                name);
  }
  std::string json(length, '\0');
  file.read_at(kLengthBytes, std::as_writable_bytes(std::span(json)));
  return parse_safetensors_header(json, data_begin, file.size(), name);
}

}  // namespace

std::int64_t byte_size(const TensorToWrite& tensor) {
  std::int64_t bytes = size_of(tensor.type);
  for (std::int64_t size : tensor.shape) bytes = common::checked_multiply(bytes, size, tensor.name);
  return bytes;
}

std::string safetensors_prefix(std::span<const TensorToWrite> tensors,
                               std::map<std::string, std::string> metadata) {
  metadata.emplace("format", "pt");
  std::set<std::string> names = {"__metadata__"};
  std::string text = fmt::format(R"({{"__metadata__":{})", Json(metadata).dump());
  std::int64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      throw Error(ErrorCode::kInternal, "the name cannot be written twice", tensor.name);
    }
    const std::int64_t end = common::checked_add(offset, byte_size(tensor), tensor.name);
    const Json entry = {{"dtype", to_string(tensor.type)},
                        {"shape", tensor.shape},
                        {"data_offsets", std::array{offset, end}}};
    text += fmt::format(",{}:{}", Json(tensor.name).dump(), entry.dump());
    offset = end;
  }
  text += "}";
  // Readers that map the file expect the data to be aligned.
  text.resize(static_cast<std::size_t>(
                  common::round_up(static_cast<std::int64_t>(text.size()), kLengthBytes)),
              ' ');
  const std::uint64_t length = text.size();
  std::string prefix(sizeof length, '\0');
  std::memcpy(prefix.data(), &length, sizeof length);
  return prefix + text;
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path)
    : file_(std::move(path)), header_(read_header(file_)) {}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  const auto found = header_.entries.find(name);
  return found == header_.entries.end() ? nullptr : &found->second;
}

void SafetensorsFile::read(const SafetensorsEntry& entry, std::int64_t byte_offset,
                           std::span<std::byte> out) const {
  const auto count = static_cast<std::int64_t>(out.size());
  if (byte_offset < 0 || byte_offset > entry.bytes.value ||
      count > entry.bytes.value - byte_offset) {
    throw Error(ErrorCode::kInternal,
                fmt::format("asked for {} bytes from {} on of a tensor of {}", count, byte_offset,
                            entry.bytes.value),
                path().string());
  }
  file_.read_at(entry.offset + byte_offset, out);
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       const TensorBytes& bytes_of, std::map<std::string, std::string> metadata) {
  const std::string prefix = safetensors_prefix(tensors, std::move(metadata));
  ReplacementFile file(path);
  file.append(std::as_bytes(std::span(prefix)));
  for (std::size_t index = 0; index < tensors.size(); ++index) {
    const std::span<const std::byte> bytes = bytes_of(index);
    if (static_cast<std::int64_t>(bytes.size()) != byte_size(tensors[index])) {
      throw Error(ErrorCode::kInternal,
                  fmt::format("{} bytes given, its shape takes {}", bytes.size(),
                              byte_size(tensors[index])),
                  tensors[index].name);
    }
    file.append(bytes);
  }
  file.commit();
}

}  // namespace meshplan::formats
