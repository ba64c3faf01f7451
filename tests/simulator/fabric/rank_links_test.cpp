#include "simulator/fabric/rank_links.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "tests/simulator/fabric/finish_times.h"

namespace meshplan::simulator {
namespace {

using planner::Stream;

LinkLoads filling(LinkTier tier, double rate = 1) {
  LinkLoads loads;
  loads.parts[static_cast<std::size_t>(tier)] = 1;
  loads.rate = rate;
  return loads;
}

/// Two rings over one adapter get half of it each. A's 100 begin at 0, B's 60 at 40, when A has 60
/// left: at half their pace both end at 40 + 2 x 60 = 160.
TEST(RankLinks, GiveTwoRingsOverOneAdapterHalfEach) {
  const LinkLoads ring = filling(LinkTier::kAdapters);
  RankLinks links(2, 1);
  links.issue(0, Stream::kGather, 0, {.transfer = 100, .loads = &ring});
  links.issue(1, Stream::kReduce, 40, {.transfer = 60, .loads = &ring});
  EXPECT_EQ(links.play_to_end(0), 160);
  EXPECT_EQ(links.end_of(1), 160);
}

/// A time in which nothing moves takes no link: B's 30 move from 40 + 10 on. A has 50 left then; at
/// half the pace B ends at 50 + 60 = 110, when A has 20 left and the link to itself: 130.
TEST(RankLinks, ShareWhileBytesMove) {
  const LinkLoads ring = filling(LinkTier::kPort);
  RankLinks links(3, 1);
  links.issue(0, Stream::kGather, 0, {.transfer = 100, .loads = &ring});
  links.issue(1, Stream::kTp, 40, {.fixed = 10, .transfer = 30, .loads = &ring});
  EXPECT_EQ(links.play_to_end(1), 110);
  EXPECT_EQ(links.start_of(1), 40);
  EXPECT_EQ(links.play_to_end(0), 130);
  // Over another link nobody is slower.
  const LinkLoads rail = filling(LinkTier::kAdapters);
  links.issue(2, Stream::kReduce, 130, {.transfer = 7, .loads = &rail});
  EXPECT_EQ(links.play_to_end(2), 137);
}

/// A port of 300 bytes a picosecond. A sum over tp fills it; a gather over adapters of 100 passes
/// it as well, at the adapters' rate: it has no more than its fair share, so it stays at 100 and
/// the sum has the 200 that are left, two thirds of its pace.
TEST(RankLinks, LeaveAloneWhatIsSlowerThanItsShare) {
  const LinkLoads sum = filling(LinkTier::kPort, 300);
  LinkLoads gather = filling(LinkTier::kAdapters, 100);
  gather.parts[0] = 1.0 / 3;
  RankLinks links(2, 1);
  links.issue(0, Stream::kTp, 0, {.transfer = 200, .loads = &sum});
  links.issue(1, Stream::kGather, 0, {.transfer = 1000, .loads = &gather});
  EXPECT_EQ(links.play_to_end(0), 300);
  EXPECT_EQ(links.play_to_end(1), 1000);
}

/// Works of a stream follow one another; adapters at half take twice as long.
TEST(RankLinks, KeepTheOrderOfStreams) {
  const LinkLoads ring = filling(LinkTier::kAdapters);
  RankLinks links(2, 0.5);
  links.issue(0, Stream::kGather, 5, {.fixed = 1, .transfer = 10, .loads = &ring});
  links.issue(1, Stream::kGather, 6, {.fixed = 1, .transfer = 10, .loads = &ring});
  links.play_out(Stream::kGather);
  EXPECT_EQ(links.end_of(0), 26);
  EXPECT_EQ(links.start_of(1), 26);
  EXPECT_EQ(links.free_at(Stream::kGather), 47);
  EXPECT_FALSE(links.next().has_value());
}

/// Works with any loads, one a stream: they end when transfers over links that are shared anew at
/// each event do, by floating-point arithmetic without streams.
RC_GTEST_PROP(RankLinks, EndAsTransfersDo, ()) {
  const double adapters = *rc::gen::element(1.0, 0.5);
  const auto count = *rc::gen::inRange<std::size_t>(1, planner::kStreams + 1);
  std::vector<LinkLoads> loads(count);
  std::vector<LinkWork> works;
  std::vector<Picoseconds> ready;
  std::vector<Transfer> transfers;
  for (std::size_t w = 0; w < count; ++w) {
    for (double& part : loads[w].parts) part = *rc::gen::element(0.0, 0.25, 0.5);
    loads[w].parts[*rc::gen::inRange<std::size_t>(0, kLinkTiers)] = 1;
    loads[w].rate = *rc::gen::element(1.0, 3.0, 47.5);
    works.push_back({.fixed = *rc::gen::inRange<Picoseconds>(0, 1'000'000),
                     .transfer = *rc::gen::inRange<Picoseconds>(0, 10'000'000),
                     .loads = &loads[w]});
    ready.push_back(*rc::gen::inRange<Picoseconds>(0, 5'000'000));
    Flow flow{.uses = {}, .limit = loads[w].rate};
    for (std::size_t tier = 0; tier < kLinkTiers; ++tier) {
      if (loads[w].parts[tier] > 0)
        flow.uses.push_back(
            {static_cast<std::int32_t>(tier), loads[w].parts[tier] / loads[w].rate});
    }
    transfers.push_back({flow, static_cast<double>(ready[w] + works[w].fixed),
                         static_cast<double>(works[w].transfer) * loads[w].rate});
  }
  const std::vector<double> capacities = {1, adapters, 1, 1};
  const std::vector<double> expected = finish_times(capacities, transfers);
  RankLinks links(count, adapters);
  for (std::size_t w = 0; w < count; ++w)
    links.issue(static_cast<std::int32_t>(w), static_cast<Stream>(w), ready[w], works[w]);
  for (std::size_t w = 0; w < count; ++w) {
    const auto end = static_cast<double>(links.play_to_end(static_cast<std::int32_t>(w)));
    RC_ASSERT(std::abs(end - expected[w]) <= 8 * static_cast<double>(count));
  }
}

}  // namespace
}  // namespace meshplan::simulator
