#pragma once

#include "planner/plan/exporters/exporter.h"
#include "planner/search/search.h"

namespace meshplan::planner {

/// Choices of a search that its user has made; those left open are tried as far as the target
/// can say them.
struct ChoicesMade {
  bool sharding = false;
  bool gradient_accumulation = false;
  bool activation_checkpointing = false;
};

/// search() over the layouts that the target can express: every strategy, way to accumulate, and
/// none or all blocks checkpointed, where the choice is open. What fits and cannot be expressed is
/// among the rejected. Throws kInvalidInput as search(), and, with the refusals of the best of
/// them, where layouts fit and the target can express none.
SearchResult search_exportable(const ExportTarget& target, const ModelSpec& model,
                               const ClusterSpec& cluster, const Job& job,
                               const SearchRequest& request, const ChoicesMade& made);

}  // namespace meshplan::planner
