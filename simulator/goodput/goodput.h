#pragma once

#include <cstdint>

#include "common/units.h"

namespace meshplan::simulator {

/// How often a long run fails, and what each failure and each checkpoint costs it. Failures come at
/// random, independently (exponential times between them), and a failure of any part stops the
/// whole run.
struct FailureModel {
  std::int64_t gpus = 1;
  std::int64_t nodes = 1;
  /// Mean time between failures of one GPU, and of one node beside its GPUs; 0 = does not fail.
  common::Seconds gpu_mtbf;
  common::Seconds node_mtbf;
  /// Until a failure is noticed, and from then until training goes on from a checkpoint. A failure
  /// in between starts both anew.
  common::Seconds detection;
  common::Seconds restart;
  /// Of a checkpoint, while training waits; and after that, until it is on storage. A failure
  /// before then goes back to the checkpoint before.
  common::Seconds checkpoint_blocking;
  common::Seconds checkpoint_async;
};

/// Of the whole cluster, a second; 0 = nothing fails.
double failure_rate(const FailureModel& model);

/// First-order optimum of the time between checkpoints, sqrt(2 C M) for a blocking time C and mean
/// time between failures M (Young 1974), and the higher-order one (Daly 2006, equation 37). Require
/// failures.
common::Seconds young_interval(const FailureModel& model);
common::Seconds daly_interval(const FailureModel& model);

/// The exact optimum for exponential failures, (1 + W(-exp(-1 - C / M))) M with Lambert's W, but
/// not so short that a checkpoint begins before the last one is on storage. `longest` where nothing
/// fails, and at most.
common::Seconds best_interval(const FailureModel& model, common::Seconds longest);

/// The shares of a long run's time; they sum to 1.
struct Goodput {
  /// Training that is kept.
  double useful = 1;
  /// Waiting for checkpoints.
  double checkpoints = 0;
  /// Training that failures undo.
  double rework = 0;
  /// Detection and restart.
  double down = 0;
};

/// In the long run, with `interval` of training between checkpoints. Exact: with s = interval +
/// blocking time, rate r, downtime D and asynchronous time A, a segment takes exp(r (A + D))
/// (exp(r s) - 1) / r in expectation (Daly 2006, equation 12, where A = 0: a failure within A of a
/// segment's beginning, of probability 1 - exp(-r A), undoes the segment before it as well).
/// Requires 0 < interval, asynchronous time <= s.
Goodput expected_goodput(const FailureModel& model, common::Seconds interval);

/// Failures in so much time, those in downtime included.
double expected_failures(const FailureModel& model, common::Seconds time);

/// Bytes over what storage takes: of a checkpoint of parameters and optimizer state.
common::Seconds write_time(common::Bytes checkpoint, common::BytesPerSecond storage);

}  // namespace meshplan::simulator
