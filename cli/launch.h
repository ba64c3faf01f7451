#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/launch_flags.h"
#include "formats/launch_environment.h"
#include "formats/pod_environment.h"

namespace meshplan::cli {

/// The place of this process in a job whose ranks somebody else has started: what the flags say, or
/// what the launcher's variables do. Empty where it is to start the ranks itself. Throws
/// kInvalidInput, naming the variables, where they are incomplete or contradict each other.
std::optional<formats::LaunchEnvironment> place_in_job(const LaunchOptions& options);

/// The node of a job that this process is to start the ranks of: of the flags, or of a pod. Empty
/// for a job of one node, and where this process is a rank. Throws kInvalidInput.
std::optional<formats::NodeEnvironment> node_in_job(const LaunchOptions& options);

/// The program of one rank, which lies beside this one. Throws kIo where it is missing.
std::filesystem::path rank_program();

/// The Python that has torch: MESHPLAN_TORCH_PYTHON of the environment, or default_torch_python().
/// Throws kIo where there is none.
std::filesystem::path torch_python();

/// Replaces this process by the rank's program with these arguments, and the flags of its place.
[[noreturn]] void become_rank(const std::vector<std::string>& arguments,
                              const LaunchOptions& options);

/// The ranks of this machine that launch_ranks() starts.
struct LocalRanks {
  std::int64_t count = 1;
  /// Of a job of several nodes: which one this is.
  std::optional<formats::NodeEnvironment> node = std::nullopt;
  std::int64_t max_restarts = 0;
  /// How long they wait for each other.
  std::int64_t timeout_s = formats::LaunchFlags().timeout_s;
};

/// Starts ranks of the rank's program by torchrun, with these arguments, and waits for them; their
/// output is this process's. Throws what stopped them: the first cause that they recorded in the
/// run folder, else what torchrun knows of the rank that failed first (kRankLost where it was
/// killed); kInterrupted where this process was told to stop; kIo where there is no Python with
/// torch.
void launch_ranks(const LocalRanks& ranks, const std::vector<std::string>& arguments,
                  const std::optional<std::filesystem::path>& run_folder);

}  // namespace meshplan::cli
