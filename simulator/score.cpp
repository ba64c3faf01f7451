#include "simulator/score.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "formats/chrome_trace.h"
#include "planner/layout/stage.h"
#include "simulator/shared_links.h"

namespace meshplan::simulator {
namespace {

using planner::Instruction;
using planner::Opcode;
using planner::Operation;
using planner::OperationKind;
using planner::PricedOperations;
using planner::Stream;

/// Half a minute and a few gigabytes.
constexpr std::int64_t kMaxOperations = 10'000'000;
/// Sums of durations up to this fit Picoseconds.
constexpr common::Seconds kLongestStep{5e6};

std::int64_t operation_count(const planner::PricedProgram& program) {
  std::int64_t count = 0;
  for (const planner::ShapedPhase& phase : program.shape.phases) {
    for (const planner::ShapedSegment& segment : phase.segments) {
      for (const planner::ShapedInstruction& instruction : segment.instructions) {
        count += phase.repetition.count * segment.repetition.count *
                 (1 + std::ssize(program.kinds[instruction.kind].operations));
      }
    }
  }
  return count;
}

void require_playable(const std::vector<planner::PricedStage>& stages) {
  std::int64_t count = 0;
  for (const planner::PricedStage& stage : stages) count += operation_count(stage.program);
  if (count <= kMaxOperations) return;
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "the step has " + std::to_string(count) + " operations; at most " +
                          std::to_string(kMaxOperations) +
                          " are simulated: use a smaller accumulation or fewer loss chunks",
                      "simulator");
}

/// The message that the instruction sends or receives, told by its sender: chunk, direction and
/// microbatch.
std::int32_t message_of(const Instruction& instruction, const planner::Layout& layout,
                        std::int64_t stage) {
  const std::int64_t stages = layout.mesh.sizes[planner::Axis::kPp];
  const bool sends = instruction.opcode == Opcode::kSendActivations;
  const bool at_input = instruction.computation == planner::Computation::kEmbedding;
  planner::ChunkPlace sender{.stage = stage, .chunk = instruction.chunk};
  if (!sends) {
    sender =
        at_input ? planner::previous_chunk(sender, stages) : planner::next_chunk(sender, stages);
  }
  const std::int64_t forward = at_input == sends ? 0 : 1;
  const std::int64_t place = sender.stage * layout.virtual_stages + sender.chunk;
  return static_cast<std::int32_t>((place * 2 + forward) * layout.accumulation +
                                   instruction.microbatch);
}

Meeting meeting_of(Opcode opcode, const Operation& operation) {
  if (opcode == Opcode::kSendActivations) return Meeting::kNobody;
  if (operation.axis == planner::Axis::kPp) return Meeting::kStages;
  // A message of no bytes is a barrier.
  const bool send = operation.collective == planner::CollectiveKind::kSend;
  return send && operation.bytes.value > 0 ? Meeting::kNobody : Meeting::kGroup;
}

[[noreturn]] void refuse_as_too_long() {
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "the step takes more than " + common::human(kLongestStep) +
                          "; correct the cluster's rates or use a smaller step",
                      "simulator");
}

Picoseconds picoseconds(common::Seconds time) {
  if (!(time <= kLongestStep)) refuse_as_too_long();
  return formats::to_picoseconds(time);
}

/// A kind of instruction as moves, in order.
struct KindMoves {
  struct Part {
    std::uint32_t move = 0;
    /// kWait: the part that is waited for.
    std::size_t awaited = 0;
  };
  std::vector<Part> parts;
};

/// Prices operations as the scenario has them, and joins kernels.
class MoveWriter {
 public:
  MoveWriter(const planner::Plan& plan, const Scenario& scenario, Score& score)
      : plan_(plan), scenario_(scenario), score_(score) {}

