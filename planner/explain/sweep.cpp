#include "planner/explain/sweep.h"

#include <fmt/format.h>

#include "common/error.h"
#include "planner/explain/layout_text.h"
#include "planner/explain/rejections.h"
#include "planner/search/automatic_sizes.h"

namespace meshplan::planner {
namespace {

using common::Error;
using common::ErrorCode;

/// Reasons that a point without a layout tells.
constexpr std::size_t kReasonsTold = 1;

/// Returns the number of points.
std::size_t check(const std::vector<Variation>& variations) {
  if (variations.empty())
    throw Error(ErrorCode::kInvalidInput, "nothing is varied; give at least one input", "vary");
  std::size_t points = 1;
  for (std::size_t v = 0; v < variations.size(); ++v) {
    for (std::size_t other = 0; other < v; ++other) {
      if (variations[other].input == variations[v].input)
        throw Error(ErrorCode::kInvalidInput,
                    fmt::format("{} is varied twice; name it once", to_string(variations[v].input)),
                    "vary");
    }
    // Each has at most kMaxPoints.
    points *= variations[v].values.size();
    if (points > kMaxPoints)
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("{} points or more; use at most {}", points, kMaxPoints), "vary");
  }
  return points;
}

/// The values of the point with this index.
std::vector<double> values_at(const std::vector<Variation>& variations, std::size_t index) {
  std::vector<double> values(variations.size());
  for (std::size_t v = variations.size(); v-- > 0;) {
    const std::size_t count = variations[v].values.size();
    values[v] = variations[v].values[index % count];
    index /= count;
  }
  return values;
}

void scale_bandwidth(LinkSpec& link, double factor) {
  for (CollectiveCost* cost : {&link.all_reduce, &link.all_gather, &link.reduce_scatter})
    cost->bandwidth = factor * cost->bandwidth;
}

void scale_latency(LinkSpec& link, double factor) {
  for (CollectiveCost* cost : {&link.all_reduce, &link.all_gather, &link.reduce_scatter})
    cost->latency = factor * cost->latency;
}

/// What is varied but for the cluster's size.
struct Setting {
  ClusterSpec cluster;
  Job job;
  SearchRequest request;
};

void vary(Setting& setting, VariedInput input, double value) {
  const auto whole = static_cast<std::int64_t>(value);
  switch (input) {
    case VariedInput::kSeqLength:
      setting.job.seq_length = whole;
      return;
    case VariedInput::kMicrobatchSize:
      setting.request.microbatch_size = whole;
      return;
    case VariedInput::kGlobalBatchSize:
      setting.request.global_batch_size = whole;
      return;
    case VariedInput::kNodes:
    case VariedInput::kGpusPerNode:
      return;
    case VariedInput::kInterBandwidth:
      return scale_bandwidth(setting.cluster.inter_node, value);
    case VariedInput::kIntraBandwidth:
      if (setting.cluster.whole_node) scale_bandwidth(*setting.cluster.whole_node, value);
      return scale_bandwidth(setting.cluster.intra_node, value);
    case VariedInput::kLatency:
      if (setting.cluster.whole_node) scale_latency(*setting.cluster.whole_node, value);
      scale_latency(setting.cluster.intra_node, value);
      scale_latency(setting.cluster.inter_node, value);
      return;
    case VariedInput::kMemory:
      setting.cluster.device.memory = common::Bytes(static_cast<std::int64_t>(
          value * static_cast<double>(setting.cluster.device.memory.value)));
      return;
  }
}

Setting setting_at(const SweepInputs& inputs, const std::vector<Variation>& variations,
                   const std::vector<double>& values) {
  ClusterChanges changes = inputs.changes;
  for (std::size_t v = 0; v < variations.size(); ++v) {
    if (variations[v].input == VariedInput::kNodes)
      changes.nodes = static_cast<std::int64_t>(values[v]);
    if (variations[v].input == VariedInput::kGpusPerNode)
      changes.devices_per_node = static_cast<std::int64_t>(values[v]);
  }
  Setting setting{load_cluster(inputs.cluster, changes), inputs.job, {}};
  setting.request = with_automatic_sizes(inputs.request, setting.cluster);
  for (std::size_t v = 0; v < variations.size(); ++v) vary(setting, variations[v].input, values[v]);
  return setting;
}

std::string why_nothing(const std::vector<Rejection>& rejected, const ClusterSpec& cluster) {
  if (const Rejection* least = least_need(rejected))
    return fmt::format("the least, {}, {}", layout_text(least->layout), least->reason);
  if (rejected.empty())
    return fmt::format("no mesh of {} ranks has the sizes allowed", world_size(cluster));
  std::string text = rejection_text(rejected, kReasonsTold);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.find_first_not_of(' '));
}

SweepPoint point_at(const SweepInputs& inputs, const std::vector<Variation>& variations,
                    std::size_t index) {
  SweepPoint point;
  point.values = values_at(variations, index);
  const Setting setting = setting_at(inputs, variations, point.values);
  SearchResult found = search(inputs.model, setting.cluster, setting.job, setting.request);
  point.fit = found.ranked.size();
  point.rejected = found.rejected.size();
  if (!found.ranked.empty()) {
    point.best = std::move(found.ranked.front());
    return point;
  }
  point.nothing = why_nothing(found.rejected, setting.cluster);
  if (const Rejection* least = least_need(found.rejected)) point.least_need = least->needed;
  return point;
}

}  // namespace

Sweep sweep(const SweepInputs& inputs, const std::vector<Variation>& variations,
            const SweepProgress& progress) {
  const std::size_t points = check(variations);
  Sweep sweep{.variations = variations, .points = {}};
  for (std::size_t p = 0; p < points; ++p) {
    if (!progress(p, points))
      throw Error(ErrorCode::kInterrupted,
                  fmt::format("interrupted after {} of {} points", p, points));
    sweep.points.push_back(point_at(inputs, variations, p));
  }
  return sweep;
}

}  // namespace meshplan::planner
