#include "formats/csv.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "common/file.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// Splits text into rows of fields.
class Scanner {
 public:
  Scanner(std::string_view text, const std::string& file) : text_(text), file_(file) {
    if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
  }

  bool at_end() const { return at_ == text_.size(); }
  /// The line that the next row begins on, from 1.
  std::size_t line() const { return line_; }

  /// One row; leaves the scanner behind its line's end.
  std::vector<std::string> row() {
    std::vector<std::string> fields;
    do {
      if (fields.size() == kMaxCsvColumns)
        fail(fields.size() + 1,
             fmt::format("has more than {} columns; is this a CSV file?", kMaxCsvColumns));
      fields.push_back(field(fields.size() + 1));
    } while (take(','));
    if (take('\r') && !at_end() && text_[at_] != '\n')
      fail(fields.size(), "has a carriage return inside a line; quote the field");
    if (take('\n')) ++line_;
    return fields;
  }

 private:
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string field(std::size_t column) {
    const std::string value = take('"') ? quoted(column) : plain();
    if (value.find('\0') != std::string::npos) fail(column, "holds a NUL; is this a CSV file?");
    return value;
  }

  std::string plain() {
    const std::size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
    const std::string_view value = text_.substr(at_, end - at_);
    at_ = end;
    check_length(value.size());
    return std::string(value);
  }

  std::string quoted(std::size_t column) {
    std::string value;
    const std::size_t start = line_;
    for (;;) {
      if (at_end())
        fail(column, fmt::format("has a quote that is never closed, opened on line {}", start));
      const char c = text_[at_++];
      if (c == '\n') ++line_;
      if (c == '"' && !take('"')) break;
      value.push_back(c);
      check_length(value.size());
    }
    if (!at_end() && std::string_view(",\r\n").find(text_[at_]) == std::string_view::npos)
      fail(column, "has text behind its closing quote; double the quotes inside a field");
    return value;
  }

  void check_length(std::size_t size) const {
    if (size > kMaxCsvField)
      throw Error(
          ErrorCode::kInvalidInput,
          fmt::format("has a field of more than {} characters; is this a CSV file?", kMaxCsvField),
          fmt::format("{}:{}", file_, line_));
  }

  [[noreturn]] void fail(std::size_t column, const std::string& message) const {
    throw Error(ErrorCode::kInvalidInput, message, fmt::format("{}:{}:{}", file_, line_, column));
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
};

}  // namespace

CsvTable CsvTable::parse(std::string_view text, const std::string& where) {
  CsvTable table;
  table.file_ = where;
  Scanner scanner(text, where);
  if (scanner.at_end())
    throw Error(ErrorCode::kInvalidInput, "is empty; its first line must name the columns", where);
  table.header_ = scanner.row();
  for (std::size_t i = 0; i < table.header_.size(); ++i) {
    const auto end = table.header_.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(table.header_.begin(), end, table.header_[i]) != end)
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("column '{}' is there twice; rename one", table.header_[i]),
                  fmt::format("{}:1:{}", where, i + 1));
  }
  while (!scanner.at_end()) {
    const std::size_t line = scanner.line();
    std::vector<std::string> fields = scanner.row();
    if (fields.size() == 1 && fields.front().empty()) continue;
    if (fields.size() != table.header_.size())
      throw Error(
          ErrorCode::kInvalidInput,
          fmt::format("has {} fields, the header {}; add or quote what is missing", fields.size(),
                      table.header_.size()),
          fmt::format("{}:{}:{}", where, line, std::min(fields.size(), table.header_.size()) + 1));
    std::move(fields.begin(), fields.end(), std::back_inserter(table.fields_));
    table.lines_.push_back(line);
  }
  return table;
}

CsvTable CsvTable::read(const std::filesystem::path& path) {
  return parse(common::read_file(path, kMaxCsvBytes), path.string());
}

std::optional<std::size_t> CsvTable::column(std::string_view name) const {
  const auto found = std::find(header_.begin(), header_.end(), name);
  if (found == header_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - header_.begin());
}

const std::string& CsvTable::field(std::size_t row, std::size_t column) const {
  return fields_.at(row * header_.size() + column);
}

std::string CsvTable::where(std::size_t row, std::size_t column) const {
  return fmt::format("{}:{}:{} ({})", file_, lines_.at(row), column + 1, header_.at(column));
}

}  // namespace meshplan::formats
