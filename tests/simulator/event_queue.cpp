#include "tests/simulator/event_queue.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "common/error.h"

namespace meshplan::simulator {

TaskId TaskGraph::add(std::int32_t queue, Picoseconds duration) {
  const auto task = static_cast<TaskId>(durations_.size());
  durations_.push_back(duration);
  TaskId& last = last_of_queue_[static_cast<std::size_t>(queue)];
  if (last != kNoTask) wait_for(task, last);
  last = task;
  return task;
}

void TaskGraph::wait_for(TaskId task, TaskId other) { edges_.push_back({other, task}); }

/// The state of one play: what each task still waits for, and the ends to come.
class EventQueue {
 public:
  explicit EventQueue(const TaskGraph& graph) : graph_(graph) {
    const std::size_t count = graph.size();
    times_ = {.start = std::vector<Picoseconds>(count),
              .end = std::vector<Picoseconds>(count),
              .released_by = std::vector<TaskId>(count, kNoTask),
              .events = 0};
    waiting_for_.assign(count, 0);
    first_edge_.assign(count + 1, 0);
    for (const auto& edge : graph.edges_) {
      ++waiting_for_[static_cast<std::size_t>(edge.to)];
      ++first_edge_[static_cast<std::size_t>(edge.from) + 1];
    }
    for (std::size_t i = 1; i <= count; ++i) first_edge_[i] += first_edge_[i - 1];
    targets_.resize(graph.edges_.size());
    std::vector<std::int32_t> next(first_edge_.begin(), first_edge_.end() - 1);
    for (const auto& edge : graph.edges_) {
      targets_[static_cast<std::size_t>(next[static_cast<std::size_t>(edge.from)]++)] = edge.to;
    }
  }

  TaskTimes run() {
    for (std::size_t task = 0; task < graph_.size(); ++task) {
      if (waiting_for_[task] == 0) start(static_cast<TaskId>(task), 0, kNoTask);
    }
    while (!ends_.empty()) {
      const auto [time, task] = ends_.top();
      ends_.pop();
      ++times_.events;
      end(task, time);
    }
    if (times_.events != static_cast<std::int64_t>(graph_.size())) {
      throw common::Error(common::ErrorCode::kInternal,
                          "tasks of the program wait for each other in a circle", "simulator");
    }
    return std::move(times_);
  }

 private:
  void start(TaskId task, Picoseconds time, TaskId released_by) {
    const auto index = static_cast<std::size_t>(task);
    times_.start[index] = time;
    times_.end[index] = time + graph_.durations_[index];
    times_.released_by[index] = released_by;
    ends_.emplace(times_.end[index], task);
  }

  void end(TaskId task, Picoseconds time) {
    const auto index = static_cast<std::size_t>(task);
    for (std::int32_t e = first_edge_[index]; e < first_edge_[index + 1]; ++e) {
      const TaskId target = targets_[static_cast<std::size_t>(e)];
      if (--waiting_for_[static_cast<std::size_t>(target)] == 0) start(target, time, task);
    }
  }

  using End = std::pair<Picoseconds, TaskId>;

  const TaskGraph& graph_;
  TaskTimes times_;
  std::vector<std::int32_t> waiting_for_;
  /// Edges of task i are targets_[first_edge_[i] .. first_edge_[i + 1]).
  std::vector<std::int32_t> first_edge_;
  std::vector<TaskId> targets_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
};

TaskTimes play(const TaskGraph& graph) { return EventQueue(graph).run(); }

}  // namespace meshplan::simulator
