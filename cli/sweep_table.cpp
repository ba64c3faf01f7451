#include "cli/sweep_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "cli/command.h"
#include "common/text.h"
#include "planner/explain/layout_text.h"
#include "planner/explain/step_shares.h"

namespace meshplan::cli {
namespace {

using common::human;
using planner::Axis;
using planner::Estimate;
using planner::Layout;
using planner::Sweep;
using planner::SweepPoint;
using Row = std::vector<std::string>;

constexpr const char* kNone = "-";

Row names_of(const Sweep& sweep) {
  Row names;
  for (const planner::Variation& variation : sweep.variations)
    names.emplace_back(to_string(variation.input));
  return names;
}

Row values_of(const Sweep& sweep, const SweepPoint& point) {
  Row values;
  for (std::size_t v = 0; v < sweep.variations.size(); ++v)
    values.push_back(value_text(sweep.variations[v].input, point.values[v]));
  return values;
}

void append(Row& row, Row more) {
  for (std::string& text : more) row.push_back(std::move(text));
}

Row best_figures(const planner::Candidate& best) {
  const Estimate& estimate = best.estimate;
  const auto known = [](const std::optional<double>& number) {
    return number ? fmt::format("{:.3g}", *number) : kNone;
  };
  return {layout_text(best.layout),
          human(estimate.step_time),
          fmt::format("{:.0f}", estimate.tokens_per_second_per_gpu),
          percent(estimate.mfu),
          human(estimate.memory.peak_device),
          human(estimate.memory.capacity),
          human(planner::exposed_time(estimate)),
          known(estimate.cost.price),
          known(estimate.cost.kilowatt_hours)};
}

/// "3": without an exponent or trailing zeros, exact enough to be read back.
std::string number(double value) { return fmt::format("{}", value); }
std::string number(const std::optional<double>& value) { return value ? number(*value) : ""; }

Row csv_figures(const planner::Candidate& best) {
  const auto& [layout, estimate] = best;
  Row row;
  for (Axis axis : {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate, Axis::kCp, Axis::kPp})
    row.push_back(std::to_string(layout.mesh.sizes[axis]));
  append(row, {std::to_string(layout.microbatch_size), std::to_string(layout.accumulation),
               number(estimate.step_time.value), number(estimate.tokens_per_second_per_gpu),
               number(estimate.mfu), std::to_string(estimate.memory.peak_device.value),
               std::to_string(estimate.memory.capacity.value),
               number(planner::exposed_time(estimate).value), number(estimate.cost.price),
               number(estimate.cost.kilowatt_hours)});
  return row;
}

constexpr std::array kCsvFigures = {"tp",
                                    "dp_shard",
                                    "dp_replicate",
                                    "cp",
                                    "pp",
                                    "microbatch_size",
                                    "accumulation",
                                    "step_time_s",
                                    "tokens_per_second_per_gpu",
                                    "mfu",
                                    "peak_device_bytes",
                                    "capacity_bytes",
                                    "exposed_s",
                                    "price_per_million_tokens",
                                    "kwh_per_million_tokens"};

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

std::string csv_line(const Row& row) {
  Row fields;
  for (const std::string& text : row) fields.push_back(quoted(text));
  return fmt::format("{}\n", fmt::join(fields, ","));
}

}  // namespace

std::string sweep_table(const Sweep& sweep) {
  const Row figures = {"best layout", "step",    "tokens/s/GPU", "MFU",       "memory",
                       "of",          "exposed", "price/Mtoken", "kWh/Mtoken"};
  std::vector<Row> rows = {names_of(sweep)};
  append(rows.front(), figures);
  std::string reasons;
  for (const SweepPoint& point : sweep.points) {
    Row row = values_of(sweep, point);
    if (point.best) {
      append(row, best_figures(*point.best));
    } else {
      reasons += fmt::format("  {}: {}\n", fmt::join(row, " "), point.nothing);
      append(row, Row(figures.size(), kNone));
      row[sweep.variations.size()] = "nothing fits";
    }
    rows.push_back(std::move(row));
  }
  const std::string table = common::format_table(rows);
  if (reasons.empty()) return table;
  return table +
         fmt::format("\nwhere nothing fits ({}):\n{}", fmt::join(names_of(sweep), " "), reasons);
}

std::string sweep_csv(const Sweep& sweep) {
  Row header = names_of(sweep);
  append(header, {"fit", "rejected"});
  append(header, Row(kCsvFigures.begin(), kCsvFigures.end()));
  append(header, {"least_need_bytes", "reason"});
  std::string text = csv_line(header);
  for (const SweepPoint& point : sweep.points) {
    Row row;
    for (std::size_t v = 0; v < sweep.variations.size(); ++v)
      row.push_back(number(point.values[v]));
    append(row, {std::to_string(point.fit), std::to_string(point.rejected)});
    append(row, point.best ? csv_figures(*point.best) : Row(kCsvFigures.size()));
    append(row, {point.least_need.value > 0 ? std::to_string(point.least_need.value) : "",
                 point.nothing});
    text += csv_line(row);
  }
  return text;
}

}  // namespace meshplan::cli
