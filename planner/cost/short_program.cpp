#include "planner/cost/short_program.h"

#include <algorithm>

#include "common/error.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"
#include "planner/program/schedule.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {
namespace {

/// Longer regions repeat what these have: the first and last few blocks are unlike the others.
constexpr std::int64_t kLong = 6;
/// Of what repeats in a long region: the last two are alike in what they wait for.
constexpr std::int64_t kFewestRepetitions = 3;

/// The long regions whose middle the segment's repetitions go through: a longer one lengthens them.
GrowsWith regions_in(std::int64_t first_block, const Regions& regions,
                     const ShapedSegment& segment) {
  const auto computed = std::find_if(
      segment.instructions.begin(), segment.instructions.end(),
      [](const ShapedInstruction& i) { return i.instruction.computation == Computation::kBlock; });
  if (computed == segment.instructions.end()) return kConstant;
  const std::int64_t from = computed->instruction.unit - first_block;
  const std::int64_t to = from + segment.unit_stride * (segment.repetition.count - 1);
  GrowsWith varies = kConstant;
  std::int64_t begin = 0;
  for (std::size_t r = 0; r < kRegions; begin += regions.blocks[r++]) {
    const std::int64_t middle = begin + kLong / 2;
    if (regions.blocks[r] < kLong || middle < std::min(from, to) || middle > std::max(from, to))
      continue;
    if (segment.repetition.count < kFewestRepetitions)
      throw common::Error(common::ErrorCode::kInternal, "a long region has too few repetitions",
                          "step program");
    varies |= bit_of_region(r);
  }
  return varies;
}

std::vector<KindRuns> runs_of_kinds(const ProgramShape& shape) {
  std::vector<Terms> runs(shape.kinds.size());
  for (const ShapedPhase& phase : shape.phases) {
    for (const ShapedSegment& segment : phase.segments) {
      const Terms more = runs_of(phase.repetition, segment.repetition);
      for (const ShapedInstruction& instruction : segment.instructions) {
        for (std::size_t t = 0; t < kTerms; ++t) runs[instruction.kind][t] += more[t];
      }
    }
  }
  std::vector<KindRuns> found;
  for (std::size_t kind = 0; kind < runs.size(); ++kind) {
    for (std::size_t term = 0; term < kTerms; ++term) {
      if (runs[kind][term] == 0) continue;
      found.push_back(
          {static_cast<std::uint16_t>(kind), static_cast<std::uint16_t>(term), runs[kind][term]});
    }
  }
  return found;
}

/// A layout and model with a stage of these lengths, which has the neighbours that `stage` has.
struct ShortStage {
  ModelSpec model;
  Layout layout;
  std::int64_t index = 0;
};

ShortStage short_stage(const ModelSpec& model, const Layout& layout, const Stage& stage,
                       const ProgramLengths& lengths) {
  const auto& [front, middle, back] = lengths.regions.blocks;
  const std::int64_t blocks = front + middle + back;
  ShortStage cut{model, layout, stage.is_first() ? 0 : 1};
  // As many stages behind it as make the warm-up.
  const std::int64_t stages = cut.index + 1 + lengths.runs[0];
  cut.model.num_hidden_layers = stages * blocks;
  cut.layout.mesh.sizes[Axis::kPp] = stages;
  cut.layout.checkpointed_blocks =
      cut.index * blocks + (lengths.regions.overlap ? front + middle : front);
  cut.layout.blocks_kept_gathered = lengths.regions.overlap ? middle + back : back;
  cut.layout.accumulation = lengths.runs[0] + lengths.runs[1];
  return cut;
}

/// The unit of the same sort in another length of the model.
std::int64_t same_unit(const ModelSpec& from, const ModelSpec& to, std::int64_t unit) {
  if (unit == kNoUnit || unit == embedding_unit(from)) return unit;
  return unit == head_unit(from) ? head_unit(to) : block_unit(to, 0);
}

/// The first block that is as large, so that stages have as few kinds as can be.
std::int64_t first_alike(const StepContext& context, std::int64_t unit) {
  const std::int64_t first = block_unit(context.model, 0);
  if (unit == kNoUnit || unit < first || unit == head_unit(context.model)) return unit;
  std::int64_t alike = first;
  while (&context.sizes_of(alike) != &context.sizes_of(unit)) ++alike;
  return alike;
}

}  // namespace

