#pragma once

#include <vector>

namespace meshplan::planner {

/// The value below which `share` of the values lie, between two of them in proportion. Requires
/// values.
double quantile(std::vector<double> values, double share);

/// Spearman's rank correlation; equal values share their mean rank. 0 where one list is constant.
/// Requires lists of one length.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace meshplan::planner
