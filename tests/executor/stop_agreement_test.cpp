#include "executor/launch/stop_agreement.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <csignal>
#include <random>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

namespace meshplan::executor {
namespace {

constexpr std::int64_t kRanks = 4;
constexpr std::int64_t kManySteps = 100000;

void sleep_at_random(std::mt19937& numbers, int most_us) {
  std::this_thread::sleep_for(
      std::chrono::microseconds(std::uniform_int_distribution(0, most_us)(numbers)));
}

/// Threads that train in step, as collectives make ranks do, each beside one that polls the store
/// now and then; some are asked to stop at a random moment. Returns the steps that each trained.
std::vector<std::int64_t> run_and_stop(unsigned seed, std::int64_t asked) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::unique_ptr<StopAgreement>> agreements;
  for (std::int64_t rank = 0; rank < kRanks; ++rank)
    agreements.push_back(std::make_unique<StopAgreement>(rank, kRanks));
  std::barrier collective(kRanks);
  std::atomic<std::int64_t> finished = 0;
  std::vector<std::int64_t> steps(kRanks, 0);
  std::vector<std::jthread> threads;
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    const auto place = static_cast<std::size_t>(rank);
    threads.emplace_back([&, rank, place] {
      std::mt19937 numbers(seed * 100 + static_cast<unsigned>(rank));
      while (steps[place] < kManySteps && agreements[place]->may_start(steps[place], [] {})) {
        collective.arrive_and_wait();
        sleep_at_random(numbers, 100);
        ++steps[place];
      }
      ++finished;
    });
    threads.emplace_back([&, rank, place] {
      std::mt19937 numbers(seed * 100 + 50 + static_cast<unsigned>(rank));
      while (finished < kRanks) {
        sleep_at_random(numbers, 4000);
        agreements[place]->poll(*store);
      }
    });
  }
  std::mt19937 numbers(seed);
  sleep_at_random(numbers, 5000);
  for (std::int64_t i = 0; i < asked; ++i) {
    EXPECT_TRUE(agreements[static_cast<std::size_t>(kRanks - 1 - i)]->request(SIGTERM));
    sleep_at_random(numbers, 2000);
  }
  threads.clear();
  return steps;
}

TEST(StopAgreement, StopsAllRanksBeforeTheSameStep) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    const auto steps = run_and_stop(seed, 1 + seed % kRanks);
    EXPECT_EQ(steps, std::vector<std::int64_t>(kRanks, steps[0])) << seed;
    EXPECT_LT(steps[0], kManySteps);
  }
}

TEST(StopAgreement, CountsASecondRequestOfARankAsNone) {
  StopAgreement agreement(0, 1);
  EXPECT_FALSE(agreement.requested_at());
  EXPECT_TRUE(agreement.request(SIGTERM));
  EXPECT_FALSE(agreement.request(SIGTERM));
  EXPECT_TRUE(agreement.requested_at());
  EXPECT_TRUE(agreement.may_start(0, [] {})) << "nobody polled yet";
}

}  // namespace
}  // namespace meshplan::executor
