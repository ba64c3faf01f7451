#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "planner/program/step_program.h"
#include "simulator/fabric/link_loads.h"
#include "simulator/simulated_time.h"

namespace meshplan::simulator {

/// A collective as the links of one of its ranks see it: a time in which nothing moves, then a
/// transfer that takes `transfer` where it has them to itself.
struct LinkWork {
  Picoseconds fixed = 0;
  Picoseconds transfer = 0;
  /// Has to outlive the work. A rate of 0: it takes no link that others need.
  const LinkLoads* loads = nullptr;
};

/// The links of a rank, and the collectives on them: those of a stream one after the other, those
/// of different streams at once, with max-min fair shares of the links, in bytes a second over the
/// link that limits each. Whenever a transfer begins or ends all are shared anew.
class RankLinks {
 public:
  /// Works have numbers from 0 to `works` - 1. `adapters`: part of their bandwidth that is there.
  RankLinks(std::size_t works, double adapters);

  /// The work begins once `ready` has come and what was issued to the stream before has ended.
  /// Requires that `ready` is not before what was played.
  void issue(std::int32_t number, planner::Stream stream, Picoseconds ready, const LinkWork& work);

  bool has_ended(std::int32_t number) const { return times_of(number).end != kOpen; }
  /// Of a work that has ended.
  Picoseconds start_of(std::int32_t number) const { return times_of(number).start; }
  Picoseconds end_of(std::int32_t number) const { return times_of(number).end; }
  /// When the stream's last work ended; requires that all have.
  Picoseconds free_at(planner::Stream stream) const { return lines_[index_of(stream)].free; }
  /// The stream is taken until then by what passes none of these links.
  void hold(planner::Stream stream, Picoseconds until) { lines_[index_of(stream)].free = until; }

  /// The next moment at which a transfer begins or ends, if any is to.
  std::optional<Picoseconds> next() const;
  /// Plays up to it.
  void step();
  /// Plays until that work, or all of the stream's, have ended.
  Picoseconds play_to_end(std::int32_t number);
  void play_out(planner::Stream stream);

 private:
  static constexpr Picoseconds kOpen = -1;
  static constexpr std::int32_t kNone = -1;

  struct Times {
    Picoseconds start = kOpen;
    Picoseconds end = kOpen;
  };
  struct Issued {
    std::int32_t number;
    Picoseconds ready;
    LinkWork work;
  };
  /// Works of a stream: one of them may be under way.
  struct Line {
    std::vector<Issued> waiting;
    std::size_t first_waiting = 0;
    Picoseconds free = 0;
    std::int32_t number = kNone;
    LinkWork work;
    bool moves = false;
    /// Of the transfer, in picoseconds of its own pace, at played_.
    double left = 0;
    double pace = 1;
    /// When the transfer begins or, where it has, ends at this pace.
    Picoseconds next = 0;
  };
  using Paces = std::array<double, planner::kStreams>;
  using Moving = std::array<const LinkLoads*, planner::kStreams>;

  static std::size_t index_of(planner::Stream stream) { return static_cast<std::size_t>(stream); }
  const Times& times_of(std::int32_t number) const {
    return times_[static_cast<std::size_t>(number)];
  }
  void begin(Line& line, const Issued& issued);
  void finish(Line& line);
  void share();
  bool has_room_for(const Moving& moving) const;
  const Paces& paces_of(const Moving& moving);

  std::array<double, kLinkTiers> capacities_;
  std::vector<Times> times_;
  std::array<Line, planner::kStreams> lines_;
  std::map<Moving, Paces> paces_;
  Picoseconds played_ = 0;
};

}  // namespace meshplan::simulator
