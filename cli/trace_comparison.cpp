#include "cli/trace_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/text.h"
#include "formats/run_folder.h"
#include "simulator/trace.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;
using common::human;
using formats::Trace;
using formats::TraceSlice;
using simulator::SimulatedStep;

constexpr std::size_t kShownRows = 20;

common::Seconds seconds(std::int64_t picoseconds) {
  return common::Seconds(simulator::seconds(picoseconds));
}

Trace read_measured(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw Error(ErrorCode::kInvalidInput,
                "is missing: the run has not ended well, or has no such rank; train again, or name "
                "another with --trace-ranks",
                path.string());
  }
  return formats::read_chrome_trace(path);
}

/// Adds a rank's trace under another process number and name, moved to begin at 0.
void add_moved(Trace& all, const Trace& trace, std::int64_t pid, std::string name) {
  std::int64_t begin = trace.slices.empty() ? 0 : trace.slices.front().start_ps;
  for (const TraceSlice& slice : trace.slices) begin = std::min(begin, slice.start_ps);
  all.ranks.push_back(pid);
  all.names[pid] = std::move(name);
  for (TraceSlice slice : trace.slices) {
    slice.pid = pid;
    slice.start_ps -= begin;
    all.slices.push_back(std::move(slice));
  }
  for (formats::TraceCounter counter : trace.counters) {
    counter.pid = pid;
    counter.time_ps = std::max<std::int64_t>(0, counter.time_ps - begin);
    all.counters.push_back(std::move(counter));
  }
}

Trace of_rank(const Trace& trace, std::int64_t rank) {
  Trace part;
  for (const TraceSlice& slice : trace.slices) {
    if (slice.pid == rank) part.slices.push_back(slice);
  }
  for (const formats::TraceCounter& counter : trace.counters) {
    if (counter.pid == rank) part.counters.push_back(counter);
  }
  return part;
}

/// The slices of the executor's instructions, in order.
std::vector<const TraceSlice*> instructions_of(const Trace& measured) {
  std::vector<const TraceSlice*> slices;
  for (const TraceSlice& slice : measured.slices) {
    if (slice.tid == formats::kComputeTrack && slice.category == "instruction")
      slices.push_back(&slice);
  }
  std::ranges::stable_sort(slices, {}, &TraceSlice::start_ps);
  return slices;
}

std::vector<InstructionTimes> compare_instructions(const planner::Plan& plan,
                                                   const SimulatedStep& step, const Trace& measured,
                                                   const std::string& where) {
  const simulator::RankTimeline& timeline = step.timelines.front();
  const std::vector<planner::Instruction>& program = step.instructions[timeline.stage];
  const std::vector<const TraceSlice*> slices = instructions_of(measured);
  if (slices.size() != program.size()) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("has {} instructions, and the plan's program {}; compare the run with "
                            "its own plan",
                            slices.size(), program.size()),
                where);
  }
  std::vector<InstructionTimes> times;
  simulator::Picoseconds before = 0;
  for (std::size_t i = 0; i < program.size(); ++i) {
    const std::string name = planner::describe(plan.model, program[i]);
    if (slices[i]->name != name) {
      throw Error(
          ErrorCode::kInvalidInput,
          fmt::format("instruction {} is '{}', and the plan's program has '{}'; compare the "
                      "run with its own plan",
                      i + 1, slices[i]->name, name),
          where);
    }
    const simulator::Picoseconds after = timeline.instruction_ends[i];
    times.push_back({.instruction = name,
                     .microbatch = program[i].microbatch,
                     .predicted = seconds(after - before),
                     .measured = seconds(slices[i]->duration_ps)});
    before = after;
  }
  std::ranges::stable_sort(times, std::ranges::greater{}, [](const InstructionTimes& entry) {
    return std::abs(entry.measured.value - entry.predicted.value);
  });
  return times;
}

std::string ratio_text(const InstructionTimes& times) {
  const auto found = ratio(times);
  return found ? fmt::format("{:.2f}", *found) : "-";
}

}  // namespace

TraceComparison compare_traces(const planner::Plan& plan, const std::filesystem::path& run,
                               const std::vector<std::int64_t>& ranks) {
  simulator::SimulationRequest request;
  request.timelines = ranks;
  const SimulatedStep step = simulator::simulate(plan, request);
  const Trace predicted = to_trace(step, plan.model);
  const std::int64_t world = planner::world_size(plan.layout.mesh);
  TraceComparison comparison;
  comparison.rank = ranks.front();
  for (std::int64_t rank : ranks) {
    const std::filesystem::path path = formats::trace_path(run, rank);
    const Trace measured = read_measured(path);
    if (rank == comparison.rank)
      comparison.instructions = compare_instructions(plan, step, measured, path.string());
    add_moved(comparison.trace, of_rank(predicted, rank), rank,
              fmt::format("rank {}, predicted", rank));
    add_moved(comparison.trace, measured, world + rank, fmt::format("rank {}, measured", rank));
  }
  return comparison;
}

std::optional<double> ratio(const InstructionTimes& times) {
  if (times.predicted.value == 0) return std::nullopt;
  return times.measured.value / times.predicted.value;
}

std::string instruction_table(const TraceComparison& comparison) {
  std::vector<std::vector<std::string>> rows = {
      {fmt::format("instructions of rank {}", comparison.rank), "microbatch", "predicted",
       "measured", "measured / predicted"}};
  InstructionTimes sum{.instruction = "all instructions", .predicted = {}, .measured = {}};
  for (const InstructionTimes& times : comparison.instructions) {
    sum.predicted += times.predicted;
    sum.measured += times.measured;
    if (rows.size() > kShownRows) continue;
    rows.push_back({times.instruction, std::to_string(times.microbatch), human(times.predicted),
                    human(times.measured), ratio_text(times)});
  }
  if (const std::size_t all = comparison.instructions.size(); all > kShownRows)
    rows.push_back({fmt::format("... and {} that are closer", all - kShownRows), "", "", "", ""});
  rows.push_back({sum.instruction, "", human(sum.predicted), human(sum.measured), ratio_text(sum)});
  return common::format_table(rows);
}

common::Json instructions_json(const TraceComparison& comparison) {
  common::Json entries = common::Json::array();
  for (const InstructionTimes& times : comparison.instructions) {
    const auto found = ratio(times);
    entries.push_back({{"instruction", times.instruction},
                       {"microbatch", times.microbatch},
                       {"predicted_s", times.predicted.value},
                       {"measured_s", times.measured.value},
                       {"ratio", found ? common::Json(*found) : common::Json()}});
  }
  return entries;
}

}  // namespace meshplan::cli
