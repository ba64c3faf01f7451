#include "gui/models/newest_work.h"

#include <gtest/gtest.h>

#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

/// Runs until it is told to stop.
NewestWork::Work endless() {
  return [](const Stop& stop) -> NewestWork::Deliver {
    for (;;) {
      stop.check();
      std::this_thread::yield();
    }
  };
}

TEST(NewestWork, DeliversOnlyTheNewestOfTwoHundred) {
  NewestWork work;
  std::vector<int> delivered;
  for (int i = 0; i < 200; ++i) {
    work.start([i, &delivered](const Stop& stop) -> NewestWork::Deliver {
      for (int spin = 0; i < 199 && spin < 1000; ++spin) stop.check();
      return [i, &delivered] { delivered.push_back(i); };
    });
    if (i % 7 == 0) QTest::qWait(0);
  }
  ASSERT_TRUE(eventually([&] { return !work.isBusy(); }));
  ASSERT_FALSE(delivered.empty());
  EXPECT_EQ(delivered.back(), 199);
  EXPECT_TRUE(std::is_sorted(delivered.begin(), delivered.end()));
}

TEST(NewestWork, IsCancelledTwoHundredTimesInARow) {
  NewestWork work;
  for (int i = 0; i < 200; ++i) {
    work.start(endless());
    if (i % 3 == 0) QTest::qWait(1);
    work.cancel();
    EXPECT_FALSE(work.isBusy());
  }
  bool done = false;
  work.start([&done](const Stop&) { return [&done] { done = true; }; });
  EXPECT_TRUE(eventually([&] { return done; }));
}

TEST(NewestWork, EndsWhileItWorks) {
  for (int i = 0; i < 20; ++i) {
    NewestWork work;
    work.start(endless());
    if (i % 2 == 0) QTest::qWait(1);
  }
}

TEST(NewestWork, TellsWhatFailed) {
  NewestWork work;
  QString why;
  QObject::connect(&work, &NewestWork::failed, [&](const QString& text) { why = text; });
  work.start([](const Stop&) -> NewestWork::Deliver { throw std::runtime_error("no way"); });
  ASSERT_TRUE(eventually([&] { return !work.isBusy(); }));
  EXPECT_EQ(why, "no way");
}

}  // namespace
}  // namespace meshplan::gui
