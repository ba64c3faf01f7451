#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "executor/comm/collective_log.h"
#include "formats/chrome_trace.h"
#include "planner/model/model_spec.h"
#include "planner/program/step_program.h"

namespace meshplan::executor {

/// Measures one step on the tracks that the simulator draws: instructions on the compute track,
/// collectives on the track of their axis and direction. On CPU as the host sees them, collectives
/// from their issue to the end of their wait; on a GPU as its streams run them.
class TraceRecorder {
 public:
  /// Ends the instruction's slice when it goes out of scope.
  class Slice {
   public:
    Slice(TraceRecorder& recorder, formats::TraceSlice slice);
    ~Slice();
    Slice(const Slice&) = delete;
    Slice& operator=(const Slice&) = delete;

   private:
    TraceRecorder& recorder_;
    formats::TraceSlice slice_;
    DeviceMark begin_;
  };

  explicit TraceRecorder(std::int64_t rank, c10::Device device = c10::DeviceType::CPU)
      : rank_(rank), device_(device) {}

  /// Forgets what was measured; times count from here.
  void start_step();

  Slice compute(const planner::ModelSpec& model, const planner::Instruction& instruction);

  /// The step's trace, with the collectives that the log timed. Slices of one track follow one
  /// another: where a collective was issued before the one ahead of it had been waited for, it is
  /// drawn from there on.
  formats::Trace trace(const CollectiveLog& log) const;

 private:
  std::int64_t ps_at(std::chrono::steady_clock::time_point time) const;

  /// Where the device was on the way through its current stream; null on CPU.
  DeviceMark mark_device() const;

  /// The marks of a slice whose times only the device knows.
  struct Marks {
    DeviceMark begin;
    DeviceMark end;
  };

  std::int64_t rank_;
  c10::Device device_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<formats::TraceSlice> slices_;
  std::vector<Marks> marks_;
};

}  // namespace meshplan::executor
