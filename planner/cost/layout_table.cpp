#include "planner/cost/layout_table.h"

#include <algorithm>
#include <memory>

#include "planner/cost/form_clock.h"
#include "planner/cost/memory.h"
#include "planner/cost/time_player.h"
#include "planner/model/parameter_table.h"

namespace meshplan::planner {
namespace {

/// Longer regions, and more microbatches, repeat what these have: the first and last few of each
/// are unlike the others, and times are extrapolated from the fourth repetition on.
constexpr std::int64_t kLong = 8;
constexpr std::int64_t kMany = 9;

/// The model and layout with regions of these lengths, and so many microbatches.
struct Shortened {
  ModelSpec model;
  Layout layout;
};

Shortened with_regions(const ModelSpec& model, const Layout& layout, const Regions& regions,
                       std::int64_t microbatches) {
  Shortened cut{model, layout};
  const auto& [front, middle, back] = regions.blocks;
  cut.model.num_hidden_layers = front + middle + back;
  cut.layout.checkpointed_blocks = regions.overlap ? front + middle : front;
  cut.layout.blocks_kept_gathered = regions.overlap ? middle + back : back;
  cut.layout.accumulation = microbatches;
  return cut;
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

/// Makes a table from the program of its shortest layout.
class TableMaker {
 public:
  TableMaker(LayoutTable& table, const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
             const Layout& layout)
      : table_(table), cluster_(cluster), job_(job) {
    Regions regions = shortened(regions_of(model, layout));
    table_.blocks_ = regions.blocks;
    table_.microbatches_ = shortened(layout.accumulation);
    short_ = with_regions(model, layout, regions, table_.microbatches_);
    // Where a model is one block longer does not matter to what depends on its whole.
    ++regions.blocks[0];
    longer_ = with_regions(model, layout, regions, table_.microbatches_);
  }

  void make() {
    const StepContext context = context_of(short_);
    const StepContext longer = context_of(longer_);
    PricedProgram program =
        price_program(context, cluster_, build_program(short_.model, job_, short_.layout));
    for (PricedPhase& phase : program.phases) {
      if (phase.count > 1 && table_.microbatches_ == kMany) phase.varies = kMicrobatches;
      for (PricedSegment& segment : phase.segments) {
        segment.varies = region_of(context, segment);
        for (PricedInstruction& instruction : segment.instructions)
          price_longer(longer, instruction);
      }
    }
    make_memory(context, longer, program);
    for (const PricedPhase& phase : program.phases) count_traffic(phase);
    Decisions decisions;
    decisions.linear = !too_short_;
    TimePlayer<FormClock> player{FormClock(decisions)};
    player.play(program);
    FormClock clock = player.clock();
    table_.step_ = clock.end();
    table_.margins_ = std::move(decisions.margins);
    table_.holds_ = decisions.linear;
  }

 private:
  using Bytes = LayoutTable::Bytes;
  using Breakdown = std::array<Bytes, kMemoryClasses>;

  StepContext context_of(const Shortened& cut) const {
    return make_step_context(cut.model, job_, cut.layout, cluster_.device.kind);
  }

  /// The long region that the segment's repetitions are in.
  int region_of(const StepContext& context, const PricedSegment& segment) {
    if (segment.count == 1 || segment.unit_stride == 0) return kConstant;
    const Instruction& first = segment.instructions.front().instruction;
    std::int64_t unit = first.unit;
    for (const PricedInstruction& priced : segment.instructions) {
      if (priced.instruction.computation == Computation::kBlock) unit = priced.instruction.unit;
    }
    std::int64_t block =
        unit + segment.unit_stride * (segment.count / 2) - block_unit(context.model, 0);
    std::size_t region = 0;
    while (block >= table_.blocks_[region]) block -= table_.blocks_[region++];
    if (table_.blocks_[region] != kLong) return kConstant;
    if (segment.count <= TimePlayer<FormClock>::kPlayed) too_short_ = true;
    return static_cast<int>(region);
  }

  /// What is done for the whole model at once.
  void price_longer(const StepContext& longer, PricedInstruction& priced) {
    const Opcode opcode = priced.instruction.opcode;
    if (opcode != Opcode::kGradientNorm && opcode != Opcode::kClipGradients &&
        opcode != Opcode::kOptimizerStep) {
      return;
    }
    PricedOperations operations;
    for (const Operation& operation : expand(longer, priced.instruction)) {
      operations.push_back(
          {operation, price(cluster_, longer.layout.mesh, job_.param_dtype, operation)});
    }
    priced.cost_of_longer =
        std::make_shared<const InstructionCost>(add_up(longer.layout.mesh, operations));
  }

  void make_memory(const StepContext& context, const StepContext& longer,
                   const PricedProgram& program) {
    StepContext more = context;
    ++more.layout.accumulation;
    const MemoryBreakdown held = persistent_breakdown(context);
    const MemoryBreakdown held_longer = persistent_breakdown(longer);
    const MemoryBreakdown held_more = persistent_breakdown(more);
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      now_[c] = Bytes(held[c].value);
      for (std::size_t r = 0; r < kRegions; ++r)
        now_[c].coefficients[block_term(r)] = (held_longer[c] - held[c]).value;
      now_[c].coefficients[kMicrobatchTerm] = (held_more[c] - held[c]).value;
    }
    note_peak({});
    for (const PricedPhase& phase : program.phases) {
      repeat({phase.count, phase.varies}, [&] {
        for (const PricedSegment& segment : phase.segments) {
          repeat({segment.count, segment.varies}, [&] {
            for (const PricedInstruction& instruction : segment.instructions) play(instruction);
          });
        }
      });
    }
  }

  /// Plays the first and the last repetition.
  template <class Body>
  void repeat(const Repetition& repetition, const Body& body) {
    const Breakdown before = now_;
    body();
    if (repetition.count == 1) return;
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      const Bytes once = now_[c] - before[c];
      now_[c] += grown(once, repetition.count - 2, repetition.varies);
    }
    body();
  }

