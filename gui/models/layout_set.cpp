// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/layout_set.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <future>
#include <thread>
#include <tuple>

#include "planner/search/search.h"

namespace meshplan::gui {
namespace {

using planner::ActivationCheckpointing;
using planner::Layout;

constexpr std::size_t kRanked = 10;
/// Most that are priced between two looks at whether to stop.
constexpr std::size_t kBatch = 4096;

/// Lists what of the space keeps the rules.
class Listing {
 public:
  Listing(const Problem& problem, const Stop& stop)
      : m_problem(problem),
        m_space(planner::narrowed(problem.space, problem.model, problem.cluster)),
        m_stop(stop) {
    // Interleaved ones take a hundred times as long to price; the best of them are added.
    m_space.virtual_stages = {1};
  }

  /// Sets `cut` where there are more than are wanted.
  std::vector<Layout> run(bool& cut) {
    for (const planner::Branch& mesh : planner::meshes_of(m_problem.cluster, m_space)) {
      m_stop.check();
      if (!keepsRules(mesh.layout)) continue;
      for (const planner::Branch& branch : planner::branches_of(m_space, mesh)) add(branch);
    }
    cut = m_cut;
    return std::move(m_layouts);
  }

 private:
  bool keepsRules(const Layout& layout) const {
    return planner::violations(m_problem.model, m_problem.cluster, m_problem.job, layout).empty();
  }

  /// Layouts of a branch keep the same rules, but for those of experts and of a host's memory.
  void add(const planner::Branch& branch) {
    if (m_cut || !keepsRules(branch.layout)) return;
    const std::int64_t chunks =
        planner::default_loss_chunks(m_problem.model, m_problem.job, branch.layout);
    const bool allAlike =
        m_space.expert_parallel.size() == 1 && m_space.optimizer_offload == std::vector{false};
    for (Layout& layout : planner::layouts_of(m_space, branch)) {
      layout.loss_chunks = chunks;
      if (!allAlike && !keepsRules(layout)) continue;
      for (const ActivationCheckpointing way : m_space.activation_checkpointing) {
        layout.activation_checkpointing = way;
        m_layouts.push_back(layout);
      }
    }
    m_cut = m_layouts.size() >= kMostLayouts;
  }

  const Problem& m_problem;
  planner::SearchSpace m_space;
  const Stop& m_stop;
  std::vector<Layout> m_layouts;
  bool m_cut = false;
};

double mfuPerToken(const Problem& problem, const Layout& layout) {
  const planner::Estimate one =
      planner::estimate(problem.model, problem.cluster, problem.job, layout);
  return one.mfu / one.tokens_per_second_per_gpu;
}

/// Where layouts begin that do other work in a microbatch than those before them: what is worked
/// out to price one serves the others up to there. Ends with their number.
std::vector<std::size_t> bordersOf(const std::vector<Layout>& layouts) {
  const auto sortOf = [](const Layout& layout) {
    return std::tuple(layout.mesh.sizes[planner::Axis::kPp], layout.mesh.sizes[planner::Axis::kCp],
                      layout.mesh.sizes[planner::Axis::kTp], layout.microbatch_size,
                      layout.sequence_parallel);
  };
  std::vector<std::size_t> borders;
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const bool full = !borders.empty() && i - borders.back() >= kBatch;
    if (i == 0 || full || sortOf(layouts[i]) != sortOf(layouts[i - 1])) borders.push_back(i);
  }
  borders.push_back(layouts.size());
  return borders;
}

/// Prices layouts of a set on as many threads as there are cores; keeps what it has worked out for
/// those that are added.
class Pricer {
 public:
  Pricer(LayoutSet& set, const Stop& stop) : m_set(set), m_stop(stop) {}

  /// From `begin` on.
  void price(std::size_t begin) {
    if (begin == m_set.size()) return;
    const Problem& problem = *m_set.problem;
    if (!m_scale)
      m_scale = {&problem.cluster, &problem.job, mfuPerToken(problem, m_set.layouts.front())};
    for (auto& column : m_set.columns) column.resize(m_set.size());
    const std::vector<Layout> layouts(m_set.layouts.begin() + static_cast<std::ptrdiff_t>(begin),
                                      m_set.layouts.end());
    const std::vector<std::size_t> borders = bordersOf(layouts);
    const std::size_t threads =
        std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, borders.size() - 1);
    while (m_tables.size() < threads)
      m_tables.emplace_back(problem.model, problem.cluster, problem.job);
    std::atomic<std::size_t> next = 0;
    const auto work = [&](planner::EstimateTables& tables) {
      for (std::size_t part = next++; part + 1 < borders.size() && !m_stop.requested();
           part = next++) {
        price(tables,
              std::span<const Layout>(layouts).subspan(borders[part],
                                                       borders[part + 1] - borders[part]),
              begin + borders[part]);
      }
    };
    std::vector<std::future<void>> others;
    for (std::size_t i = 1; i < threads; ++i)
      others.push_back(std::async(std::launch::async, work, std::ref(m_tables[i])));
    work(m_tables.front());
    for (std::future<void>& other : others) other.get();
    m_stop.check();
  }

