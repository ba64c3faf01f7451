#pragma once

#include <array>

#include "common/units.h"
#include "planner/program/operation.h"

namespace meshplan::planner {

/// Bytes by class, indexed by MemoryClass.
using MemoryBreakdown = std::array<common::Bytes, kMemoryClasses>;

inline common::Bytes total(const MemoryBreakdown& breakdown) {
  common::Bytes sum;
  for (common::Bytes size : breakdown) sum += size;
  return sum;
}

}  // namespace meshplan::planner
