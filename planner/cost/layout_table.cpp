#include "planner/cost/layout_table.h"

#include <algorithm>

#include "planner/cost/memory.h"
#include "planner/cost/time_player.h"
#include "planner/model/parameter_table.h"

namespace meshplan::planner {
namespace {

/// Longer regions, and more microbatches, repeat what these have: the first and last few of each
/// are unlike the others, and times are extrapolated from the fourth repetition on.
constexpr std::int64_t kLong = 8;
constexpr std::int64_t kMany = 4;

/// Part of a step by which a wait may be decided wrongly: the rounding of equal times.
constexpr double kNegligible = 1e-12;

Variation lengths_of(const Regions& regions, std::int64_t microbatches) {
  return {.blocks = regions.blocks, .microbatches = microbatches};
}

Variation difference(const Variation& a, const Variation& b) {
  Variation difference = a;
  for (std::size_t r = 0; r < kRegions; ++r) difference.blocks[r] -= b.blocks[r];
  difference.microbatches -= b.microbatches;
  return difference;
}

std::int64_t blocks_of(const Variation& lengths) {
  return lengths.blocks[0] + lengths.blocks[1] + lengths.blocks[2];
}

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

/// The unit of the same sort in a model of one block.
std::int64_t in_one_block(const ModelSpec& model, std::int64_t unit) {
  if (unit == kNoUnit || unit == embedding_unit(model)) return unit;
  return unit == head_unit(model) ? block_unit(model, 0) + 1 : block_unit(model, 0);
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

TableProgram table_program(const ModelSpec& model, const Job& job, const Layout& layout) {
  TableProgram program{.regions = shortened(regions_of(model, layout)),
                       .microbatches = shortened(layout.accumulation),
                       .shape = {}};
  const auto& [front, middle, back] = program.regions.blocks;
  ModelSpec short_model = model;
  short_model.num_hidden_layers = front + middle + back;
  Layout short_layout = layout;
  short_layout.checkpointed_blocks = program.regions.overlap ? front + middle : front;
  short_layout.blocks_kept_gathered = program.regions.overlap ? middle + back : back;
  short_layout.accumulation = program.microbatches;
  // Neither sizes nor the device shape a program.
  const StepContext context = make_step_context(short_model, job, short_layout, DeviceKind::kGpu);
  program.shape = shape_of(context, build_program(short_model, job, short_layout));
  for (Instruction& kind : program.shape.kinds) {
    kind.unit = in_one_block(short_model, kind.unit);
    kind.retires = in_one_block(short_model, kind.retires);
  }
  if (program.microbatches == kMany)
    alike_microbatches(program.shape).repetition.varies = kMicrobatches;
  for (ShapedPhase& phase : program.shape.phases) {
    for (ShapedSegment& segment : phase.segments) {
      segment.repetition.varies = region_of(short_model, program.regions, segment);
      if (segment.repetition.varies != kConstant &&
          segment.repetition.count < TimePlayer<FormClock>::kPlayed) {
        program.long_enough = false;
      }
    }
  }
  return program;
}

HeldMemory held_memory(const StepContext& context) {
  StepContext without = context;
  without.stage.blocks = 0;
  without.layout.accumulation = 0;
  StepContext block = without;
  block.stage.blocks = 1;
  StepContext microbatch = without;
  microbatch.layout.accumulation = 1;
  HeldMemory held{.without_blocks = persistent_breakdown(without),
                  .per_block = persistent_breakdown(block),
                  .per_microbatch = persistent_breakdown(microbatch)};
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    held.per_block[c] -= held.without_blocks[c];
    held.per_microbatch[c] -= held.without_blocks[c];
  }
  return held;
}

/// Plays the program of the shortest layout in forms.
class TableMaker {
 public:
  TableMaker(LayoutTable& table, const TableProgram& program, const std::vector<KindCost>& costs)
      : table_(table), program_(program), costs_(costs) {}

  void make_times() {
    const Variation longer = difference(table_.made_for_, table_.shortest_);
    Decisions decisions;
    decisions.linear = program_.long_enough;
    TimePlayer<FormClock> player(FormClock(costs_, blocks_of(table_.made_for_), decisions), longer);
    player.play(program_.shape);
    FormClock clock = player.clock();
    table_.step_ = clock.end();
    table_.margins_ = std::move(decisions.margins);
    table_.holds_ = decisions.linear;
  }

  void make_memory(const HeldMemory& held) {
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      now_[c] = Bytes(held.without_blocks[c].value +
                      table_.shortest_.microbatches * held.per_microbatch[c].value);
      now_[c].coefficients[kMicrobatchTerm] = held.per_microbatch[c].value;
      add_per_block(c, held.per_block[c]);
    }
    note_peak({});
    for (const ShapedPhase& phase : program_.shape.phases) {
      repeat(phase.repetition, [&] {
        for (const ShapedSegment& segment : phase.segments) {
          repeat(segment.repetition, [&] {
            for (const ShapedInstruction& instruction : segment.instructions)
              play(costs_[instruction.kind]);
          });
        }
      });
    }
  }

