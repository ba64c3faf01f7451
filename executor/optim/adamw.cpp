#include "executor/optim/adamw.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "executor/kernels/squares.h"

namespace meshplan::executor {
namespace {

using planner::FlatRange;
using planner::FlatSection;

/// The part of a flat range that lies in this rank's slice, relative to the slice.
FlatRange within_slice(const ShardedUnit& unit, std::int64_t dp_shard_rank,
                       const FlatRange& range) {
  const std::int64_t begin = dp_shard_rank * unit.flat.shard_elements;
  return {std::clamp<std::int64_t>(range.begin - begin, 0, unit.flat.shard_elements),
          std::clamp<std::int64_t>(range.end - begin, 0, unit.flat.shard_elements)};
}

/// Parameters, gradients and moments that share their hyperparameters.
struct UpdateLists {
  std::vector<at::Tensor> masters;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> first_moments;
  std::vector<at::Tensor> second_moments;

  /// `gradient` is the unit's slice of it in master_dtype.
  void add(const ShardedUnit& unit, const at::Tensor& gradient, const FlatRange& range) {
    if (range.begin == range.end) return;
    masters.push_back(unit.master.slice(0, range.begin, range.end));
    gradients.push_back(gradient.slice(0, range.begin, range.end));
    first_moments.push_back(unit.first_moment.slice(0, range.begin, range.end));
    second_moments.push_back(unit.second_moment.slice(0, range.begin, range.end));
  }
};

void update(const UpdateLists& lists, const AdamwOptions& options, double weight_decay,
            const at::Tensor& step) {
  if (lists.masters.empty()) return;
  const std::vector<at::Tensor> steps(lists.masters.size(), step);
  at::_fused_adamw_(lists.masters, lists.gradients, lists.first_moments, lists.second_moments, {},
                    steps, options.learning_rate, options.beta1, options.beta2, weight_decay,
                    options.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

/// What decays, and what does not.
struct Updates {
  UpdateLists decayed;
  UpdateLists other;

  void add(const ShardedUnit& unit, const at::Tensor& gradient, std::int64_t dp_shard_rank) {
    for (std::size_t s = 0; s < planner::kFlatSections; ++s) {
      const auto section = static_cast<FlatSection>(s);
      const bool decays =
          section == FlatSection::kSplitDecay || section == FlatSection::kReplicatedDecay;
      (decays ? decayed : other)
          .add(unit, gradient, within_slice(unit, dp_shard_rank, unit.flat.sections[s]));
    }
  }
  void apply(const AdamwOptions& options, const at::Tensor& step) const {
    update(decayed, options, options.weight_decay, step);
    update(other, options, 0.0, step);
  }
};

}  // namespace

void adamw_step(std::vector<ShardedUnit>& units, std::int64_t dp_shard_rank,
                const AdamwOptions& options, std::int64_t step) {
  const at::Tensor count =
      at::full({}, static_cast<float>(step),
               at::TensorOptions(at::kFloat).device(units.front().master.device()));
  Updates all;
  for (const ShardedUnit& unit : units) {
    const at::ScalarType type = unit.master.scalar_type();
    if (unit.gradient_slice.scalar_type() == type) {
      all.add(unit, unit.gradient_slice, dp_shard_rank);
      continue;
    }
    // Unit by unit, so that only one has its gradient twice.
    Updates one;
    one.add(unit, unit.gradient_slice.to(type), dp_shard_rank);
    one.apply(options, count);
  }
  all.apply(options, count);
}

at::Tensor squared_gradient_norm(const std::vector<ShardedUnit>& units, std::int64_t dp_shard_rank,
                                 std::int64_t tp_rank) {
  std::vector<at::Tensor> parts;
  for (const ShardedUnit& unit : units) {
    const auto add = [&](FlatSection first, FlatSection last) {
      const FlatRange range =
          within_slice(unit, dp_shard_rank,
                       {unit.flat.sections[static_cast<std::size_t>(first)].begin,
                        unit.flat.sections[static_cast<std::size_t>(last)].end});
      if (range.begin < range.end)
        parts.push_back(unit.gradient_slice.slice(0, range.begin, range.end));
    };
    add(FlatSection::kSplitDecay, FlatSection::kSplitNoDecay);
    if (tp_rank == 0) add(FlatSection::kReplicatedDecay, FlatSection::kReplicatedNoDecay);
  }
  // A rank may own nothing that counts.
  if (parts.empty()) return at::zeros({}, units.front().master.options().dtype(at::kDouble));
  return sum_of_squares(parts);
}

void scale_gradients(std::vector<ShardedUnit>& units, double factor) {
  for (ShardedUnit& unit : units) unit.gradient_slice.mul_(factor);
}

}  // namespace meshplan::executor
