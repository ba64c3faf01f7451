#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// What a rank does in a training step, instruction by instruction.
enum class Opcode {
  kCountTokens,
  kGatherParameters,
  kReleaseParameters,
  kForward,
  kBackward,
  kLoss,
  kReduceReplicatedGradients,
  kReduceGradients,
  kSumReplicas,
  kReduceTiedGradients,
  kGradientNorm,
  kClipGradients,
  kOptimizerStep,
  kReportLoss,
  kSendActivations,
  kReceiveActivations,
};
const char* to_string(Opcode opcode);

/// Queues that run beside each other on a device; each runs its work in order. Kernels run on
/// compute, the collectives of each sort on a queue of their own.
enum class Stream { kCompute, kTp, kGather, kReduce, kReplicate, kCp, kPipeline, kEp };
inline constexpr std::size_t kStreams = 8;
const char* to_string(Stream stream);

/// Whether a collective of this stream is waited for by later instructions. Those of compute, tp,
/// cp and ep have ended when their instruction has.
bool goes_on(Stream stream);

/// What forward, backward and loss run; gate, up and down are those of the feed-forward demo. Of a
/// transfer between stages: kEmbedding at the stage's input, where the first stage has the
/// embedding, kHead at its output.
enum class Computation { kNone, kEmbedding, kBlock, kHead, kGate, kUp, kDown };

/// No unit, and no instruction to wait for.
inline constexpr std::int64_t kNoUnit = -1;

/// Where a microbatch stands in its step: gradients are written by the first and added by later
/// ones; replicas are reduced with the last.
struct MicrobatchPlace {
  bool first = true;
  bool last = true;

  bool operator==(const MicrobatchPlace&) const = default;
};

/// One step of the program. Inside a repeated segment, `unit` and `retires` are those of the first
/// repetition and move by the segment's unit_stride each time.
struct Instruction {
  Opcode opcode;
  Stream stream = Stream::kCompute;
  Computation computation = Computation::kNone;
  std::int64_t unit = kNoUnit;
  std::int64_t microbatch = 0;
  /// Of a transfer between stages: the stage's chunk that sends or receives.
  std::int64_t chunk = 0;
  MicrobatchPlace place = {};
  /// Of a block's forward and backward pass.
  Recompute recompute = {};
  /// The unit whose reduction, waited for by this instruction, has its buffers freed here; kNoUnit
  /// = none.
  std::int64_t retires = kNoUnit;
  /// The microbatch of the reduction retired here.
  MicrobatchPlace retires_place = {};
  /// Instructions whose collectives compute waits for before this one, as distances back in the
  /// unrolled program; 0 = none.
  std::array<std::int64_t, 2> waits = {0, 0};

  bool operator==(const Instruction&) const = default;
};

/// Instructions that repeat, each time on the unit `unit_stride` further.
struct Segment {
  std::int64_t count = 1;
  std::int64_t unit_stride = 0;
  std::vector<Instruction> instructions;

  bool operator==(const Segment&) const = default;
};

/// Segments that repeat as a whole, once per microbatch: its passes, or on a pipeline stage the
/// forward pass of one and the backward pass of an earlier one; of an interleaved pipeline, those
/// of `microbatch_stride` microbatches through all chunks.
struct Phase {
  std::int64_t count = 1;
  /// Instruction::microbatch is that of the first repetition, and moves by so many each time.
  std::int64_t microbatch_stride = 1;
  std::vector<Segment> segments;

  bool operator==(const Phase&) const = default;
};

/// A training step as data, run-length encoded: prologue, microbatches, epilogue.
struct StepProgram {
  std::vector<Phase> phases;

  bool operator==(const StepProgram&) const = default;
};

/// The program of a step on the ranks of a pipeline stage; every choice of the layout (prefetch,
/// resharding, accumulation, the order of forward and backward passes) shows in it. Requires a
/// layout without violations.
StepProgram build_program(const ModelSpec& model, const Job& job, const Layout& layout,
                          std::int64_t stage = 0);

/// The instructions in the order of issue, with the unit and microbatch of each repetition filled
/// in.
std::vector<Instruction> unroll(const StepProgram& program);

/// Number of instructions of the unrolled program.
std::int64_t instruction_count(const StepProgram& program);

/// "forward block 3", "reduce_gradients unit 4": for messages, traces and tables.
std::string describe(const ModelSpec& model, const Instruction& instruction);

}  // namespace meshplan::planner
