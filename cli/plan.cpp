#include "planner/plan/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "cli/mesh_diagram.h"
#include "cli/options.h"
#include "common/text.h"
#include "planner/model/parameter_table.h"
#include "planner/search/search.h"

namespace meshplan::cli {
namespace {

using common::human;
using common::Json;
using planner::Axis;
using planner::Candidate;
using planner::Rejection;

constexpr std::size_t kReasonsShown = 5;

struct PlanFlags {
  std::string model;
  ClusterFlags cluster;
  JobFlags job;
  LayoutFlags layout;
  std::string microbatch_size = "auto";
  planner::SearchRequest request;
  std::size_t top = 10;
  std::string output;
  bool json = false;
};

/// What was asked and what was found.
struct Ranking {
  LoadedModel model;
  planner::ClusterSpec cluster;
  planner::Job job;
  planner::SearchRequest request;
  planner::SearchResult found;
};

std::int64_t parse_microbatch_size(const std::string& text) {
  std::int64_t size = 0;
  if (!CLI::detail::lexical_cast(text, size)) {
    throw common::Error(common::ErrorCode::kUsage,
                        fmt::format("'{}': must be a number or auto", text), "--microbatch-size");
  }
  return size;
}

/// A size that divides no mesh of the cluster would otherwise just never come up.
void require_divisors(const char* axis, const std::vector<std::int64_t>& sizes,
                      const planner::ClusterSpec& cluster) {
  const std::int64_t world = planner::world_size(cluster);
  for (std::int64_t size : sizes) {
    if (size >= 1 && world % size == 0) continue;
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("{}={}: must divide the cluster's {} nodes x {} devices = {}",
                                    axis, size, cluster.nodes, cluster.devices_per_node, world));
  }
}

Ranking rank_layouts(const PlanFlags& flags) {
  Inputs inputs = load_inputs(flags.model, flags.cluster);
  Ranking ranking{std::move(inputs.model), std::move(inputs.cluster), {}, flags.request, {}};
  ranking.job = make_job(flags.job, ranking.model.spec, ranking.cluster);
  ranking.request.base = flags.layout.layout;
  ranking.request.sequence_parallel = flags.layout.sequence_parallel;
  ranking.request.loss_chunks = flags.layout.loss_chunks;
  if (flags.microbatch_size != "auto")
    ranking.request.microbatch_size = parse_microbatch_size(flags.microbatch_size);
  require_divisors("tp", ranking.request.tp, ranking.cluster);
  require_divisors("dp_shard", ranking.request.dp_shard, ranking.cluster);
  require_divisors("dp_replicate", ranking.request.dp_replicate, ranking.cluster);
  require_divisors("pp", ranking.request.pp, ranking.cluster);
  require_divisors("cp", ranking.request.cp, ranking.cluster);
  ranking.found =
      planner::search(ranking.model.spec, ranking.cluster, ranking.job, ranking.request);
  return ranking;
}

std::int64_t wire_bytes(const planner::Estimate& estimate, Axis axis) {
  return estimate.traffic[static_cast<std::size_t>(axis)].wire_bytes.value;
}

/// The axes that the table has a column for: pp and cp where they are tried.
std::vector<Axis> shown_axes(const planner::SearchRequest& request) {
  std::vector<Axis> axes = {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate};
  const std::vector<std::int64_t> alone = {1};
  if (request.cp != alone) axes.push_back(Axis::kCp);
  if (request.pp != alone) axes.push_back(Axis::kPp);
  return axes;
}

std::string ranked_table(const Ranking& ranking, std::size_t top) {
  const bool gpu = ranking.cluster.device.kind == planner::DeviceKind::kGpu;
  const std::vector<Axis> axes = shown_axes(ranking.request);
  std::vector<std::vector<std::string>> rows = {{"#"}};
  for (Axis axis : axes) rows.front().push_back(to_string(axis));
  for (const char* title :
       {"microbatch", "accumulation", "step", gpu ? "tokens/s/GPU" : "tokens/s/rank", "MFU",
        "memory", "of", "tp wire", "dp wire", "exposed"}) {
    rows.front().push_back(title);
  }
  for (const auto& [layout, estimate] : ranking.found.ranked) {
    if (rows.size() > top) break;
    common::Seconds exposed;
    for (const planner::AxisTraffic& axis : estimate.traffic) exposed += axis.exposed;
    const std::int64_t dp_wire =
        wire_bytes(estimate, Axis::kDpShard) + wire_bytes(estimate, Axis::kDpReplicate);
    std::vector<std::string> row = {std::to_string(rows.size())};
    for (Axis axis : axes) row.push_back(std::to_string(layout.mesh.sizes[axis]));
    for (std::string text :
         {std::to_string(layout.microbatch_size), std::to_string(layout.accumulation),
          human(estimate.step_time), fmt::format("{:.0f}", estimate.tokens_per_second_per_gpu),
          percent(estimate.mfu), human(estimate.memory.peak_device),
          human(estimate.memory.capacity), human(common::Bytes(wire_bytes(estimate, Axis::kTp))),
          human(common::Bytes(dp_wire)), human(exposed)}) {
      row.push_back(std::move(text));
    }
    rows.push_back(std::move(row));
  }
  return common::format_table(rows);
}

/// The reason without its numbers: what a group of rejections has in common.
std::string kind_of(const std::string& reason) {
  std::string kind;
  for (char c : reason) {
    const bool number = (c >= '0' && c <= '9') || c == '.';
    if (!number) kind += c;
  }
  return kind;
}

std::string rejection_summary(const std::vector<Rejection>& rejected) {
  struct Group {
    std::string kind;
    const Rejection* first;
    std::int64_t count;
  };
  std::vector<Group> groups;
  for (const Rejection& rejection : rejected) {
    const std::string kind = kind_of(rejection.reason);
    const auto known =
        std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.kind == kind; });
    if (known != groups.end()) {
      ++known->count;
    } else {
      groups.push_back({kind, &rejection, 1});
    }
  }
  std::string text;
  for (std::size_t g = 0; g < groups.size() && g < kReasonsShown; ++g) {
    const planner::Layout& layout = groups[g].first->layout;
    const planner::AxisSizes& sizes = layout.mesh.sizes;
    text += fmt::format("  {} of them: tp={} dp_shard={} dp_replicate={} microbatch_size={}: {}\n",
                        groups[g].count == 1 ? "one" : fmt::format("{}, one", groups[g].count),
                        sizes[Axis::kTp], sizes[Axis::kDpShard], sizes[Axis::kDpReplicate],
                        layout.microbatch_size,
                        CLI::detail::find_and_replace(groups[g].first->reason, "\n", "; "));
  }
  if (groups.size() > kReasonsShown) {
    text += fmt::format("  and {} reasons more; --json has all\n", groups.size() - kReasonsShown);
  }
  return text;
}

