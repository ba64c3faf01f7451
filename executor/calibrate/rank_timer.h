#pragma once

#include <c10/core/Device.h>

#include <functional>

#include "executor/comm/communicator.h"

namespace meshplan::executor {

/// Times what all ranks do at once, so that what they share (cores, memory, links) is shared in the
/// figures as it is in a training step. Every figure is a mean over the ranks, the same on each,
/// and comes from windows of time that are long beside the slices in which a scheduler deals cores
/// out. All ranks ask for the same figures in the same order.
class RankTimer {
 public:
  /// `everyone` is the group of all ranks.
  RankTimer(const Communicator& everyone, c10::Device device);

  /// Seconds of one call of work that each rank does by itself, again and again while the others
  /// do: the median of three windows, or one long call.
  double seconds_alone(const std::function<void()>& call) const;

  /// Seconds of one call of work in which ranks wait for one another, each doing it as often: of
  /// one window.
  double seconds_together(const std::function<void()>& call) const;

 private:
  double mean(double value) const;
  double longest(double value) const;
  void barrier() const { mean(0); }
  void synchronize() const;
  double seconds_of(int calls, const std::function<void()>& call) const;

  mutable Communicator everyone_;
  c10::Device device_;
};

}  // namespace meshplan::executor
