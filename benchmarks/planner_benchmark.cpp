#include <benchmark/benchmark.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "benchmarks/h100_jobs.h"
#include "planner/cost/estimate_tables.h"
#include "planner/search/best_layouts.h"

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

/// Distinct layouts in shuffled order: those of `bases` with 1, 2, 4 or 8 microbatches, 0 to 126
/// checkpointed and as many kept blocks.
class ShuffledLayouts {
 public:
  explicit ShuffledLayouts(std::vector<planner::Layout> bases)
      : bases_(std::move(bases)), all_(bases_.size() * 4 * kBlocks * kBlocks) {
    // A step that shares no divisor with the number of layouts visits each once.
    while (std::gcd(stride_, all_) != 1) ++stride_;
  }

  std::uint64_t size() const { return all_; }

  planner::Layout next() {
    planner::Layout layout = bases_[at_ % bases_.size()];
    const std::uint64_t rest = at_ / bases_.size();
    layout.accumulation = std::int64_t{1} << (rest % 4);
    layout.checkpointed_blocks = static_cast<std::int64_t>(rest / 4 % kBlocks);
    layout.blocks_kept_gathered = static_cast<std::int64_t>(rest / 4 / kBlocks);
    at_ = (at_ + stride_) % all_;
    return layout;
  }

 private:
  static constexpr std::uint64_t kBlocks = 127;
  std::vector<planner::Layout> bases_;
  std::uint64_t all_;
  std::uint64_t stride_ = 6'700'417;
  std::uint64_t at_ = 0;
};

/// Whether a quick estimate is the one of the played program.
bool is_right(const planner::QuickEstimate& quick, const planner::Estimate& whole) {
  bool same = quick.peak == whole.memory.breakdown &&
              std::abs(quick.step_time.value / whole.step_time.value - 1) < 1e-9;
  for (std::size_t a = 0; a < planner::kAxes.size(); ++a) {
    same = same && quick.traffic[a].wire_bytes == whole.traffic[a].wire_bytes &&
           quick.traffic[a].operations == whole.traffic[a].operations;
  }
  return same;
}

/// So many distinct layouts of Llama-3.1-405B on 16,384 H100s in shuffled order, without a
/// pipeline, four million at a time. The making of tables is part of it; 1,000 are compared
/// afterwards.
void price_405b_layouts(benchmark::State& state) {
  const planner::ModelSpec model = planner::load_model("llama-3.1-405b");
  const planner::ClusterSpec cluster = h100_nodes(2048);
  const planner::Job job = bfloat16_job(8192);
  ShuffledLayouts shuffled(meshes_and_strategies(model, cluster, job));
  std::vector<planner::Layout> layouts(
      static_cast<std::size_t>(std::min<std::int64_t>(state.range(0), 4'000'000)));
  std::vector<planner::QuickEstimate> estimates(layouts.size());
  for (auto _ : state) {
    planner::EstimateTables tables(model, cluster, job);
    for (std::int64_t done = 0; done < state.range(0); done += std::ssize(layouts)) {
      state.PauseTiming();
      for (planner::Layout& layout : layouts) layout = shuffled.next();
      state.ResumeTiming();
      tables.price(layouts, estimates);
      benchmark::DoNotOptimize(estimates.data());
    }
  }
  for (std::size_t i = 0; i < layouts.size(); i += layouts.size() / 1000) {
    if (!is_right(estimates[i], planner::estimate(model, cluster, job, layouts[i])))
      return state.SkipWithError("an estimate differs from that of the played program");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["of"] = static_cast<double>(shuffled.size());
}
BENCHMARK(price_405b_layouts)
    ->ArgName("layouts")
    ->Arg(1'000'000)
    ->Arg(8'000'000)
    ->Iterations(1)
    ->Unit(benchmark::kSecond);

/// The ten fastest layouts of Llama-3.1-405B on so many H100s, over every axis and choice, for a
/// global batch of 2,048 sequences, or of one for every eight GPUs where they are more.
void search_every_choice_405b(benchmark::State& state) {
  const planner::ModelSpec model = planner::load_model("llama-3.1-405b");
  const planner::ClusterSpec cluster = h100_nodes(state.range(0) / 8);
  const planner::Job job = bfloat16_job(8192);
  planner::SearchSpace space;
  space.global_batch_size = std::max<std::int64_t>(2048, state.range(0) / 8);
  planner::BestLayouts found;
  for (auto _ : state) {
    found = planner::best_layouts(model, cluster, job, space, 10);
    benchmark::DoNotOptimize(found);
  }
  std::int64_t rejected = 0;
  for (const planner::Rejection& rejection : found.rejected) rejected += rejection.count;
  state.counters["layouts"] = static_cast<double>(found.considered);
  state.counters["fit"] = static_cast<double>(found.fitting);
  state.counters["slower"] = static_cast<double>(found.slower);
  state.counters["rejected"] = static_cast<double>(rejected);
}
BENCHMARK(search_every_choice_405b)
    ->ArgName("gpus")
    ->RangeMultiplier(4)
    ->Range(512, 131'072)
    ->Unit(benchmark::kMillisecond);

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
