#include "executor/memory/snapshot.h"

#ifdef MESHPLAN_WITH_CUDA
#include <torch/csrc/cuda/memory_snapshot.h>
#endif

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include "common/file.h"
#include "common/json.h"
#include "executor/memory/counting_allocator.h"
#include "formats/run_folder.h"

namespace meshplan::executor {
namespace {

/// Blocks that were allocated within the step and not yet freed at some moment, how many by size.
using LiveBlocks = std::map<std::int64_t, std::int64_t>;

LiveBlocks blocks_at(const std::vector<std::int64_t>& changes, std::size_t end) {
  LiveBlocks live;
  for (std::size_t i = 0; i < end; ++i) {
    if (changes[i] > 0) {
      ++live[changes[i]];
    } else if (const auto block = live.find(-changes[i]); block != live.end()) {
      // What is not found was there before the step.
      if (--block->second == 0) live.erase(block);
    }
  }
  return live;
}

common::Json cpu_snapshot(std::int64_t step, std::int64_t rank) {
  const MemoryCounts counts = memory_counts();
  const std::vector<std::int64_t> changes = recorded_allocations();
  std::vector<std::int64_t> held(changes.size());
  std::partial_sum(changes.begin(), changes.end(), held.begin());
  const std::int64_t before = counts.own.value - (held.empty() ? 0 : held.back());
  const auto peak = std::max_element(held.begin(), held.end());
  const auto peak_end = static_cast<std::size_t>(peak - held.begin()) + (held.empty() ? 0 : 1);
  common::Json blocks = common::Json::array();
  for (const auto& [bytes, count] : blocks_at(changes, peak_end))
    blocks.push_back({{"bytes", bytes}, {"count", count}});
  return {{"schema_version", 1},
          {"step", step},
          {"rank", rank},
          {"held_before_bytes", before},
          {"peak_bytes", before + (held.empty() ? 0 : std::max<std::int64_t>(0, *peak))},
          {"blocks_at_peak", blocks},
          {"library_bytes", counts.library.value},
          {"library_peak_bytes", counts.library_peak.value},
          {"changes_bytes", changes}};
}

}  // namespace

void start_memory_snapshot([[maybe_unused]] c10::Device device) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) {
    torch::cuda::_record_memory_history("all", /*context=*/std::nullopt, "all", SIZE_MAX,
                                        /*clearHistory=*/true);
    return;
  }
#endif
  record_allocations(true);
}

void write_memory_snapshot([[maybe_unused]] c10::Device device, const std::filesystem::path& run,
                           std::int64_t step, std::int64_t rank) {
#ifdef MESHPLAN_WITH_CUDA
  if (device.is_cuda()) {
    common::write_file(formats::memory_snapshot_path(run, step, rank, "pickle"),
                       torch::cuda::_memory_snapshot_pickled());
    torch::cuda::_record_memory_history(/*enabled=*/std::nullopt);
    return;
  }
#endif
  record_allocations(false);
  common::write_file(formats::memory_snapshot_path(run, step, rank, "json"),
                     cpu_snapshot(step, rank).dump() + "\n");
}

}  // namespace meshplan::executor
