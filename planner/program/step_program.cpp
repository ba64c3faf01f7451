#include "planner/program/step_program.h"

#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"

namespace meshplan::planner {

const char* to_string(Opcode opcode) {
  switch (opcode) {
    case Opcode::kCountTokens:
      return "count_tokens";
    case Opcode::kGatherParameters:
      return "gather_parameters";
    case Opcode::kReleaseParameters:
      return "release_parameters";
    case Opcode::kForward:
      return "forward";
    case Opcode::kBackward:
      return "backward";
    case Opcode::kLoss:
      return "loss";
    case Opcode::kReduceReplicatedGradients:
      return "reduce_replicated_gradients";
    case Opcode::kReduceGradients:
      return "reduce_gradients";
    case Opcode::kSumReplicas:
      return "sum_replicas";
    case Opcode::kReduceTiedGradients:
      return "reduce_tied_gradients";
    case Opcode::kGradientNorm:
      return "gradient_norm";
    case Opcode::kClipGradients:
      return "clip_gradients";
    case Opcode::kOptimizerStep:
      return "optimizer_step";
    case Opcode::kReportLoss:
      return "report_loss";
    case Opcode::kSendActivations:
      return "send_activations";
    case Opcode::kReceiveActivations:
      return "receive_activations";
  }
  return "forward";
}

bool goes_on(Stream stream) {
  switch (stream) {
    case Stream::kCompute:
    case Stream::kTp:
    case Stream::kCp:
    case Stream::kEp:
      return false;
    case Stream::kGather:
    case Stream::kReduce:
    case Stream::kReplicate:
    case Stream::kPipeline:
      break;
  }
  return true;
}

const char* to_string(Stream stream) {
  switch (stream) {
    case Stream::kCompute:
      return "compute";
    case Stream::kTp:
      return "tp";
    case Stream::kGather:
      return "gather";
    case Stream::kReduce:
      return "reduce";
    case Stream::kReplicate:
      return "replicate";
    case Stream::kCp:
      return "cp";
    case Stream::kPipeline:
      return "pipeline";
    case Stream::kEp:
      return "ep";
  }
  return "compute";
}

std::vector<Instruction> unroll(const StepProgram& program) {
  std::vector<Instruction> unrolled;
  unrolled.reserve(static_cast<std::size_t>(instruction_count(program)));
  for (const Phase& phase : program.phases) {
    for (std::int64_t p = 0; p < phase.count; ++p) {
      for (const Segment& segment : phase.segments) {
        for (std::int64_t s = 0; s < segment.count; ++s) {
          for (Instruction instruction : segment.instructions) {
            if (instruction.unit != kNoUnit) instruction.unit += s * segment.unit_stride;
            if (instruction.retires != kNoUnit) instruction.retires += s * segment.unit_stride;
            instruction.microbatch += p * phase.microbatch_stride;
            unrolled.push_back(instruction);
          }
        }
      }
    }
  }
  return unrolled;
}

std::int64_t instruction_count(const StepProgram& program) {
  std::int64_t count = 0;
  for (const Phase& phase : program.phases) {
    for (const Segment& segment : phase.segments) {
      count += phase.count * segment.count * static_cast<std::int64_t>(segment.instructions.size());
    }
  }
  return count;
}

std::string describe(const ModelSpec& model, const Instruction& instruction) {
  std::string text = to_string(instruction.opcode);
  const bool sends = instruction.opcode == Opcode::kSendActivations;
  if (sends || instruction.opcode == Opcode::kReceiveActivations) {
    const bool gradient = sends == (instruction.computation == Computation::kEmbedding);
    const bool previous = instruction.computation == Computation::kEmbedding;
    return text + (gradient ? ", gradients, " : ", ") + (sends ? "to" : "from") + " the " +
           (previous ? "previous" : "next") + " stage";
  }
  if (instruction.unit == kNoUnit) return text;
  if (is_feed_forward(model)) return text + " " + feed_forward_unit_name(instruction.unit);
  const Unit unit = unit_at(model, instruction.unit);
  if (instruction.computation == Computation::kEmbedding) return text + " embedding";
  if (instruction.computation == Computation::kHead) return text + " head";
  switch (unit.kind) {
    case UnitKind::kBlock:
      return text + " block " + std::to_string(unit.block);
    case UnitKind::kEmbedding:
      return text + " embedding";
    case UnitKind::kHead:
      return text + " head";
    case UnitKind::kTied:
      return text + " embedding and head";
  }
  return text;
}

}  // namespace meshplan::planner
