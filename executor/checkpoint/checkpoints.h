#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "executor/checkpoint/save_checkpoint.h"
#include "executor/data/batches.h"
#include "executor/launch/liveness.h"
#include "executor/launch/rendezvous.h"
#include "executor/optim/loss_scale.h"
#include "executor/sharding/sharded_unit.h"
#include "planner/plan/plan.h"

namespace meshplan::executor {

struct CheckpointOptions {
  /// Steps between checkpoints; 0: none but by each_epoch.
  std::int64_t interval = 0;
  /// Whether the end of each pass over the data is saved, too.
  bool each_epoch = false;
  /// The newest so many stay; 0: all. Not 1: a damaged newest one would leave nothing.
  std::int64_t keep_latest = 0;
  /// Whether training goes on while a checkpoint is written, from a copy in host memory.
  bool asynchronous = false;
  std::optional<CheckpointLayout> layout;
  /// "auto": the newest of the run's folder, if any; "never"; or a checkpoint's folder.
  std::string resume = "auto";
};

/// The losses of one pass over the data.
struct EpochLoss {
  std::int64_t epoch = 0;
  std::int64_t steps = 0;
  double loss_sum = 0;

  bool operator==(const EpochLoss&) const = default;
};

/// How far a run has come: what a checkpoint keeps beside parameters and optimizer state, and where
/// a resumed run starts.
struct TrainingProgress {
  /// Updates done.
  std::int64_t step = 0;
  /// Of the next microbatch. Between epochs it is the first of the next one.
  BatchPosition position;
  /// Of the epoch under way.
  EpochLoss epoch;
  LossScale loss_scale;

  bool operator==(const TrainingProgress&) const = default;
};

/// The checkpoints of a run on one rank: what it starts from, when it saves, and when a signal ends
/// it. All ranks make the calls in the same order.
class Checkpoints {
 public:
  /// The units hold the state that is loaded and saved, and outlive this. Throws kInvalidInput
  /// where an option is out of its range.
  Checkpoints(const planner::Plan& plan, const CheckpointOptions& options,
              const std::filesystem::path& run_folder, std::uint64_t seed,
              const Rendezvous& rendezvous, Liveness& liveness, std::vector<ShardedUnit>& units);
  /// Waits for a save under way.
  ~Checkpoints();
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;

  /// Loads what the options say into the units; nothing where the run starts anew. Throws
  /// kCorruptCheckpoint, naming the damaged file and the checkpoint before it, and kInvalidInput
  /// where it is of another model or seed.
  std::optional<TrainingProgress> resume();

  /// Before each step: false where SIGTERM or SIGUSR1 ends the run here, on every rank at the same
  /// step. Throws what a save in the background failed with.
  bool may_start(std::int64_t step);
  /// Whether it was.
  bool stopped() const { return stopped_; }

  /// After each step: saves where a checkpoint is due.
  void after_step(const TrainingProgress& reached);

  /// After the last step: saves what is not saved yet (where a signal ended the run, or checkpoints
  /// were asked for), and waits for it.
  void finish(const TrainingProgress& reached);

 private:
  struct Staged;

  std::filesystem::path choose() const;
  TrainingProgress load(const std::filesystem::path& path);
  void save(const TrainingProgress& reached);
  std::vector<UnitState> state_in_place() const;
  std::vector<UnitState> stage();
  void write(const SaveOrder& order);
  /// Waits for the save in the background and throws what it failed with.
  void join();

  CheckpointOptions options_;
  std::filesystem::path folder_;
  std::uint64_t seed_;
  /// Samples of a batch over all data-parallel ranks.
  std::int64_t samples_a_batch_;
  Liveness& liveness_;
  std::vector<ShardedUnit>& units_;
  const planner::ModelSpec& model_;
  CheckpointSource source_;
  SaveExchange exchange_;
  /// The step this run started from, where that is a checkpoint of its own folder.
  std::int64_t started_from_ = -1;
  bool first_save_ = true;
  bool stopped_ = false;
  std::int64_t epoch_ = 0;
  std::int64_t saved_step_ = -1;
  std::unique_ptr<Staged> staged_;
  std::future<void> saving_;
};

}  // namespace meshplan::executor
