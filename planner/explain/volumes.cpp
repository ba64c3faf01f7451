#include "planner/explain/volumes.h"

#include <cmath>

namespace meshplan::planner {
namespace {

common::Bytes wire_bytes_of(const Estimate& estimate, Axis axis) {
  return estimate.traffic[static_cast<std::size_t>(axis)].wire_bytes;
}

VolumePoint point_of(const Job& job, const Layout& layout, const Estimate& estimate) {
  return {.seq_length = job.seq_length,
          .microbatch_size = layout.microbatch_size,
          .tp_wire = wire_bytes_of(estimate, Axis::kTp),
          .dp_shard_wire = wire_bytes_of(estimate, Axis::kDpShard),
          .first_order = estimate.first_order};
}

}  // namespace

Volumes volumes_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                   const Candidate& candidate) {
  const Layout& chosen = candidate.layout;
  Volumes volumes;
  volumes.layout = chosen;
  volumes.points.push_back(point_of(job, chosen, candidate.estimate));
  const auto add = [&](std::int64_t seq_length, std::int64_t microbatch_size) {
    Job other_job = job;
    other_job.seq_length = seq_length;
    Layout layout = chosen;
    layout.microbatch_size = microbatch_size;
    layout.loss_chunks = 1;
    if (!violations(model, cluster, other_job, layout).empty()) return;
    layout.loss_chunks = default_loss_chunks(model, other_job, layout);
    volumes.points.push_back(
        point_of(other_job, layout, estimate(model, cluster, other_job, layout)));
  };
  if (job.seq_length > 1) add(job.seq_length / 2, chosen.microbatch_size);
  // Sizes near the limit of their type are refused by the rules of the chosen layout already.
  add(2 * job.seq_length, chosen.microbatch_size);
  add(job.seq_length, 2 * chosen.microbatch_size);
  add(job.seq_length, 4 * chosen.microbatch_size);

  const VolumePoint& own = volumes.points.front();
  const auto tokens = static_cast<double>(microbatch_tokens(chosen, job));
  const auto crossing = [&](common::Bytes grows, common::Bytes stays) {
    return std::llround(tokens * static_cast<double>(stays.value) /
                        static_cast<double>(grows.value));
  };
  if (own.first_order.tp_activations.value > 0) {
    volumes.first_order_crossing_tokens =
        crossing(own.first_order.tp_activations, own.first_order.fsdp_parameters);
  }
  if (own.tp_wire.value > 0 && own.dp_shard_wire.value > 0)
    volumes.crossing_tokens = crossing(own.tp_wire, own.dp_shard_wire);
  return volumes;
}

}  // namespace meshplan::planner