std::string first_order_table(const planner::FirstOrderVolumes& volumes) {
  return common::format_table(
      {{"first-order volume", "what it counts", "formula"},
       {human(volumes.tp_activations), "tp: activations of one forward pass of a microbatch",
        "layers x hidden x sequence x batch x 2 bytes x 2"},
       {human(volumes.fsdp_parameters), "fsdp: one gather of the whole model",
        "parameters x 2 bytes"}});
}

/// What of the job and the layout no column shows, where it is not the usual; "" or a line.
std::string options_line(const planner::Job& job, const planner::Layout& layout,
                         const planner::Estimate& estimate) {
  std::vector<std::string> options;
  if (layout.virtual_stages > 1)
    options.push_back(
        fmt::format("{} chunks of blocks a stage, interleaved", layout.virtual_stages));
  if (matmul_dtype(job) != job.param_dtype)
    options.push_back(fmt::format("blocks multiply in {}", common::to_string(matmul_dtype(job))));
  if (layout.async_tp) options.push_back("tp collectives in pieces beside their multiplies");
  if (moment_dtype(job) != job.master_dtype)
    options.push_back(fmt::format("moments in {}", common::to_string(moment_dtype(job))));
  if (layout.optimizer_offload)
    options.push_back(fmt::format("optimizer on the host, {} a rank", human(estimate.memory.host)));
  return options.empty() ? "" : fmt::format("{}\n", fmt::join(options, "; "));
}

void print_ranking(const Ranking& ranking, std::size_t top) {
  const auto& [ranked, rejected] = ranking.found;
  const planner::ModelSpec& model = ranking.model.spec;
  fmt::print(
      "{}: {} parameters in {} blocks, on {}: {} node{} x {} {}; sequences of {} tokens in {}\n\n",
      model.name, common::human_count(static_cast<double>(planner::parameter_count(model))),
      model.num_hidden_layers, ranking.cluster.name, ranking.cluster.nodes,
      ranking.cluster.nodes == 1 ? "" : "s", ranking.cluster.devices_per_node,
      ranking.cluster.device.name, ranking.job.seq_length,
      common::to_string(ranking.job.param_dtype));
  if (!ranked.empty()) fmt::print("{}\n", ranked_table(ranking, top));
  fmt::print("{} layouts fit{}, {} rejected{}\n{}", ranked.size(),
             ranked.size() > top ? fmt::format(" (the best {} shown)", top) : "", rejected.size(),
             rejected.empty() ? "" : ":", rejection_summary(rejected));
  if (ranked.empty()) return;
  const auto& [layout, estimate] = ranked.front();
  fmt::print("\nthe best one, by {}:\n\n{}{}\n{}", to_string(ranking.request.objective),
             mesh_diagram(layout.mesh), options_line(ranking.job, layout, estimate),
             first_order_table(estimate.first_order));
}

