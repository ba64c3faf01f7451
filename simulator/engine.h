#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "simulator/causes.h"
#include "simulator/noise.h"
#include "simulator/score.h"

namespace meshplan::simulator {

/// When a beat of one rank began and ended, and when its compute went on.
struct BeatTimes {
  Picoseconds start = 0;
  Picoseconds end = 0;
  Picoseconds compute = 0;
};

/// How ranks differ, in factors by the cluster's rank. An empty list: they do not.
struct Differences {
  std::vector<Millionths> kernels;
  /// Of the bytes of collectives, by Axis, and of messages to the next stage and to the previous.
  std::array<std::vector<Millionths>, planner::kAxes.size()> links;
  std::array<std::vector<Millionths>, 2> messages;
  /// Of the kernels of each beat.
  Noise jitter{0, 0, 0};

  /// None is above.
  Millionths longest() const;
};
/// Requires a valid scenario.
Differences differences_of(const Scenario& scenario, const planner::DeviceMesh& mesh);

/// Times of the ranks of one stage, by their place.
struct StageTimes {
  /// When compute ended, and the last stream.
  std::vector<Picoseconds> compute;
  std::vector<Picoseconds> end;
  /// By Axis: time during which compute stood still for collectives, or was taken by them.
  std::array<std::vector<Picoseconds>, planner::kAxes.size()> exposed;
};

/// Plays all stages of a step beside each other, every rank of them event by event. All ranks of a
/// stage have the same program, so that it is an order in which each event comes after those that
/// it waits for: no queue of events is needed.
class Engine {
 public:
  /// `ranks` of each stage: all, or one in place of all, which then may not differ. Scores and
  /// differences have to outlive the engine.
  Engine(const std::vector<Score>& scores, const planner::DeviceMesh& mesh, std::size_t ranks,
         const Differences& differences);

  /// The times of these places are kept, beat by beat. Before play().
  void watch(const std::vector<Place>& places);

  /// Calls back now and then with the part that is done. Throws kInternal when stages wait for each
  /// other in a circle.
  void play(const std::function<void(double)>& progress = {});

  const std::vector<StageTimes>& times() const { return times_; }
  Picoseconds step_time() const;
  /// Kernels between two collectives, and collectives, of all ranks.
  std::int64_t events() const { return events_; }
  const std::vector<BeatTimes>& watched(Place place) const;
  const Causes& causes() const { return causes_; }

  /// What kernels of that price, the first ones of the beat, take on this rank.
  Picoseconds kernel_time(Place place, BeatIndex beat, Picoseconds price) const;
  /// The same of a collective, and of what it takes from compute.
  Picoseconds collective_time(Place place, BeatIndex beat) const;
  Picoseconds taken_time(Place place, BeatIndex beat) const;
  /// When the last collective of the stream ended.
  Picoseconds stream_end(Place place, planner::Stream stream) const {
    return states_[place.stage].free[static_cast<std::size_t>(stream)][place.rank];
  }
  /// Where the message that the beat receives was sent.
  std::pair<Place, BeatIndex> sender_of(Place place, BeatIndex receive) const;

 private:
  using Times = std::vector<Picoseconds>;

  struct Watched {
    std::size_t rank;
    std::vector<BeatTimes> times;
  };

  struct StageState {
    std::size_t next = 0;
    /// When each stream is free, by rank; those that the program does not use are empty.
    std::array<Times, planner::kStreams> free;
    std::vector<Times> slots;
    std::vector<Watched> watched;
    /// It has come to a collective of several stages.
    bool has_come = false;
  };

  struct Message {
    Times arrival;
    std::size_t stage = 0;
    BeatIndex beat = kNoBeat;
  };

  /// A collective of several stages: how many have come, when, and which came last.
  struct StageMeeting {
    std::size_t expected = 0;
    std::size_t come = 0;
    Times ready;
    std::vector<std::uint32_t> last;
  };

  bool advance(std::size_t stage, const std::function<void(double)>& progress);
  /// False where the stage has to wait for another one.
  bool play(std::size_t stage, BeatIndex beat);
  void run_kernels(std::size_t stage, BeatIndex beat);
  bool run_collective(std::size_t stage, BeatIndex beat);
  void meet_group(std::size_t stage, BeatIndex beat);
  void start_alone(std::size_t stage, BeatIndex beat);
  bool meet_stages(std::size_t stage, BeatIndex beat);
  void go_on(std::size_t stage, BeatIndex beat);
  void wait(std::size_t stage, BeatIndex beat);
  bool receive(std::size_t stage, BeatIndex beat);
  void note(std::size_t stage, BeatIndex beat);
  void expose(std::size_t stage, planner::Axis axis, std::size_t rank, Picoseconds until);

  const Beat& beat_at(std::size_t stage, BeatIndex beat) const {
    return scores_[stage].beats[static_cast<std::size_t>(beat)];
  }
  Times& compute_of(std::size_t stage) { return times_[stage].compute; }
  Times& free_of(std::size_t stage, const Move& move) {
    return states_[stage].free[static_cast<std::size_t>(move.stream)];
  }
  /// Factors of a collective's bytes for the ranks of the stage, or nullptr.
  const Millionths* link_factors(std::size_t stage, BeatIndex beat) const;
  StageMeeting& meeting_of(std::size_t stage, const Beat& beat);
  std::size_t cluster_rank(Place place) const { return place.stage * ranks_ + place.rank; }

  const std::vector<Score>& scores_;
  planner::DeviceMesh mesh_;
  std::size_t ranks_;
  const Differences& differences_;
  Causes causes_;
  std::vector<StageState> states_;
  std::vector<StageTimes> times_;
  std::vector<Message> messages_;
  std::array<StageMeeting, 2> meetings_;
  std::int64_t events_ = 0;
  std::size_t played_ = 0;
  std::size_t beats_ = 0;
};

}  // namespace meshplan::simulator
