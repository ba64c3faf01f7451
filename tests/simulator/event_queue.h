#pragma once

#include <cstdint>
#include <vector>

#include "simulator/simulated_time.h"

namespace meshplan::simulator {

/// Index of a task in its TaskGraph.
using TaskId = std::int32_t;
inline constexpr TaskId kNoTask = -1;

/// What the simulator is held against: the same step as a graph of tasks, played by a queue of
/// events. Tasks in queues that run in order beside each other, and tasks that wait for tasks of
/// other queues.
class TaskGraph {
 public:
  explicit TaskGraph(std::int32_t queues)
      : last_of_queue_(static_cast<std::size_t>(queues), kNoTask) {}

  /// Appends a task to its queue: it starts when the task before it in the queue has ended.
  /// Requires duration >= 0.
  TaskId add(std::int32_t queue, Picoseconds duration);

  /// `task` starts no earlier than `other`, an earlier task, ends. Requires that both were added.
  void wait_for(TaskId task, TaskId other);

  /// The last task of the queue so far, or kNoTask.
  TaskId last(std::int32_t queue) const { return last_of_queue_[static_cast<std::size_t>(queue)]; }

  std::size_t size() const { return durations_.size(); }

 private:
  friend class EventQueue;

  struct Edge {
    TaskId from;
    TaskId to;
  };

  std::vector<Picoseconds> durations_;
  std::vector<Edge> edges_;
  std::vector<TaskId> last_of_queue_;
};

/// When each task started and ended.
struct TaskTimes {
  std::vector<Picoseconds> start;
  std::vector<Picoseconds> end;
  /// The task whose end was waited for last; kNoTask for those that start at 0.
  std::vector<TaskId> released_by;
  std::int64_t events = 0;
};

/// Plays the graph by events from time 0: the earliest end first, ties by task number. Throws
/// kInternal when tasks wait for each other in a circle.
TaskTimes play(const TaskGraph& graph);

}  // namespace meshplan::simulator
