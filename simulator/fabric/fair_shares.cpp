#include "simulator/fabric/fair_shares.h"

#include <algorithm>

namespace meshplan::simulator {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Raises the rates of all flows together; those that meet a full link, or their limit, stay.
class Filling {
 public:
  Filling(std::span<const double> capacities, std::span<const Flow> flows)
      : flows_(flows), left_(capacities.begin(), capacities.end()), demand_(capacities.size()) {
    rates_.resize(flows.size());
    rising_.resize(flows.size(), true);
    for (const Flow& flow : flows) {
      for (const LinkUse& use : flow.uses) add(use, 1);
    }
    // Only links that a flow takes can fill up.
    for (std::size_t link = 0; link < demand_.size(); ++link) {
      if (demand_[link] > 0) links_.push_back(link);
    }
  }

  std::vector<double> run() {
    std::size_t rising = flows_.size();
    while (rising > 0) {
      const double level = next_level();
      for (std::size_t f = 0; f < flows_.size(); ++f) {
        if (!rising_[f] || !stays_at(flows_[f], level)) continue;
        rates_[f] = std::min(level, flows_[f].limit);
        rising_[f] = false;
        --rising;
        settled_.push_back(f);
      }
      for (const std::size_t f : settled_) settle(f);
      settled_.clear();
    }
    return std::move(rates_);
  }

 private:
  /// The common rate at which the next flow has to stay.
  double next_level() const {
    double level = kNever;
    for (const std::size_t link : links_) {
      if (demand_[link] > 0) level = std::min(level, left_[link] / demand_[link]);
    }
    for (std::size_t f = 0; f < flows_.size(); ++f) {
      if (rising_[f]) level = std::min(level, flows_[f].limit);
    }
    return level;
  }

  bool stays_at(const Flow& flow, double level) const {
    if (flow.limit <= level || level == kNever) return true;
    // A link that is full at this level up to rounding: two of one level fill up together.
    return std::any_of(flow.uses.begin(), flow.uses.end(), [&](const LinkUse& use) {
      const auto link = static_cast<std::size_t>(use.link);
      return left_[link] <= demand_[link] * level * (1 + 1e-12);
    });
  }

  void settle(std::size_t f) {
    for (const LinkUse& use : flows_[f].uses) {
      add(use, -1);
      double& left = left_[static_cast<std::size_t>(use.link)];
      left = std::max(0.0, left - use.weight * rates_[f]);
    }
  }

  void add(const LinkUse& use, double sign) {
    double& demand = demand_[static_cast<std::size_t>(use.link)];
    demand += sign * use.weight;
    // What rounding leaves of a link that no flow takes any more.
    if (sign < 0 && demand < 1e-12 * use.weight) demand = 0;
  }

  std::span<const Flow> flows_;
  /// Capacity that settled flows leave, and the weights of those that rise.
  std::vector<double> left_;
  std::vector<double> demand_;
  std::vector<std::size_t> links_;
  std::vector<double> rates_;
  std::vector<bool> rising_;
  std::vector<std::size_t> settled_;
};

}  // namespace

std::vector<double> fair_rates(std::span<const double> capacities, std::span<const Flow> flows) {
  return Filling(capacities, flows).run();
}

}  // namespace meshplan::simulator
