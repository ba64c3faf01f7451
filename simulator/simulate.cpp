#include "simulator/simulate.h"

#include <algorithm>

#include "common/error.h"
#include "formats/chrome_trace.h"
#include "planner/cost/priced_program.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::kAxes;
using planner::Operation;
using planner::OperationKind;
using planner::Stream;

constexpr std::int64_t kMaxInstructions = 5'000'000;

std::int32_t queue_of(Stream stream) { return static_cast<std::int32_t>(stream); }

double seconds(Picoseconds time) { return static_cast<double>(time) * 1e-12; }

/// What a task of the graph stands for.
struct TaskMeaning {
  Stream stream;
  const char* name;
  std::int32_t instruction;
  std::optional<Axis> axis;
  common::Bytes bytes;
  /// Host time of a collective that shares the processor with compute.
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
  GraphBuilder(const planner::StepContext& context, const planner::ClusterSpec& cluster)
      : context_(context), cluster_(cluster), on_host_(cluster.device.kind == planner::DeviceKind::kCpu) {}

  void add(const planner::Instruction& instruction) {
    const auto index = static_cast<std::int32_t>(last_tasks_.size());
    std::vector<TaskId> awaited;
    for (std::int64_t distance : instruction.waits) {
      if (distance == 0) continue;
      const auto& tasks = last_tasks_[last_tasks_.size() - static_cast<std::size_t>(distance)];
      awaited.insert(awaited.end(), tasks.begin(), tasks.end());
    }
    if (on_host_ && !awaited.empty()) wait_on_host(index, awaited);

    std::vector<TaskId> tasks;
    std::array<TaskId, planner::kStreams> last_on;
    last_on.fill(kNoTask);
    for (const Operation& operation : operations_of(instruction)) {
      if (operation.kind == OperationKind::kAllocate || operation.kind == OperationKind::kFree) {
        tasks.push_back(kNoTask);
        const common::Bytes change = operation.kind == OperationKind::kAllocate ? operation.bytes : -operation.bytes;
        changes.push_back({graph.last(queue_of(Stream::kCompute)), index, operation.memory, change});
        continue;
      }
      const planner::Price price =
          planner::price(cluster_, context_.layout.mesh, context_.job.param_dtype, operation);
      const TaskId task = add_task(index, operation, price);
      if (last_on[static_cast<std::size_t>(price.stream)] == kNoTask) {
        for (TaskId other : awaited) graph.wait_for(task, other);
      }
      last_on[static_cast<std::size_t>(price.stream)] = task;
      if (operation.after != planner::kNoOperation) {
        graph.wait_for(task, tasks[static_cast<std::size_t>(operation.after)]);
      }
      tasks.push_back(task);
    }
    std::vector<TaskId>& last = last_tasks_.emplace_back();
    for (TaskId task : last_on) {
      if (task != kNoTask) last.push_back(task);
    }
    // An instruction without work, as a release, ends when compute has come to it.
    if (last.empty() && graph.last(queue_of(Stream::kCompute)) != kNoTask) {
      last.push_back(graph.last(queue_of(Stream::kCompute)));
    }
  }

  TaskGraph graph{planner::kStreams};
  std::vector<TaskMeaning> meanings;
  std::vector<MemoryChange> changes;

 private:
  /// Operations depend on the kind of unit and the microbatch's place alone, so each sort of instruction is expanded once.
  const planner::Operations& operations_of(const planner::Instruction& instruction) {
    planner::Instruction sort = instruction;
    sort.microbatch = 0;
    sort.waits = {0, 0};
    const auto known = std::find_if(expanded_.begin(), expanded_.end(),
                                    [&](const auto& entry) { return same_sort(entry.first, sort); });
    if (known != expanded_.end()) return known->second;
    return expanded_.emplace_back(sort, planner::expand(context_, sort)).second;
  }

