#include <benchmark/benchmark.h>

#include "benchmarks/h100_jobs.h"
#include "simulator/simulate.h"

namespace meshplan::benchmarks {
namespace {

/// One simulated step on so many nodes, tp in the node: from the plan to slices and memory over
/// time.
void simulate_step(benchmark::State& state, const char* name, std::int64_t nodes) {
  planner::Plan plan{.model = planner::load_model(name),
                     .model_source = name,
                     .cluster = h100_nodes(nodes),
                     .job = bfloat16_job(8192),
                     .layout = {},
                     .estimate = {}};
  plan.layout = tp_in_the_node(plan.model, plan.cluster, plan.job);
  std::int64_t events = 0;
  for (auto _ : state) {
    const simulator::SimulatedStep step = simulator::simulate(plan);
    events = step.events;
    benchmark::DoNotOptimize(step.step_time);
  }
  state.counters["events"] = static_cast<double>(events);
  state.counters["events_per_second"] = benchmark::Counter(
      static_cast<double>(events), benchmark::Counter::kIsIterationInvariantRate);
}

void simulate_8b_on_64(benchmark::State& state) { simulate_step(state, "llama-3-8b", 8); }
void simulate_405b_on_16384(benchmark::State& state) {
  simulate_step(state, "llama-3.1-405b", 2048);
}
BENCHMARK(simulate_8b_on_64)->Unit(benchmark::kMillisecond);
BENCHMARK(simulate_405b_on_16384)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace meshplan::benchmarks
