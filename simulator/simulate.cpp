#include "simulator/simulate.h"

#include <algorithm>

#include "common/error.h"
#include "common/text.h"
#include "formats/chrome_trace.h"
#include "planner/cost/priced_program.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::kAxes;
using planner::Operation;
using planner::OperationKind;
using planner::Stream;

/// Half a minute and a few gigabytes of tasks, slices and samples.
constexpr std::int64_t kMaxOperations = 10'000'000;
/// Sums of task times up to this fit Picoseconds.
constexpr common::Seconds kLongestStep{5e6};

std::int32_t queue_of(Stream stream) { return static_cast<std::int32_t>(stream); }

double seconds(Picoseconds time) { return static_cast<double>(time) * 1e-12; }

/// What a task of the graph stands for.
struct TaskMeaning {
  Stream stream;
  const char* name;
  std::int32_t instruction;
  std::optional<Axis> axis;
  common::Bytes bytes;
  /// Time of a collective that is taken from compute.
  bool taken = false;
};

/// A change of memory that happens once a task has ended.
struct MemoryChange {
  TaskId after;
  std::int32_t instruction;
  planner::MemoryClass memory;
  common::Bytes change;
};

/// Turns the unrolled program into tasks.
class GraphBuilder {
 public:
  void add(const planner::Instruction& instruction, const planner::PricedOperations& operations) {
    const auto index = static_cast<std::int32_t>(collectives_.size());
    wait_for_instructions(index, instruction);
    std::vector<TaskId> tasks;
    for (const auto& [operation, price] : operations) {
      switch (operation.kind) {
        case OperationKind::kKernel:
          tasks.push_back(add_kernel(index, operation, price));
          break;
        case OperationKind::kCollective:
          tasks.push_back(add_collective(index, operation, price));
          break;
        case OperationKind::kWait:
          tasks.push_back(add_wait(index));
          graph.wait_for(tasks.back(), tasks[static_cast<std::size_t>(operation.awaited)]);
          break;
        case OperationKind::kAllocate:
        case OperationKind::kFree:
          tasks.push_back(kNoTask);
          change_memory(index, operation);
          break;
      }
    }
    std::vector<TaskId>& last = collectives_.emplace_back();
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (operations[i].operation.kind == OperationKind::kCollective) last.push_back(tasks[i]);
    }
  }

  TaskGraph graph{planner::kStreams};
  std::vector<TaskMeaning> meanings;
  std::vector<MemoryChange> changes;

 private:
  /// Compute stands still until the collectives of the awaited instructions have ended.
  void wait_for_instructions(std::int32_t index, const planner::Instruction& instruction) {
    std::vector<TaskId> awaited;
    for (std::int64_t distance : instruction.waits) {
      if (distance == 0) continue;
      const auto& tasks = collectives_[collectives_.size() - static_cast<std::size_t>(distance)];
      awaited.insert(awaited.end(), tasks.begin(), tasks.end());
    }
    if (awaited.empty()) return;
    const TaskId task = add_wait(index);
    for (TaskId other : awaited) graph.wait_for(task, other);
  }

  TaskId add_wait(std::int32_t index) {
    const TaskId task = graph.add(queue_of(Stream::kCompute), 0);
    meanings.push_back({.stream = Stream::kCompute,
                        .name = "wait",
                        .instruction = index,
                        .axis = {},
                        .bytes = {}});
    return task;
  }

  TaskId add_kernel(std::int32_t index, const Operation& operation, const planner::Price& price) {
    const TaskId task = graph.add(queue_of(Stream::kCompute), duration_of(price.duration));
    meanings.push_back({.stream = Stream::kCompute,
                        .name = operation.name,
                        .instruction = index,
                        .axis = {},
                        .bytes = operation.bytes});
    return task;
  }

  TaskId add_collective(std::int32_t index, const Operation& operation,
                        const planner::Price& price) {
    const TaskId issued = graph.last(queue_of(Stream::kCompute));
    const TaskId task = graph.add(queue_of(operation.stream), duration_of(price.duration));
    meanings.push_back({.stream = operation.stream,
                        .name = operation.name,
                        .instruction = index,
                        .axis = operation.axis,
                        .bytes = operation.bytes});
    if (issued != kNoTask && operation.stream != Stream::kCompute) graph.wait_for(task, issued);
    if (price.taken_from_compute.value > 0) {
      graph.add(queue_of(Stream::kCompute), duration_of(price.taken_from_compute));
      meanings.push_back({.stream = Stream::kCompute,
                          .name = "taken by collective",
                          .instruction = index,
                          .axis = operation.axis,
                          .bytes = {},
                          .taken = true});
    }
    return task;
  }

  void change_memory(std::int32_t index, const Operation& operation) {
    const bool allocates = operation.kind == OperationKind::kAllocate;
    changes.push_back({graph.last(queue_of(Stream::kCompute)), index, operation.memory,
                       allocates ? operation.bytes : -operation.bytes});
  }

  Picoseconds duration_of(common::Seconds time) {
    total_ += time;
    if (total_ > kLongestStep) {
      throw common::Error(common::ErrorCode::kInvalidInput,
                          "the step takes more than " + common::human(kLongestStep) +
                              "; correct the cluster's rates or use a smaller step",
                          "simulator");
    }
    return formats::to_picoseconds(time);
  }

  common::Seconds total_;
  /// By instruction: the tasks of its collectives.
  std::vector<std::vector<TaskId>> collectives_;
};

