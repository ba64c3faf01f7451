#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>

#include "executor/data/batches.h"
#include "planner/layout/device_mesh.h"

namespace c10d {
class Store;
}  // namespace c10d

namespace meshplan::executor {

/// Checks, over the store that all ranks share, that the ranks see the data as the mesh says: the
/// ranks of a tensor-parallel group get identical batches (a checksum of `first`), data-parallel
/// ranks different samples, and all equally many batches an epoch. Throws kInvalidInput, naming
/// both ranks and what they have. No collective: it is no part of a step.
void check_batch_agreement(c10d::Store& store, const planner::DeviceMesh& mesh, std::int64_t rank,
                           std::int64_t sample_count, const HostBatch& first);

}  // namespace meshplan::executor
