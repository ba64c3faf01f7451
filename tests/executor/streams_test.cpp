#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include "executor/comm/backends.h"
#include "executor/comm/communicator.h"
#include "tests/common/expect_error.h"

// How collectives use a device's streams, on a device that only writes down what it is told: what
// NCCL on a GPU would see, checked where there is none.

namespace meshplan::executor {
namespace {

using planner::Axis;
using testing::ElementsAre;

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kType, 0);

/// What the device was told, in order. Events are numbered as they are first recorded; stream 0 is
/// the one that computes.
std::vector<std::string> told;
c10::Stream current(c10::Stream::UNSAFE, kDevice, 0);
std::intptr_t events = 0;
c10::StreamId pool_streams = 0;

class WritingDevice final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(c10::Device) const override { return current; }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool high_priority) const override {
    told.push_back(fmt::format("stream {} {}", ++pool_streams, high_priority ? "high" : "low"));
    return c10::Stream(c10::Stream::UNSAFE, device, pool_streams);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return std::exchange(current, stream);
  }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  void record(void** event, const c10::Stream& stream, c10::DeviceIndex,
              c10::EventFlag) const override {
    if (*event == nullptr) *event = reinterpret_cast<void*>(++events);
    told.push_back(fmt::format("record {} on {}", number_of(*event), stream.id()));
  }
  void block(void* event, const c10::Stream& stream) const override {
    told.push_back(fmt::format("{} waits for {}", stream.id(), number_of(event)));
  }
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void* event) const override {
    told.push_back(fmt::format("host waits for {}", number_of(event)));
  }
  double elapsedTime(void* begin, void* end, c10::DeviceIndex) const override {
    return static_cast<double>(number_of(end) - number_of(begin));
  }

 private:
  static std::intptr_t number_of(void* event) { return reinterpret_cast<std::intptr_t>(event); }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, WritingDevice)

/// Writes down which stream a collective was put on.
class WritingBackend final : public c10d::Backend {
 public:
  explicit WritingBackend(int size) : Backend(0, size) { setBoundDeviceId(kDevice); }
  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>&,
                                           const c10d::AllreduceOptions& options) override {
    return note("all_reduce", options.asyncOp);
  }
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor&, at::Tensor&,
                                                 const c10d::AllgatherOptions& options) override {
    return note("all_gather", options.asyncOp);
  }
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(
      at::Tensor&, at::Tensor&, const c10d::ReduceScatterOptions& options) override {
    return note("reduce_scatter", options.asyncOp);
  }

 private:
  static c10::intrusive_ptr<c10d::Work> note(const char* name, bool asynchronous) {
    told.push_back(fmt::format("{} on {}{}", name, current.id(), asynchronous ? ", async" : ""));
    return {};
  }
};

class Streams : public testing::Test {
 protected:
  void SetUp() override {
    told.clear();
    events = 0;
    pool_streams = 0;
  }

  static Communicator make(Axis axis, CollectiveLog* log = nullptr) {
    Communicator made(axis, 0, 2, c10::make_intrusive<WritingBackend>(2), log);
    return made;
  }

  const at::Tensor whole_ = at::zeros({4});
  const at::Tensor part_ = at::zeros({2});
};

TEST_F(Streams, ACollectiveFollowsTheComputeBeforeItAndTheWaitStopsOnlyTheStream) {
  Communicator group = make(Axis::kDpShard);
  told.clear();
  Pending pending = group.all_gather(whole_, part_);
  EXPECT_EQ(current.id(), 0);
  EXPECT_THAT(told,
              ElementsAre("record 1 on 0", "1 waits for 1", "all_gather on 1", "record 2 on 1"));
  told.clear();
  pending.wait();
  EXPECT_THAT(told, ElementsAre("0 waits for 2"));
}

TEST_F(Streams, AnAbandonedCollectiveIsStillWaitedForByTheStream) {
  Communicator group = make(Axis::kDpShard);
  { const Pending pending = group.reduce_scatter(part_, whole_); }
  EXPECT_EQ(told.back(), "0 waits for 2");
}

TEST_F(Streams, GathersAndReductionsOfAnAxisHaveHighPriorityStreamsOfTheirOwn) {
  Communicator shard = make(Axis::kDpShard);
  EXPECT_THAT(told, ElementsAre("stream 1 high", "stream 2 high"));
  told.clear();
  shard.all_gather(whole_, part_).wait();
  shard.reduce_scatter(part_, whole_).wait();
  shard.all_reduce(whole_, ReduceOp::kSum).wait();
  EXPECT_THAT(told,
              testing::IsSupersetOf({"all_gather on 1", "reduce_scatter on 2", "all_reduce on 2"}));
}

TEST_F(Streams, CollectivesOverTpShareOneStream) {
  Communicator tp = make(Axis::kTp);
  EXPECT_THAT(told, ElementsAre("stream 1 high"));
  told.clear();
  tp.all_gather(whole_, part_).wait();
  tp.reduce_scatter(part_, whole_).wait();
  EXPECT_THAT(told, testing::IsSupersetOf({"all_gather on 1", "reduce_scatter on 1"}));
}

TEST_F(Streams, AGroupOfOneWithABackendCommunicates) {
  Communicator one(Axis::kDpShard, 0, 1, c10::make_intrusive<WritingBackend>(1), nullptr);
  told.clear();
  one.all_reduce(whole_, ReduceOp::kSum).wait();
  EXPECT_THAT(told, testing::Contains("all_reduce on 2"));
}

TEST_F(Streams, LoggedCollectivesAreTimedByTheDevice) {
  CollectiveLog log;
  Communicator group = make(Axis::kDpShard, &log);
  group.all_gather(whole_, part_).wait();
  group.reduce_scatter(part_, whole_).wait();
  EXPECT_THAT(told, testing::Not(testing::Contains(testing::StartsWith("host waits"))));
  DeviceClock clock(kDevice);
  const std::vector<CollectiveTiming> timings = log.timings(&clock);
  ASSERT_EQ(timings.size(), 2u);
  // On this device each record takes a millisecond: ready, begin, end of one and of the other.
  const auto apart = [](auto a, auto b) {
    return std::chrono::duration<double, std::milli>(b - a).count();
  };
  EXPECT_NEAR(apart(timings[0].issued, timings[0].waited), 1, 1e-3);
  EXPECT_NEAR(apart(timings[0].waited, timings[1].issued), 2, 1e-3);
  EXPECT_LT(timings[1].waited, std::chrono::steady_clock::now());
}

TEST(CommunicationBackend, IsGlooOnCpuAndRefusesNcclThere) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  EXPECT_EQ(choose_backend({}, at::kCPU, 0, 1, store), BackendKind::kGloo);
  CommunicationOptions options;
  options.backend = BackendKind::kNccl;
  tests::expect_error(
      common::ErrorCode::kInvalidInput, [&] { choose_backend(options, at::kCPU, 0, 2, store); },
      "communication backend", "nccl");
}

}  // namespace
}  // namespace meshplan::executor
