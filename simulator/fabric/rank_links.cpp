#include "simulator/fabric/rank_links.h"

#include <algorithm>
#include <cmath>

#include "simulator/fabric/fair_shares.h"

namespace meshplan::simulator {

RankLinks::RankLinks(std::size_t works, double adapters) : times_(works) {
  capacities_.fill(1);
  capacities_[static_cast<std::size_t>(LinkTier::kAdapters)] = adapters;
}

void RankLinks::issue(std::int32_t number, planner::Stream stream, Picoseconds ready,
                      const LinkWork& work) {
  Line& line = lines_[index_of(stream)];
  const Issued issued{number, ready, work};
  if (line.number == kNone) {
    begin(line, issued);
  } else {
    line.waiting.push_back(issued);
  }
}

std::optional<Picoseconds> RankLinks::next() const {
  std::optional<Picoseconds> next;
  for (const Line& line : lines_) {
    if (line.number != kNone && (!next || line.next < *next)) next = line.next;
  }
  return next;
}

void RankLinks::step() {
  const Picoseconds now = next().value();
  const auto passed = static_cast<double>(now - played_);
  played_ = now;
  for (Line& line : lines_) {
    if (line.moves) line.left = std::max(0.0, line.left - line.pace * passed);
  }
  for (Line& line : lines_) {
    if (line.number == kNone || line.next != now) continue;
    if (line.moves || line.work.transfer == 0) {
      finish(line);
    } else {
      line.moves = true;
    }
  }
  share();
}

Picoseconds RankLinks::play_to_end(std::int32_t number) {
  while (!has_ended(number)) step();
  return end_of(number);
}

void RankLinks::play_out(planner::Stream stream) {
  while (lines_[index_of(stream)].number != kNone) step();
}

void RankLinks::begin(Line& line, const Issued& issued) {
  const Picoseconds start = std::max(issued.ready, line.free);
  times_[static_cast<std::size_t>(issued.number)].start = start;
  line.number = issued.number;
  line.work = issued.work;
  line.moves = false;
  line.left = static_cast<double>(issued.work.transfer);
  line.next = start + issued.work.fixed;
}

void RankLinks::finish(Line& line) {
  line.free = line.next;
  times_[static_cast<std::size_t>(line.number)].end = line.next;
  line.number = kNone;
  line.moves = false;
  if (line.first_waiting == line.waiting.size()) return;
  begin(line, line.waiting[line.first_waiting++]);
  if (line.first_waiting < line.waiting.size()) return;
  line.waiting.clear();
  line.first_waiting = 0;
}

void RankLinks::share() {
  Moving moving{};
  for (std::size_t s = 0; s < lines_.size(); ++s) {
    if (lines_[s].moves && lines_[s].work.loads->rate > 0) moving[s] = lines_[s].work.loads;
  }
  const Paces& paces = paces_of(moving);
  for (std::size_t s = 0; s < lines_.size(); ++s) {
    Line& line = lines_[s];
    if (!line.moves) continue;
    line.pace = paces[s];
    line.next = played_ + std::llround(line.left / line.pace);
  }
}

/// At the pace of each alone.
bool RankLinks::has_room_for(const Moving& moving) const {
  for (std::size_t tier = 0; tier < kLinkTiers; ++tier) {
    double sum = 0;
    for (const LinkLoads* loads : moving) sum += loads == nullptr ? 0 : loads->parts[tier];
    if (sum > capacities_[tier]) return false;
  }
  return true;
}

const RankLinks::Paces& RankLinks::paces_of(const Moving& moving) {
  const auto [found, is_new] = paces_.try_emplace(moving);
  Paces& paces = found->second;
  if (!is_new) return paces;
  paces.fill(1);
  if (has_room_for(moving)) return paces;
  std::vector<std::size_t> streams;
  std::vector<Flow> flows;
  for (std::size_t s = 0; s < moving.size(); ++s) {
    if (moving[s] == nullptr) continue;
    Flow flow{.uses = {}, .limit = moving[s]->rate};
    for (std::size_t tier = 0; tier < kLinkTiers; ++tier) {
      const double part = moving[s]->parts[tier];
      if (part > 0) flow.uses.push_back({static_cast<std::int32_t>(tier), part / flow.limit});
    }
    streams.push_back(s);
    flows.push_back(flow);
  }
  const std::vector<double> rates = fair_rates(capacities_, flows);
  for (std::size_t f = 0; f < flows.size(); ++f) paces[streams[f]] = rates[f] / flows[f].limit;
  return paces;
}

}  // namespace meshplan::simulator
