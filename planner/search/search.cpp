#include "planner/search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "common/checked.h"
#include "common/error.h"
#include "common/text.h"
#include "planner/search/sizes.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kLogitBytesPerChunk = 64ll << 20;
constexpr std::int64_t kLargestTriedMicrobatch = 64;
/// No microbatch to try next.
constexpr std::int64_t kNone = 0;

void check(const SearchRequest& request) {
  check_positive("tp", request.tp);
  check_positive("dp_shard", request.dp_shard);
  check_positive("dp_replicate", request.dp_replicate);
  check_positive("pp", request.pp);
  check_positive("cp", request.cp);
  if (request.microbatch_size) check_positive("microbatch_size", {*request.microbatch_size});
  if (request.global_batch_size) check_positive("global_batch_size", {*request.global_batch_size});
  if (request.loss_chunks) check_positive("loss_chunks", {*request.loss_chunks});
}

class Search {
 public:
  Search(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
         const SearchRequest& request)
      : model_(model), cluster_(cluster), job_(job), request_(request) {}

  SearchResult run() {
    const std::int64_t world = world_size(cluster_);
    for (std::int64_t pp : allowed_divisors(world, request_.pp)) {
      for (std::int64_t cp : allowed_divisors(world / pp, request_.cp)) price_meshes(pp, cp);
    }
    rank();
    return std::move(result_);
  }

 private:
  /// Every mesh with these axes.
  void price_meshes(std::int64_t pp, std::int64_t cp) {
    const std::int64_t ranks = world_size(cluster_) / pp / cp;
    for (std::int64_t tp : allowed_divisors(ranks, {})) {
      for (std::int64_t dp_replicate : allowed_divisors(ranks / tp, {})) {
        Layout layout = request_.base;
        layout.mesh.ranks_per_node = cluster_.devices_per_node;
        layout.mesh.sizes[Axis::kPp] = pp;
        layout.mesh.sizes[Axis::kCp] = cp;
        layout.mesh.sizes[Axis::kTp] = tp;
        layout.mesh.sizes[Axis::kDpReplicate] = dp_replicate;
        layout.mesh.sizes[Axis::kDpShard] = ranks / tp / dp_replicate;
        if (wanted(layout.mesh.sizes)) price_mesh(layout);
      }
    }
  }

  bool wanted(const AxisSizes& sizes) const {
    const Sharding sharding = request_.base.sharding;
    if (sharding == Sharding::kNoShard && sizes[Axis::kDpShard] > 1) return false;
    if (sharding != without_replicas(sharding) && sizes[Axis::kDpReplicate] == 1) return false;
    return allowed(request_.tp, sizes[Axis::kTp]) &&
           allowed(request_.dp_shard, sizes[Axis::kDpShard]) &&
           allowed(request_.dp_replicate, sizes[Axis::kDpReplicate]);
  }

  void price_mesh(Layout layout) {
    if (request_.microbatch_size) {
      layout.microbatch_size = *request_.microbatch_size;
      price(layout);
      return;
    }
    layout.microbatch_size = 1;
    while (layout.microbatch_size != kNone && layout.microbatch_size <= kLargestTriedMicrobatch) {
      layout.microbatch_size = price(layout);
    }
  }

  /// Ranks or rejects the layout; returns the next microbatch that may do: none after a rejection
  /// that holds for every larger one as well.
  std::int64_t price(Layout layout) {
    const std::int64_t twice = 2 * std::min(layout.microbatch_size, kLargestTriedMicrobatch);
    if (request_.global_batch_size) {
      const std::int64_t batch = *request_.global_batch_size;
      const std::int64_t once = common::checked_multiply(
          layout.microbatch_size, data_parallel_size(layout.mesh), "microbatch_size");
      layout.accumulation = std::max<std::int64_t>(1, batch / once);
      if (batch % once != 0) {
        reject(layout,
               fmt::format("global_batch_size={}: must be a multiple of microbatch_size={} x dp={}",
                           batch, layout.microbatch_size, data_parallel_size(layout.mesh)));
        return kNone;
      }
    }
    layout.sequence_parallel =
        request_.sequence_parallel.value_or(default_sequence_parallel(model_, layout, job_));
    layout.loss_chunks = request_.loss_chunks.value_or(1);
    if (const auto broken = violations(model_, cluster_, job_, layout); !broken.empty()) {
      reject(layout, to_string(broken));
      return grows_out_of(broken) ? twice : kNone;
    }
    if (!request_.loss_chunks) layout.loss_chunks = default_loss_chunks(model_, job_, layout);
    Estimate priced = estimate(model_, cluster_, job_, layout);
    if (priced.fits) {
      result_.ranked.push_back({layout, std::move(priced)});
      return twice;
    }
    reject(
        layout,
        fmt::format("needs {} of {}; the peak is in {}", common::human(priced.memory.peak_device),
                    common::human(priced.memory.capacity), priced.memory.peak_instruction),
        priced.memory.peak_device);
    if (may_split_tokens_later(layout)) return twice;
    return without_accumulation(layout);
  }

  /// Whether a larger microbatch may break none of these rules.
  static bool grows_out_of(const std::vector<Violation>& broken) {
    return std::all_of(broken.begin(), broken.end(), [](const Violation& violation) {
      return violation.code == "loss_chunks_bounded" || violation.code == "accumulation_bounded";
    });
  }

  /// Whether twice the microbatch may be split by tokens, where this one was not: it may need less.
  bool may_split_tokens_later(const Layout& layout) const {
    return !request_.sequence_parallel && !layout.sequence_parallel &&
           layout.mesh.sizes[Axis::kTp] > 1;
  }

  /// A larger microbatch needs more memory, but for two: the half of the batch spares the buffers
  /// of microbatches that come after two others, and the whole batch those of accumulation.
  std::int64_t without_accumulation(const Layout& layout) const {
    const bool reached = std::has_single_bit(static_cast<std::uint64_t>(layout.accumulation));
    if (!request_.global_batch_size || layout.accumulation == 1 || !reached) return kNone;
    const std::int64_t more = layout.accumulation > 2 ? layout.accumulation / 2 : 2;
    return layout.microbatch_size * more;
  }

  void reject(const Layout& layout, std::string reason, common::Bytes needed = {}) {
    result_.rejected.push_back({layout, std::move(reason), needed});
  }

  void rank() {
    const auto better = [this](const Candidate& a, const Candidate& b) {
      return score(a.estimate, cluster_, request_.objective) <
             score(b.estimate, cluster_, request_.objective);
    };
    std::stable_sort(result_.ranked.begin(), result_.ranked.end(), better);
  }

  const ModelSpec& model_;
  const ClusterSpec& cluster_;
  const Job& job_;
  const SearchRequest& request_;
  SearchResult result_;
};

}  // namespace

std::int64_t default_loss_chunks(const ModelSpec& model, const Job& job, const Layout& layout) {
  // Without a vocabulary there are no logits.
  if (model.vocab_size == 0) return 1;
  const std::int64_t rows = common::ceil_divide(model.vocab_size, layout.mesh.sizes[Axis::kTp]);
  const std::int64_t tokens = microbatch_tokens(layout, job);
  const std::int64_t tokens_per_chunk = std::max<std::int64_t>(1, kLogitBytesPerChunk / (4 * rows));
  return std::min(kMaxLossChunks, common::ceil_divide(tokens, tokens_per_chunk));
}

SearchResult search(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                    const SearchRequest& request) {
  check(request);
  require_known(request.objective, cluster);
  return Search(model, cluster, job, request).run();
}

}  // namespace meshplan::planner
