#include "planner/explain/pareto.h"

#include <algorithm>
#include <numeric>

namespace meshplan::planner {

std::vector<std::size_t> pareto_frontier(const std::vector<Candidate>& candidates) {
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto rate = [&](std::size_t i) { return candidates[i].estimate.tokens_per_second_per_gpu; };
  const auto memory = [&](std::size_t i) { return candidates[i].estimate.memory.peak_device; };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return rate(a) != rate(b) ? rate(a) > rate(b) : memory(a) < memory(b);
  });
  std::vector<std::size_t> frontier;
  for (std::size_t i : order) {
    if (frontier.empty() || memory(i) < memory(frontier.back())) frontier.push_back(i);
  }
  return frontier;
}

}  // namespace meshplan::planner
