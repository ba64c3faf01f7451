// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/layout_detail.h"

#include <algorithm>
#include <future>

#include "planner/explain/explanation.h"

namespace meshplan::gui {
namespace {

using planner::ActivationCheckpointing;
using planner::Axis;
using planner::Layout;

/// Pipeline stages whose first ranks have a timeline; more of them take memory that no view needs.
constexpr std::int64_t kMostTimelines = 64;

planner::Candidate priced(const Problem& problem, const Layout& layout) {
  return {layout, planner::estimate(problem.model, problem.cluster, problem.job, layout)};
}

/// The layout with one choice changed; those that break a rule, or that change nothing, are left
/// out.
class Neighbours {
 public:
  Neighbours(const Problem& problem, const planner::Candidate& centre)
      : m_problem(problem), m_centre(centre.layout), m_found({{"this layout", centre}}) {}

  std::vector<NamedEstimate> run() {
    const std::int64_t tp = m_centre.mesh.sizes[Axis::kTp];
    const std::int64_t shard = m_centre.mesh.sizes[Axis::kDpShard];
    if (tp % 2 == 0) addMesh("tp", tp / 2, shard * 2);
    if (shard % 2 == 0) addMesh("tp", tp * 2, shard / 2);
    addCheckpointing("no checkpointing", ActivationCheckpointing::kNone);
    addCheckpointing("selective", ActivationCheckpointing::kSelective);
    addCheckpointing("full", ActivationCheckpointing::kFull);
    if (m_centre.microbatch_size % 2 == 0)
      addMicrobatch(m_centre.microbatch_size / 2, m_centre.accumulation * 2);
    if (m_centre.accumulation % 2 == 0)
      addMicrobatch(m_centre.microbatch_size * 2, m_centre.accumulation / 2);
    return std::move(m_found);
  }

 private:
  void addMesh(const char* name, std::int64_t tp, std::int64_t shard) {
    Layout layout = m_centre;
    layout.mesh.sizes[Axis::kTp] = tp;
    layout.mesh.sizes[Axis::kDpShard] = shard;
    const bool growsTp = tp > m_centre.mesh.sizes[Axis::kTp];
    // The batch stays: half the data-parallel ranks accumulate twice.
    if (growsTp) layout.accumulation *= 2;
    if (!growsTp && layout.accumulation % 2 == 0) layout.accumulation /= 2;
    if (tp == 1) layout.sequence_parallel = layout.async_tp = false;
    if (growsTp && m_centre.mesh.sizes[Axis::kTp] == 1)
      layout.sequence_parallel =
          planner::default_sequence_parallel(m_problem.model, layout, m_problem.job);
    add(QString("%1 %2").arg(name).arg(tp), layout);
  }
  void addCheckpointing(const char* name, ActivationCheckpointing way) {
    Layout layout = m_centre;
    layout.activation_checkpointing = way;
    layout.checkpointed_blocks.reset();
    add(name, layout);
  }
  void addMicrobatch(std::int64_t microbatch, std::int64_t accumulation) {
    Layout layout = m_centre;
    layout.microbatch_size = microbatch;
    layout.accumulation = accumulation;
    add(QString("microbatch %1").arg(microbatch), layout);
  }
  void add(const QString& name, Layout layout) {
    layout.loss_chunks = 1;
    if (!planner::violations(m_problem.model, m_problem.cluster, m_problem.job, layout).empty())
      return;
    layout.loss_chunks = planner::default_loss_chunks(m_problem.model, m_problem.job, layout);
    if (layout != m_centre) m_found.push_back({name, priced(m_problem, layout)});
  }

  const Problem& m_problem;
  Layout m_centre;
  std::vector<NamedEstimate> m_found;
};

/// The layout itself where it has both of them, or else the fastest that does.
const Layout& withTpAndShards(const LayoutSet& set, std::size_t own) {
  const auto hasBoth = [&](std::size_t i) {
    const planner::AxisSizes& sizes = set.layouts[i].mesh.sizes;
    return sizes[Axis::kTp] > 1 && sizes[Axis::kDpShard] > 1;
  };
  std::size_t best = own;
  if (!hasBoth(own)) {
    for (std::size_t i = 0; i < set.size(); ++i) {
      const double time = set.value(Quantity::kTimePerToken, i);
      const bool faster = best == own || time < set.value(Quantity::kTimePerToken, best);
      if (set.fits[i] && hasBoth(i) && faster) best = i;
    }
  }
  return set.layouts[best];
}

simulator::SimulatedStep play(const planner::Plan& plan, const Stop& stop) {
  const planner::DeviceMesh& mesh = plan.layout.mesh;
  const std::int64_t stages = mesh.sizes[Axis::kPp];
  simulator::SimulationRequest request;
  for (std::int64_t stage = 0; stage < std::min(stages, kMostTimelines); ++stage)
    request.timelines.push_back(stage * (planner::world_size(mesh) / stages));
  request.progress = [&](double) { stop.check(); };
  return simulator::simulate(plan, request);
}

QString explain(const LayoutSet& set) {
  const Problem& problem = *set.problem;
  const planner::SearchResult found{set.ranked.best, {}};
  return QString::fromStdString(planner::explanation_text(planner::explain(
      problem.model, problem.cluster, problem.job, found, planner::Objective::kThroughput)));
}

}  // namespace

planner::Plan LayoutDetail::plan() const {
  return {.model = problem->model,
          .model_source = problem->modelSource,
          .cluster = problem->cluster,
          .job = problem->job,
          .layout = candidate.layout,
          .estimate = candidate.estimate};
}

LayoutDetail detailOf(const LayoutSet& set, std::size_t layout, std::size_t compared,
                      const Stop& stop) {
  const Problem& problem = *set.problem;
  LayoutDetail detail;
  detail.problem = set.problem;
  detail.candidate = priced(problem, set.layouts[layout]);
  auto played = std::async(std::launch::async, [&] { return play(detail.plan(), stop); });
  detail.shares = planner::shares_of(problem.model, problem.cluster, problem.job, detail.candidate);
  if (compared != kNone) detail.compared = priced(problem, set.layouts[compared]);
  detail.neighbours = Neighbours(problem, detail.candidate).run();
  detail.trafficLayout = withTpAndShards(set, layout);
  for (std::size_t axis = 0; axis < kTrafficAxes; ++axis) {
    detail.traffic[axis] =
        trafficOver(static_cast<TrafficAxis>(axis), problem, detail.trafficLayout, stop);
  }
  if (layout == set.best && !set.ranked.best.empty()) detail.explanation = explain(set);
  try {
    detail.step = played.get();
    detail.timeline = timelineOf(problem.model, *detail.step);
    detail.step->timelines.clear();
  } catch (const std::exception& error) {
    detail.simulationFailure = QString::fromUtf8(error.what());
  }
  return detail;
}

}  // namespace meshplan::gui
