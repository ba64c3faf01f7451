#include "simulator/trace.h"

namespace meshplan::simulator {
namespace {

void add_slices(formats::Trace& trace, const SimulatedStep& step, const RankTimeline& timeline,
                const planner::ModelSpec& model) {
  for (const SimulatedSlice& slice : timeline.slices) {
    const planner::Instruction& instruction =
        step.instructions[timeline.stage][static_cast<std::size_t>(slice.instruction)];
    common::Json arguments = {{"instruction", planner::describe(model, instruction)},
                              {"microbatch", instruction.microbatch}};
    if (slice.axis) arguments["bytes"] = slice.bytes.value;
    trace.slices.push_back({.pid = timeline.rank,
                            .tid = static_cast<std::int64_t>(slice.stream),
                            .name = slice.name,
                            .category = slice.axis ? planner::to_string(*slice.axis) : "kernel",
                            .start_ps = slice.start,
                            .duration_ps = slice.end - slice.start,
                            .arguments = std::move(arguments)});
  }
}

void add_memory(formats::Trace& trace, const RankTimeline& timeline) {
  for (std::size_t i = 0; i < timeline.memory.size(); ++i) {
    const MemorySample& sample = timeline.memory[i];
    for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
      // A counter holds until it is set again.
      if (i > 0 && sample.breakdown[c] == timeline.memory[i - 1].breakdown[c]) continue;
      trace.counters.push_back(
          {.pid = timeline.rank,
           .name = std::string("memory: ") + to_string(static_cast<planner::MemoryClass>(c)),
           .time_ps = sample.time,
           .value = sample.breakdown[c].value});
    }
  }
}

}  // namespace

formats::Trace to_trace(const SimulatedStep& step, const planner::ModelSpec& model) {
  formats::Trace trace;
  for (const RankTimeline& timeline : step.timelines) {
    trace.ranks.push_back(timeline.rank);
    add_slices(trace, step, timeline, model);
    add_memory(trace, timeline);
  }
  return trace;
}

}  // namespace meshplan::simulator
