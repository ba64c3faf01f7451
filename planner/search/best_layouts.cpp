#include "planner/search/best_layouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <queue>
#include <tuple>

#include "common/text.h"
#include "planner/search/bounds.h"
#include "planner/search/fit.h"
#include "planner/search/sizes.h"

namespace meshplan::planner {
namespace {

/// Bounds and prices are sums of the same numbers in another order.
constexpr double kRounding = 1 - 1e-9;

/// Where a layout stands in the space: branch, layout of the branch, checkpointing.
using Place = std::tuple<std::size_t, std::size_t, std::size_t>;

struct Found {
  double seconds_per_token;
  Place place;
  Layout layout;

  bool operator<(const Found& other) const {
    return std::tie(seconds_per_token, place) < std::tie(other.seconds_per_token, other.place);
  }
};

/// A branch whose layouts may fit, or one of its layouts.
struct Open {
  /// Of it, or of all in the branch.
  double least_seconds_per_token = 0;
  std::size_t branch = 0;
  /// Its index among the branch's.
  std::optional<std::size_t> layout;

  /// The most promising goes first, so that few others have to be looked at.
  bool operator<(const Open& other) const {
    return least_seconds_per_token > other.least_seconds_per_token;
  }
};

double tokens_of(const Job& job, const Layout& layout) {
  return static_cast<double>(global_batch_size(layout)) * static_cast<double>(job.seq_length);
}

class BestSearch {
 public:
  BestSearch(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
             const SearchSpace& space, std::size_t count, Pruning pruning)
      : model_(model),
        cluster_(cluster),
        job_(job),
        space_(space),
        count_(count),
        prunes_(pruning == Pruning::kOn),
        branches_(branches_of(cluster, space)),
        bounds_(model, cluster, job),
        may_fit_(branches_.size()),
        layouts_(branches_.size()),
        tables_(model, cluster, job),
        fit_(model, cluster, tables_) {}

  BestLayouts run() {
    for (std::size_t b = 0; b < branches_.size(); ++b) open_branch(b);
    for (; !open_.empty(); open_.pop()) {
      const Open next = open_.top();
      if (next.layout) {
        price(next);
      } else {
        open_layouts(next);
      }
    }
    for (const Found& found : found_)
      result_.best.push_back({found.layout, estimate(model_, cluster_, job_, found.layout)});
    return std::move(result_);
  }

 private:
  std::int64_t ways_of_checkpointing() const {
    return static_cast<std::int64_t>(space_.activation_checkpointing.size());
  }

  /// What is left of a branch after its rules and the least memory of its layouts.
  void open_branch(std::size_t index) {
    Layout& layout = branches_[index].layout;
    const std::vector<Layout> layouts = layouts_of(space_, branches_[index]);
    if (layouts.empty()) return;
    const auto all = static_cast<std::int64_t>(layouts.size()) * ways_of_checkpointing();
    result_.considered += all;
    if (breaks_rules(layouts.front(), all)) return;
    if (space_.base.loss_chunks == 1)
      layout.loss_chunks = default_loss_chunks(model_, job_, layout);
    Rejection too_large{.layout = {}, .reason = {}, .count = 0};
    std::vector<std::size_t>& may_fit = may_fit_[index];
    common::Bytes least(std::numeric_limits<std::int64_t>::max());
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      const common::Bytes need = device_memory(cluster_, bounds_.memory(layouts[i]));
      if (need <= cluster_.device.memory) {
        may_fit.push_back(i);
        continue;
      }
      too_large.count += ways_of_checkpointing();
      if (need >= least) continue;
      least = need;
      too_large.layout = layouts[i];
    }
    if (too_large.count > 0) {
      too_large.reason = fmt::format("needs at least {} of {}", common::human(least),
                                     common::human(cluster_.device.memory));
      too_large.needed = least;
      result_.rejected.push_back(std::move(too_large));
    }
    if (!may_fit.empty())
      open_.push({bounds_.compute_time(layout).value / tokens_of(job_, layout), index, {}});
  }

  /// Layouts of a branch keep the same rules, as all that have a meaning for the mesh do.
  bool breaks_rules(const Layout& layout, std::int64_t count) {
    const std::vector<Violation> broken = violations(model_, cluster_, job_, layout);
    if (!broken.empty()) result_.rejected.push_back({layout, to_string(broken), {}, count});
    return !broken.empty();
  }

