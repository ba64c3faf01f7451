#pragma once

#include <cstdint>
#include <vector>

namespace meshplan::executor {

/// The part of a data set that one data-parallel rank sees, and the order of the parts.
struct SampleDeal {
  /// Samples of the whole data set.
  std::int64_t count = 0;
  std::int64_t dp_rank = 0;
  std::int64_t dp_size = 1;
  std::int64_t seed = 0;
  bool shuffle = true;
};

/// Samples that every rank is dealt in an epoch: count / dp_size, rounded up.
std::int64_t samples_per_rank(const SampleDeal& deal);

/// The samples of this rank in an epoch, in their order, exactly as
/// torch.utils.data.DistributedSampler(shuffle, seed, drop_last=False) deals them: all samples,
/// permuted by a generator of seed + epoch, are repeated from their begin up to a multiple of
/// dp_size; rank r takes the positions r, r + dp_size, ...
std::vector<std::int64_t> deal_samples(const SampleDeal& deal, std::int64_t epoch);

}  // namespace meshplan::executor
