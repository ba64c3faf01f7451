#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "formats/safetensors_header.h"

namespace meshplan::formats {

/// The files below a checkpoint's folder that are no tensors, but for the manifest; sorted paths
/// relative to it. Throws kIo.
std::vector<std::string> plain_files(const std::filesystem::path& folder);

/// Turns an unfinished checkpoint of one file a rank, with its manifest, into one of whole tensors:
/// the same bytes under the same checksums in other places. Throws as CheckpointReader does.
void merge_rank_files(const std::filesystem::path& folder);

/// Writes the model of a checkpoint, however its ranks wrote it, as a Hugging Face model folder of
/// that type: weights with index, config.json, tokenizer files. Parameters come from the float32
/// masters. The type of the checkpoint's weights where none is given. Throws kInvalidInput where
/// `out` exists and is not an empty folder; otherwise as CheckpointReader does.
void export_checkpoint(const std::filesystem::path& step_folder, const std::filesystem::path& out,
                       std::optional<TensorType> type);

}  // namespace meshplan::formats