ProgramLengths lengths_of(const Layout& layout, const Stage& stage) {
  const std::int64_t blocks = stage.blocks;
  const bool checkpoints = layout.activation_checkpointing != ActivationCheckpointing::kNone;
  const bool releases = without_replicas(layout.sharding) == Sharding::kFullShard;
  const std::int64_t wanted = layout.checkpointed_blocks.value_or(stage.first_block + blocks);
  const std::int64_t checkpointed =
      checkpoints ? std::clamp<std::int64_t>(wanted - stage.first_block, 0, blocks) : 0;
  const std::int64_t kept = releases ? std::min(layout.blocks_kept_gathered, blocks) : 0;
  const std::int64_t first = std::min(checkpointed, blocks - kept);
  const std::int64_t second = std::max(checkpointed, blocks - kept);
  const std::int64_t ahead = warm_up_passes(stage, layout);
  return {.regions = {.overlap = checkpointed > blocks - kept,
                      .blocks = {first, second - first, blocks - second}},
          .runs = {ahead, layout.accumulation - ahead, ahead}};
}

ProgramLengths shortened(const ProgramLengths& lengths) {
  ProgramLengths cut = lengths;
  for (std::int64_t& blocks : cut.regions.blocks) blocks = std::min(blocks, kLong);
  for (std::int64_t& microbatches : cut.runs)
    microbatches = std::min(microbatches, kMostPhasesOfRun);
  return cut;
}

bool can_be_shortened(const ModelSpec& model, const Layout& layout) {
  return !is_feed_forward(model) && first_other_block(model) == 0 && layout.virtual_stages == 1 &&
         layout.prefetch_depth == 1;
}

ShortProgram short_program(const ModelSpec& model, const Job& job, const Layout& layout,
                           const Stage& stage) {
  ShortProgram program{
      .playback = {}, .kinds = {}, .runs = {}, .lengths = shortened(lengths_of(layout, stage))};
  const ShortStage cut = short_stage(model, layout, stage, program.lengths);
  // Neither sizes nor the device shape a program.
  const StepContext context =
      make_step_context(cut.model, job, cut.layout, DeviceKind::kGpu, cut.index);
  ProgramShape shape = shape_of(context, build_program(cut.model, job, cut.layout, cut.index));
  let_runs_grow(program.lengths.runs, first_run(job), shape.phases);
  const std::int64_t first_block = block_unit(context.model, context.stage.first_block);
  for (ShapedPhase& phase : shape.phases) {
    for (ShapedSegment& segment : phase.segments)
      segment.repetition.varies = regions_in(first_block, program.lengths.regions, segment);
  }
  program.playback = playback_of(shape);
  program.runs = runs_of_kinds(shape);
  program.kinds = std::move(shape.kinds);
  const ModelSpec whole = as_stages_hold_it(model, layout);
  for (Instruction& kind : program.kinds) {
    kind.unit = same_unit(context.model, whole, kind.unit);
    kind.retires = same_unit(context.model, whole, kind.retires);
  }
  return program;
}

ShortProgram whole_program(const ModelSpec& model, const Job& job, const Layout& layout,
                           const Stage& stage) {
  ShortProgram program{
      .playback = {}, .kinds = {}, .runs = {}, .lengths = lengths_of(layout, stage)};
  const StepContext context = make_step_context(model, job, layout, DeviceKind::kGpu, stage.index);
  ProgramShape shape = shape_of(context, build_program(model, job, layout, stage.index));
  if (layout.virtual_stages == 1) let_runs_grow(program.lengths.runs, first_run(job), shape.phases);
  program.playback = playback_of(shape);
  program.runs = runs_of_kinds(shape);
  program.kinds = std::move(shape.kinds);
  for (Instruction& kind : program.kinds) {
    kind.unit = first_alike(context, kind.unit);
    kind.retires = first_alike(context, kind.retires);
  }
  return program;
}

Growth growth_of(const ShortProgram& program, const ProgramLengths& lengths) {
  Growth growth{};
  for (std::size_t r = 0; r < kRegions; ++r)
    growth[r] = lengths.regions.blocks[r] - program.lengths.regions.blocks[r];
  for (std::size_t r = 0; r < kRuns; ++r)
    growth[kRegions + r] = lengths.runs[r] - program.lengths.runs[r];
  return growth;
}

}  // namespace meshplan::planner