  bool cannot_be_among_best(double least_seconds_per_token) const {
    return prunes_ && found_.size() == count_ &&
           kRounding * least_seconds_per_token > found_.back().seconds_per_token;
  }

  void open_layouts(const Open& branch) {
    const std::vector<std::size_t>& may_fit = may_fit_[branch.branch];
    if (cannot_be_among_best(branch.least_seconds_per_token)) {
      result_.slower += static_cast<std::int64_t>(may_fit.size()) * ways_of_checkpointing();
      return;
    }
    std::vector<Layout> layouts = layouts_of(space_, branches_[branch.branch]);
    const double tokens = tokens_of(job_, layouts.front());
    for (const std::size_t i : may_fit)
      open_.push({bounds_.time(layouts[i]).value / tokens, branch.branch, i});
    layouts_[branch.branch] = std::move(layouts);
  }

  void price(const Open& open) {
    if (cannot_be_among_best(open.least_seconds_per_token)) {
      result_.slower += ways_of_checkpointing();
      return;
    }
    price(layouts_[open.branch][*open.layout], open.branch, *open.layout);
  }

  void price(Layout layout, std::size_t branch, std::size_t index) {
    Rejection too_large{.layout = {}, .reason = {}, .count = 0};
    for (std::size_t way = 0; way < space_.activation_checkpointing.size(); ++way) {
      layout.activation_checkpointing = space_.activation_checkpointing[way];
      const std::optional<Layout> filled = fit_.fill(layout);
      if (!filled) {
        too_large.layout = layout;
        ++too_large.count;
        continue;
      }
      ++result_.fitting;
      keep({tables_.price(*filled).step_time.value / tokens_of(job_, layout),
            {branch, index, way},
            *filled});
      if (layout.activation_checkpointing == ActivationCheckpointing::kNone) {
        // What fits as it is has nothing to gain from computing twice.
        result_.slower += ways_of_checkpointing() - static_cast<std::int64_t>(way) - 1;
        break;
      }
    }
    if (too_large.count > 0) reject(std::move(too_large));
  }

  void reject(Rejection rejected) {
    Layout& layout = rejected.layout;
    layout.checkpointed_blocks.reset();
    const common::Bytes need = device_memory(cluster_, tables_.peak_allocated(layout));
    rejected.reason =
        fmt::format("needs {} of {}", common::human(need), common::human(cluster_.device.memory));
    rejected.needed = need;
    result_.rejected.push_back(std::move(rejected));
  }

  void keep(Found found) {
    if (found_.size() == count_ && !(found < found_.back())) return;
    found_.insert(std::upper_bound(found_.begin(), found_.end(), found), std::move(found));
    if (found_.size() > count_) found_.pop_back();
  }

  const ModelSpec& model_;
  const ClusterSpec& cluster_;
  const Job& job_;
  const SearchSpace& space_;
  std::size_t count_;
  bool prunes_;
  std::vector<Branch> branches_;
  LayoutBounds bounds_;
  std::priority_queue<Open> open_;
  /// By branch, the index of the layouts whose least memory fits; and all layouts, once opened.
  std::vector<std::vector<std::size_t>> may_fit_;
  std::vector<std::vector<Layout>> layouts_;
  EstimateTables tables_;
  MemoryFit fit_;
  /// The best so far.
  std::vector<Found> found_;
  BestLayouts result_;
};

void check(const SearchSpace& space) {
  check_positive("pp", space.pp);
  check_positive("cp", space.cp);
  check_positive("tp", space.tp);
  check_positive("dp_shard", space.dp_shard);
  check_positive("dp_replicate", space.dp_replicate);
  check_positive("microbatch_size", space.microbatch_size);
  if (space.global_batch_size) check_positive("global_batch_size", {*space.global_batch_size});
}

}  // namespace

BestLayouts best_layouts(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                         const SearchSpace& space, std::size_t count, Pruning pruning) {
  check(space);
  if (count == 0) return {};
  return BestSearch(model, cluster, job, space, count, pruning).run();
}

}  // namespace meshplan::planner
