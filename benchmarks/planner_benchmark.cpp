#include <benchmark/benchmark.h>

#include <numeric>
#include <vector>

#include "benchmarks/h100_jobs.h"
#include "planner/cost/estimate_tables.h"

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

/// Every mesh of dp_replicate x dp_shard x cp x tp with cp up to 8, every strategy, checkpointing
/// and sequence parallelism, microbatches of 1, 2 and 4: layouts without a violation, whose other
/// choices are open.
std::vector<planner::Layout> meshes_and_strategies(const planner::ModelSpec& model,
                                                   const planner::ClusterSpec& cluster,
                                                   const planner::Job& job) {
  using planner::Axis;
  using planner::Sharding;
  std::vector<planner::Layout> found;
  const std::int64_t world = planner::world_size(cluster);
  planner::Layout layout;
  layout.mesh.ranks_per_node = cluster.devices_per_node;
  const auto add = [&] {
    layout.loss_chunks = 1;
    if (!planner::violations(model, cluster, job, layout).empty()) return;
    layout.loss_chunks = planner::default_loss_chunks(model, job, layout);
    found.push_back(layout);
  };
  for (std::int64_t& tp = layout.mesh.sizes[Axis::kTp] = 1; tp <= cluster.devices_per_node;
       tp *= 2) {
    for (std::int64_t& cp = layout.mesh.sizes[Axis::kCp] = 1; cp <= 8; cp *= 2) {
      std::int64_t& replicas = layout.mesh.sizes[Axis::kDpReplicate];
      for (replicas = 1; replicas <= world / tp / cp; replicas *= 2) {
        layout.mesh.sizes[Axis::kDpShard] = world / tp / cp / replicas;
        for (int strategy = 0; strategy < 6 * 3 * 2 * 3; ++strategy) {
          layout.sharding = static_cast<Sharding>(strategy % 6);
          layout.activation_checkpointing =
              static_cast<planner::ActivationCheckpointing>(strategy / 6 % 3);
          layout.sequence_parallel = strategy / 18 % 2 == 1;
          layout.microbatch_size = std::int64_t{1} << (strategy / 36);
          if (tp > 1 || !layout.sequence_parallel) add();
        }
      }
    }
  }
  return found;
}

/// So many distinct layouts of Llama-3.1-405B on 16,384 H100s in shuffled order, without a
/// pipeline: those above with 1 to 128 microbatches, 0 to 126 checkpointed and as many kept blocks.
/// The making of tables is part of it.
void price_405b_layouts(benchmark::State& state) {
  const planner::ModelSpec model = planner::load_model("llama-3.1-405b");
  const planner::ClusterSpec cluster = h100_nodes(2048);
  const planner::Job job = bfloat16_job(8192);
  const std::vector<planner::Layout> bases = meshes_and_strategies(model, cluster, job);
  const std::uint64_t blocks = 127;
  const std::uint64_t all = bases.size() * 8 * blocks * blocks;
  // A step that shares no divisor with the number of layouts visits each once.
  std::uint64_t stride = 6'700'417;
  while (std::gcd(stride, all) != 1) ++stride;
  for (auto _ : state) {
    planner::EstimateTables tables(model, cluster, job);
    std::uint64_t at = 0;
    for (std::int64_t i = 0; i < state.range(0); ++i, at = (at + stride) % all) {
      planner::Layout layout = bases[at % bases.size()];
      const std::uint64_t rest = at / bases.size();
      layout.accumulation = std::int64_t{1} << (rest % 8);
      layout.checkpointed_blocks = static_cast<std::int64_t>(rest / 8 % blocks);
      layout.blocks_kept_gathered = static_cast<std::int64_t>(rest / 8 / blocks);
      benchmark::DoNotOptimize(tables.price(layout));
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["of"] = static_cast<double>(all);
}
BENCHMARK(price_405b_layouts)
    ->ArgName("layouts")
    ->Arg(1'000'000)
    ->Arg(8'000'000)
    ->Iterations(1)
    ->Unit(benchmark::kSecond);

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
