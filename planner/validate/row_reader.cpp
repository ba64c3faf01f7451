#include "planner/validate/row_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/error.h"

namespace meshplan::planner {

using common::Error;
using common::ErrorCode;

std::size_t RowReader::index(std::string_view column) const {
  if (const auto found = table_->column(column)) return *found;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("column '{}' is missing; docs/cost_model.md lists the columns", column),
              table_->file() + ":1:1");
}

void RowReader::fail(std::string_view column, const std::string& message) const {
  throw Error(ErrorCode::kInvalidInput, message, table_->where(row_, index(column)));
}

const std::string& RowReader::text(std::string_view column) const {
  static const std::string kEmpty;
  if (!table_->column(column) && std::ranges::count(optional_, column) > 0) return kEmpty;
  return table_->field(row_, index(column));
}

std::optional<double> RowReader::number(std::string_view column, double max) const {
  const std::string& field = text(column);
  if (field.empty()) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value))
    fail(column, fmt::format("'{:.40}' is not a number", field));
  if (value < 0 || value > max)
    fail(column, fmt::format("{:.40} is out of range; 0 to {:g} is allowed", field, max));
  return value;
}

std::optional<std::int64_t> RowReader::integer(std::string_view column, std::int64_t min,
                                               std::int64_t max) const {
  const auto value = number(column, 1e300);
  if (!value) return std::nullopt;
  const std::string& field = text(column);
  if (*value != std::floor(*value))
    fail(column, fmt::format("'{:.40}' is not a whole number", field));
  if (*value < static_cast<double>(min) || *value > static_cast<double>(max))
    fail(column, fmt::format("{:.40} is out of range; {} to {} is allowed", field, min, max));
  return static_cast<std::int64_t>(*value);
}

std::int64_t RowReader::required_integer(std::string_view column, std::int64_t min,
                                         std::int64_t max) const {
  const auto value = integer(column, min, max);
  if (!value) fail(column, fmt::format("is empty; a number from {} to {} is needed", min, max));
  return *value;
}

bool RowReader::flag(std::string_view column) const {
  const std::string& field = text(column);
  if (field == "yes") return true;
  if (!field.empty() && field != "no")
    fail(column, fmt::format("'{:.40}' is neither yes nor no", field));
  return false;
}

}  // namespace meshplan::planner
