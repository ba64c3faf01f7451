#include "formats/checkpoint_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <system_error>

#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "formats/checkpoint_files.h"
#include "formats/checkpoint_folder.h"
#include "formats/checkpoint_metadata.h"
#include "formats/checkpoint_reader.h"

namespace meshplan::formats {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;

constexpr common::Bytes kLargestPlainFile = common::kGiB;

/// The tensors of one part, in the manifest's order.
std::vector<TensorToWrite> tensors_of(const CheckpointManifest& manifest, CheckpointPart part) {
  std::vector<TensorToWrite> tensors;
  for (const CheckpointTensor& tensor : manifest.tensors) {
    if (tensor.part == part) tensors.push_back({tensor.name, tensor.type, tensor.shape});
  }
  return tensors;
}

TensorType weights_type(const CheckpointManifest& manifest) {
  for (const CheckpointTensor& tensor : manifest.tensors) {
    if (tensor.part == CheckpointPart::kWeights) return tensor.type;
  }
  throw Error(ErrorCode::kCorruptCheckpoint, "has no weights", kManifestName);
}

/// Copies a tensor into whole files, a piece at a time. `from` may have another type.
void copy_tensor(const CheckpointReader& reader, const CheckpointTensor& from,
                 const PlannedTensor& to, const PositionedFile& file) {
  std::vector<float> values;
  for (const HashedRange& range : from.ranges) {
    for (const TensorRange& piece : pieces_of(range.range, from.type)) {
      values.resize(static_cast<std::size_t>(piece.elements()));
      reader.read(from, piece, values);
      store_range(range.rank, piece, values.data(), to.type,
                  [&](std::int64_t element, std::span<const std::byte> bytes) {
                    write_elements(file, to, piece, element, bytes);
                  });
    }
  }
}

/// Makes and fills the planned files from the parts of a checkpoint; `source` is the part that a
/// planned part is taken from.
void fill_files(const CheckpointReader& reader, const CheckpointFiles& planned,
                const std::map<CheckpointPart, CheckpointPart>& source, const fs::path& folder) {
  std::vector<PositionedFile> files;
  for (const PlannedFile& file : planned.files)
    files.push_back(PositionedFile::create(folder / file.name, file.prefix, file.bytes));
  for (const PlannedTensor& to : planned.tensors) {
    const CheckpointTensor* from = reader.find(source.at(to.part), to.name);
    if (from == nullptr) {
      throw Error(ErrorCode::kCorruptCheckpoint, fmt::format("has no {}", to.name),
                  (reader.path() / kManifestName).string());
    }
    copy_tensor(reader, *from, to, files[to.file]);
  }
  for (const PositionedFile& file : files) file.flush();
  for (const auto& [name, text] : index_files(planned)) common::write_file(folder / name, text);
}

CheckpointFile whole_text_file(const fs::path& folder, const std::string& name) {
  const std::string text = common::read_file(folder / name, kLargestPlainFile);
  const common::Bytes bytes(static_cast<std::int64_t>(text.size()));
  return {.name = name, .bytes = bytes, .checked_bytes = bytes, .checksum = checksum_of(text)};
}

void make_empty(const fs::path& out) {
  std::error_code failure;
  if (fs::exists(out, failure) && !(fs::is_directory(out, failure) && fs::is_empty(out, failure))) {
    throw Error(ErrorCode::kInvalidInput, "exists and is not an empty folder; name another one",
                out.string());
  }
  fs::create_directories(out, failure);
  if (failure) throw Error(ErrorCode::kIo, "cannot make: " + failure.message(), out.string());
}

const char* torch_name(TensorType type) {
  return type == TensorType::kF32 ? "float32" : type == TensorType::kBF16 ? "bfloat16" : "float16";
}

/// The model's files at the top of the checkpoint, with the type of the new weights.
void copy_model_files(const fs::path& from, TensorType type, const fs::path& out) {
  for (const std::string& name : plain_files(from)) {
    const bool is_ours = name == kMetadataName || name.ends_with(".index.json") ||
                         name.find('/') != std::string::npos;
    if (is_ours) continue;
    std::string text = common::read_file(from / name, kLargestPlainFile);
    if (name == "config.json") {
      common::Json config = common::parse_json(text, (from / name).string());
      config["torch_dtype"] = torch_name(type);
      text = config.dump(2) + "\n";
    }
    common::write_file(out / name, text);
  }
}

}  // namespace

std::vector<std::string> plain_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code failure;
  for (auto item = fs::recursive_directory_iterator(folder, failure);
       !failure && item != fs::recursive_directory_iterator(); item.increment(failure)) {
    const fs::path name = item->path().lexically_relative(folder);
    if (item->is_regular_file() && name.extension() != ".safetensors" && name != kManifestName)
      names.push_back(name.generic_string());
  }
  if (failure) throw Error(ErrorCode::kIo, "cannot list: " + failure.message(), folder.string());
  std::sort(names.begin(), names.end());
  return names;
}

void merge_rank_files(const fs::path& folder) {
  const CheckpointReader reader(folder);
  CheckpointManifest manifest = reader.manifest();
  const TensorType weights = weights_type(manifest);
  const std::vector<CheckpointPart> parts = parts_of(weights);
  const CheckpointFiles planned =
      plan_whole_files(tensors_of(manifest, CheckpointPart::kWeights), weights, parts);
  std::map<CheckpointPart, CheckpointPart> same;
  for (const CheckpointPart part : parts) same[part] = part;
  fill_files(reader, planned, same, folder);
  for (CheckpointTensor& tensor : manifest.tensors)
    tensor.file = planned.files[planned.find(tensor.part, tensor.name).file].name;
  manifest.files.clear();
  for (const std::string& name : plain_files(folder))
    manifest.files.push_back(whole_text_file(folder, name));
  for (const PlannedFile& file : planned.files) {
    manifest.files.push_back({file.name, common::Bytes(file.bytes),
                              common::Bytes(static_cast<std::int64_t>(file.prefix.size())),
                              checksum_of(file.prefix)});
  }
  common::write_file(folder / kManifestName, to_text(manifest));
  std::error_code ignored;
  fs::remove_all(folder / kRankFolder, ignored);
}

void export_checkpoint(const fs::path& step_folder, const fs::path& out,
                       std::optional<TensorType> type) {
  const CheckpointReader reader(step_folder);
  reader.check_plain_files();
  make_empty(out);
  const CheckpointManifest& manifest = reader.manifest();
  const TensorType stored = weights_type(manifest);
  const TensorType wanted = type.value_or(stored);
  // Rounding once from the masters; the weights themselves where the type stays.
  const bool from_masters = stored != wanted && stored != TensorType::kF32;
  const CheckpointFiles planned = plan_whole_files(tensors_of(manifest, CheckpointPart::kWeights),
                                                   wanted, {CheckpointPart::kWeights});
  fill_files(reader, planned,
             {{CheckpointPart::kWeights,
               from_masters ? CheckpointPart::kMaster : CheckpointPart::kWeights}},
             out);
  copy_model_files(step_folder, wanted, out);
  flush_folder(out);
}

}  // namespace meshplan::formats
