#pragma once

#include <filesystem>
#include <string>

namespace meshplan::executor {

/// How the ranks write a checkpoint: all into whole-tensor files; each into its own file, which one
/// rank merges into whole ones; or each into its own file, left so.
enum class CheckpointLayout { kWhole, kMerged, kPerRank };

/// "whole", "merged" or "per_rank", and back.
std::string name_of(CheckpointLayout layout);
CheckpointLayout layout_named(const std::string& name);

/// Whether the folder lies on a file system, told by statfs(2), where two machines or processes may
/// write different parts of one page and lose one of them: NFS, FUSE, SMB, CIFS, 9p, AFS.
bool loses_shared_writes(const std::filesystem::path& folder);

}  // namespace meshplan::executor
