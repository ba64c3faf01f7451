#include "planner/cost/priced_program.h"

#include <utility>

namespace meshplan::planner {
namespace {

class Pricer {
 public:
  Pricer(const StepContext& context, const ClusterSpec& cluster)
      : context_(context), cluster_(cluster) {}

  PricedInstruction price(const Instruction& instruction) {
    for (const PricedInstruction& known : known_) {
      if (expand_alike(context_, known.instruction, instruction)) {
        return {instruction, known.operations, known.cost, nullptr};
      }
    }
    const Operations operations = expand(context_, instruction);
    PricedOperations priced;
    priced.reserve(operations.size());
    for (const Operation& operation : operations) {
      priced.push_back({operation, planner::price(cluster_, context_.layout.mesh,
                                                  context_.job.param_dtype, operation)});
    }
    const InstructionCost cost = add_up(context_.layout.mesh, priced);
    return known_.emplace_back(
        PricedInstruction{instruction, std::make_shared<const PricedOperations>(std::move(priced)),
                          std::make_shared<const InstructionCost>(cost), nullptr});
  }

 private:
  const StepContext& context_;
  const ClusterSpec& cluster_;
  /// One of each sort: a program of many microbatches and blocks has a few dozen.
  std::vector<PricedInstruction> known_;
};

}  // namespace

PricedProgram price_program(const StepContext& context, const ClusterSpec& cluster,
                            const StepProgram& program) {
  Pricer pricer(context, cluster);
  PricedProgram priced;
  for (const Phase& phase : program.phases) {
    PricedPhase& priced_phase =
        priced.phases.emplace_back(PricedPhase{.count = phase.count, .segments = {}});
    for (const Segment& segment : phase.segments) {
      PricedSegment& priced_segment = priced_phase.segments.emplace_back(PricedSegment{
          .count = segment.count, .unit_stride = segment.unit_stride, .instructions = {}});
      priced_segment.instructions.reserve(segment.instructions.size());
      for (const Instruction& instruction : segment.instructions) {
        priced_segment.instructions.push_back(pricer.price(instruction));
      }
    }
  }
  return priced;
}

}  // namespace meshplan::planner
