#include "executor/calibrate/collective_work.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "common/error.h"
#include "planner/cost/price.h"

namespace meshplan::executor {
namespace {

using planner::CollectiveKind;

/// A collective and its buffers: the whole tensor and this rank's part of it.
class CollectiveWork {
 public:
  CollectiveWork(Communicator& group, CollectiveKind kind, std::int64_t elements, at::Device device)
      : group_(group.unlogged()), kind_(kind) {
    const std::int64_t each = std::max<std::int64_t>(1, elements / group.size());
    whole_ = at::zeros({each * group.size()}, at::TensorOptions(at::kFloat).device(device));
    part_ = at::zeros({each}, whole_.options());
  }

  Pending issue() {
    switch (kind_) {
      case CollectiveKind::kAllReduce:
        return group_.all_reduce(whole_, ReduceOp::kSum);
      case CollectiveKind::kAllGather:
        return group_.all_gather(whole_, part_);
      case CollectiveKind::kReduceScatter:
        return group_.reduce_scatter(part_, whole_);
      case CollectiveKind::kSend:
      case CollectiveKind::kAllToAll:
        break;
    }
    throw common::Error(common::ErrorCode::kInternal, "is not measured", to_string(kind_));
  }

  double wire_bytes() const {
    const common::Bytes bytes(static_cast<std::int64_t>(whole_.nbytes()));
    return static_cast<double>(planner::wire_bytes(kind_, bytes, group_.size()).value);
  }

 private:
  Communicator group_;
  CollectiveKind kind_;
  at::Tensor whole_;
  at::Tensor part_;
};

/// Of the collective that is overlapped: as many as a block of parameters has.
constexpr std::int64_t kOverlapElements = 1 << 20;
/// How often the work is done before a collective.
constexpr std::array<int, 3> kWorkBefore = {1, 2, 4};

/// Of the work's time, what the difference of two measurements of it may be off by.
constexpr double kNoise = 0.1;

struct AddedSeconds {
  double seconds;
  double noise;
};

/// Seconds that the collective adds, on average. The work alone is measured beside it each time:
/// what else runs on the machine may change.
AddedSeconds added_seconds(const RankTimer& timer, const ComputeWork& compute,
                           CollectiveWork& work) {
  const double alone = timer.seconds_together(compute);
  double added = 0;
  double worked = 0;
  for (const int repeats : kWorkBefore) {
    const double both = timer.seconds_together([&] {
      for (int i = 0; i < repeats; ++i) compute();
      work.issue().wait();
    });
    added += both - repeats * alone;
    worked += repeats * alone;
  }
  constexpr auto kTimes = static_cast<double>(kWorkBefore.size());
  return {std::max(added / kTimes, 0.01 * alone), kNoise * worked / kTimes};
}

}  // namespace

Measurement measure_collective(const RankTimer& timer, const ComputeWork& compute,
                               Communicator& group, CollectiveKind kind, std::int64_t elements,
                               at::Device device) {
  CollectiveWork work(group, kind, elements, device);
  const AddedSeconds added = added_seconds(timer, compute, work);
  return {work.wire_bytes(), added.seconds, static_cast<double>(group.size() - 1), added.noise};
}

double measure_overlap(const RankTimer& timer, const ComputeWork& compute, Communicator& group,
                       at::Device device) {
  double hidden = 0;
  for (const CollectiveKind kind : {CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    CollectiveWork work(group, kind, kOverlapElements, device);
    const double collective = added_seconds(timer, compute, work).seconds;
    // Compute that lasts longer than the collective, as blocks do.
    const double alone = timer.seconds_together(compute);
    const int repeats = static_cast<int>(std::ceil(2 * collective / alone));
    const double beside = timer.seconds_together([&] {
      Pending pending = work.issue();
      for (int i = 0; i < repeats; ++i) compute();
      pending.wait();
    });
    hidden += std::clamp((repeats * alone + collective - beside) / collective, 0.0, 1.0);
  }
  return hidden / 2;
}

}  // namespace meshplan::executor