/// Compute time, and by axis the time that compute stood still or was taken from.
void account_compute(SimulatedStep& step, const GraphBuilder& built, const TaskTimes& times) {
  Picoseconds free = 0;
  for (std::size_t task = 0; task < built.meanings.size(); ++task) {
    const TaskMeaning& meaning = built.meanings[task];
    if (meaning.stream != Stream::kCompute) continue;
    const TaskId released_by = times.released_by[task];
    if (times.start[task] > free && released_by != kNoTask) {
      const auto& axis = built.meanings[static_cast<std::size_t>(released_by)].axis;
      if (axis) step.exposed[static_cast<std::size_t>(*axis)] += times.start[task] - free;
    }
    free = times.end[task];
    const Picoseconds duration = times.end[task] - times.start[task];
    if (meaning.axis) {
      step.exposed[static_cast<std::size_t>(*meaning.axis)] += duration;
    } else {
      step.compute_time += duration;
    }
  }
}

void play_memory(SimulatedStep& step, const planner::StepContext& context,
                 const GraphBuilder& built, const TaskTimes& times) {
  planner::MemoryBreakdown now = planner::persistent_breakdown(context);
  step.peak = now;
  step.peak_memory = planner::total(now);
  step.memory.push_back({0, now});
  for (const MemoryChange& change : built.changes) {
    now[static_cast<std::size_t>(change.memory)] += change.change;
    const Picoseconds time =
        change.after == kNoTask ? 0 : times.end[static_cast<std::size_t>(change.after)];
    if (step.memory.back().time == time) step.memory.pop_back();
    step.memory.push_back({time, now});
    if (const common::Bytes total = planner::total(now); total > step.peak_memory) {
      step.peak_memory = total;
      step.peak = now;
      step.peak_instruction = planner::describe(
          context.model, step.instructions[static_cast<std::size_t>(change.instruction)]);
    }
  }
}

void require_playable(const planner::PricedProgram& program) {
  std::int64_t count = 0;
  for (const planner::PricedPhase& phase : program.phases) {
    for (const planner::PricedSegment& segment : phase.segments) {
      for (const planner::PricedInstruction& instruction : segment.instructions) {
        count += phase.count * segment.count * std::ssize(*instruction.operations);
      }
    }
  }
  if (count <= kMaxOperations) return;
  throw common::Error(common::ErrorCode::kInvalidInput,
                      "the step has " + std::to_string(count) + " operations; at most " +
                          std::to_string(kMaxOperations) +
                          " are simulated: use a smaller accumulation or fewer loss chunks",
                      "simulator");
}

/// Walks the priced program in the order of the unrolled `instructions`.
GraphBuilder build_graph(const std::vector<planner::Instruction>& instructions,
                         const planner::PricedProgram& program) {
  GraphBuilder built;
  auto unrolled = instructions.begin();
  for (const planner::PricedPhase& phase : program.phases) {
    for (std::int64_t p = 0; p < phase.count; ++p) {
      for (const planner::PricedSegment& segment : phase.segments) {
        for (std::int64_t s = 0; s < segment.count; ++s) {
          for (const planner::PricedInstruction& priced : segment.instructions) {
            built.add(*unrolled++, *priced.operations);
          }
        }
      }
    }
  }
  return built;
}

}  // namespace

SimulatedStep simulate(const planner::Plan& plan) {
  const planner::StepContext context =
      planner::make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  const planner::StepProgram program = planner::build_program(plan.model, plan.job, plan.layout);
  const planner::PricedProgram priced = planner::price_program(context, plan.cluster, program);
  require_playable(priced);
  SimulatedStep step;
  step.instructions = planner::unroll(program);
  const GraphBuilder built = build_graph(step.instructions, priced);
  const TaskTimes times = play(built.graph);
  step.events = times.events;
  for (std::size_t task = 0; task < built.meanings.size(); ++task) {
    const TaskMeaning& meaning = built.meanings[task];
    step.step_time = std::max(step.step_time, times.end[task]);
    if (times.end[task] == times.start[task]) continue;
    step.slices.push_back({.stream = meaning.stream,
                           .name = meaning.name,
                           .start = times.start[task],
                           .end = times.end[task],
                           .instruction = meaning.instruction,
                           .axis = meaning.taken ? std::nullopt : meaning.axis,
                           .bytes = meaning.bytes});
  }
  account_compute(step, built, times);
  play_memory(step, context, built, times);
  return step;
}

common::Json to_json(const SimulatedStep& step) {
  common::Json exposed;
  for (Axis axis : kAxes)
    exposed[to_string(axis)] = seconds(step.exposed[static_cast<std::size_t>(axis)]);
  common::Json peak;
  for (std::size_t c = 0; c < planner::kMemoryClasses; ++c) {
    peak[to_string(static_cast<planner::MemoryClass>(c))] = step.peak[c].value;
  }
  return {{"schema_version", 1},
          {"step_time_s", seconds(step.step_time)},
          {"compute_s", seconds(step.compute_time)},
          {"exposed_s", exposed},
          {"peak_memory_bytes", step.peak_memory.value},
          {"peak_memory", peak},
          {"peak_instruction", step.peak_instruction},
          {"instructions", step.instructions.size()},
          {"events", step.events}};
}

}  // namespace meshplan::simulator
