#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <memory>
#include <optional>

namespace c10 {
struct Event;
class Stream;
}  // namespace c10

namespace meshplan::executor {

/// A point in a stream's work that can be found in time once the device has passed it.
using DeviceMark = std::shared_ptr<c10::Event>;

/// Marks the point that the stream's work has reached so far. The host does not wait.
DeviceMark mark(const c10::Stream& stream);

/// The stream that this thread issues work on.
c10::Stream current_stream(c10::Device device);

/// Tells when a device passed its marks, in the host's steady clock: to about 10 us, as both clocks
/// are brought together through the host.
class DeviceClock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit DeviceClock(c10::Device device) : device_(device) {}

  /// When the device passed the mark; the host waits until it has, and the first time until the
  /// current stream is done.
  TimePoint time_of(const DeviceMark& mark);
  /// Brings the clocks together anew at the next time_of().
  void reset() { anchor_.reset(); }

 private:
  /// One moment in both clocks.
  struct Anchor {
    DeviceMark mark;
    TimePoint time;
  };

  c10::Device device_;
  std::optional<Anchor> anchor_;
};

}  // namespace meshplan::executor