 private:
  /// Layouts that stand in the set from `place` on.
  void price(planner::EstimateTables& tables, std::span<const Layout> layouts, std::size_t place) {
    std::vector<planner::QuickEstimate> estimates(layouts.size());
    tables.price(layouts, estimates);
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      const Quantities values = quantitiesOf(layouts[i], estimates[i], *m_scale);
      for (std::size_t q = 0; q < kQuantities; ++q) m_set.columns[q][place + i] = values[q];
    }
  }

  LayoutSet& m_set;
  const Stop& m_stop;
  std::optional<QuantityScale> m_scale;
  /// Of each thread.
  std::deque<planner::EstimateTables> m_tables;
};

void judge(LayoutSet& set) {
  const double capacity = static_cast<double>(set.problem->cluster.device.memory.value);
  set.fits.resize(set.size());
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < set.size(); ++i) {
    set.fits[i] = set.value(Quantity::kMemory, i) <= capacity;
    if (set.fits[i]) order.push_back(i);
  }
  set.fitting = order.size();
  const auto time = [&](std::size_t i) { return set.value(Quantity::kTimePerToken, i); };
  const auto memory = [&](std::size_t i) { return set.value(Quantity::kMemory, i); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(time(a), memory(a)) < std::pair(time(b), memory(b));
  });
  double least = std::numeric_limits<double>::infinity();
  for (const std::size_t i : order) {
    if (memory(i) >= least) continue;
    least = memory(i);
    set.frontier.push_back(i);
  }
}

/// One of all layouts that are the same: without the numbers of choices that its others leave no
/// meaning.
Layout plain(Layout layout) {
  if (layout.activation_checkpointing == ActivationCheckpointing::kNone)
    layout.checkpointed_blocks.reset();
  if (planner::without_replicas(layout.sharding) != planner::Sharding::kFullShard)
    layout.blocks_kept_gathered = Layout{}.blocks_kept_gathered;
  return layout;
}

}  // namespace

std::size_t LayoutSet::indexOf(const Layout& layout) const {
  const auto found = std::find(layouts.begin(), layouts.end(), plain(layout));
  return found == layouts.end() ? kNone : static_cast<std::size_t>(found - layouts.begin());
}

bool Area::contains(const LayoutSet& set, std::size_t layout) const {
  const double across = set.axisValue(x, layout);
  const double up = set.axisValue(y, layout);
  return left <= across && across <= right && bottom <= up && up <= top;
}

LayoutSet priceAll(std::shared_ptr<const Problem> problem, const std::optional<Layout>& wanted,
                   const Stop& stop) {
  LayoutSet set;
  set.problem = std::move(problem);
  const Problem& asked = *set.problem;
  auto ranked = std::async(std::launch::async, [&] {
    return planner::best_layouts(asked.model, asked.cluster, asked.job, asked.space, kRanked,
                                 {.progress = [&](double) { stop.check(); }});
  });
  set.layouts = Listing(asked, stop).run(set.cut);
  Pricer pricer(set, stop);
  pricer.price(0);
  const std::size_t listed = set.size();
  set.ranked = ranked.get();
  const auto addOnce = [&](const Layout& layout) {
    if (set.indexOf(layout) == kNone) set.layouts.push_back(plain(layout));
  };
  for (const planner::Candidate& candidate : set.ranked.best) addOnce(candidate.layout);
  if (wanted && planner::violations(asked.model, asked.cluster, asked.job, *wanted).empty())
    addOnce(*wanted);
  pricer.price(listed);
  judge(set);
  if (!set.ranked.best.empty())
    set.best = set.indexOf(set.ranked.best.front().layout);
  else if (!set.frontier.empty())
    set.best = set.frontier.front();
  return set;
}

}  // namespace meshplan::gui
