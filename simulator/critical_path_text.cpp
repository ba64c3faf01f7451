#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "simulator/critical_path.h"

namespace meshplan::simulator {
namespace {

using planner::Computation;
using planner::Opcode;

constexpr double kSmallestShare = 0.005;

/// "tp all_reduce" where it is a collective, else "matrix multiply".
std::string what(const PathPart& part) {
  const std::string collective =
      fmt::format("{} {}", planner::to_string(part.axis), planner::to_string(part.collective));
  switch (part.kind) {
    case PathKind::kMatmul:
      return "matrix multiply";
    case PathKind::kAttention:
      return "attention";
    case PathKind::kElementwise:
      return "element-wise kernels";
    case PathKind::kHost:
      return "the optimizer on the host";
    case PathKind::kLaunch:
      return "launches of kernels";
    case PathKind::kCollective:
      return collective + " exposed";
    case PathKind::kTaken:
      return "compute taken by " + collective;
  }
  return collective;
}

/// "blocks' backward", "loss": the sort of instruction.
std::string where(const PathPart& part) {
  const bool of_block = part.computation == Computation::kBlock;
  switch (part.opcode) {
    case Opcode::kForward:
      return of_block ? "blocks' forward" : "the embedding's forward";
    case Opcode::kBackward:
      return of_block ? "blocks' backward" : "the embedding's backward";
    case Opcode::kLoss:
      return "head and loss";
    case Opcode::kGatherParameters:
    case Opcode::kReleaseParameters:
      return "gathering parameters";
    case Opcode::kReduceGradients:
    case Opcode::kReduceReplicatedGradients:
    case Opcode::kSumReplicas:
    case Opcode::kReduceTiedGradients:
      return "reducing gradients";
    case Opcode::kGradientNorm:
    case Opcode::kClipGradients:
    case Opcode::kOptimizerStep:
      return "the optimizer step";
    case Opcode::kSendActivations:
    case Opcode::kReceiveActivations:
      return "transfers between stages";
    case Opcode::kCountTokens:
    case Opcode::kReportLoss:
      return "counting tokens and losses";
  }
  return "";
}

/// Times that add up by a name, longest first.
class Ranking {
 public:
  void add(const std::string& name, Picoseconds time) {
    const auto found = std::ranges::find(entries_, name, &Entry::first);
    if (found == entries_.end()) {
      entries_.emplace_back(name, time);
    } else {
      found->second += time;
    }
  }

  using Entry = std::pair<std::string, Picoseconds>;
  std::vector<Entry> sorted() const {
    std::vector<Entry> sorted = entries_;
    std::ranges::stable_sort(sorted, std::ranges::greater{}, &Entry::second);
    return sorted;
  }

 private:
  std::vector<Entry> entries_;
};

Picoseconds total(const CriticalPath& path) {
  Picoseconds sum = 0;
  for (const PathPart& part : path.parts) sum += part.time;
  return sum;
}

double share(Picoseconds time, Picoseconds whole) {
  return whole == 0 ? 0 : static_cast<double>(time) / static_cast<double>(whole);
}

}  // namespace

std::vector<std::string> in_words(const CriticalPath& path) {
  const Picoseconds whole = total(path);
  Ranking kinds;
  for (const PathPart& part : path.parts) kinds.add(what(part), part.time);
  std::vector<std::string> sentences;
  for (const auto& [kind, time] : kinds.sorted()) {
    if (share(time, whole) < kSmallestShare) break;
    Ranking places;
    for (const PathPart& part : path.parts) {
      if (what(part) == kind) places.add(where(part), part.time);
    }
    const auto [place, longest] = places.sorted().front();
    const char* most = longest == time ? "" : (2 * longest > time ? "most of it " : "partly ");
    sentences.push_back(fmt::format("{:.1f} % of the step is {}, {}in {}", 100 * share(time, whole),
                                    kind, most, place));
  }
  return sentences;
}

common::Json to_json(const CriticalPath& path) {
  const Picoseconds whole = total(path);
  Ranking kinds;
  common::Json parts = common::Json::array();
  for (const PathPart& part : path.parts) {
    const bool communicates = part.kind == PathKind::kCollective || part.kind == PathKind::kTaken;
    const std::string kind = communicates ? planner::to_string(part.axis) : to_string(part.kind);
    kinds.add(kind, part.time);
    common::Json entry = {{"kind", to_string(part.kind)}};
    if (communicates) {
      entry["axis"] = planner::to_string(part.axis);
      entry["collective"] = planner::to_string(part.collective);
    }
    entry["where"] = where(part);
    entry["time_s"] = seconds(part.time);
    entry["share"] = share(part.time, whole);
    parts.push_back(std::move(entry));
  }
  common::Json by_kind = common::Json::object();
  for (const auto& [kind, time] : kinds.sorted())
    by_kind[kind] = {{"time_s", seconds(time)}, {"share", share(time, whole)}};
  return {{"by_kind", by_kind},
          {"parts", parts},
          {"handovers", path.handovers},
          {"text", in_words(path)}};
}

}  // namespace meshplan::simulator
