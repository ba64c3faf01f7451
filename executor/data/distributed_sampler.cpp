#include "executor/data/distributed_sampler.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randperm.h>

#include <cstddef>
#include <numeric>

#include "common/checked.h"

namespace meshplan::executor {

std::int64_t samples_per_rank(const SampleDeal& deal) {
  return common::ceil_divide(deal.count, deal.dp_size);
}

std::vector<std::int64_t> deal_samples(const SampleDeal& deal, std::int64_t epoch) {
  const std::uint64_t seed =
      static_cast<std::uint64_t>(deal.seed) + static_cast<std::uint64_t>(epoch);
  // Memory of our own under torch's permutation: a thread that deals counts in no step's memory.
  std::vector<std::int64_t> order(static_cast<std::size_t>(deal.count));
  if (deal.shuffle) {
    at::Tensor permuted = at::from_blob(order.data(), {deal.count}, at::kLong);
    at::randperm_out(permuted, deal.count, at::make_generator<at::CPUGeneratorImpl>(seed));
  } else {
    std::iota(order.begin(), order.end(), std::int64_t{0});
  }
  std::vector<std::int64_t> dealt(static_cast<std::size_t>(samples_per_rank(deal)));
  for (std::size_t i = 0; i < dealt.size(); ++i) {
    const std::int64_t position = deal.dp_rank + static_cast<std::int64_t>(i) * deal.dp_size;
    dealt[i] = order[static_cast<std::size_t>(position % deal.count)];
  }
  return dealt;
}

}  // namespace meshplan::executor