  static Bytes grown(const Bytes& once, std::int64_t factor, int varies) {
    if (varies == kConstant) return once.times(factor);
    if (varies == kMicrobatches) return once.times_microbatches(factor);
    return once.times_blocks(factor, static_cast<std::size_t>(varies));
  }

  void play(const PricedInstruction& priced) {
    if (priced.cost->peak_total.value > 0) note_peak(priced.cost->peak);
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      now_[c].coefficients[0] += priced.cost->net[c].value;
      if (!priced.cost_of_longer) continue;
      const common::Bytes more = priced.cost_of_longer->net[c] - priced.cost->net[c];
      for (std::size_t r = 0; r < kRegions; ++r) now_[c].coefficients[block_term(r)] += more.value;
    }
  }

  /// What is held now and this; forgotten where another is never lower, as numbers only grow.
  void note_peak(const MemoryBreakdown& above) {
    LayoutTable::Peak peak{.total = {}, .breakdown = now_};
    for (std::size_t c = 0; c < kMemoryClasses; ++c) {
      peak.breakdown[c].coefficients[0] += above[c].value;
      peak.total += peak.breakdown[c];
    }
    const auto never_lower = [](const Bytes& a, const Bytes& b) {
      for (std::size_t t = 0; t < kTerms; ++t) {
        if (a.coefficients[t] < b.coefficients[t]) return false;
      }
      return true;
    };
    std::vector<LayoutTable::Peak>& peaks = table_.peaks_;
    for (const LayoutTable::Peak& other : peaks) {
      if (never_lower(other.total, peak.total)) return;
    }
    std::erase_if(peaks, [&](const LayoutTable::Peak& other) {
      return never_lower(peak.total, other.total);
    });
    peaks.push_back(peak);
  }

  void count_traffic(const PricedPhase& phase) {
    for (const PricedSegment& segment : phase.segments) {
      for (const PricedInstruction& instruction : segment.instructions) {
        for (std::size_t a = 0; a < kAxes.size(); ++a) {
          const AxisTraffic& axis = instruction.cost->traffic[a];
          const auto count = [&](Bytes& form, std::int64_t once) {
            form +=
                grown(grown(Bytes(once), segment.count, segment.varies), phase.count, phase.varies);
          };
          if (axis.operations == 0) continue;
          count(table_.traffic_[a].bytes, axis.bytes.value);
          count(table_.traffic_[a].wire_bytes, axis.wire_bytes.value);
          count(table_.traffic_[a].operations, axis.operations);
        }
      }
    }
  }

  LayoutTable& table_;
  const ClusterSpec& cluster_;
  const Job& job_;
  Shortened short_;
  Shortened longer_;
  Breakdown now_{};
  /// Whether a segment of a long region is not repeated often enough to be extrapolated.
  bool too_short_ = false;
};

LayoutTable::LayoutTable(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                         const Layout& layout) {
  TableMaker(*this, model, cluster, job, layout).make();
}

std::optional<QuickEstimate> LayoutTable::price(const Regions& regions,
                                                std::int64_t microbatches) const {
  if (!holds_) return std::nullopt;
  Variation variation;
  for (std::size_t r = 0; r < kRegions; ++r) variation.blocks[r] = regions.blocks[r] - blocks_[r];
  variation.microbatches = microbatches - microbatches_;
  const auto times = terms_of<double>(variation);
  QuickEstimate estimate;
  estimate.step_time = common::Seconds(step_.at(times));
  for (const Time& margin : margins_) {
    if (margin.at(times) < 0) return std::nullopt;
  }
  const auto sizes = terms_of<std::int64_t>(variation);
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
