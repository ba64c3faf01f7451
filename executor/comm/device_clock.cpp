#include "executor/comm/device_clock.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace meshplan::executor {

DeviceMark mark(const c10::Stream& stream) {
  // The flag that makes events take the time.
  auto event = std::make_shared<c10::Event>(stream.device_type(), c10::EventFlag::BACKEND_DEFAULT);
  event->record(stream);
  return event;
}

c10::Stream current_stream(c10::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

DeviceClock::TimePoint DeviceClock::time_of(const DeviceMark& mark) {
  if (!anchor_) {
    DeviceMark now = executor::mark(current_stream(device_));
    now->synchronize();
    anchor_ = {std::move(now), std::chrono::steady_clock::now()};
  }
  mark->synchronize();
  const std::chrono::duration<double, std::milli> before_anchor(mark->elapsedTime(*anchor_->mark));
  return anchor_->time - std::chrono::duration_cast<TimePoint::duration>(before_anchor);
}

}  // namespace meshplan::executor
