#include "simulator/critical_path.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "formats/chrome_trace.h"

namespace meshplan::simulator {
namespace {

using planner::KernelKind;
using planner::Operation;
using planner::OperationKind;

PathKind kind_of(KernelKind kernel) {
  switch (kernel) {
    case KernelKind::kMatmul:
      return PathKind::kMatmul;
    case KernelKind::kAttention:
      return PathKind::kAttention;
    case KernelKind::kElementwise:
      return PathKind::kElementwise;
    case KernelKind::kHostCopy:
    case KernelKind::kHostUpdate:
      break;
  }
  return PathKind::kHost;
}

/// Goes back from the end of the step, from each event to the one whose end began it.
class PathFinder {
 public:
  PathFinder(const std::vector<Score>& scores, const Engine& engine, Picoseconds launch_overhead)
      : scores_(scores), engine_(engine), launch_overhead_(launch_overhead) {}

  CriticalPath find() {
    reached_ = engine_.step_time();
    go_to_last_end();
    while (next_ >= 0) {
      if (in_collective_) {
        leave_collective();
      } else {
        leave_beat();
      }
    }
    for (const auto& [key, part] : parts_) path_.parts.push_back(part);
    std::ranges::reverse(path_.stretches);
    std::ranges::stable_sort(path_.parts, std::ranges::greater{}, &PathPart::time);
    return std::move(path_);
  }

 private:
  const Score& score() const { return scores_[at_.stage]; }
  const Beat& beat() const { return score().beats[static_cast<std::size_t>(next_)]; }

  /// Compute of the rank that ends last or, where that has ended before, a stream of it.
  void go_to_last_end() {
    const Picoseconds end = engine_.step_time();
    for (std::size_t s = 0; s < scores_.size(); ++s) {
      const StageTimes& times = engine_.times()[s];
      const auto found = std::ranges::find(times.end, end);
      if (found == times.end.end()) continue;
      at_ = {s, static_cast<std::size_t>(found - times.end.begin())};
      next_ = static_cast<BeatIndex>(score().beats.size() - 1);
      if (times.compute[at_.rank] == end) return;
      return go_to_last_of_streams(end);
    }
  }

  void go_to_last_of_streams(Picoseconds end) {
    while (score().move_of(beat()).kind != BeatKind::kCollective ||
           engine_.stream_end(at_, score().move_of(beat()).stream) != end)
      --next_;
    in_collective_ = true;
  }

  /// From compute after the beat to what it came from.
  void leave_beat() {
    const Move& move = score().move_of(beat());
    switch (move.kind) {
      case BeatKind::kKernels:
        add_kernels(move);
        break;
      case BeatKind::kCollective:
        if (move.stream == planner::Stream::kCompute) {
          in_collective_ = true;
          return;
        }
        add(PathKind::kTaken, engine_.taken_time(at_, next_), &operation_of(move));
        break;
      case BeatKind::kWait:
        if (const auto binding = engine_.causes().binding(at_, next_)) {
          next_ = beat().awaited[*binding];
          in_collective_ = true;
          return;
        }
        break;
      case BeatKind::kReceive:
        if (engine_.causes().binding(at_, next_)) {
          const auto [sender, sent] = engine_.sender_of(at_, next_);
          move_to(sender);
          next_ = sent;
          in_collective_ = true;
          return;
        }
        break;
    }
    --next_;
  }

  /// From the end of the collective to what its last member came from.
  void leave_collective() {
    const Move& move = score().move_of(beat());
    const Release release = engine_.causes().release_of(at_, next_);
    add(PathKind::kCollective, engine_.collective_time(at_, next_), &operation_of(move));
    if (release.place.stage != at_.stage) {
      const planner::Opcode opcode = instruction().opcode;
      move_to(release.place);
      go_to_meeting(opcode);
    } else {
      move_to(release.place);
    }
    in_collective_ = release.by_stream;
    const planner::Stream stream = score().move_of(beat()).stream;
    do {
      --next_;
    } while (in_collective_ && !is_collective_of(stream));
  }

