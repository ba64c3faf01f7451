#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "planner/cost/layout_table.h"

namespace meshplan::planner {

/// Prices many layouts of one job: what they have in common is worked out when the first of its
/// kind is priced, and used for all others.
class EstimateTables {
 public:
  EstimateTables(const ModelSpec& model, const ClusterSpec& cluster, const Job& job);
  EstimateTables(EstimateTables&&) noexcept;
  ~EstimateTables();

  /// Memory, traffic and step time that estimate() gives. Requires a layout without violations.
  /// Allocates nothing once layouts of the same kind have been priced, but for a pipeline, whose
  /// stages are played each time.
  QuickEstimate price(const Layout& layout);

 private:
  /// Numbers that tell kinds apart.
  using Key = std::array<std::int64_t, 8>;
  struct KeyHash {
    std::size_t operator()(const Key& key) const;
  };
  template <class Value>
  using Table = std::unordered_map<Key, Value, KeyHash>;
  struct Family;

  Family& family_of(const Layout& layout);
  const TableProgram& program_of(const Layout& layout, const Key& shape);

  ModelSpec model_;
  ClusterSpec cluster_;
  Job job_;
  /// Programs by what shapes them, and layouts by the sizes of what they do.
  Table<TableProgram> programs_;
  Table<Family> families_;
};

}  // namespace meshplan::planner
