#pragma once

#include <string>
#include <vector>

#include "planner/cluster/cluster_spec.h"
#include "planner/layout/layout.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// A rule that a layout breaks: a stable code ("tp_divides_num_key_value_heads") and a message with
/// value, limit and remedy.
struct Violation {
  std::string code;
  std::string message;

  bool operator==(const Violation&) const = default;
};

/// Every rule that the layout breaks for this model and job; empty = valid. An invalid layout is
/// data, not an error.
std::vector<Violation> violations(const ModelSpec& model, const Job& job, const Layout& layout);

/// The same, and that the mesh is one rank per device of the cluster, with nodes as the cluster has
/// them.
std::vector<Violation> violations(const ModelSpec& model, const ClusterSpec& cluster,
                                  const Job& job, const Layout& layout);

/// What of a valid layout and job the executor does not run: it has no pipeline, no context and no
/// expert axis yet, whole sequences attended to, whole collectives over tp, and multiplies, moments
/// and optimizer as the parameters are.
std::vector<Violation> executor_violations(const ModelSpec& model, const Job& job,
                                           const Layout& layout);

/// The messages, one a line.
std::string to_string(const std::vector<Violation>& violations);

}  // namespace meshplan::planner
