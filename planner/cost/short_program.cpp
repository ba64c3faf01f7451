#include "planner/cost/short_program.h"

#include <algorithm>

#include "planner/model/parameter_table.h"

namespace meshplan::planner {
namespace {

/// Longer regions, and more microbatches, repeat what these have: the first and last few of each
/// are unlike the others.
constexpr std::int64_t kLong = 5;
constexpr std::int64_t kMany = 4;

/// The long region that the segment's repetitions are in, or kConstant.
int region_of(const ModelSpec& model, const Regions& regions, const ShapedSegment& segment) {
  const std::int64_t count = segment.repetition.count;
  if (count == 1 || segment.unit_stride == 0) return kConstant;
  std::int64_t unit = 0;
  for (const ShapedInstruction& shaped : segment.instructions) {
    if (shaped.instruction.computation == Computation::kBlock) unit = shaped.instruction.unit;
  }
  std::int64_t block = unit + segment.unit_stride * (count / 2) - block_unit(model, 0);
  std::size_t region = 0;
  while (block >= regions.blocks[region]) block -= regions.blocks[region++];
  return regions.blocks[region] == kLong ? static_cast<int>(region) : kConstant;
}

/// Of kMany microbatches the third, which is before the last and the epilogue.
ShapedPhase& alike_microbatches(ProgramShape& shape) { return *(shape.phases.end() - 3); }

/// The unit of the same sort in another length of the model.
std::int64_t same_unit(const ModelSpec& from, const ModelSpec& to, std::int64_t unit) {
  if (unit == kNoUnit || unit == embedding_unit(from)) return unit;
  return unit == head_unit(from) ? head_unit(to) : block_unit(to, 0);
}

void mark_growth(const ModelSpec& model, const ShortProgram& program, ProgramShape& shape) {
  if (program.microbatches == kMany) alike_microbatches(shape).repetition.varies = kMicrobatches;
  for (ShapedPhase& phase : shape.phases) {
    for (ShapedSegment& segment : phase.segments)
      segment.repetition.varies = region_of(model, program.regions, segment);
  }
}

}  // namespace

Regions regions_of(const ModelSpec& model, const Layout& layout) {
  const std::int64_t blocks = model.num_hidden_layers;
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  const bool releases = without_replicas(layout.sharding) == Sharding::kFullShard;
  const std::int64_t checkpointed = checkpoints ? layout.checkpointed_blocks.value_or(blocks) : 0;
  const std::int64_t released = releases ? blocks - layout.blocks_kept_gathered : blocks;
  const std::int64_t first = std::min(checkpointed, released);
  const std::int64_t second = std::max(checkpointed, released);
  return {.overlap = checkpointed > released, .blocks = {first, second - first, blocks - second}};
}

Regions shortened(const Regions& regions) {
  Regions cut = regions;
  for (std::int64_t& blocks : cut.blocks) blocks = std::min(blocks, kLong);
  return cut;
}

std::int64_t shortened(std::int64_t microbatches) { return std::min(microbatches, kMany); }

ShortProgram short_program(const ModelSpec& model, const Job& job, const Layout& layout) {
  ShortProgram program{.playback = {},
                       .kinds = {},
                       .regions = shortened(regions_of(model, layout)),
                       .microbatches = shortened(layout.accumulation)};
  const auto& [front, middle, back] = program.regions.blocks;
  ModelSpec short_model = model;
  short_model.num_hidden_layers = front + middle + back;
  Layout short_layout = layout;
  short_layout.checkpointed_blocks = program.regions.overlap ? front + middle : front;
  short_layout.blocks_kept_gathered = program.regions.overlap ? middle + back : back;
  short_layout.accumulation = program.microbatches;
  // Neither sizes nor the device shape a program.
  const StepContext context = make_step_context(short_model, job, short_layout, DeviceKind::kGpu);
  ProgramShape shape = shape_of(context, build_program(short_model, job, short_layout));
  mark_growth(short_model, program, shape);
  program.playback = playback_of(shape);
  program.kinds = std::move(shape.kinds);
  for (Instruction& kind : program.kinds) {
    kind.unit = same_unit(short_model, model, kind.unit);
    kind.retires = same_unit(short_model, model, kind.retires);
  }
  return program;
}

Growth growth_of(const ShortProgram& program, const Regions& regions, std::int64_t microbatches) {
  Growth growth{};
  for (std::size_t r = 0; r < kRegions; ++r)
    growth[r] = regions.blocks[r] - program.regions.blocks[r];
  growth[kMicrobatches] = microbatches - program.microbatches;
  return growth;
}

}  // namespace meshplan::planner
