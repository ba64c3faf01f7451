#include "executor/data/distributed_sampler.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randperm.h>

#include <cstddef>

#include "common/checked.h"

namespace meshplan::executor {

std::int64_t samples_per_rank(const SampleDeal& deal) {
  return common::ceil_divide(deal.count, deal.dp_size);
}

std::vector<std::int64_t> deal_samples(const SampleDeal& deal, std::int64_t epoch) {
  const std::uint64_t seed =
      static_cast<std::uint64_t>(deal.seed) + static_cast<std::uint64_t>(epoch);
  const at::Tensor order =
      deal.shuffle
          ? at::randperm(deal.count, at::make_generator<at::CPUGeneratorImpl>(seed), at::kLong)
          : at::arange(deal.count, at::kLong);
  const std::int64_t* positions = order.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> dealt(static_cast<std::size_t>(samples_per_rank(deal)));
  for (std::size_t i = 0; i < dealt.size(); ++i) {
    const std::int64_t position = deal.dp_rank + static_cast<std::int64_t>(i) * deal.dp_size;
    dealt[i] = positions[position % deal.count];
  }
  return dealt;
}

}  // namespace meshplan::executor
