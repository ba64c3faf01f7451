#pragma once

#include <string>
#include <vector>

#include "common/json.h"
#include "planner/cost/memory.h"
#include "planner/cost/times.h"
#include "planner/cost/token_cost.h"
#include "planner/cost/traffic.h"
#include "planner/layout/rules.h"

namespace meshplan::planner {

struct MemoryEstimate {
  /// Composition at the moment of the allocated peak; sums to peak_allocated.
  MemoryBreakdown breakdown{};
  common::Bytes peak_allocated;
  /// With the allocator's slack; and with contexts and communication library.
  common::Bytes peak_reserved;
  common::Bytes peak_device;
  common::Bytes capacity;
  /// What ran at the peak, "backward block 31", on the pipeline stage whose ranks need most.
  std::string peak_instruction;
  std::int64_t peak_stage = 0;
  /// Of the host, by the rank that keeps most there: the offloaded optimizer's.
  common::Bytes host;
};

/// What a device holds in all when so much is allocated: with the allocator's slack, contexts and
/// communication library.
common::Bytes device_memory(const ClusterSpec& cluster, common::Bytes allocated);

/// No larger peak of allocated memory fits a device.
common::Bytes most_allocated(const ClusterSpec& cluster);

/// Volumes by the two first-order formulas of the field, for one forward pass and one gather of the
/// whole model: TP activations = layers x hidden x sequence x batch x 2 bytes x 2; FSDP parameters
/// = parameters x 2 bytes.
struct FirstOrderVolumes {
  common::Bytes tp_activations;
  common::Bytes fsdp_parameters;
};

/// The price of one layout. With violations nothing else is filled in.
struct Estimate {
  std::vector<Violation> violations;
  bool fits = false;
  MemoryEstimate memory;
  /// Bytes of each axis are those of the pipeline stage that has most, times those of the stage
  /// that computes longest: what it waits for the others is exposed on pp.
  Traffic traffic{};
  FirstOrderVolumes first_order;
  /// 6 FLOPs a token and parameter of the matrix multiplies that it passes through, and 12 x layers
  /// x heads x head_dim x sequence a token for attention, not halved for causality (Chowdhery et
  /// al. 2022, arXiv 2204.02311, appendix B); a rank's share.
  common::Flops model_flops;
  /// What the kernels of one rank do.
  common::Flops hardware_flops;
  common::Seconds compute_time;
  common::Seconds step_time;
  double tokens_per_second_per_gpu = 0;
  /// Model FLOPs over the device's peak in param_dtype times the step time.
  double mfu = 0;
  TokenCost cost;
};

/// Prices a layout. An invalid one gives its violations; one that does not fit is priced all the
/// same.
Estimate estimate(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                  const Layout& layout);

/// [{"code", "message"}], and {"counts", "tp_activation_bytes", "fsdp_parameter_bytes"}.
common::Json to_json(const std::vector<Violation>& violations);
common::Json to_json(const FirstOrderVolumes& volumes);

/// {"price_per_million_tokens", "kwh_per_million_tokens"}: those that are known.
common::Json to_json(const TokenCost& cost);

/// The JSON of the design's contracts, schema_version included; "cost" where anything is known of
/// it.
common::Json to_json(const Estimate& estimate);

/// The exact inverse of to_json. Throws kInvalidInput for an unknown or missing key.
Estimate read_estimate(const common::JsonObject& json);

}  // namespace meshplan::planner
