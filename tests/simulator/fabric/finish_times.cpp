#include "tests/simulator/fabric/finish_times.h"

#include <algorithm>

namespace meshplan::simulator {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

}  // namespace

std::vector<double> finish_times(std::span<const double> capacities,
                                 std::span<const Transfer> transfers) {
  std::vector<double> ends(transfers.size());
  std::vector<double> left;
  for (const Transfer& transfer : transfers) left.push_back(transfer.volume);
  std::vector<bool> done(transfers.size());
  std::size_t open = transfers.size();
  double now = 0;
  while (open > 0) {
    std::vector<std::size_t> active;
    std::vector<Flow> flows;
    double next = kNever;
    for (std::size_t i = 0; i < transfers.size(); ++i) {
      if (done[i]) continue;
      if (transfers[i].start > now) {
        next = std::min(next, transfers[i].start);
      } else {
        active.push_back(i);
        flows.push_back(transfers[i].flow);
      }
    }
    const std::vector<double> rates = fair_rates(capacities, flows);
    for (std::size_t a = 0; a < active.size(); ++a) {
      const double rest = left[active[a]];
      next = std::min(next, rest == 0 ? now : now + rest / rates[a]);
    }
    for (std::size_t a = 0; a < active.size(); ++a) {
      const std::size_t i = active[a];
      const double ends_at = left[i] == 0 ? now : now + left[i] / rates[a];
      left[i] = std::max(0.0, left[i] - rates[a] * (next - now));
      if (ends_at > next) continue;
      ends[i] = next;
      done[i] = true;
      --open;
    }
    now = next;
  }
  return ends;
}

}  // namespace meshplan::simulator