Json ranking_json(const Ranking& ranking, std::size_t top, const std::string& plan_file) {
  Json ranked = Json::array();
  for (const Candidate& candidate : ranking.found.ranked) {
    if (ranked.size() == top) break;
    ranked.push_back({{"rank", ranked.size() + 1},
                      {"layout", to_json(candidate.layout)},
                      {"estimate", to_json(candidate.estimate)}});
  }
  Json rejected = Json::array();
  for (const Rejection& rejection : ranking.found.rejected) {
    rejected.push_back({{"layout", to_json(rejection.layout)}, {"reason", rejection.reason}});
  }
  return {{"schema_version", 1},
          {"model", ranking.model.spec.name},
          {"model_source", ranking.model.source},
          {"parameters", planner::parameter_count(ranking.model.spec)},
          {"cluster", ranking.cluster.name},
          {"nodes", ranking.cluster.nodes},
          {"devices_per_node", ranking.cluster.devices_per_node},
          {"job", to_json(ranking.job)},
          {"objective", to_string(ranking.request.objective)},
          {"fit", ranking.found.ranked.size()},
          {"ranked", ranked},
          {"rejected", rejected},
          {"plan", plan_file.empty() ? Json(nullptr) : Json(plan_file)}};
}

std::string no_layout_message(const Ranking& ranking) {
  const auto& rejected = ranking.found.rejected;
  if (rejected.empty()) {
    return fmt::format(
        "no mesh of {} ranks has the sizes allowed by --tp, --dp-shard and --dp-replicate; allow "
        "others",
        planner::world_size(ranking.cluster));
  }
  return fmt::format(
      "no layout fits, all {} are rejected:\n{}use more or larger devices, a smaller "
      "--microbatch-size "
      "or --seq-length, or allow other axis sizes",
      rejected.size(), rejection_summary(rejected));
}

int run_plan(const PlanFlags& flags) {
  const Ranking ranking = rank_layouts(flags);
  const auto& ranked = ranking.found.ranked;
  const std::string plan_file = ranked.empty() ? "" : flags.output;
  if (!plan_file.empty()) {
    planner::save_plan({.model = ranking.model.spec,
                        .model_source = ranking.model.source,
                        .cluster = ranking.cluster,
                        .job = ranking.job,
                        .layout = ranked.front().layout,
                        .estimate = ranked.front().estimate},
                       plan_file);
  }
  if (flags.json) print_json(ranking_json(ranking, flags.top, plan_file));
  if (ranked.empty()) {
    fmt::print(stderr, "meshplan plan: {}\n", no_layout_message(ranking));
    return static_cast<int>(common::ErrorCode::kNoLayoutFits);
  }
  if (!flags.json) print_ranking(ranking, flags.top);
  if (plan_file.empty()) {
    if (!flags.json) fmt::print("\nwrite the best one to a file with -o plan.json\n");
  } else {
    fmt::print(stderr, "\nmeshplan plan: wrote {}\n",
               std::filesystem::absolute(plan_file).string());
  }
  return 0;
}

void add_search_flags(CLI::App& app, PlanFlags& flags) {
  const char* const group = "Search";
  planner::SearchRequest& request = flags.request;
  const auto add_sizes = [&](const char* name, std::vector<std::int64_t>& sizes,
                             const char* help = "Sizes to try, as 1,2,4 (default: all)") {
    app.add_option(name, sizes, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->type_name("N,N")
        ->group(group);
  };
  add_sizes("--tp", request.tp);
  add_sizes("--dp-shard", request.dp_shard);
  add_sizes("--dp-replicate", request.dp_replicate);
  const char* const not_run = "Sizes to try, as 1,2,4 (default: 1, as the executor runs no other)";
  add_sizes("--pp", request.pp, not_run);
  add_sizes("--cp", request.cp, not_run);
  app.add_option("--microbatch-size", flags.microbatch_size,
                 "Sequences of a rank and forward pass; auto tries 1, 2, 4 ... 64")
      ->capture_default_str()
      ->type_name("B|auto")
      ->group(group);
  add_choice(app, "--objective", request.objective, planner::parse_objective,
             "throughput (time per token) or memory (default: throughput)")
      ->group(group);
  app.add_option("--top", flags.top, "Layouts to show")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("K")
      ->group(group);
}

}  // namespace

Action define_plan(CLI::App& app) {
  app.description(
      "Price every layout of a job on a cluster and rank them\n\n"
      "Examples:\n"
      "  meshplan plan --model llama-3-8b --cluster h100-sxm --nodes 2 --seq-length 8192 -o "
      "plan.json\n"
      "  meshplan plan --model ./my-model --cluster h200-sxm --seq-length 4096 --global-batch-size "
      "512 --json\n"
      "  meshplan plan --model demo-qwen2 --cluster local-cpu --seq-length 128 --tp 1,2 "
      "--objective memory");
  const auto flags = std::make_shared<PlanFlags>();
  add_model_flag(app, flags->model)->required();
  add_cluster_flags(app, flags->cluster)->required();
  add_job_flags(app, flags->job);
  CLI::Option* accumulation = add_layout_flags(app, flags->layout);
  app.add_option("--global-batch-size", flags->request.global_batch_size,
                 "Sequences of a step over all ranks, instead of --accumulation")
      ->excludes(accumulation)
      ->type_name("X")
      ->group("Layout");
  add_search_flags(app, *flags);
  app.add_option("-o,--output", flags->output, "Write the best layout as a plan")
      ->type_name("FILE");
  add_json_flag(app, flags->json);
  return [flags] { return run_plan(*flags); };
}

}  // namespace meshplan::cli
