#include "cli/collectives_table.h"

#include <fmt/format.h>

#include <vector>

#include "common/text.h"

namespace meshplan::cli {
namespace {

using Row = std::vector<std::string>;

const Row kColumns = {"rows", "left out", "median %", "mean %", "worst %", "bias %"};

Row with_errors(Row row, const planner::CollectiveErrors& errors) {
  row.push_back(std::to_string(errors.rows));
  row.push_back(std::to_string(errors.left_out));
  for (const double value : {errors.median, errors.mean, errors.worst})
    row.push_back(errors.rows == 0 ? "-" : fmt::format("{:.1f}", 100 * value));
  row.push_back(errors.rows == 0 ? "-" : fmt::format("{:+.1f}", 100 * errors.bias));
  return row;
}

std::vector<Row> header(Row row) {
  row.insert(row.end(), kColumns.begin(), kColumns.end());
  return {row};
}

}  // namespace

std::string collectives_tables(const planner::CollectiveSummary& summary) {
  std::vector<Row> sizes = header({"collective", "size"});
  for (const auto& [key, errors] : summary.sizes)
    sizes.push_back(with_errors({key.first, planner::size_class_name(key.second)}, errors));
  for (const auto& [name, errors] : summary.collectives)
    sizes.push_back(with_errors({name, "all"}, errors));
  std::vector<Row> links = header({"gpu, link", "collective"});
  for (const auto& [key, errors] : summary.links)
    links.push_back(with_errors({key.first, key.second}, errors));
  return fmt::format("{} rows; errors are predicted / measured - 1, of the time\n\n{}\n{}",
                     summary.rows, common::format_table(sizes), common::format_table(links));
}

}  // namespace meshplan::cli
