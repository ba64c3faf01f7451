#include "tests/simulator/event_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <random>

#include "tests/common/expect_error.h"

namespace meshplan::simulator {
namespace {

/// A graph, and beside it what the laws are checked against.
struct Case {
  TaskGraph graph{3};
  std::vector<Picoseconds> durations;
  /// By task: the tasks that it waits for, that before it in its queue included.
  std::vector<std::vector<TaskId>> awaited;
};

Case any_case() {
  Case c;
  const auto count = *rc::gen::inRange<TaskId>(0, 60);
  for (TaskId task = 0; task < count; ++task) {
    const auto queue = *rc::gen::inRange<std::int32_t>(0, 3);
    const auto duration = *rc::gen::element<Picoseconds>(0, 1, 2, 5, 100);
    std::vector<TaskId>& awaited = c.awaited.emplace_back();
    if (c.graph.last(queue) != kNoTask) awaited.push_back(c.graph.last(queue));
    RC_ASSERT(c.graph.add(queue, duration) == task);
    RC_ASSERT(c.graph.last(queue) == task);
    c.durations.push_back(duration);
    const auto waits = task == 0 ? 0 : *rc::gen::inRange(0, 3);
    for (int i = 0; i < waits; ++i) {
      awaited.push_back(*rc::gen::inRange<TaskId>(0, task));
      c.graph.wait_for(task, awaited.back());
    }
  }
  return c;
}

std::size_t at(TaskId task) { return static_cast<std::size_t>(task); }

RC_GTEST_PROP(EventQueue, TasksStartWhenAllThatTheyWaitForHasEnded, ()) {
  const Case c = any_case();
  const TaskTimes times = play(c.graph);
  RC_ASSERT(times.events == std::ssize(c.durations));
  for (std::size_t task = 0; task < c.durations.size(); ++task) {
    Picoseconds ready = 0;
    for (TaskId other : c.awaited[task]) ready = std::max(ready, times.end[at(other)]);
    RC_ASSERT(times.start[task] == ready);
    RC_ASSERT(times.end[task] == ready + c.durations[task]);
  }
}

RC_GTEST_PROP(EventQueue, NamesTheLastEndThatReleasedATask, ()) {
  const Case c = any_case();
  const TaskTimes times = play(c.graph);
  for (std::size_t task = 0; task < c.durations.size(); ++task) {
    const TaskId released_by = times.released_by[task];
    if (c.awaited[task].empty()) {
      RC_ASSERT(released_by == kNoTask);
      continue;
    }
    RC_ASSERT(std::count(c.awaited[task].begin(), c.awaited[task].end(), released_by) > 0);
    RC_ASSERT(times.end[at(released_by)] == times.start[task]);
  }
}

TEST(EventQueue, OfNothingTakesNoEvents) {
  const TaskTimes times = play(TaskGraph(2));
  EXPECT_EQ(times.events, 0);
  EXPECT_TRUE(times.end.empty());
}

/// Of two ends at one time the task added first ends first, so the other one releases.
TEST(EventQueue, BreaksTiesByTaskNumber) {
  TaskGraph graph(3);
  const TaskId first = graph.add(0, 7);
  const TaskId second = graph.add(1, 7);
  const TaskId waits = graph.add(2, 1);
  graph.wait_for(waits, second);
  graph.wait_for(waits, first);
  EXPECT_EQ(play(graph).released_by[at(waits)], second);
}

/// Two blocks forward with parameters gathered one ahead, in picoseconds:
///
///   gather   g0 0-10   g1 10-30                 g2 waits for f0, which frees its place: 30-40
///   compute            f0 (waits g0) 10-25      f1 (waits g1) 30-45    f2 (waits g2) 45-50
///   tp                 t0 (waits f0) 25-33      t1 (waits f1) 45-53
///
/// f1 waits for g1 (30) and not for t0; the step ends with t1 at 53.
TEST(EventQueue, PlaysAHandWorkedCase) {
  constexpr std::int32_t kGather = 0;
  constexpr std::int32_t kCompute = 1;
  constexpr std::int32_t kTp = 2;
  TaskGraph graph(3);
  const TaskId g0 = graph.add(kGather, 10);
  const TaskId g1 = graph.add(kGather, 20);
  const TaskId f0 = graph.add(kCompute, 15);
  graph.wait_for(f0, g0);
  const TaskId g2 = graph.add(kGather, 10);
  graph.wait_for(g2, f0);
  const TaskId t0 = graph.add(kTp, 8);
  graph.wait_for(t0, f0);
  const TaskId f1 = graph.add(kCompute, 15);
  graph.wait_for(f1, g1);
  const TaskId t1 = graph.add(kTp, 8);
  graph.wait_for(t1, f1);
  const TaskId f2 = graph.add(kCompute, 5);
  graph.wait_for(f2, g2);
  const TaskTimes times = play(graph);
  EXPECT_EQ(times.start, (std::vector<Picoseconds>{0, 10, 10, 30, 25, 30, 45, 45}));
  EXPECT_EQ(times.end, (std::vector<Picoseconds>{10, 30, 25, 40, 33, 45, 53, 50}));
  EXPECT_EQ(times.released_by, (std::vector<TaskId>{kNoTask, g0, g0, g1, f0, g1, f1, f1}));
  EXPECT_EQ(times.events, 8);
  EXPECT_EQ(*std::max_element(times.end.begin(), times.end.end()), times.end[at(t1)]);
}

TEST(EventQueue, RefusesTasksThatWaitForEachOther) {
  TaskGraph graph(2);
  const TaskId a = graph.add(0, 1);
  const TaskId b = graph.add(1, 1);
  graph.wait_for(a, b);
  graph.wait_for(b, a);
  tests::expect_error(
      common::ErrorCode::kInternal, [&] { play(graph); }, "simulator", "in a circle");
}

TEST(EventQueue, PlaysAMillionTasksAtOnce) {
  TaskGraph graph(4);
  std::mt19937 random(1);
  for (TaskId task = 0; task < 1'000'000; ++task) {
    graph.add(static_cast<std::int32_t>(random() % 4), static_cast<Picoseconds>(random() % 1000));
    if (task > 0) graph.wait_for(task, static_cast<TaskId>(random() % static_cast<unsigned>(task)));
  }
  EXPECT_EQ(play(graph).events, 1'000'000);
}

}  // namespace
}  // namespace meshplan::simulator
