#include "formats/checkpoint_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/checked.h"
#include "common/error.h"
#include "common/json.h"
#include "formats/float_storage.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;

/// Bytes that are converted and written at a time.
constexpr std::int64_t kChunkBytes = 1 << 18;

/// The tensors of each file, as indices: in order, a new file where the next one would pass the
/// limit.
std::vector<std::vector<std::size_t>> split(const std::vector<TensorToWrite>& tensors,
                                            std::int64_t file_bytes) {
  std::vector<std::vector<std::size_t>> files;
  std::int64_t used = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t bytes = byte_size(tensors[i]);
    if (files.empty() || bytes > file_bytes - used) {
      files.emplace_back();
      used = 0;
    }
    files.back().push_back(i);
    used = common::checked_add(used, bytes, tensors[i].name);
  }
  return files;
}

std::string in_folder(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

void plan_part(CheckpointPart part, const std::vector<TensorToWrite>& tensors,
               std::int64_t file_bytes, CheckpointFiles& planned) {
  const auto files = split(tensors, file_bytes);
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::vector<TensorToWrite> held;
    for (const std::size_t index : files[i]) held.push_back(tensors[index]);
    PlannedFile file{
        .name = in_folder(folder_of(part),
                          fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size())),
        .prefix = safetensors_prefix(held),
        .bytes = 0};
    file.bytes = static_cast<std::int64_t>(file.prefix.size());
    for (TensorToWrite& tensor : held) {
      const std::int64_t bytes = byte_size(tensor);
      planned.tensors.push_back({part, std::move(tensor.name), tensor.type, tensor.shape,
                                 planned.files.size(), file.bytes});
      file.bytes = common::checked_add(file.bytes, bytes, file.name);
    }
    planned.files.push_back(std::move(file));
  }
}

}  // namespace

const PlannedTensor& CheckpointFiles::find(CheckpointPart part, const std::string& name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const PlannedTensor& tensor) {
    return tensor.part == part && tensor.name == name;
  });
  if (found == tensors.end()) throw Error(ErrorCode::kInternal, "is not in the checkpoint", name);
  return *found;
}

std::vector<CheckpointPart> parts_of(TensorType weights) {
  std::vector<CheckpointPart> parts = {CheckpointPart::kWeights};
  if (weights != TensorType::kF32) parts.push_back(CheckpointPart::kMaster);
  parts.insert(parts.end(), {CheckpointPart::kFirstMoment, CheckpointPart::kSecondMoment});
  return parts;
}

CheckpointFiles plan_whole_files(const std::vector<TensorToWrite>& tensors, TensorType weights,
                                 const std::vector<CheckpointPart>& parts,
                                 std::int64_t file_bytes) {
  CheckpointFiles planned;
  for (const CheckpointPart part : parts) {
    std::vector<TensorToWrite> typed = tensors;
    for (TensorToWrite& tensor : typed)
      tensor.type = part == CheckpointPart::kWeights ? weights : TensorType::kF32;
    plan_part(part, typed, file_bytes, planned);
  }
  return planned;
}

std::map<std::string, std::string> index_files(const CheckpointFiles& files) {
  std::map<CheckpointPart, common::Json> maps;
  std::map<CheckpointPart, std::int64_t> sizes;
  for (const PlannedTensor& tensor : files.tensors) {
    const std::string& path = files.files[tensor.file].name;
    maps[tensor.part][tensor.name] = path.substr(path.rfind('/') + 1);
    sizes[tensor.part] += byte_size({tensor.name, tensor.type, tensor.shape});
  }
  std::map<std::string, std::string> indices;
  for (const auto& [part, map] : maps) {
    const common::Json index = {{"metadata", {{"total_size", sizes[part]}}}, {"weight_map", map}};
    indices[in_folder(folder_of(part), "model.safetensors.index.json")] = index.dump(2) + "\n";
  }
  return indices;
}

PositionedFile PositionedFile::create(const std::filesystem::path& path, const std::string& prefix,
                                      std::int64_t bytes) {
  std::error_code failure;
  std::filesystem::create_directories(path.parent_path(), failure);
  if (failure)
    throw Error(ErrorCode::kIo, "cannot make its folder: " + failure.message(), path.string());
  PositionedFile file(path, O_WRONLY | O_CREAT | O_EXCL);
  if (::ftruncate(file.descriptor_, bytes) != 0) file.fail("set the size of");
  file.write_at(0, std::as_bytes(std::span(prefix)));
  return file;
}

PositionedFile::PositionedFile(std::filesystem::path path)
    : PositionedFile(std::move(path), O_WRONLY | O_NOFOLLOW) {}

PositionedFile::PositionedFile(std::filesystem::path path, int flags) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("open");
}

PositionedFile::~PositionedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

PositionedFile::PositionedFile(PositionedFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

void PositionedFile::write_at(std::int64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("write");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
}

void PositionedFile::flush() const {
  if (::fsync(descriptor_) != 0) fail("flush");
}

void PositionedFile::fail(const char* doing) const {
  throw Error(ErrorCode::kIo, fmt::format("cannot {}: {}", doing, std::strerror(errno)),
              path_.string());
}

HashedRange store_range(
    std::int64_t rank, const TensorRange& range, const float* first, TensorType type,
    const std::function<void(std::int64_t element, std::span<const std::byte> bytes)>& write) {
  HashedRange stored{.rank = rank, .range = range, .pieces = {}};
  const std::int64_t size = size_of(type);
  const std::int64_t chunk = type == TensorType::kF32 ? piece_elements(type) : kChunkBytes / size;
  std::vector<std::byte> converted;
  ChecksumStream checksum;
  for (const TensorRange& piece : pieces_of(range, type)) {
    for (std::int64_t at = piece.begin; at < piece.end; at += chunk) {
      const std::int64_t element = at - range.begin;
      const std::span<const float> values(
          first + element, static_cast<std::size_t>(std::min(chunk, piece.end - at)));
      std::span<const std::byte> bytes = std::as_bytes(values);
      if (type != TensorType::kF32) {
        converted.resize(values.size() * static_cast<std::size_t>(size));
        store_floats(values, type, converted);
        bytes = converted;
      }
      checksum.append(bytes);
      write(element, bytes);
    }
    stored.pieces.push_back(checksum.finish());
  }
  return stored;
}

void write_elements(const PositionedFile& file, const PlannedTensor& tensor,
                    const TensorRange& range, std::int64_t element,
                    std::span<const std::byte> bytes) {
  const std::int64_t size = size_of(tensor.type);
  TensorRange part = range;
  part.begin = range.begin + element;
  part.end = part.begin + static_cast<std::int64_t>(bytes.size()) / size;
  for_each_segment(part, row_length(tensor.shape), [&](const TensorSegment& segment) {
    file.write_at(tensor.offset + segment.first * size,
                  bytes.subspan(static_cast<std::size_t>(segment.offset * size),
                                static_cast<std::size_t>(segment.count * size)));
  });
}

}  // namespace meshplan::formats
