#include "simulator/fabric/fair_shares.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "tests/simulator/fabric/finish_times.h"

namespace meshplan::simulator {
namespace {

Flow over(std::vector<LinkUse> uses) {
  Flow flow;
  flow.uses = std::move(uses);
  return flow;
}

TEST(FairShares, DivideALinkEvenly) {
  const std::vector<double> links = {12};
  const std::vector<Flow> flows(3, over({{0, 1}}));
  EXPECT_EQ(fair_rates(links, flows), (std::vector<double>{4, 4, 4}));
}

/// The textbook's chain: A over both links of 10 and 4, B over the first, C and D over the second.
TEST(FairShares, GiveWhatABottleneckElsewhereLeaves) {
  const std::vector<double> links = {10, 4};
  const std::vector<Flow> flows = {over({{0, 1}, {1, 1}}), over({{0, 1}}), over({{1, 1}}),
                                   over({{1, 1}})};
  const std::vector<double> rates = fair_rates(links, flows);
  // The second link fills at 4 / 3; B has the 10 - 4 / 3 that are left of the first.
  EXPECT_DOUBLE_EQ(rates[0], 4.0 / 3);
  EXPECT_DOUBLE_EQ(rates[2], 4.0 / 3);
  EXPECT_DOUBLE_EQ(rates[3], 4.0 / 3);
  EXPECT_DOUBLE_EQ(rates[1], 10 - 4.0 / 3);
}

TEST(FairShares, CountWeightsAndLimits) {
  const std::vector<double> links = {12};
  std::vector<Flow> flows = {over({{0, 2}}), over({{0, 1}})};
  // 2 r + r = 12.
  EXPECT_EQ(fair_rates(links, flows), (std::vector<double>{4, 4}));
  flows[0].limit = 1;
  // The first stays at 1 and takes 2; the second has 10.
  EXPECT_EQ(fair_rates(links, flows), (std::vector<double>{1, 10}));
}

TEST(FairShares, EndTransfersAsTheLinkIsSharedAnew) {
  const std::vector<double> links = {10};
  const Flow flow = over({{0, 1}});
  // A alone to 1 s: 10 of its 30. A and B at 5 each: B's 20 end at 5 s, when A has none left, too.
  const std::vector<Transfer> two = {{flow, 0, 30}, {flow, 1, 20}};
  EXPECT_EQ(finish_times(links, two), (std::vector<double>{5, 5}));
  // C at 2 s: A has 15 left, B 15; thirds of 10 until C's 10 end at 5 s; then 5 each to 6 s.
  const std::vector<Transfer> three = {{flow, 0, 30}, {flow, 1, 20}, {flow, 2, 10}};
  const std::vector<double> ends = finish_times(links, three);
  EXPECT_NEAR(ends[0], 6, 1e-9);
  EXPECT_NEAR(ends[1], 6, 1e-9);
  EXPECT_NEAR(ends[2], 5, 1e-9);
  // Nothing to send ends where it starts.
  const std::vector<Transfer> none = {{flow, 3, 0}};
  EXPECT_EQ(finish_times(links, none), (std::vector<double>{3}));
}

struct Network {
  std::vector<double> capacities;
  std::vector<Flow> flows;
};

Network any_network() {
  Network network;
  const auto links = *rc::gen::inRange(1, 8);
  for (int l = 0; l < links; ++l)
    network.capacities.push_back(*rc::gen::element(1.0, 3.0, 10.0, 47.5));
  const auto flows = *rc::gen::inRange(1, 12);
  for (int f = 0; f < flows; ++f) {
    Flow flow;
    for (int l = 0; l < links; ++l) {
      if (*rc::gen::arbitrary<bool>()) flow.uses.push_back({l, *rc::gen::element(0.5, 1.0, 2.0)});
    }
    if (flow.uses.empty()) flow.uses.push_back({0, 1});
    if (*rc::gen::inRange(0, 4) == 0) flow.limit = *rc::gen::element(0.1, 1.0, 5.0);
    network.flows.push_back(flow);
  }
  return network;
}

std::vector<double> loads(const Network& network, const std::vector<double>& rates) {
  std::vector<double> load(network.capacities.size());
  for (std::size_t f = 0; f < rates.size(); ++f) {
    for (const LinkUse& use : network.flows[f].uses)
      load[static_cast<std::size_t>(use.link)] += use.weight * rates[f];
  }
  return load;
}

RC_GTEST_PROP(FairShares, NeverFillALinkBeyondItsCapacity, ()) {
  const Network network = any_network();
  const std::vector<double> rates = fair_rates(network.capacities, network.flows);
  const std::vector<double> load = loads(network, rates);
  for (std::size_t l = 0; l < load.size(); ++l)
    RC_ASSERT(load[l] <= network.capacities[l] * (1 + 1e-9));
  for (std::size_t f = 0; f < rates.size(); ++f) {
    RC_ASSERT(rates[f] > 0);
    RC_ASSERT(rates[f] <= network.flows[f].limit);
  }
}

/// Max-min: a flow below its limit has a full link on which none is faster.
RC_GTEST_PROP(FairShares, LeaveNoFlowThatCouldRiseWithoutSlowingASlowerOne, ()) {
  const Network network = any_network();
  const std::vector<double> rates = fair_rates(network.capacities, network.flows);
  const std::vector<double> load = loads(network, rates);
  for (std::size_t f = 0; f < rates.size(); ++f) {
    bool held = rates[f] >= network.flows[f].limit;
    for (const LinkUse& use : network.flows[f].uses) {
      const auto link = static_cast<std::size_t>(use.link);
      if (load[link] < network.capacities[link] * (1 - 1e-9)) continue;
      double fastest = 0;
      for (std::size_t g = 0; g < rates.size(); ++g) {
        for (const LinkUse& other : network.flows[g].uses) {
          if (other.link == use.link) fastest = std::max(fastest, rates[g]);
        }
      }
      held = held || fastest <= rates[f] * (1 + 1e-9);
    }
    RC_ASSERT(held);
  }
}

/// What is sent by the end is what was to be sent: shared links lose nothing.
RC_GTEST_PROP(FairShares, EndNoSoonerThanALinkCanCarryAll, ()) {
  const Network network = any_network();
  std::vector<Transfer> transfers;
  for (const Flow& flow : network.flows)
    transfers.push_back(
        {flow, *rc::gen::element(0.0, 1.0, 2.5), *rc::gen::element(0.0, 1.0, 30.0)});
  const std::vector<double> ends = finish_times(network.capacities, transfers);
  std::vector<double> bytes(network.capacities.size());
  std::vector<double> last(network.capacities.size());
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    RC_ASSERT(ends[i] >= transfers[i].start);
    for (const LinkUse& use : transfers[i].flow.uses) {
      const auto link = static_cast<std::size_t>(use.link);
      bytes[link] += use.weight * transfers[i].volume;
      last[link] = std::max(last[link], ends[i]);
    }
  }
  for (std::size_t l = 0; l < bytes.size(); ++l)
    RC_ASSERT(bytes[l] <= network.capacities[l] * last[l] * (1 + 1e-9) + 1e-9);
}

}  // namespace
}  // namespace meshplan::simulator
