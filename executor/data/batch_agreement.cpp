#include "executor/data/batch_agreement.h"

#include <fmt/format.h>

#include <bit>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "common/error.h"

namespace meshplan::executor {
namespace {

using planner::Axis;

/// FNV-1a, 64 bits (draft-eastlake-fnv), over numbers in place of bytes.
class Checksum {
 public:
  void add(const std::vector<std::int64_t>& numbers) {
    for (const std::int64_t number : numbers)
      value_ = (value_ ^ static_cast<std::uint64_t>(number)) * 0x100000001b3ULL;
  }
  void add(const std::vector<float>& numbers) {
    for (const float number : numbers)
      value_ = (value_ ^ std::bit_cast<std::uint32_t>(number)) * 0x100000001b3ULL;
  }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

[[noreturn]] void refuse(const std::string& message) {
  throw common::Error(common::ErrorCode::kInvalidInput, message, "data");
}

void expect_same(c10d::Store& store, const std::string& what, std::int64_t rank, std::int64_t other,
                 const std::string& own) {
  const std::string theirs = store.get_to_str(fmt::format("{}/{}", what, other));
  if (theirs == own) return;
  refuse(
      fmt::format("rank {} has {} {}, rank {} has {}: they must be the same; give every node "
                  "the same files, and all ranks the same flags",
                  rank, what, own, other, theirs));
}

}  // namespace

void check_batch_agreement(c10d::Store& store, const planner::DeviceMesh& mesh, std::int64_t rank,
                           std::int64_t sample_count, const HostBatch& first) {
  const std::int64_t tp = mesh.sizes[Axis::kTp];
  const std::int64_t dp = planner::data_parallel_size(mesh);
  Checksum content;
  content.add(first.samples);
  content.add(first.tokens);
  content.add(first.labels);
  content.add(first.rows);
  const std::string samples = std::to_string(sample_count);
  const std::string sample = std::to_string(first.samples.front());
  store.set(fmt::format("samples/{}", rank), samples);
  store.set(fmt::format("batches/{}", rank), content.text());
  store.set(fmt::format("sample/{}", rank), sample);

  expect_same(store, "samples", rank, 0, samples);
  const std::int64_t first_of_group = rank - rank % tp;
  expect_same(store, "batches", rank, first_of_group, content.text());
  // With fewer samples than data-parallel ranks, some are dealt twice.
  if (dp == 1 || sample_count < dp) return;
  const std::int64_t neighbour = (rank + tp) % (dp * tp);
  const std::string theirs = store.get_to_str(fmt::format("sample/{}", neighbour));
  if (theirs != sample) return;
  refuse(
      fmt::format("ranks {} and {} are different data-parallel ranks and both begin with sample "
                  "{}; start the ranks with different RANK",
                  rank, neighbour, sample));
}

}  // namespace meshplan::executor
