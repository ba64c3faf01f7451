#include "executor/checkpoint/checkpoints.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "common/text.h"
#include "executor/checkpoint/load_state.h"
#include "executor/memory/counting_allocator.h"
#include "formats/checkpoint_folder.h"

namespace meshplan::executor {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;
using planner::Axis;
using Clock = std::chrono::steady_clock;

constexpr const char* kResumeTopic = "resume";
/// Of the thread that writes: training has the processor first.
constexpr int kBackgroundNiceness = 10;

CheckpointSource source_of(const planner::Plan& plan, const CheckpointOptions& options,
                           const formats::LaunchEnvironment& environment) {
  const planner::AxisSizes at = planner::coordinates_of(plan.layout.mesh, environment.rank);
  CheckpointSource source{.model = plan.model,
                          .model_source = plan.model_source,
                          .weights = plan.job.param_dtype,
                          .mesh = {},
                          .place = {.tp_rank = at[Axis::kTp], .dp_shard_rank = at[Axis::kDpShard]},
                          .writes = at[Axis::kDpReplicate] == 0,
                          .node_leader = environment.rank - environment.local_rank,
                          .node_leaders = {},
                          .layout = options.layout};
  for (const Axis axis : planner::kMeshAxes)
    source.mesh.emplace_back(to_string(axis), plan.layout.mesh.sizes[axis]);
  for (std::int64_t rank = 0; rank < environment.world_size; rank += environment.local_world_size)
    source.node_leaders.push_back(rank);
  return source;
}

/// The newest checkpoint before this one that looks whole, as the flag that resumes from it.
std::string previous_offer(const fs::path& damaged) {
  const auto step = formats::step_of(damaged.filename().string());
  const auto all = formats::list_checkpoints(damaged.parent_path());
  for (auto candidate = all.rbegin(); step && candidate != all.rend(); ++candidate) {
    if (candidate->step >= *step) continue;
    try {
      const formats::CheckpointReader reader(candidate->path);
      return fmt::format("resume from the one before it: --resume {}", candidate->path.string());
    } catch (const Error&) {
      // Damaged as well: an earlier one may be whole.
    }
  }
  return "there is none before it: start anew in another folder, with another --experiment-name";
}

/// Runs `read`; a damaged checkpoint's error offers the one before it.
template <class Read>
decltype(auto) offering_previous(const fs::path& path, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruptCheckpoint) throw;
    throw Error(
        error.code(),
        fmt::format("{}. The checkpoint is damaged; {}", error.message(), previous_offer(path)),
        error.where());
  }
}

}  // namespace

/// A copy of a rank's slices in host memory, kept from one save to the next. It is no tensor: the
/// allocator that measures a step counts those.
struct Checkpoints::Staged {
  std::vector<std::unique_ptr<float[]>> buffers;
};

Checkpoints::Checkpoints(const planner::Plan& plan, const CheckpointOptions& options,
                         const fs::path& run_folder, std::uint64_t seed,
                         const Rendezvous& rendezvous, Liveness& liveness,
                         std::vector<ShardedUnit>& units)
    : options_(options),
      folder_(formats::checkpoints_path(run_folder)),
      seed_(seed),
      samples_a_batch_(plan.layout.microbatch_size * planner::data_parallel_size(plan.layout.mesh)),
      liveness_(liveness),
      units_(units),
      model_(plan.model),
      source_(source_of(plan, options, rendezvous.environment())),
      exchange_(rendezvous.connect("checkpoint"), rendezvous.environment().rank,
                rendezvous.environment().world_size, [&liveness] { liveness.require_ranks(); }),
      staged_(std::make_unique<Staged>()) {
  if (options.keep_latest == 1 || options.keep_latest < 0) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{}: must be 0 (keep all) or at least 2, so that a damaged newest "
                            "checkpoint leaves one to go back to",
                            options.keep_latest),
                "keep_latest_k");
  }
}

Checkpoints::~Checkpoints() {
  if (saving_.valid()) saving_.wait();
}

fs::path Checkpoints::choose() const {
  if (options_.resume == "never") return {};
  if (options_.resume != "auto") {
    if (fs::is_directory(options_.resume)) {
      // Without a slash at the end, so that it has a name.
      return (fs::absolute(options_.resume) / "").lexically_normal().parent_path();
    }
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{}: is no folder; give auto, never, or the folder of a checkpoint",
                            options_.resume),
                "--resume");
  }
  const auto finished = formats::list_checkpoints(folder_);
  return finished.empty() ? fs::path() : finished.back().path;
}

std::optional<TrainingProgress> Checkpoints::resume() {
  exchange_.next_round();
  fs::path path;
  if (exchange_.rank() == 0) {
    try {
      path = choose();
      exchange_.tell(kResumeTopic, path.string());
    } catch (const Error& error) {
      exchange_.tell_failure(kResumeTopic, error);
      throw;
    }
  } else {
    path = exchange_.hear(kResumeTopic, 0);
  }
  if (path.empty()) return std::nullopt;
  return offering_previous(path, [&] { return load(path); });
}