  /// The same collective of several stages, in the score of another.
  void go_to_meeting(planner::Opcode opcode) {
    next_ = static_cast<BeatIndex>(score().beats.size() - 1);
    while (score().move_of(beat()).kind != BeatKind::kCollective ||
           score().move_of(beat()).meeting != Meeting::kStages || instruction().opcode != opcode)
      --next_;
  }

  bool is_collective_of(planner::Stream stream) const {
    const Move& move = score().move_of(beat());
    return move.kind == BeatKind::kCollective && move.stream == stream;
  }

  void move_to(Place place) {
    if (!(place == at_)) ++path_.handovers;
    at_ = place;
  }

  const planner::Instruction& instruction() const {
    return score().instructions[static_cast<std::size_t>(beat().instruction)];
  }

  const Operation& operation_of(const Move& move) const {
    return score().operations_of(beat())[move.first_operation].operation;
  }

  /// The beat's kernels one by one, each with its launch apart.
  void add_kernels(const Move& move) {
    const planner::PricedOperations& operations = score().operations_of(beat());
    Picoseconds price = 0;
    Picoseconds before = 0;
    for (std::size_t i = move.first_operation; i < move.end_operation; ++i) {
      const Operation& operation = operations[i].operation;
      if (operation.kind != OperationKind::kKernel) continue;
      price += formats::to_picoseconds(operations[i].price.duration);
      const Picoseconds after = engine_.kernel_time(at_, next_, price);
      const Picoseconds launch = std::min(launch_overhead_, after - before);
      add(PathKind::kLaunch, launch);
      add(kind_of(operation.kernel), after - before - launch);
      before = after;
    }
  }

  void add(PathKind kind, Picoseconds time, const Operation* collective = nullptr) {
    if (time == 0) return;
    go_back(
        kind == PathKind::kCollective ? score().move_of(beat()).stream : planner::Stream::kCompute,
        time);
    PathPart part{
        .kind = kind, .opcode = instruction().opcode, .computation = instruction().computation};
    if (collective != nullptr) {
      part.axis = collective->axis;
      part.collective = collective->collective;
    }
    const auto key =
        std::tuple(part.kind, part.axis, part.collective, part.opcode, part.computation);
    parts_.emplace(key, part).first->second.time += time;
  }

  void go_back(planner::Stream stream, Picoseconds time) {
    std::vector<PathStretch>& stretches = path_.stretches;
    const bool same =
        !stretches.empty() && stretches.back().place == at_ && stretches.back().stream == stream;
    if (!same) stretches.push_back({at_, stream, reached_, reached_});
    reached_ -= time;
    stretches.back().start = reached_;
  }

  using Key = std::tuple<PathKind, planner::Axis, planner::CollectiveKind, planner::Opcode,
                         planner::Computation>;

  const std::vector<Score>& scores_;
  const Engine& engine_;
  Picoseconds launch_overhead_;
  Place at_;
  /// The beat whose end, or whose effect on compute, the path has come back to.
  BeatIndex next_ = kNoBeat;
  bool in_collective_ = false;
  /// When the path has come back to.
  Picoseconds reached_ = 0;
  std::map<Key, PathPart> parts_;
  CriticalPath path_;
};

}  // namespace

const char* to_string(PathKind kind) {
  switch (kind) {
    case PathKind::kMatmul:
      return "matmul";
    case PathKind::kAttention:
      return "attention";
    case PathKind::kElementwise:
      return "elementwise";
    case PathKind::kHost:
      return "host";
    case PathKind::kLaunch:
      return "launch";
    case PathKind::kCollective:
      return "collective";
    case PathKind::kTaken:
      return "taken";
  }
  return "taken";
}

CriticalPath critical_path(const std::vector<Score>& scores, const Engine& engine,
                           Picoseconds launch_overhead) {
  return PathFinder(scores, engine, launch_overhead).find();
}

}  // namespace meshplan::simulator
