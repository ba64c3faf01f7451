#include "executor/memory/counting_allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>

#include "executor/memory/device.h"

namespace meshplan::executor {
namespace {

using common::Bytes;

class CountingAllocator : public testing::Test {
 protected:
  void SetUp() override {
    install_counting_allocator();
    before_ = memory_counts();
    reset_peak_memory();
  }
  Bytes own() const { return memory_counts().own - before_.own; }
  Bytes library() const { return memory_counts().library - before_.library; }

  MemoryCounts before_;
};

TEST_F(CountingAllocator, CountsRequestedBytesAndTheirPeak) {
  {
    const at::Tensor a = at::empty({1000});
    EXPECT_EQ(own(), Bytes(4000));
    { const at::Tensor b = at::empty({7}, at::kByte); }
    EXPECT_EQ(own(), Bytes(4000));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data_ptr()) % 64, 0u);
  }
  EXPECT_EQ(own(), Bytes(0));
  EXPECT_EQ(memory_counts().own_peak - before_.own, Bytes(4007));
  EXPECT_EQ(peak_allocated(at::kCPU) - before_.own, Bytes(4007));
  reset_peak_allocated(at::kCPU);
  EXPECT_EQ(memory_counts().own_peak, before_.own);
  EXPECT_EQ(library(), Bytes(0));
}

TEST_F(CountingAllocator, EmptyTensorsTakeNothing) {
  const at::Tensor empty = at::empty({0});
  EXPECT_EQ(own(), Bytes(0));
}

TEST_F(CountingAllocator, FollowsAStorageThatIsResized) {
  at::Tensor tensor = at::empty({10});
  tensor.resize_({1000});
  EXPECT_EQ(own(), Bytes(4000));
}

TEST_F(CountingAllocator, CountsScopesAndOtherThreadsAsCommunication) {
  at::Tensor in_scope;
  {
    const LibraryScope outer;
    { const LibraryScope inner; }
    in_scope = at::empty({100});
  }
  at::Tensor foreign;
  at::Tensor claimed;
  std::thread([&] {
    foreign = at::empty({10});
    claim_this_thread();
    claimed = at::empty({1});
  }).join();
  EXPECT_EQ(library(), Bytes(440));
  EXPECT_EQ(own(), Bytes(4));
  // Freed by another thread and outside the scope: out of the class they came in.
  std::thread([&] { claimed.reset(); }).join();
  in_scope.reset();
  foreign.reset();
  EXPECT_EQ(library(), Bytes(0));
  EXPECT_EQ(own(), Bytes(0));
  EXPECT_EQ(memory_counts().library_peak - before_.library, Bytes(440));
}

TEST_F(CountingAllocator, PeakIsExactUnderConcurrency) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([] {
      claim_this_thread();
      for (int round = 0; round < kRounds; ++round) at::empty({256}, at::kByte);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(own(), Bytes(0));
  EXPECT_LE(memory_counts().own_peak - before_.own, Bytes(256 * kThreads));
  EXPECT_GE(memory_counts().own_peak - before_.own, Bytes(256));
}

TEST_F(CountingAllocator, LogsOwnAllocationsInOrder) {
  record_allocations(true);
  {
    const at::Tensor a = at::empty({2});
    at::Tensor b = at::empty({3});
    b.reset();
    const LibraryScope scope;
    at::empty({50});
  }
  record_allocations(false);
  at::empty({9});
  EXPECT_EQ(recorded_allocations(), (std::vector<std::int64_t>{8, 12, -12, -8}));
  record_allocations(true);
  record_allocations(false);
  EXPECT_TRUE(recorded_allocations().empty());
}

TEST_F(CountingAllocator, RefusesWhatNoMachineHas) {
  EXPECT_THROW(at::empty({std::int64_t{1} << 60}, at::kByte), c10::Error);
  EXPECT_EQ(own(), Bytes(0));
}

}  // namespace
}  // namespace meshplan::executor
