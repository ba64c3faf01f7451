#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "formats/csv.h"

namespace meshplan::planner {

/// Reads the fields of one row of a table. Every function throws kInvalidInput with file, line and
/// column for a column that the table lacks, or a value of another form or range.
class RowReader {
 public:
  /// A column of `optional` that the table lacks reads as empty in every row.
  RowReader(const formats::CsvTable& table, std::size_t row,
            std::span<const std::string_view> optional = {})
      : table_(&table), row_(row), optional_(optional) {}

  const std::string& text(std::string_view column) const;
  /// Nothing where the field is empty.
  std::optional<std::int64_t> integer(std::string_view column, std::int64_t min,
                                      std::int64_t max) const;
  std::int64_t required_integer(std::string_view column, std::int64_t min, std::int64_t max) const;
  /// A finite number in [0, max]; nothing where the field is empty.
  std::optional<double> number(std::string_view column, double max) const;
  /// "yes" or "no"; an empty field is no.
  bool flag(std::string_view column) const;

  [[noreturn]] void fail(std::string_view column, const std::string& message) const;

 private:
  std::size_t index(std::string_view column) const;

  const formats::CsvTable* table_;
  std::size_t row_;
  std::span<const std::string_view> optional_;
};

}  // namespace meshplan::planner
