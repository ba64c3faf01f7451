#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace meshplan::formats {

/// The folder of a run's checkpoints: RUN/checkpoints.
std::filesystem::path checkpoints_path(const std::filesystem::path& run);

/// "step-120"; and the step of a finished checkpoint's folder name, nothing for any other name.
std::string checkpoint_name(std::int64_t step);
std::optional<std::int64_t> step_of(const std::string& name);

struct FinishedCheckpoint {
  std::int64_t step = 0;
  std::filesystem::path path;
};

/// The finished checkpoints of a folder, oldest first; none where there is no such folder. A
/// checkpoint under construction, being deleted or set aside has another name. Throws kIo.
std::vector<FinishedCheckpoint> list_checkpoints(const std::filesystem::path& checkpoints);

/// Makes the folder in which a checkpoint of that step is written: step-120.tmp-0123456789abcdef.
/// Throws kIo, as all functions below.
std::filesystem::path make_unfinished(const std::filesystem::path& checkpoints, std::int64_t step);

/// Flushes a folder's entries to the disk.
void flush_folder(const std::filesystem::path& folder);

/// Gives an unfinished checkpoint its final name: all its folders, then the renaming, then LATEST
/// are on the disk when this returns. Its files are there already.
void publish(const std::filesystem::path& unfinished, const std::filesystem::path& finished);

/// Renames the finished checkpoints of a later step than `step` (-1: all), so that they are taken
/// for none of this run's: step-130.aside-0123456789abcdef. Returns the new paths.
std::vector<std::filesystem::path> set_aside_after(const std::filesystem::path& checkpoints,
                                                   std::int64_t step);

/// Deletes all but the newest `keep` checkpoints. A checkpoint loses its name before its first
/// file.
void purge(const std::filesystem::path& checkpoints, std::int64_t keep);

/// Deletes what interrupted runs left half written or half deleted.
void remove_unfinished(const std::filesystem::path& checkpoints);

}  // namespace meshplan::formats
