#include "simulator/simulate.h"

#include <algorithm>
#include <map>
#include <utility>

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

/// A message between stages: what is sent at this border of a stage's chunk for this microbatch.
struct Message {
  planner::Computation border;
  std::int64_t chunk;
  std::int64_t microbatch;

  auto operator<=>(const Message&) const = default;
};

/// Turns the unrolled program of each stage into tasks, one stage after the other.
class GraphBuilder {
 public:
  explicit GraphBuilder(std::int64_t count)
      : graph(static_cast<std::int32_t>(count) * static_cast<std::int32_t>(planner::kStreams)) {}

  void begin_stage() {
    first_queue_ = static_cast<std::int32_t>(stages.size() * planner::kStreams);
    stages.push_back({.first_task = static_cast<TaskId>(meanings.size()),
                      .first_change = changes.size(),
                      .sent = {},
                      .received = {}});
    collectives_.clear();
  }

  void add(const planner::Instruction& instruction, const planner::PricedOperations& operations) {
    const auto index = static_cast<std::int32_t>(collectives_.size());
    wait_for_instructions(index, instruction);
    const Message message{instruction.computation, instruction.chunk, instruction.microbatch};
    if (instruction.opcode == planner::Opcode::kReceiveActivations)
      stages.back().received.emplace_back(message, add_wait(index));
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
    if (instruction.opcode == planner::Opcode::kSendActivations)
      stages.back().sent.emplace(message, last.back());
  }

  /// Lets every stage wait for its neighbours' messages. Requires that all stages were added.
  void connect() {
    const std::int64_t count = std::ssize(stages);
    for (std::int64_t s = 0; s < count; ++s) {
      for (const auto& [message, task] : stages[static_cast<std::size_t>(s)].received) {
        const bool forward = message.border == planner::Computation::kEmbedding;
        const planner::ChunkPlace here{.stage = s, .chunk = message.chunk};
        const planner::ChunkPlace from =
            forward ? planner::previous_chunk(here, count) : planner::next_chunk(here, count);
        const auto& sender = stages[static_cast<std::size_t>(from.stage)];
        graph.wait_for(task, sender.sent.at({forward ? planner::Computation::kHead
                                                     : planner::Computation::kEmbedding,
                                             from.chunk, message.microbatch}));
      }
    }
  }

  struct StageTasks {
    TaskId first_task;
    std::size_t first_change;
    std::map<Message, TaskId> sent;
    std::vector<std::pair<Message, TaskId>> received;
  };

  TaskGraph graph;
  std::vector<StageTasks> stages;
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

  std::int32_t queue_of(Stream stream) const {
    return first_queue_ + static_cast<std::int32_t>(stream);
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

  std::int32_t first_queue_ = 0;
  common::Seconds total_;
  /// By instruction: the tasks of its collectives.
  std::vector<std::vector<TaskId>> collectives_;
};

/// The stage's tasks and changes of memory in the builder's lists: [begin, end).
struct Range {
  std::size_t begin;
  std::size_t end;
};

Range tasks_of(const GraphBuilder& built, std::size_t stage) {
  const bool last = stage + 1 == built.stages.size();
  return {
      static_cast<std::size_t>(built.stages[stage].first_task),
      last ? built.meanings.size() : static_cast<std::size_t>(built.stages[stage + 1].first_task)};
}

Range changes_of(const GraphBuilder& built, std::size_t stage) {
  const bool last = stage + 1 == built.stages.size();
  return {built.stages[stage].first_change,
          last ? built.changes.size() : built.stages[stage + 1].first_change};
}

/// Compute time, and by axis the time that compute stood still or was taken from.
void account_compute(SimulatedStep& step, const GraphBuilder& built, const TaskTimes& times,
                     Range tasks) {
  Picoseconds free = 0;
  for (std::size_t task = tasks.begin; task < tasks.end; ++task) {
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
                 const GraphBuilder& built, const TaskTimes& times, Range changes) {
  planner::MemoryBreakdown now = planner::persistent_breakdown(context);
  step.peak = now;
  step.peak_memory = planner::total(now);
  step.memory.push_back({0, now});
  for (std::size_t c = changes.begin; c < changes.end; ++c) {
    const MemoryChange& change = built.changes[c];
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

std::int64_t operation_count(const planner::PricedProgram& program) {
  std::int64_t count = 0;
  for (const planner::ShapedPhase& phase : program.shape.phases) {
    for (const planner::ShapedSegment& segment : phase.segments) {
      for (const planner::ShapedInstruction& instruction : segment.instructions) {
        count += phase.repetition.count * segment.repetition.count *
                 std::ssize(program.kinds[instruction.kind].operations);
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

/// Walks a priced program in the order of its unrolled instructions.
void add_stage(GraphBuilder& built, const std::vector<planner::Instruction>& instructions,
               const planner::PricedProgram& program) {
  built.begin_stage();
  auto unrolled = instructions.begin();
  for (const planner::ShapedPhase& phase : program.shape.phases) {
    for (std::int64_t p = 0; p < phase.repetition.count; ++p) {
      for (const planner::ShapedSegment& segment : phase.segments) {
        for (std::int64_t s = 0; s < segment.repetition.count; ++s) {
          for (const planner::ShapedInstruction& shaped : segment.instructions) {
            built.add(*unrolled++, program.kinds[shaped.kind].operations);
          }
        }
      }
    }
  }
}

void add_slices(SimulatedStep& step, const GraphBuilder& built, const TaskTimes& times,
                Range tasks) {
  for (std::size_t task = tasks.begin; task < tasks.end; ++task) {
    const TaskMeaning& meaning = built.meanings[task];
    if (times.end[task] == times.start[task]) continue;
    step.slices.push_back({.stream = meaning.stream,
                           .name = meaning.name,
                           .start = times.start[task],
                           .end = times.end[task],
                           .instruction = meaning.instruction,
                           .axis = meaning.taken ? std::nullopt : meaning.axis,
                           .bytes = meaning.bytes});
  }
}

}  // namespace

SimulatedStep simulate(const planner::Plan& plan) {
  const std::vector<planner::PricedStage> stages =
      planner::price_stages(plan.model, plan.cluster, plan.job, plan.layout);
  require_playable(stages);
  GraphBuilder built(std::ssize(stages));
  std::vector<std::vector<planner::Instruction>> instructions;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    instructions.push_back(planner::unroll(
        planner::build_program(plan.model, plan.job, plan.layout, static_cast<std::int64_t>(s))));
    add_stage(built, instructions.back(), stages[s].program);
  }
  built.connect();
  const TaskTimes times = play(built.graph);
  SimulatedStep step;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    SimulatedStep of_stage;
    of_stage.stage = static_cast<std::int64_t>(s);
    of_stage.instructions = std::move(instructions[s]);
    play_memory(of_stage, stages[s].context, built, times, changes_of(built, s));
    if (of_stage.peak_memory <= step.peak_memory) continue;
    account_compute(of_stage, built, times, tasks_of(built, s));
    add_slices(of_stage, built, times, tasks_of(built, s));
    step = std::move(of_stage);
  }
  step.events = times.events;
  step.step_time = *std::max_element(times.end.begin(), times.end.end());
  return step;
}

common::Json to_json(const SimulatedStep& step) {
  common::Json exposed;
  for (Axis axis : kAxes) {
    const Picoseconds time = step.exposed[static_cast<std::size_t>(axis)];
    if (time > 0 || !is_of_experts(axis)) exposed[to_string(axis)] = seconds(time);
  }
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
          {"stage", step.stage},
          {"instructions", step.instructions.size()},
          {"events", step.events}};
}

}  // namespace meshplan::simulator
