#include "formats/checkpoint_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "common/error.h"
#include "formats/float_storage.h"

namespace meshplan::formats {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;

[[noreturn]] void corrupt(const std::string& problem, const fs::path& file) {
  throw Error(ErrorCode::kCorruptCheckpoint, problem, file.string());
}

/// Runs `read`; what it finds wrong with the format of a file is corruption here.
template <class Read>
decltype(auto) reading(const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidInput) throw;
    throw Error(ErrorCode::kCorruptCheckpoint, error.message(), error.where());
  }
}

bool is_tensor_file(const CheckpointFile& file) { return file.name.ends_with(".safetensors"); }

/// No component below the checkpoint's folder may be a link: it could lead anywhere.
void check_present(const fs::path& folder, const CheckpointFile& file) {
  const fs::path path = folder / file.name;
  fs::path walked = folder;
  std::error_code failure;
  for (const fs::path& component : fs::path(file.name)) {
    walked /= component;
    const fs::file_status status = fs::symlink_status(walked, failure);
    if (!fs::exists(status)) corrupt("is missing, although the manifest names it", path);
    if (fs::is_symlink(status)) corrupt("is, or lies behind, a symbolic link", path);
  }
  if (!fs::is_regular_file(path, failure)) corrupt("is no regular file", path);
  const auto bytes = static_cast<std::int64_t>(fs::file_size(path, failure));
  if (failure) throw Error(ErrorCode::kIo, "cannot read: " + failure.message(), path.string());
  if (bytes != file.bytes.value) {
    corrupt(fmt::format("has {} bytes, the manifest says {}", bytes, file.bytes.value), path);
  }
}

void check_begin(const fs::path& folder, const CheckpointFile& file) {
  const RandomAccessFile opened(folder / file.name);
  ChecksumStream checksum;
  std::vector<std::byte> buffer;
  for (std::int64_t at = 0; at < file.checked_bytes.value;) {
    buffer.resize(static_cast<std::size_t>(std::min(kPieceBytes, file.checked_bytes.value - at)));
    reading([&] { opened.read_at(at, buffer); });
    checksum.append(buffer);
    at += static_cast<std::int64_t>(buffer.size());
  }
  const Checksum actual = checksum.finish();
  if (actual != file.checksum) {
    corrupt(fmt::format("its {} have the checksum {}, the manifest says {}",
                        is_tensor_file(file) ? "header" : "bytes", to_string(actual),
                        to_string(file.checksum)),
            folder / file.name);
  }
}

}  // namespace

CheckpointReader::CheckpointReader(fs::path step_folder)
    : folder_(std::move(step_folder)), manifest_(read_manifest(folder_)) {
  open_files();
  for (const CheckpointTensor& tensor : manifest_.tensors)
    tensors_.emplace(std::pair(tensor.part, tensor.name), &tensor);
}

void CheckpointReader::open_files() {
  std::error_code ignored;
  for (const CheckpointFile& file : manifest_.files) {
    // Nodes that do not share their files hold those of their own ranks; others are missed when
    // they are read.
    const bool may_be_elsewhere = fs::path(file.name).parent_path() == kRankFolder;
    if (may_be_elsewhere && !fs::exists(fs::symlink_status(folder_ / file.name, ignored))) continue;
    check_present(folder_, file);
    if (!is_tensor_file(file)) continue;
    check_begin(folder_, file);
    files_.emplace(file.name, reading([&] { return SafetensorsFile(folder_ / file.name); }));
  }
}

const CheckpointTensor* CheckpointReader::find(CheckpointPart part, const std::string& name) const {
  const auto found = tensors_.find({part, name});
  return found == tensors_.end() ? nullptr : found->second;
}

CheckpointMetadata CheckpointReader::metadata() const {
  for (const CheckpointFile& file : manifest_.files) {
    if (file.name != kMetadataName) continue;
    check_begin(folder_, file);
    return reading([&] { return read_metadata(folder_ / kMetadataName); });
  }
  corrupt("is not named by the manifest", folder_ / kMetadataName);
}

