#include "planner/runtime/stage_share.h"

#include <algorithm>
#include <vector>

#include "common/checked.h"

namespace meshplan::planner {
namespace {

StageShare share_by_cost(const PeerRun& run, std::int64_t stages) {
  const PeerModel& model = run.model;
  const double hidden = static_cast<double>(model.hidden_size);
  const double block =
      4 * hidden * hidden + 3 * hidden * static_cast<double>(model.intermediate_size);
  const double head = hidden * static_cast<double>(model.vocab_size);
  const double part =
      (static_cast<double>(model.num_hidden_layers) * block + head) / static_cast<double>(stages);
  // Thresholds that a sum of blocks meets exactly count as met.
  constexpr double kExact = 1 - 1e-12;
  std::int64_t stage = 0;
  std::int64_t count = 0;
  StageShare share;
  for (std::int64_t layer = 1; layer <= model.num_hidden_layers; ++layer) {
    ++count;
    const double done = static_cast<double>(layer) * block;
    if (stage + 1 == stages || done < static_cast<double>(stage + 1) * part * kExact) continue;
    if (stage == 0) share.first = count;
    share.most = std::max(share.most, count);
    count = 0;
    ++stage;
  }
  // What is left shares its stage with the head, unless that is one of its own.
  if (stage + 1 == stages) {
    share.last = count;
  } else {
    if (stage == 0) share.first = count;
    share.most = std::max(share.most, count);
  }
  return share;
}

}  // namespace

StageShare share_blocks(const PeerRun& run) {
  const std::int64_t stages = run.mesh.sizes[Axis::kPp];
  const std::int64_t layers = run.model.num_hidden_layers;
  if (stages <= 1) return {.first = layers, .last = layers, .most = layers};
  if (run.runtime->balances_stages_by_cost) return share_by_cost(run, stages);
  const std::int64_t equal = common::ceil_divide(layers, stages);
  return {.first = equal, .last = equal, .most = equal};
}

double microbatches_in_flight(const PeerRun& run) {
  const double stages = static_cast<double>(run.mesh.sizes[Axis::kPp]);
  if (stages <= 1) return 1;
  const double chunks = static_cast<double>(run.virtual_stages);
  const double wanted = stages + (stages - 1) * (1 - 1 / chunks);
  return std::min(wanted, static_cast<double>(run.accumulation));
}

}  // namespace meshplan::planner