  KindMoves write(std::size_t kind) {
    const PricedOperations& operations = score_.stage.program.kinds[kind].operations;
    KindMoves moves;
    std::vector<std::size_t> parts(operations.size());
    bool joins = false;
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const auto& [operation, price] = operations[i];
      switch (operation.kind) {
        case OperationKind::kKernel:
          if (!joins) add(moves, {.kind = BeatKind::kKernels, .first_operation = i});
          joins = true;
          score_.moves.back().duration.fixed += picoseconds(price.duration);
          score_.moves.back().end_operation = i + 1;
          break;
        case OperationKind::kCollective:
          parts[i] = moves.parts.size();
          add(moves, collective(kind, i));
          joins = false;
          break;
        case OperationKind::kWait:
          if (scenario_.no_overlap) break;
          add(moves, {.kind = BeatKind::kWait});
          moves.parts.back().awaited = parts[static_cast<std::size_t>(operation.awaited)];
          joins = false;
          break;
        case OperationKind::kAllocate:
        case OperationKind::kFree:
          break;
      }
    }
    return moves;
  }

 private:
  void add(KindMoves& moves, const Move& move) {
    moves.parts.push_back({static_cast<std::uint32_t>(score_.moves.size())});
    score_.moves.push_back(move);
  }

  Move collective(std::size_t kind, std::size_t index) const {
    const planner::PricedProgram& program = score_.stage.program;
    const auto& [operation, price] = program.kinds[kind].operations[index];
    Operation empty = operation;
    empty.bytes = {};
    const planner::Price latency =
        planner::price(plan_.cluster, plan_.layout.mesh, plan_.job.param_dtype, empty);
    Move move{.kind = BeatKind::kCollective,
              .stream = operation.stream,
              .axis = operation.axis,
              .meeting = meeting_of(program.shape.kinds[kind].opcode, operation),
              .first_operation = index,
              .end_operation = index + 1};
    const auto described =
        planner::described_collective(plan_.cluster, plan_.layout.mesh, operation);
    if (described) move.loads = link_loads(*described, operation.collective, operation.bytes);
    move.duration = span(price.duration, latency.duration, described ? &move.loads : nullptr);
    if (!scenario_.no_overlap) {
      LinkLoads taken = move.loads;
      if (price.duration.value > 0)
        taken.transfer = taken.transfer * (price.taken_from_compute.value / price.duration.value);
      move.taken =
          span(price.taken_from_compute, latency.taken_from_compute, described ? &taken : nullptr);
    }
    return move;
  }

  /// As the scenario has it. What does not depend on bandwidth is what a collective of no bytes
  /// costs; where links are measured, all else is taken for the transfer, over adapters if any.
  Span span(common::Seconds price, common::Seconds of_no_bytes, const LinkLoads* loads) const {
    Picoseconds whole = picoseconds(price);
    const Picoseconds least = std::min(whole, picoseconds(of_no_bytes));
    Picoseconds transfer = loads ? picoseconds(loads->transfer) : whole - least;
    if (scenario_.infinite_bandwidth) {
      whole = least;
      transfer = 0;
    }
    if (scenario_.zero_latency) whole -= least;
    transfer = std::min(transfer, whole);
    constexpr auto kAdapters = static_cast<std::size_t>(LinkTier::kAdapters);
    const Picoseconds adapters =
        loads ? scaled(transfer, millionths(loads->parts[kAdapters])) : transfer;
    return {.fixed = whole - transfer, .transfer = transfer, .adapters = adapters};
  }

  const planner::Plan& plan_;
  const Scenario& scenario_;
  Score& score_;
};

/// Writes the beats of a stage, in the order of its instructions.
class ScoreWriter {
 public:
  ScoreWriter(const planner::Plan& plan, const Scenario& scenario, Score& score)
      : plan_(plan), scenario_(scenario), score_(score) {
    MoveWriter moves(plan, scenario, score);
    for (std::size_t kind = 0; kind < score.stage.program.kinds.size(); ++kind)
      kinds_.push_back(moves.write(kind));
    wait_ = add_move({.kind = BeatKind::kWait});
    receive_ = add_move({.kind = BeatKind::kReceive, .axis = planner::Axis::kPp});
  }

  void write() {
    for (const planner::ShapedPhase& phase : score_.stage.program.shape.phases) {
      for (std::int64_t p = 0; p < phase.repetition.count; ++p) {
        for (const planner::ShapedSegment& segment : phase.segments) {
          for (std::int64_t s = 0; s < segment.repetition.count; ++s) {
            for (const planner::ShapedInstruction& shaped : segment.instructions) {
              Instruction instruction = shaped.instruction;
              if (instruction.unit != planner::kNoUnit) instruction.unit += s * segment.unit_stride;
              if (instruction.retires != planner::kNoUnit)
                instruction.retires += s * segment.unit_stride;
              instruction.microbatch += p * phase.microbatch_stride;
              write(instruction, shaped.kind);
            }
          }
        }
      }
    }
    assign_slots();
  }

 private:
  std::uint32_t add_move(const Move& move) {
    score_.moves.push_back(move);
    return static_cast<std::uint32_t>(score_.moves.size() - 1);
  }