void CheckpointReader::check_plain_files() const {
  for (const CheckpointFile& file : manifest_.files) {
    if (!is_tensor_file(file)) check_begin(folder_, file);
  }
}

const SafetensorsFile& CheckpointReader::file_of(const CheckpointTensor& tensor,
                                                 const HashedRange& range) const {
  const std::string name = tensor.file.empty() ? rank_file(range.rank) : tensor.file;
  const auto found = files_.find(name);
  if (found == files_.end()) {
    corrupt(
        "is missing, although the manifest names it; where the nodes share no files, copy their "
        "checkpoints together",
        folder_ / name);
  }
  return found->second;
}

void CheckpointReader::read_piece(const CheckpointTensor& tensor, const HashedRange& range,
                                  std::size_t index, const TensorRange& piece,
                                  std::vector<std::byte>& bytes) const {
  const SafetensorsFile& file = file_of(tensor, range);
  const bool whole = !tensor.file.empty();
  const SafetensorsEntry* entry =
      file.find(whole ? tensor.name : rank_tensor(tensor.part, tensor.name));
  const std::vector<std::int64_t> shape =
      whole ? tensor.shape : std::vector{range.range.elements()};
  if (entry == nullptr || entry->type != tensor.type || entry->shape != shape)
    corrupt(fmt::format("does not hold the tensor {} as the manifest says", tensor.name),
            file.path());
  const std::int64_t size = size_of(tensor.type);
  bytes.resize(static_cast<std::size_t>(piece.elements() * size));
  const auto read = [&](std::int64_t first, std::int64_t offset, std::int64_t count) {
    reading([&] {
      file.read(*entry, first * size,
                std::span(bytes).subspan(static_cast<std::size_t>(offset * size),
                                         static_cast<std::size_t>(count * size)));
    });
  };
  if (whole) {
    for_each_segment(piece, row_length(tensor.shape), [&](const TensorSegment& segment) {
      read(segment.first, segment.offset, segment.count);
    });
  } else {
    read(piece.begin - range.range.begin, 0, piece.elements());
  }
  const Checksum actual = checksum_of(bytes);
  if (actual != range.pieces[index]) {
    corrupt(fmt::format("piece {} of what rank {} wrote of {} has the checksum {}, the manifest "
                        "says {}",
                        index, range.rank, tensor.name, to_string(actual),
                        to_string(range.pieces[index])),
            file.path());
  }
}

void CheckpointReader::read(const CheckpointTensor& tensor, const TensorRange& range,
                            std::span<float> out) const {
  const std::int64_t row = row_length(tensor.shape);
  const auto size = static_cast<std::size_t>(size_of(tensor.type));
  std::vector<std::byte> bytes;
  for (const HashedRange& stored : tensor.ranges) {
    const std::vector<TensorRange> pieces = pieces_of(stored.range, tensor.type);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      bool touched = false;
      for_each_shared(pieces[i], range, row, [&](const SharedSegment& shared) {
        if (!touched) read_piece(tensor, stored, i, pieces[i], bytes);
        touched = true;
        const auto count = static_cast<std::size_t>(shared.count);
        load_floats(std::span(bytes).subspan(static_cast<std::size_t>(shared.in_first) * size,
                                             count * size),
                    tensor.type, out.subspan(static_cast<std::size_t>(shared.in_second), count));
      });
    }
  }
}

void CheckpointReader::check(const CheckpointTensor& tensor) const {
  std::vector<std::byte> bytes;
  for (const HashedRange& stored : tensor.ranges) {
    const std::vector<TensorRange> pieces = pieces_of(stored.range, tensor.type);
    for (std::size_t i = 0; i < pieces.size(); ++i) read_piece(tensor, stored, i, pieces[i], bytes);
  }
}

void verify_checkpoint(const fs::path& step_folder) {
  const CheckpointReader reader(step_folder);
  reader.check_plain_files();
  for (const CheckpointTensor& tensor : reader.manifest().tensors) reader.check(tensor);
}

}  // namespace meshplan::formats
