#include <benchmark/benchmark.h>

#include "benchmarks/h100_jobs.h"

namespace meshplan::benchmarks {
namespace {

/// One estimate of Llama-3.1-405B, tp 8 x dp_shard 2048, of so many microbatches a step.
void estimate_405b_on_16384(benchmark::State& state) {
  const planner::ModelSpec model = planner::load_model("llama-3.1-405b");
  const planner::ClusterSpec cluster = h100_nodes(2048);
  const planner::Job job = bfloat16_job(8192);
  planner::Layout layout = tp_in_the_node(model, cluster, job);
  layout.accumulation = state.range(0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(planner::estimate(model, cluster, job, layout));
  }
}
BENCHMARK(estimate_405b_on_16384)
    ->ArgName("accumulation")
    ->Arg(1)
    ->Arg(16)
    ->Unit(benchmark::kMicrosecond);

void run_search(benchmark::State& state, const char* name, std::int64_t nodes) {
  const planner::ModelSpec model = planner::load_model(name);
  const planner::ClusterSpec cluster = h100_nodes(nodes);
  const planner::Job job = bfloat16_job(state.range(0));
  planner::SearchResult found;
  for (auto _ : state) {
    found = planner::search(model, cluster, job, {});
    benchmark::DoNotOptimize(found);
  }
  state.counters["fit"] = static_cast<double>(found.ranked.size());
  state.counters["rejected"] = static_cast<double>(found.rejected.size());
}

/// Every layout of dp_replicate x dp_shard x tp with microbatches of 1 to 64.
void search_8b_on_64(benchmark::State& state) { run_search(state, "llama-3-8b", 8); }
void search_405b_on_16384(benchmark::State& state) { run_search(state, "llama-3.1-405b", 2048); }
BENCHMARK(search_8b_on_64)->ArgName("seq_length")->Arg(8192)->Unit(benchmark::kMillisecond);
BENCHMARK(search_405b_on_16384)
    ->ArgName("seq_length")
    ->Arg(1024)
    ->Arg(8192)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace meshplan::benchmarks