  bool same_sort(const planner::Instruction& a, const planner::Instruction& b) const {
    const auto same_unit = [this](std::int64_t x, std::int64_t y) {
      if (x == planner::kNoUnit || y == planner::kNoUnit) return x == y;
      return &context_.sizes_of(x) == &context_.sizes_of(y);
    };
    return a.opcode == b.opcode && a.computation == b.computation && a.place == b.place &&
           a.retires_place == b.retires_place && same_unit(a.unit, b.unit) && same_unit(a.retires, b.retires);
  }

  TaskId add_task(std::int32_t index, const Operation& operation, const planner::Price& price) {
    const TaskId issued = graph.last(queue_of(Stream::kCompute));
    const bool collective = operation.kind == OperationKind::kCollective;
    const TaskId task = graph.add(queue_of(price.stream), formats::to_picoseconds(price.duration));
    meanings.push_back({.stream = price.stream,
                        .name = operation.name,
                        .instruction = index,
                        .axis = collective ? std::optional(operation.axis) : std::nullopt,
                        .bytes = operation.bytes});
    if (collective && on_host_ && issued != kNoTask && price.stream != Stream::kCompute) graph.wait_for(task, issued);
    if (price.taken_from_compute.value > 0) {
      graph.add(queue_of(Stream::kCompute), formats::to_picoseconds(price.taken_from_compute));
      meanings.push_back({.stream = Stream::kCompute,
                          .name = "taken by collective",
                          .instruction = index,
                          .axis = operation.axis,
                          .bytes = {},
                          .taken = true});
    }
    return task;
  }

  /// The rank's one thread stands still until what it waits for has ended.
  void wait_on_host(std::int32_t index, const std::vector<TaskId>& awaited) {
    const TaskId task = graph.add(queue_of(Stream::kCompute), 0);
    meanings.push_back({.stream = Stream::kCompute, .name = "wait", .instruction = index, .axis = {}, .bytes = {}});
    for (TaskId other : awaited) graph.wait_for(task, other);
  }

  const planner::StepContext& context_;
  const planner::ClusterSpec& cluster_;
  bool on_host_;
  /// By instruction: the last task on each stream that it used.
  std::vector<std::vector<TaskId>> last_tasks_;
  std::vector<std::pair<planner::Instruction, planner::Operations>> expanded_;
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

void play_memory(SimulatedStep& step, const planner::StepContext& context, const GraphBuilder& built,
                 const TaskTimes& times) {
  planner::MemoryBreakdown now = planner::persistent_breakdown(context);
  step.peak = now;
  step.peak_memory = planner::total(now);
  step.memory.push_back({0, now});
  for (const MemoryChange& change : built.changes) {
    now[static_cast<std::size_t>(change.memory)] += change.change;
    const Picoseconds time = change.after == kNoTask ? 0 : times.end[static_cast<std::size_t>(change.after)];
    if (step.memory.back().time == time) step.memory.pop_back();
    step.memory.push_back({time, now});
    if (const common::Bytes total = planner::total(now); total > step.peak_memory) {
      step.peak_memory = total;
      step.peak = now;
      step.peak_instruction =
          planner::describe(context.model, step.instructions[static_cast<std::size_t>(change.instruction)]);
    }
  }
}

}  // namespace

SimulatedStep simulate(const planner::Plan& plan) {
  const planner::StepContext context =
      planner::make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  const planner::StepProgram program = planner::build_program(plan.model, plan.job, plan.layout);
  if (const std::int64_t count = planner::instruction_count(program); count > kMaxInstructions) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        "the step has " + std::to_string(count) + " instructions; at most " +
                            std::to_string(kMaxInstructions) + " are simulated: use a smaller accumulation",
                        "accumulation");
  }
  SimulatedStep step;
  step.instructions = planner::unroll(program);
  GraphBuilder built(context, plan.cluster);
  for (const planner::Instruction& instruction : step.instructions) built.add(instruction);
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
  for (Axis axis : kAxes) exposed[to_string(axis)] = seconds(step.exposed[static_cast<std::size_t>(axis)]);
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
