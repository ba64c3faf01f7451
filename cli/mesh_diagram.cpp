#include "cli/mesh_diagram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace meshplan::cli {
namespace {

using planner::Axis;

constexpr std::int64_t kFirstRows = 5;
constexpr std::int64_t kMostRows = 8;
constexpr std::int64_t kFirstColumns = 12;
constexpr std::int64_t kMostColumns = 16;

/// One row or column as it is drawn: an index, or all from first to last as "...".
struct Line {
  std::int64_t first;
  std::int64_t last;

  bool elided() const { return first != last; }
};

std::vector<Line> shown_lines(std::int64_t size, std::int64_t first_ones, std::int64_t most) {
  std::vector<Line> lines;
  const bool all = size <= most;
  const std::int64_t head = all ? size : first_ones;
  for (std::int64_t i = 0; i < head; ++i) lines.push_back({i, i});
  if (all) return lines;
  const std::int64_t tail = size - (most - first_ones - 1);
  lines.push_back({head, tail - 1});
  for (std::int64_t i = tail; i < size; ++i) lines.push_back({i, i});
  return lines;
}

class Diagram {
 public:
  explicit Diagram(const planner::DeviceMesh& mesh)
      : mesh_(mesh),
        rows_(
            shown_lines(planner::world_size(mesh) / mesh.sizes[Axis::kTp], kFirstRows, kMostRows)),
        columns_(shown_lines(mesh.sizes[Axis::kTp], kFirstColumns, kMostColumns)),
        width_(std::max<std::size_t>(3, std::to_string(planner::world_size(mesh) - 1).size())) {
    for (const Line& row : rows_) label_width_ = std::max(label_width_, row_label(row).size());
  }

  std::string draw() const {
    std::string text = fmt::format("{:>{}}  ", "tp", label_width_);
    for (const Line& column : columns_) text += cell(column, std::to_string(column.first)) + " ";
    text = trimmed(text) + "\n" + border(0);
    std::string nodes_before;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      const std::string nodes = node_label(rows_[r]);
      text += trimmed(row(r) + (nodes == nodes_before ? "" : "  " + nodes)) + "\n" + border(r + 1);
      nodes_before = nodes;
    }
    return text;
  }

 private:
  std::int64_t node(std::int64_t row, std::int64_t column) const {
    return planner::node_of(mesh_, row * mesh_.sizes[Axis::kTp] + column);
  }

  std::string cell(const Line& line, const std::string& text) const {
    return fmt::format(" {:>{}} ", line.elided() ? "..." : text, width_);
  }

  std::string row_label(const Line& row) const {
    if (row.elided()) return "...";
    const planner::AxisSizes at =
        planner::coordinates_of(mesh_, row.first * mesh_.sizes[Axis::kTp]);
    const bool one = mesh_.sizes[Axis::kDpReplicate] == 1;
    std::string label;
    const auto add = [&](const char* name, Axis axis) {
      label += fmt::format("{}{} {}", label.empty() ? "" : ", ", name, at[axis]);
    };
    if (mesh_.sizes[Axis::kPp] > 1) add("pp", Axis::kPp);
    if (!one) add("dp_replicate", Axis::kDpReplicate);
    add(one ? "dp" : "dp_shard", Axis::kDpShard);
    if (mesh_.sizes[Axis::kCp] > 1) add("cp", Axis::kCp);
    return label;
  }

  std::string node_label(const Line& row) const {
    if (row.elided()) return "";
    const std::int64_t first = node(row.first, 0);
    const std::int64_t last = node(row.first, mesh_.sizes[Axis::kTp] - 1);
    return first == last ? fmt::format("node {}", first)
                         : fmt::format("nodes {} to {}", first, last);
  }

  /// Whether a frame passes between column c - 1 and c in the row; the first and last frame are the
  /// outer ones.
  bool frame_beside(std::size_t row, std::size_t c) const {
    if (c == 0 || c == columns_.size()) return true;
    return node(rows_[row].first, columns_[c - 1].last) !=
           node(rows_[row].first, columns_[c].first);
  }

  /// The same between row r - 1 and r in the column.
  bool frame_above(std::size_t r, std::size_t column) const {
    if (r == 0 || r == rows_.size()) return true;
    return node(rows_[r - 1].last, columns_[column].first) !=
           node(rows_[r].first, columns_[column].first);
  }

  std::string row(std::size_t r) const {
    std::string text = fmt::format("{:{}} |", row_label(rows_[r]), label_width_);
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::int64_t rank = rows_[r].first * mesh_.sizes[Axis::kTp] + columns_[c].first;
      text += cell(rows_[r].elided() ? rows_[r] : columns_[c], std::to_string(rank));
      text += frame_beside(r, c + 1) ? "|" : " ";
    }
    return text;
  }

  /// The line between row r - 1 and r; empty where no frame passes.
  std::string border(std::size_t r) const {
    std::string text(label_width_ + 1, ' ');
    bool any = false;
    for (std::size_t c = 0; c <= columns_.size(); ++c) {
      const bool left = c > 0 && frame_above(r, c - 1);
      const bool right = c < columns_.size() && frame_above(r, c);
      const bool up = r > 0 && frame_beside(r - 1, c);
      const bool down = r < rows_.size() && frame_beside(r, c);
      text += junction(left, right, up, down);
      if (c < columns_.size()) text += std::string(width_ + 2, right ? '-' : ' ');
      any = any || right;
    }
    return any ? trimmed(text) + "\n" : "";
  }

  static char junction(bool left, bool right, bool up, bool down) {
    if ((left || right) && (up || down)) return '+';
    if (left || right) return '-';
    return up || down ? '|' : ' ';
  }

  static std::string trimmed(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  }

  const planner::DeviceMesh& mesh_;
  std::vector<Line> rows_;
  std::vector<Line> columns_;
  std::size_t width_;
  std::size_t label_width_ = 2;
};

}  // namespace

std::string mesh_diagram(const planner::DeviceMesh& mesh) { return Diagram(mesh).draw(); }

}  // namespace meshplan::cli
