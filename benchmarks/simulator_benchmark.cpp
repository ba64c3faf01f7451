#include <benchmark/benchmark.h>

#include "benchmarks/h100_jobs.h"
#include "simulator/simulate.h"

namespace meshplan::benchmarks {
namespace {

/// A job of so many nodes, tp in the node.
planner::Plan plan_on(const char* name, std::int64_t nodes) {
  planner::Plan plan{.model = planner::load_model(name),
                     .model_source = name,
                     .cluster = h100_nodes(nodes),
                     .job = bfloat16_job(8192),
                     .layout = {},
                     .estimate = {}};
  plan.layout = tp_in_the_node(plan.model, plan.cluster, plan.job);
  return plan;
}

/// From the plan to the step's times, memory and critical path.
void simulate_step(benchmark::State& state, const planner::Plan& plan,
                   const simulator::SimulationRequest& request) {
  std::int64_t events = 0;
  for (auto _ : state) {
    const simulator::SimulatedStep step = simulator::simulate(plan, request);
    events = step.events;
    benchmark::DoNotOptimize(step.step_time);
  }
  state.counters["events"] = static_cast<double>(events);
  state.counters["events_per_second"] = benchmark::Counter(
      static_cast<double>(events), benchmark::Counter::kIsIterationInvariantRate);
}

/// One rank for all.
void folded_8b_on_64(benchmark::State& state) {
  simulate_step(state, plan_on("llama-3-8b", 8), {});
}
void folded_405b_on_16384(benchmark::State& state) {
  simulate_step(state, plan_on("llama-3.1-405b", 2048), {});
}
BENCHMARK(folded_8b_on_64)->Unit(benchmark::kMillisecond);
BENCHMARK(folded_405b_on_16384)->Unit(benchmark::kMillisecond);

/// Llama-3.1-405B on so many nodes of 8, every rank with a speed of its own.
void every_rank_405b(benchmark::State& state) {
  simulator::SimulationRequest request;
  request.scenario.speed_spread = 0.03;
  simulate_step(state, plan_on("llama-3.1-405b", state.range(0)), request);
}
BENCHMARK(every_rank_405b)->RangeMultiplier(4)->Range(8, 2048)->Unit(benchmark::kMillisecond);

/// The same on 16,384 GPUs, whose kernels vary from one collective to the next as well.
void every_rank_405b_with_jitter(benchmark::State& state) {
  simulator::SimulationRequest request;
  request.scenario.speed_spread = 0.03;
  request.scenario.jitter = 0.02;
  simulate_step(state, plan_on("llama-3.1-405b", 2048), request);
}
BENCHMARK(every_rank_405b_with_jitter)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace meshplan::benchmarks
