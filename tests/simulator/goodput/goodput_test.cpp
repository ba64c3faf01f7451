#include "simulator/goodput/goodput.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "simulator/goodput/played_runs.h"

namespace meshplan::simulator {
namespace {

using common::Seconds;

constexpr double kHour = 3600;
constexpr double kDay = 24 * kHour;

double sum(const Goodput& g) { return g.useful + g.checkpoints + g.rework + g.down; }

/// One failure in 10,000 s.
FailureModel round_model() {
  FailureModel model;
  model.gpus = 80;
  model.nodes = 10;
  model.gpu_mtbf = Seconds(1.6e6);
  model.node_mtbf = Seconds(2e5);
  model.checkpoint_blocking = Seconds(50);
  return model;
}

TEST(Goodput, AddsUpTheFailuresOfGpusAndNodes) {
  // 80 / 1.6e6 + 10 / 2e5.
  EXPECT_DOUBLE_EQ(failure_rate(round_model()), 1e-4);
  EXPECT_DOUBLE_EQ(expected_failures(round_model(), Seconds(1e6)), 100);
  FailureModel nodes_alone = round_model();
  nodes_alone.gpu_mtbf = {};
  EXPECT_DOUBLE_EQ(failure_rate(nodes_alone), 5e-5);
}

TEST(Goodput, HasYoungsAndDalysIntervals) {
  // sqrt(2 x 50 x 10,000); x = sqrt(50 / 20,000) = 0.05: 1000 (1 + 0.05 / 3 + 0.0025 / 9) - 50.
  EXPECT_DOUBLE_EQ(young_interval(round_model()).value, 1000);
  EXPECT_NEAR(daly_interval(round_model()).value, 966.944, 1e-3);
}

TEST(Goodput, OfFailuresWithoutAnyIsWhatCheckpointsLeave) {
  FailureModel model = round_model();
  model.gpu_mtbf = {};
  model.node_mtbf = {};
  const Goodput goodput = expected_goodput(model, Seconds(950));
  EXPECT_DOUBLE_EQ(goodput.useful, 0.95);
  EXPECT_DOUBLE_EQ(goodput.checkpoints, 0.05);
  EXPECT_EQ(best_interval(model, Seconds(1e6)).value, 1e6);
}

TEST(Goodput, IsDalysFormula) {
  FailureModel model = round_model();
  model.restart = Seconds(300);
  // 950 / (10,000 exp(0.03) (exp(0.1) - 1)).
  const Goodput goodput = expected_goodput(model, Seconds(950));
  EXPECT_NEAR(goodput.useful, 950 / (10'000 * std::exp(0.03) * std::expm1(0.1)), 1e-12);
  EXPECT_NEAR(goodput.down, 1 - std::exp(-0.03), 1e-12);
  EXPECT_NEAR(sum(goodput), 1, 1e-12);
}

RC_GTEST_PROP(Goodput, IsHighestAtTheBestInterval, ()) {
  FailureModel model = round_model();
  const auto seconds = [](int below) {
    return Seconds(static_cast<double>(*rc::gen::inRange(1, below)));
  };
  model.gpu_mtbf = Seconds(seconds(10'000).value * 1000);
  model.checkpoint_blocking = seconds(500);
  model.restart = seconds(2000);
  const bool writes_on = *rc::gen::arbitrary<bool>();
  if (writes_on) model.checkpoint_async = seconds(400);
  const Seconds best = best_interval(model, Seconds(1e9));
  const double highest = expected_goodput(model, best).useful;
  for (const double factor : {0.5, 0.99, 1.01, 2.0}) {
    const Seconds other = factor * best;
    if ((other + model.checkpoint_blocking) < model.checkpoint_async) continue;
    RC_ASSERT(expected_goodput(model, other).useful <= highest * (1 + 1e-12));
  }
  RC_ASSERT(std::abs(sum(expected_goodput(model, best)) - 1) < 1e-9);
}

TEST(Goodput, BestIntervalIsNearDalysWhereFailuresAreRare) {
  const double best = best_interval(round_model(), Seconds(1e9)).value;
  fmt::print("best {:.2f} s, Daly {:.2f} s, Young {:.2f} s\n", best,
             daly_interval(round_model()).value, young_interval(round_model()).value);
  EXPECT_NEAR(best, daly_interval(round_model()).value, 1);
}

/// Long runs played against the closed form, blocking and asynchronous checkpoints, frequent and
/// rare failures: within four standard errors, which are printed.
TEST(Goodput, ClosedFormIsTheMeanOfRunsPlayed) {
  double worst = 0;
  for (const double async : {0.0, 400.0}) {
    for (const double restart : {0.0, 1000.0}) {
      for (const double mtbf : {4e4, 4e5}) {
        FailureModel model = round_model();
        model.gpu_mtbf = Seconds(mtbf);
        model.checkpoint_async = Seconds(async);
        model.restart = Seconds(restart);
        const Seconds interval(950);
        const auto runs = play_runs(model, interval, Seconds(4e7), 40, 7);
        double mean = 0;
        double squares = 0;
        for (const PlayedRun& run : runs) {
          mean += run.shares.useful / 40;
          squares += run.shares.useful * run.shares.useful / 40;
          EXPECT_NEAR(sum(run.shares), 1, 1e-9);
        }
        const double error = std::sqrt((squares - mean * mean) / 39);
        const double expected = expected_goodput(model, interval).useful;
        worst = std::max(worst, std::abs(mean - expected) / error);
        EXPECT_NEAR(mean, expected, 4 * error) << async << " " << restart << " " << mtbf;
        EXPECT_LT(error, 2e-3);
      }
    }
  }
  fmt::print("goodput of runs played is {:.1f} standard errors off the closed form at worst\n",
             worst);
}

TEST(Goodput, RunsPlayedAreTheSameForASeed) {
  const FailureModel model = round_model();
  const auto once = play_runs(model, Seconds(950), Seconds(1e6), 3, 1);
  const auto again = play_runs(model, Seconds(950), Seconds(1e6), 3, 1);
  const auto other = play_runs(model, Seconds(950), Seconds(1e6), 3, 2);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(once[i].failures, again[i].failures);
    EXPECT_EQ(once[i].shares.useful, again[i].shares.useful);
  }
  EXPECT_NE(once[0].shares.useful, other[0].shares.useful);
  // std::mt19937_64 is the same everywhere, and so are the failures that its numbers come to.
  EXPECT_NEAR(static_cast<double>(once[0].failures), 100, 40);
}

/// "The Llama 3 Herd of Models" (arXiv 2407.21783): 419 unexpected interruptions in 54 days on
/// 16,384 GPUs, and over 90 % effective training time (section 3.3.4), with storage that takes
/// 2 TB/s (section 3.3.1). The paper does not tell how long a restart took: with ten minutes in
/// all, and checkpoints of 14 bytes a parameter that stop training while they are written, the
/// model has both.
TEST(Goodput, MeetsTheLlama3Herd) {
  const double hours = 16'384 * 54.0 * 24 / 419;
  FailureModel model{.gpus = 16'384,
                     .nodes = 2048,
                     .gpu_mtbf = Seconds(hours * kHour),
                     .node_mtbf = {},
                     .detection = Seconds(60),
                     .restart = Seconds(540),
                     .checkpoint_blocking = write_time(common::Bytes(405'853'388'800 * 14),
                                                       common::BytesPerSecond(2e12)),
                     .checkpoint_async = {}};
  const Seconds days(54 * kDay);
  EXPECT_NEAR(expected_failures(model, days), 419, 1e-6);
  const Seconds interval = best_interval(model, days);
  const Goodput goodput = expected_goodput(model, interval);
  const PlayedGoodput played = summarize(play_runs(model, interval, days, 300, 0));
  fmt::print(
      "a failure in {:.0f} h a GPU, {:.2f} h in all; checkpoint every {:.1f} min; goodput "
      "{:.1f} %, played {:.1f} % ({:.1f} to {:.1f}), failures {:.0f} ({:.0f} to {:.0f})\n",
      hours, 1 / failure_rate(model) / kHour, interval.value / 60, 100 * goodput.useful,
      100 * played.useful.mean, 100 * played.useful.low, 100 * played.useful.high,
      played.failures.mean, played.failures.low, played.failures.high);
  EXPECT_GT(goodput.useful, 0.90);
  EXPECT_LT(goodput.useful, 0.95);
  EXPECT_NEAR(played.useful.mean, goodput.useful, 0.002);
  EXPECT_NEAR(played.failures.mean, 419, 4);
  // Restarts of a quarter of an hour and more would not.
  FailureModel slow = model;
  slow.restart = Seconds(17 * 60);
  EXPECT_LT(expected_goodput(slow, best_interval(slow, days)).useful, 0.90);
}

}  // namespace
}  // namespace meshplan::simulator