TrainingProgress Checkpoints::load(const fs::path& path) {
  const formats::CheckpointReader reader(path);
  // The small files that all share are one rank's to check; metadata.json is everyone's.
  if (exchange_.rank() == 0) reader.check_plain_files();
  const formats::CheckpointMetadata metadata = reader.metadata();
  check_is_of_model(reader, model_);
  if (metadata.seed != seed_) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("was trained with --seed {}, not {}: the samples would come in another "
                            "order; use --seed {}",
                            metadata.seed, seed_, metadata.seed),
                path.string());
  }
  load_state(units_, source_.place, reader);
  if (path.parent_path() == folder_) started_from_ = saved_step_ = metadata.step;
  epoch_ = metadata.epoch;
  const std::int64_t again = metadata.samples % samples_a_batch_;
  if (exchange_.rank() == 0) {
    spdlog::info("resuming after step {} from {}", metadata.step, path.string());
    if (again != 0)
      spdlog::warn("{} samples come again: {} a batch do not divide the {} already seen", again,
                   samples_a_batch_, metadata.samples);
  }
  return {.step = metadata.step,
          .position = {.epoch = metadata.epoch, .batch = metadata.samples / samples_a_batch_},
          .epoch = {.epoch = metadata.epoch,
                    .steps = metadata.epoch_steps,
                    .loss_sum = metadata.epoch_loss_sum},
          .loss_scale = {.scale = metadata.loss_scale,
                         .good_steps = metadata.good_steps,
                         .skipped = metadata.skipped_steps}};
}

bool Checkpoints::may_start(std::int64_t step) {
  if (saving_.valid() && saving_.wait_for(std::chrono::seconds(0)) == std::future_status::ready)
    join();
  stopped_ = !liveness_.may_start(step);
  return !stopped_;
}

void Checkpoints::after_step(const TrainingProgress& reached) {
  const bool epoch_ended = reached.position.epoch != epoch_;
  epoch_ = reached.position.epoch;
  const bool due = options_.interval > 0 && reached.step % options_.interval == 0;
  if (due || (options_.each_epoch && epoch_ended)) save(reached);
}

void Checkpoints::finish(const TrainingProgress& reached) {
  const bool wanted = stopped_ || options_.interval > 0 || options_.each_epoch;
  if (wanted && saved_step_ != reached.step) save(reached);
  join();
  liveness_.stop_no_more();
  if (stopped_ && exchange_.rank() == 0) {
    spdlog::info(
        "stopped by a signal after step {}, which is saved; the same command goes on from "
        "there",
        reached.step);
  }
}

std::vector<UnitState> Checkpoints::state_in_place() const {
  std::vector<UnitState> state;
  for (const ShardedUnit& unit : units_) {
    state.push_back({&unit.flat, unit.master.const_data_ptr<float>(),
                     unit.first_moment.const_data_ptr<float>(),
                     unit.second_moment.const_data_ptr<float>()});
  }
  return state;
}

std::vector<UnitState> Checkpoints::stage() {
  std::vector<UnitState> state;
  std::size_t next = 0;
  const auto copy = [&](const at::Tensor& slice) -> const float* {
    const auto elements = static_cast<std::size_t>(slice.numel());
    if (next == staged_->buffers.size())
      staged_->buffers.push_back(std::make_unique_for_overwrite<float[]>(elements));
    float* const buffer = staged_->buffers[next++].get();
    at::from_blob(buffer, {slice.numel()}, at::kFloat).copy_(slice);
    return buffer;
  };
  for (const ShardedUnit& unit : units_) {
    state.push_back(
        {&unit.flat, copy(unit.master), copy(unit.first_moment), copy(unit.second_moment)});
  }
  return state;
}

void Checkpoints::save(const TrainingProgress& reached) {
  join();
  const at::Tensor& master = units_.front().master;
  const bool on_host = master.device().is_cpu() && master.scalar_type() == at::kFloat;
  SaveOrder order{.folder = folder_,
                  .metadata = {.step = reached.step,
                               .epoch = reached.position.epoch,
                               .samples = reached.position.batch * samples_a_batch_,
                               .epoch_steps = reached.epoch.steps,
                               .epoch_loss_sum = reached.epoch.loss_sum,
                               .loss_scale = reached.loss_scale.scale,
                               .good_steps = reached.loss_scale.good_steps,
                               .skipped_steps = reached.loss_scale.skipped,
                               .seed = seed_},
                  .state = {},
                  .set_aside_after = std::nullopt,
                  .keep_latest = options_.keep_latest};
  if (source_.writes) {
    order.state = on_host && !options_.asynchronous ? state_in_place() : stage();
  }
  if (first_save_) order.set_aside_after = started_from_;
  first_save_ = false;
  saved_step_ = reached.step;
  if (!options_.asynchronous) return write(order);
  saving_ = std::async(std::launch::async, [this, order = std::move(order)] {
    claim_this_thread();
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kBackgroundNiceness);
    write(order);
  });
}

void Checkpoints::write(const SaveOrder& order) {
  const Clock::time_point start = Clock::now();
  save_checkpoint(source_, order, exchange_);
  if (exchange_.rank() != 0) return;
  const common::Seconds seconds(std::chrono::duration<double>(Clock::now() - start).count());
  spdlog::info("saved {} in {}",
               (order.folder / formats::checkpoint_name(order.metadata.step)).string(),
               common::human(seconds));
}

void Checkpoints::join() {
  if (saving_.valid()) saving_.get();
}

}  // namespace meshplan::executor
