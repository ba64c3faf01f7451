#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace meshplan::cli {

/// The place of this process in a job whose ranks somebody else has started.
struct RankPlace {
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_world_size = 1;
};

/// Set inside torchrun (TORCHELASTIC_RUN_ID) and wherever RANK, WORLD_SIZE and LOCAL_RANK are.
/// Throws kInvalidInput where they are no numbers or contradict each other.
std::optional<RankPlace> place_in_job();

/// The program of one rank, which lies beside this one. Throws kIo where it is missing.
std::filesystem::path rank_program();

/// The Python that has torch: MESHPLAN_TORCH_PYTHON of the environment, or default_torch_python().
/// Throws kIo where there is none.
std::filesystem::path torch_python();

/// Replaces this process by the rank's program with these arguments.
[[noreturn]] void become_rank(const std::vector<std::string>& arguments);

/// Starts so many ranks of the rank's program on this machine by torchrun, with these arguments,
/// and waits for them; their output is this process's. Throws what stopped them: the first cause
/// that they recorded in the run folder, else what torchrun knows of the rank that failed first
/// (kRankLost where it was killed); kInterrupted where this process was told to stop; kIo where
/// there is no Python with torch.
void launch_ranks(std::int64_t ranks, const std::vector<std::string>& arguments,
                  const std::optional<std::filesystem::path>& run_folder);

}  // namespace meshplan::cli
