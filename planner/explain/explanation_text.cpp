#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/text.h"
#include "planner/explain/explanation.h"
#include "planner/explain/layout_text.h"

namespace meshplan::planner {
namespace {

using common::human;

/// Parts that are named: from half a per cent on.
constexpr double kNamed = 0.005;

std::string percent(double fraction) {
  const double figure = 100 * fraction;
  return std::abs(figure) < 0.1 ? fmt::format("{:.2g} %", figure) : fmt::format("{:.1f} %", figure);
}

/// The parts from the largest to the smallest.
template <class Value>
std::vector<std::size_t> descending(const std::array<Value, kStepParts>& values) {
  std::vector<std::size_t> order(kStepParts);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  return order;
}

const char* name_of(std::size_t part) { return description_of(static_cast<StepPart>(part)); }

std::string bound_text(const Explanation& explanation) {
  const double step = explanation.chosen.estimate.step_time.value;
  std::vector<std::string> parts;
  for (std::size_t p : descending(explanation.shares)) {
    const double share = explanation.shares[p].value / step;
    if (share >= kNamed) parts.push_back(fmt::format("{} {}", percent(share), name_of(p)));
  }
  const StepPart most = largest(explanation.shares);
  return fmt::format("What bounds it: {}. Its step of {} is {}.\n", description_of(most),
                     human(explanation.chosen.estimate.step_time), fmt::join(parts, ", "));
}

std::string loser_text(const Explanation& explanation, const Loser& loser) {
  std::string text =
      fmt::format("Number {}, {}, ", loser.rank, layout_text(loser.candidate.layout));
  if (explanation.objective == Objective::kMemory) {
    text += fmt::format("needs {} more of the device's memory ({}) and is {} {}",
                        percent(loser.worse), human(loser.candidate.estimate.memory.peak_device),
                        percent(std::abs(loser.slower)), loser.slower < 0 ? "faster" : "slower");
  } else {
    text += fmt::format("takes {} more time per token", percent(loser.slower));
  }
  std::vector<std::string> parts;
  for (std::size_t p : descending(loser.slower_by)) {
    const double by = loser.slower_by[p];
    if (std::abs(by) < kNamed) continue;
    parts.push_back(
        fmt::format("{} {} {}", percent(std::abs(by)), by > 0 ? "more" : "less", name_of(p)));
  }
  return fmt::format("{}{}{}.\n", text, parts.empty() ? "" : ": ", fmt::join(parts, ", "));
}

std::string volume_table(const Volumes& volumes) {
  std::vector<std::vector<std::string>> rows = {
      {"sequence", "microbatch", "tp: wire bytes of a step", "dp_shard: the same",
       "first order, tp: one forward pass", "first order, fsdp: one gather"}};
  for (const VolumePoint& point : volumes.points) {
    rows.push_back({std::to_string(point.seq_length), std::to_string(point.microbatch_size),
                    human(point.tp_wire), human(point.dp_shard_wire),
                    human(point.first_order.tp_activations),
                    human(point.first_order.fsdp_parameters)});
  }
  return common::format_table(rows);
}

std::string crossing_tokens_text(const Explanation& explanation) {
  const Volumes& volumes = explanation.volumes;
  std::string text = fmt::format(
      "TP against FSDP: what tp sends grows with the tokens of a microbatch, what FSDP sends "
      "stays. With {}:\n\n{}\n",
      layout_text(volumes.layout), volume_table(volumes));
  text += fmt::format("By the two first-order formulas they are equal at {} tokens a microbatch",
                      volumes.first_order_crossing_tokens);
  if (volumes.crossing_tokens) {
    return text + fmt::format(
                      ", by the exact wire bytes at {}: below that tp sends less, above "
                      "it FSDP does.\n",
                      *volumes.crossing_tokens);
  }
  const AxisSizes& sizes = volumes.layout.mesh.sizes;
  return text + fmt::format("; the layout has no {}, so there is nothing to weigh exactly.\n",
                            sizes[Axis::kTp] == 1 ? "tp" : "shards");
}

std::string crossing_nodes_text(const Explanation& explanation) {
  const CrossingNodes& crossing = explanation.crossing;
  const std::string title = "TP across nodes: ";
  if (!crossing.not_priced.empty()) return title + "not weighed; " + crossing.not_priced + ".\n";
  const common::Seconds exposed =
      crossing.estimate.traffic[static_cast<std::size_t>(Axis::kTp)].exposed;
  const DeviceMesh& mesh = crossing.layout.mesh;
  const std::string placed = fmt::format("{} ({} devices of each of two nodes a tp group)",
                                         layout_text(crossing.layout), mesh.ranks_per_node);
  std::string text =
      title + (crossing.slower > 0
                   ? fmt::format("no. With {} a token takes {:.2f} times as long: ", placed,
                                 1 + crossing.slower)
                   : fmt::format("{} would be {} faster{}: ", placed, percent(-crossing.slower),
                                 crossing.estimate.fits ? "" : ", but does not fit"));
  text += fmt::format("{} of its step of {} is waiting for tp. ", human(exposed),
                      human(crossing.estimate.step_time));
  if (crossing.slower <= 0) return text + "\n";
  if (crossing.break_even) {
    return text +
           fmt::format("It would pay on a network {:.1f} times as fast.\n", *crossing.break_even);
  }
  return text + fmt::format(
                    "Never, even were the network as fast as the links of a node: {} "
                    "slower there.\n",
                    percent(crossing.slower_on_node_links));
}

}  // namespace

std::string explanation_text(const Explanation& explanation) {
  const Candidate& chosen = explanation.chosen;
  std::string text = fmt::format("The best by {}: {}.\n", to_string(explanation.objective),
                                 layout_text(chosen.layout));
  text += bound_text(explanation);
  for (const Loser& loser : explanation.losers) text += loser_text(explanation, loser);
  return text + "\n" + crossing_tokens_text(explanation) + "\n" + crossing_nodes_text(explanation);
}

}  // namespace meshplan::planner