  void write(const Instruction& instruction, std::size_t kind) {
    wait_for_instructions(instruction);
    if (instruction.opcode == Opcode::kReceiveActivations)
      add(receive_).message =
          message_of(instruction, plan_.layout, score_.stage.context.stage.index);
    BeatIndex goes_on = kNoBeat;
    std::vector<BeatIndex> beats;
    for (const KindMoves::Part& part : kinds_[kind].parts) {
      Beat& beat = add(part.move);
      const auto index = static_cast<BeatIndex>(score_.beats.size() - 1);
      beats.push_back(index);
      const Move& move = score_.moves[part.move];
      if (move.kind == BeatKind::kWait) beat.awaited[0] = beats[part.awaited];
      if (move.kind != BeatKind::kCollective) continue;
      if (instruction.opcode == Opcode::kSendActivations)
        beat.message = message_of(instruction, plan_.layout, score_.stage.context.stage.index);
      if (planner::goes_on(move.stream)) goes_on = index;
      if (scenario_.no_overlap && move.stream != Stream::kCompute) add(wait_).awaited[0] = index;
    }
    issued_.push_back(goes_on);
    score_.instructions.push_back(instruction);
    score_.kinds.push_back(static_cast<std::uint32_t>(kind));
  }

  Beat& add(std::uint32_t move) {
    Beat& beat = score_.beats.emplace_back();
    beat.move = move;
    beat.instruction = static_cast<std::int32_t>(score_.instructions.size());
    return beat;
  }

  /// Compute stands still until what the awaited instructions issued has ended. Collectives of one
  /// instruction that go on are on one stream, so the last one's end is that of all.
  void wait_for_instructions(const Instruction& instruction) {
    std::array<BeatIndex, 2> awaited = {kNoBeat, kNoBeat};
    std::size_t known = 0;
    for (std::int64_t distance : instruction.waits) {
      if (distance == 0) continue;
      const BeatIndex beat = issued_[issued_.size() - static_cast<std::size_t>(distance)];
      if (beat != kNoBeat) awaited[known++] = beat;
    }
    if (known > 0) add(wait_).awaited = awaited;
  }

  /// A slot is free again after the last wait for it.
  void assign_slots() {
    std::vector<BeatIndex> last_wait(score_.beats.size(), kNoBeat);
    const auto each_awaited = [this](std::size_t beat, const auto& body) {
      for (BeatIndex awaited : score_.beats[beat].awaited) {
        if (awaited != kNoBeat) body(static_cast<std::size_t>(awaited));
      }
    };
    for (std::size_t b = 0; b < score_.beats.size(); ++b)
      each_awaited(b, [&](std::size_t awaited) { last_wait[awaited] = static_cast<BeatIndex>(b); });
    std::vector<std::int32_t> unused;
    for (std::size_t b = 0; b < score_.beats.size(); ++b) {
      if (last_wait[b] != kNoBeat) {
        if (unused.empty()) unused.push_back(static_cast<std::int32_t>(score_.slots++));
        score_.beats[b].slot = unused.back();
        unused.pop_back();
      }
      each_awaited(b, [&](std::size_t awaited) {
        if (last_wait[awaited] != static_cast<BeatIndex>(b)) return;
        unused.push_back(score_.beats[awaited].slot);
        last_wait[awaited] = kNoBeat;
      });
    }
  }

  const planner::Plan& plan_;
  const Scenario& scenario_;
  Score& score_;
  std::vector<KindMoves> kinds_;
  std::uint32_t wait_ = 0;
  std::uint32_t receive_ = 0;
  /// By instruction: the last collective that goes on beside those after it.
  std::vector<BeatIndex> issued_;
};

}  // namespace

std::vector<Score> write_scores(const planner::Plan& plan, const Scenario& scenario) {
  planner::Plan played = plan;
  if (scenario.overlap) played.cluster.overlap = *scenario.overlap;
  std::vector<planner::PricedStage> stages =
      planner::price_stages(played.model, played.cluster, played.job, played.layout);
  require_playable(stages);
  std::vector<Score> scores(stages.size());
  for (std::size_t s = 0; s < stages.size(); ++s) {
    scores[s].stage = std::move(stages[s]);
    ScoreWriter(played, scenario, scores[s]).write();
  }
  if (scenario.shared_links) share_links(scores, played.layout, scenario);
  return scores;
}

std::size_t message_count(const planner::Layout& layout) {
  return static_cast<std::size_t>(layout.mesh.sizes[planner::Axis::kPp] * layout.virtual_stages *
                                  2 * layout.accumulation);
}

void require_countable(const std::vector<Score>& scores, Millionths longest_factor) {
  common::Seconds total;
  for (const Score& score : scores) {
    for (const Beat& beat : score.beats) {
      const Move& move = score.move_of(beat);
      total += common::Seconds(seconds(move.duration.time()) + seconds(beat.shared));
    }
  }
  const double factor = static_cast<double>(longest_factor) / static_cast<double>(kOne);
  if (!(factor * total <= kLongestStep)) refuse_as_too_long();
}

}  // namespace meshplan::simulator
