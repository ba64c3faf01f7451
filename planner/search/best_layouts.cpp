#include "planner/search/best_layouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
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

/// A branch, or one of its layouts whose least memory fits.
struct Open {
  double least_seconds_per_token = 0;
  std::size_t branch = 0;
  /// Its index among the branch's.
  std::optional<std::size_t> layout;
  /// Of interleaved layouts, which take long to price: the way of checkpointing that the bound is
  /// of, and what it counts. kLayout: any way; kWay: as few blocks checkpointed as may have room;
  /// kFilled: as many as have to be for the fullest stage to fit.
  enum class Bound { kLayout, kWay, kFilled };
  std::size_t way = 0;
  Bound bound = Bound::kLayout;
  /// With any way.
  double least_of_layout = 0;

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
             const SearchSpace& space, std::size_t count, const BestLayoutsOptions& options)
      : model_(model),
        cluster_(cluster),
        job_(job),
        space_(narrowed(space, model, cluster)),
        count_(count),
        prunes_(options.pruning == Pruning::kOn),
        progress_(options.progress),
        bounds_(model, cluster, job),
        tables_(model, cluster, job),
        fit_(model, cluster, tables_) {}

  BestLayouts run() {
    for (const Branch& mesh : meshes_of(cluster_, space_)) open_mesh(mesh);
    while (!open_.empty()) {
      const Open next = open_.top();
      open_.pop();
      report_progress();
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

  /// Layouts of a branch with every way of checkpointing; as many as of another with as large axes.
  std::int64_t count_of(const Branch& branch) {
    const std::array key = {branch.dp, branch.layout.mesh.sizes[Axis::kCp],
                            std::int64_t{branch.layout.accumulation > 1}};
    const auto [found, is_new] = counts_.try_emplace(key);
    if (is_new) found->second = std::ssize(layouts_of(space_, branch)) * ways_of_checkpointing();
    return found->second;
  }

  void open_mesh(const Branch& mesh) {
    std::vector<Branch> branches = branches_of(space_, mesh);
    std::int64_t all = 0;
    for (const Branch& branch : branches) all += count_of(branch);
    if (all == 0) return;
    result_.considered += all;
    if (breaks_rules(mesh.layout, all)) return;
    for (Branch& branch : branches) {
      if (count_of(branch) > 0) open_branch(std::move(branch));
    }
  }

  /// Layouts of a branch keep the same rules, but for those of ep and of what a host holds.
  void open_branch(Branch branch) {
    Layout& layout = branch.layout;
    if (breaks_rules(layout, count_of(branch))) return;
    if (space_.base.loss_chunks == 1)
      layout.loss_chunks = default_loss_chunks(model_, job_, layout);
    Layout smallest = layout;
    const std::vector<bool>& offloads = space_.optimizer_offload;
    smallest.optimizer_offload =
        std::find(offloads.begin(), offloads.end(), true) != offloads.end();
    const common::Bytes need = least_memory(smallest);
    // Of a choice of ep nothing is known.
    if (space_.expert_parallel.size() == 1 && need > cluster_.device.memory)
      return reject_too_large(smallest, need, count_of(branch));
    const double time = bounds_.compute_time(layout).value / tokens_of(job_, layout);
    Open opened;
    opened.least_seconds_per_token = time;
    opened.branch = branches_.size();
    open_.push(opened);
    branches_.push_back(std::move(branch));
    layouts_.emplace_back();
  }

  common::Bytes least_memory(const Layout& layout) {
    return device_memory(cluster_, bounds_.memory(layout));
  }

  void reject_too_large(const Layout& layout, common::Bytes need, std::int64_t count) {
    result_.rejected.push_back({layout,
                                fmt::format("needs at least {} of {}", common::human(need),
                                            common::human(cluster_.device.memory)),
                                need, count});
  }

  bool breaks_rules(const Layout& layout, std::int64_t count) {
    const std::vector<Violation> broken = violations(model_, cluster_, job_, layout);
    if (!broken.empty()) result_.rejected.push_back({layout, to_string(broken), {}, count});
    return !broken.empty();
  }

  void report_progress() {
    if (!progress_) return;
    std::int64_t done = result_.fitting + result_.slower;
    for (; counted_ < result_.rejected.size(); ++counted_)
      rejected_ += result_.rejected[counted_].count;
    done += rejected_;
    progress_(static_cast<double>(done) / static_cast<double>(result_.considered));
  }

  bool cannot_be_among_best(double least_seconds_per_token) const {
    return prunes_ && found_.size() == count_ &&
           kRounding * least_seconds_per_token > found_.back().seconds_per_token;
  }

  void open_layouts(const Open& open) {
    const Branch& branch = branches_[open.branch];
    if (cannot_be_among_best(open.least_seconds_per_token)) {
      result_.slower += count_of(branch);
      return;
    }
    std::vector<Layout>& layouts = layouts_[open.branch];
    layouts = layouts_of(space_, branch);
    const double tokens = tokens_of(job_, branch.layout);
    const Layout* smallest = nullptr;
    common::Bytes least(std::numeric_limits<std::int64_t>::max());
    std::int64_t too_large = 0;
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      const common::Bytes need = least_memory(layouts[i]);
      if (need <= cluster_.device.memory) {
        Open opened = open;
        opened.least_seconds_per_token = bounds_.time(layouts[i]).value / tokens;
        opened.layout = i;
        open_.push(opened);
        continue;
      }
      too_large += ways_of_checkpointing();
      if (need >= least) continue;
      least = need;
      smallest = &layouts[i];
    }
    if (too_large > 0) reject_too_large(*smallest, least, too_large);
  }

  void price(const Open& open) {
    if (cannot_be_among_best(open.least_seconds_per_token)) {
      result_.slower += ways_of_checkpointing() - static_cast<std::int64_t>(open.way);
      return;
    }
    Layout layout = layouts_[open.branch][*open.layout];
    const bool has_rules = layout.optimizer_offload || layout.mesh.expert_parallel > 1;
    const bool is_new = open.way == 0 && open.bound == Open::Bound::kLayout;
    if (has_rules && is_new && breaks_rules(layout, ways_of_checkpointing())) return;
    if (prunes_ && layout.virtual_stages > 1) return approach(open, layout);
    for (std::size_t way = 0; way < space_.activation_checkpointing.size(); ++way) {
      layout.activation_checkpointing = space_.activation_checkpointing[way];
      if (!has_room(layout) || !price(layout, {open.branch, *open.layout, way})) {
        reject(layout);
      } else if (layout.activation_checkpointing == ActivationCheckpointing::kNone) {
        // What fits as it is has nothing to gain from computing twice.
        result_.slower += ways_of_checkpointing() - static_cast<std::int64_t>(way) - 1;
        break;
      }
    }
  }

  /// Puts an interleaved layout where its next closer bound belongs, or prices it.
  void approach(Open open, Layout layout) {
    layout.activation_checkpointing = space_.activation_checkpointing[open.way];
    Layout least = layout;
    switch (open.bound) {
      case Open::Bound::kLayout:
        if (open.way == 0) open.least_of_layout = open.least_seconds_per_token;
        least.checkpointed_blocks = bounds_.least_checkpointed(layout);
        least.blocks_kept_gathered = model_.num_hidden_layers;
        open.bound = Open::Bound::kWay;
        break;
      case Open::Bound::kWay: {
        const std::optional<Layout> fuller =
            has_room(layout) ? fit_.fill_fullest(layout) : std::nullopt;
        if (!fuller) return go_on_without(open, layout);
        least = *fuller;
        open.bound = Open::Bound::kFilled;
        break;
      }
      case Open::Bound::kFilled:
        if (!price(layout, {open.branch, *open.layout, open.way}))
          return go_on_without(open, layout);
        if (layout.activation_checkpointing == ActivationCheckpointing::kNone) {
          result_.slower += ways_of_checkpointing() - static_cast<std::int64_t>(open.way) - 1;
          return;
        }
        return go_on(open);
    }
    const double time = bounds_.time_as_played(least).value / tokens_of(job_, layout);
    open.least_seconds_per_token = std::max(open.least_of_layout, time);
    open_.push(open);
  }

  void go_on_without(const Open& open, const Layout& too_large) {
    reject(too_large);
    go_on(open);
  }

  /// With the layout's next way of checkpointing.
  void go_on(Open open) {
    if (++open.way == space_.activation_checkpointing.size()) return;
    open.bound = Open::Bound::kLayout;
    open.least_seconds_per_token = open.least_of_layout;
    open_.push(open);
  }

  bool has_room(const Layout& layout) {
    return device_memory(cluster_, bounds_.memory_as_checkpointed(layout)) <=
           cluster_.device.memory;
  }

  /// Prices the layout as it fits, unless that is slower than the best; false where it does not
  /// fit.
  bool price(const Layout& layout, const Place& place) {
    const std::optional<Layout> filled = fit_.fill(layout);
    if (!filled) return false;
    const double tokens = tokens_of(job_, layout);
    if (cannot_be_among_best(bounds_.time_as_played(*filled).value / tokens)) {
      ++result_.slower;
    } else {
      ++result_.fitting;
      keep({tables_.price(*filled).step_time.value / tokens, place, *filled});
    }
    return true;
  }

  void reject(Layout layout) {
    layout.checkpointed_blocks.reset();
    const common::Bytes least = device_memory(cluster_, bounds_.memory_as_checkpointed(layout));
    if (least > cluster_.device.memory) return reject_too_large(layout, least, 1);
    // What all stages of an interleaved layout need takes long to tell.
    if (prunes_ && layout.virtual_stages > 1)
      return reject_too_large(layout, fit_.need_of_fullest(layout), 1);
    const common::Bytes need = device_memory(cluster_, tables_.peak_allocated(layout));
    result_.rejected.push_back(
        {layout,
         fmt::format("needs {} of {}", common::human(need), common::human(cluster_.device.memory)),
         need, 1});
  }

  void keep(Found found) {
    if (found_.size() == count_ && !(found < found_.back())) return;
    found_.insert(std::upper_bound(found_.begin(), found_.end(), found), std::move(found));
    if (found_.size() > count_) found_.pop_back();
  }

  const ModelSpec& model_;
  const ClusterSpec& cluster_;
  const Job& job_;
  SearchSpace space_;
  std::size_t count_;
  bool prunes_;
  std::function<void(double)> progress_;
  /// Of the result's rejections so many were counted, with so many layouts.
  std::size_t counted_ = 0;
  std::int64_t rejected_ = 0;
  LayoutBounds bounds_;
  /// Of what count_of() tells apart.
  std::map<std::array<std::int64_t, 3>, std::int64_t> counts_;
  std::priority_queue<Open> open_;
  /// Those that may have a layout that fits; and their layouts, once opened.
  std::vector<Branch> branches_;
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
  check_positive("virtual_stages", space.virtual_stages);
  check_positive("expert_parallel", space.expert_parallel);
  if (space.global_batch_size) check_positive("global_batch_size", {*space.global_batch_size});
}

}  // namespace

BestLayouts best_layouts(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                         const SearchSpace& space, std::size_t count,
                         const BestLayoutsOptions& options) {
  check(space);
  if (count == 0) return {};
  return BestSearch(model, cluster, job, space, count, options).run();
}

}  // namespace meshplan::planner
