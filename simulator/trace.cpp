#include "simulator/trace.h"

namespace meshplan::simulator {

formats::Trace to_trace(const SimulatedStep& step, const planner::ModelSpec& model,
                        std::int64_t rank) {
  formats::Trace trace;
  trace.ranks = {rank};
  for (const SimulatedSlice& slice : step.slices) {
    const planner::Instruction& instruction =
        step.instructions[static_cast<std::size_t>(slice.instruction)];
    common::Json arguments = {{"instruction", planner::describe(model, instruction)},
                              {"microbatch", instruction.microbatch}};
    if (slice.axis) arguments["bytes"] = slice.bytes.value;
    trace.slices.push_back({.pid = rank,
                            .tid = static_cast<std::int64_t>(slice.stream),
                            .name = slice.name,
                            .category = slice.axis ? planner::to_string(*slice.axis) : "kernel",
                            .start_ps = slice.start,
                            .duration_ps = slice.end - slice.start,
                            .arguments = std::move(arguments)});
  }
  for (std::size_t i = 0; i < step.memory.size(); ++i) {
    const MemorySample& sample = step.memory[i];
    for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
      // A counter holds until it is set again.
      if (i > 0 && sample.breakdown[c] == step.memory[i - 1].breakdown[c]) continue;
      trace.counters.push_back(
          {.pid = rank,
           .name = std::string("memory: ") + to_string(static_cast<planner::MemoryClass>(c)),
           .time_ps = sample.time,
           .value = sample.breakdown[c].value});
    }
  }
  return trace;
}

}  // namespace meshplan::simulator