  void count_traffic() {
    for (const ShapedPhase& phase : program_.shape.phases) {
      for (const ShapedSegment& segment : phase.segments) {
        for (const ShapedInstruction& instruction : segment.instructions) {
          for (std::size_t a = 0; a < kAxes.size(); ++a) {
            const AxisTraffic& axis = costs_[instruction.kind].cost->traffic[a];
            if (axis.operations == 0) continue;
            LayoutTable::AxisForms& forms = table_.traffic_[a];
            forms.bytes += repeated(axis.bytes.value, segment, phase);
            forms.wire_bytes += repeated(axis.wire_bytes.value, segment, phase);
            forms.operations += repeated(axis.operations, segment, phase);
          }
        }
      }
    }
  }

 private:
  using Bytes = LayoutTable::Bytes;
  using Breakdown = std::array<Bytes, kMemoryClasses>;

  static Bytes grown(const Bytes& once, std::int64_t factor, int varies) {
    if (varies == kConstant) return once.times(factor);
    if (varies == kMicrobatches) return once.times_microbatches(factor);
    return once.times_blocks(factor, static_cast<std::size_t>(varies));
  }

  static Bytes repeated(std::int64_t once, const ShapedSegment& segment, const ShapedPhase& phase) {
    const auto& [segments, block] = segment.repetition;
    const auto& [phases, microbatch] = phase.repetition;
    return grown(grown(Bytes(once), segments, block), phases, microbatch);
  }

  /// Plays the first and the last repetition.
  template <class Body>
  void repeat(const Repetition& repetition, const Body& body) {
    if (repetition.count == 1 && repetition.varies == kConstant) return body();
    const Breakdown before = now_;
    body();
    for (std::size_t c = 0; c < kMemoryClasses; ++c)
      now_[c] += grown(now_[c] - before[c], repetition.count - 2, repetition.varies);
    body();
  }

  void play(const KindCost& kind) {
    if (kind.cost->peak_total.value > 0) note_peak(kind.cost->peak);
    // Unit by unit, so that blocks beyond the first need no more.
    if (kind.of_longer != nullptr && kind.of_longer->peak_total.value > 0)
      note_peak(kind.of_longer->peak);
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      now_[c].coefficients[0] += kind.cost->net[c].value;
      if (kind.of_longer != nullptr) add_per_block(c, kind.of_longer->net[c] - kind.cost->net[c]);
    }
  }

  void add_per_block(std::size_t memory, common::Bytes size) {
    now_[memory].coefficients[0] += blocks_of(table_.shortest_) * size.value;
    for (std::size_t r = 0; r < kRegions; ++r)
      now_[memory].coefficients[block_term(r)] += size.value;
  }

  /// What is held now and this; forgotten where another is never lower, as numbers only grow.
  void note_peak(const MemoryBreakdown& above) {
    const auto never_lower = [](const Bytes& a, const Bytes& b) {
      for (std::size_t t = 0; t < kTerms; ++t) {
        if (a.coefficients[t] < b.coefficients[t]) return false;
      }
      return true;
    };
    Bytes sum;
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      sum += now_[c];
      sum.coefficients[0] += above[c].value;
    }
    std::vector<LayoutTable::Peak>& peaks = table_.peaks_;
    for (const LayoutTable::Peak& other : peaks) {
      if (never_lower(other.total, sum)) return;
    }
    std::erase_if(peaks,
                  [&](const LayoutTable::Peak& other) { return never_lower(sum, other.total); });
    LayoutTable::Peak& peak = peaks.emplace_back(LayoutTable::Peak{sum, now_});
    for (std::size_t c = 0; c < kMemoryClasses; ++c)
      peak.breakdown[c].coefficients[0] += above[c].value;
  }

  LayoutTable& table_;
  const TableProgram& program_;
  const std::vector<KindCost>& costs_;
  Breakdown now_{};
};

LayoutTable::LayoutTable(const Regions& regions, std::int64_t microbatches,
                         const TableProgram& program, const std::vector<KindCost>& costs,
                         const HeldMemory& held)
    : shortest_(lengths_of(program.regions, program.microbatches)),
      made_for_(lengths_of(regions, microbatches)) {
  TableMaker maker(*this, program, costs);
  maker.make_memory(held);
  maker.count_traffic();
  maker.make_times();
}

std::optional<QuickEstimate> LayoutTable::price(const Regions& regions,
                                                std::int64_t microbatches) const {
  if (!holds_) return std::nullopt;
  const Variation lengths = lengths_of(regions, microbatches);
  const auto times = terms_of<double>(difference(lengths, made_for_));
  QuickEstimate estimate;
  estimate.step_time = common::Seconds(step_.at(times));
  for (const Time& margin : margins_) {
    if (margin.at(times) < -kNegligible * estimate.step_time.value) return std::nullopt;
  }
  const auto sizes = terms_of<std::int64_t>(difference(lengths, shortest_));
  const Peak* highest = nullptr;
  for (const Peak& peak : peaks_) {
    const common::Bytes total(peak.total.at(sizes));
    if (highest != nullptr && total <= estimate.peak_allocated) continue;
    highest = &peak;
    estimate.peak_allocated = total;
  }
  for (std::size_t c = 0; c < kMemoryClasses; ++c)
    estimate.peak[c] = common::Bytes(highest->breakdown[c].at(sizes));
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    estimate.traffic[a].bytes = common::Bytes(traffic_[a].bytes.at(sizes));
    estimate.traffic[a].wire_bytes = common::Bytes(traffic_[a].wire_bytes.at(sizes));
    estimate.traffic[a].operations = traffic_[a].operations.at(sizes);
  }
  return estimate;
}

}  // namespace meshplan::planner
