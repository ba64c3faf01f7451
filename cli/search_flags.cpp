#include "cli/search_flags.h"

#include <fmt/format.h>

#include "planner/search/automatic_sizes.h"

namespace meshplan::cli {
namespace {

std::int64_t parse_microbatch_size(const std::string& text) {
  std::int64_t size = 0;
  if (!CLI::detail::lexical_cast(text, size)) {
    throw common::Error(common::ErrorCode::kUsage,
                        fmt::format("'{}': must be a number or auto", text), "--microbatch-size");
  }
  return size;
}

void add_size_flags(CLI::App& app, planner::SearchRequest& request) {
  const auto add_sizes = [&](const char* name, std::vector<std::int64_t>& sizes,
                             const std::string& help) {
    return app.add_option(name, sizes, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->type_name("N,N")
        ->group("Search");
  };
  const std::string all = "Sizes to try, as 1,2,4 (default: all)";
  add_sizes("--tp", request.tp, all + "; auto: the devices of a node")
      ->transform(automatic_size())
      ->type_name("N,N|auto");
  add_sizes("--dp-shard", request.dp_shard, all + "; auto: the nodes")
      ->transform(automatic_size())
      ->type_name("N,N|auto");
  add_sizes("--dp-replicate", request.dp_replicate, all);
  const char* const not_run = "Sizes to try, as 1,2,4 (default: 1, as the executor runs no other)";
  add_sizes("--pp", request.pp, not_run);
  add_sizes("--cp", request.cp, not_run);
}

}  // namespace

CLI::Validator automatic_size() {
  return {[](std::string& text) -> std::string {
            if (text == "auto") text = std::to_string(planner::kAutomaticSize);
            return "";
          },
          ""};
}

CLI::Option* add_search_flags(CLI::App& app, SearchFlags& flags) {
  add_model_flag(app, flags.model)->required();
  add_cluster_flags(app, flags.cluster)->required();
  CLI::Option* seq_length = add_job_flags(app, flags.job);
  CLI::Option* accumulation = add_layout_flags(app, flags.layout);
  app.add_option("--global-batch-size", flags.request.global_batch_size,
                 "Sequences of a step over all ranks, instead of --accumulation")
      ->excludes(accumulation)
      ->type_name("X")
      ->group("Layout");
  add_size_flags(app, flags.request);
  app.add_option("--microbatch-size", flags.microbatch_size,
                 "Sequences of a rank and forward pass; auto tries 1, 2, 4 ... 64")
      ->capture_default_str()
      ->type_name("B|auto")
      ->group("Search");
  add_choice(app, "--objective", flags.request.objective, planner::parse_objective,
             "throughput (time per token), memory, cost (money per token) or energy (joules per "
             "token) (default: throughput)")
      ->group("Search");
  return seq_length;
}

planner::SearchRequest make_request(const SearchFlags& flags) {
  planner::SearchRequest request = flags.request;
  request.base = flags.layout.layout;
  request.sequence_parallel = flags.layout.sequence_parallel;
  request.loss_chunks = flags.layout.loss_chunks;
  if (flags.microbatch_size != "auto")
    request.microbatch_size = parse_microbatch_size(flags.microbatch_size);
  return request;
}

planner::SearchSpace every_choice_of(const CLI::App& app, const planner::SearchRequest& request) {
  const planner::Layout& layout = request.base;
  planner::SearchSpace space;
  space.base = layout;
  if (app.count("--pp") > 0) space.pp = request.pp;
  if (app.count("--cp") > 0) space.cp = request.cp;
  space.tp = request.tp;
  space.dp_shard = request.dp_shard;
  space.dp_replicate = request.dp_replicate;
  space.global_batch_size = request.global_batch_size;
  if (request.microbatch_size) space.microbatch_size = {*request.microbatch_size};
  if (request.sequence_parallel) space.sequence_parallel = {*request.sequence_parallel};
  if (request.loss_chunks) space.base.loss_chunks = *request.loss_chunks;
  const auto pin = [&app](const char* flag, auto& choices, const auto& chosen) {
    if (app.count(flag) > 0) choices = {chosen};
  };
  pin("--virtual-stages", space.virtual_stages, layout.virtual_stages);
  pin("--expert-parallel", space.expert_parallel, layout.mesh.expert_parallel);
  pin("--sharding", space.sharding, layout.sharding);
  pin("--gradient-accumulation", space.gradient_accumulation, layout.gradient_accumulation);
  pin("--async-tp", space.async_tp, layout.async_tp);
  pin("--optimizer-offload", space.optimizer_offload, layout.optimizer_offload);
  pin("--activation-checkpointing", space.activation_checkpointing,
      layout.activation_checkpointing);
  return space;
}

}  // namespace meshplan::cli
