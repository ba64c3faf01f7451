#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/units.h"

namespace meshplan::formats {

/// The largest file that is read, and the most columns and characters of a field.
inline constexpr common::Bytes kMaxCsvBytes{64 << 20};
inline constexpr std::size_t kMaxCsvColumns = 1024;
inline constexpr std::size_t kMaxCsvField = 64 << 10;

/// A table of text with a header (RFC 4180: fields may be quoted, quotes are doubled, lines end
/// with LF or CRLF). Every row has the header's number of fields.
class CsvTable {
 public:
  /// Throws kInvalidInput, naming `where`, line and column, for a quote that never ends or is
  /// followed by text, a NUL, a row of another number of fields, a column that is there twice, or a
  /// field, header or file beyond the limits.
  static CsvTable parse(std::string_view text, const std::string& where);
  /// The same from a file; kIo where it cannot be read.
  static CsvTable read(const std::filesystem::path& path);

  std::size_t rows() const { return lines_.size(); }
  /// The column's index, or nothing where the header lacks it.
  std::optional<std::size_t> column(std::string_view name) const;
  const std::string& field(std::size_t row, std::size_t column) const;
  /// "runs.csv:12:5 (hidden_size)": file, line and number of the column.
  std::string where(std::size_t row, std::size_t column) const;
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::vector<std::string> header_;
  std::vector<std::string> fields_;
  /// The line on which each row begins.
  std::vector<std::size_t> lines_;
};

}  // namespace meshplan::formats
