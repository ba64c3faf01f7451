// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/memory_bars.h"

#include <QObject>

namespace meshplan::gui {
namespace {

double gib(common::Bytes size) {
  return static_cast<double>(size.value) / static_cast<double>(common::kGiB.value);
}

}  // namespace

QString nameOfBarClass(std::size_t index) {
  if (index == planner::kMemoryClasses) return QObject::tr("allocator and contexts");
  return QString(to_string(static_cast<planner::MemoryClass>(index))).replace('_', ' ');
}

MemoryBars memoryBarsOf(const LayoutDetail& detail) {
  MemoryBars bars;
  bars.capacity = gib(detail.candidate.estimate.memory.capacity);
  for (const NamedEstimate& neighbour : detail.neighbours) {
    const planner::MemoryEstimate& memory = neighbour.candidate.estimate.memory;
    bars.names.append(neighbour.name);
    for (std::size_t c = 0; c < planner::kMemoryClasses; ++c)
      bars.classes[c].append(gib(memory.breakdown[c]));
    bars.classes[planner::kMemoryClasses].append(gib(memory.peak_device - memory.peak_allocated));
    bars.totals.append(gib(memory.peak_device));
  }
  return bars;
}

}  // namespace meshplan::gui
