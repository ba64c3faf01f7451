#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/json.h"
#include "formats/csv.h"
#include "planner/cost/collective_time.h"

namespace meshplan::planner {

/// One published collective: on what, and how long it took.
struct MeasuredCollective {
  std::string gpu;
  std::string link;
  /// As the file calls it.
  std::string collective;
  std::string source;
  CollectiveKind kind = CollectiveKind::kAllReduce;
  common::Bytes bytes;
  GroupPlace place;
  NodeLinks links;
  NodeNetwork network;
  /// Nothing where the row does not tell.
  std::optional<common::Seconds> time;
  /// Why the row is not priced, or its time not judged; empty where both are.
  std::string skipped;
  std::string doubt;
};

/// Beside its prediction. The error is predicted / measured - 1, of the time.
struct ValidatedCollective {
  MeasuredCollective measured;
  std::optional<CollectiveTime> predicted;
  std::optional<double> error;
};

struct CollectiveErrors {
  std::size_t rows = 0;
  /// In doubt, and not priced.
  std::size_t left_out = 0;
  double median = 0;
  double mean = 0;
  double worst = 0;
  /// Median of the signed errors.
  double bias = 0;
};

struct CollectiveSummary {
  std::size_t rows = 0;
  /// By collective and size class ("up to 1 MiB", ...), in the order of sizes; and by GPU, link and
  /// collective.
  std::map<std::pair<std::string, int>, CollectiveErrors> sizes;
  std::map<std::string, CollectiveErrors> collectives;
  std::map<std::pair<std::string, std::string>, CollectiveErrors> links;
};

/// The name of a size class of CollectiveSummary::sizes.
const char* size_class_name(int size_class);

/// True where the header is that of a table of collectives.
bool is_collectives_table(const formats::CsvTable& table);

/// Predicts each row. Throws kInvalidInput with file, line and column for a column that is missing,
/// a number that is none or out of range; rows that cannot be priced come with their reason.
std::vector<ValidatedCollective> validate_collectives(const formats::CsvTable& table);

CollectiveSummary summarize(const std::vector<ValidatedCollective>& rows);

/// {"rows": [...], "summary": {...}}: docs/cost_model.md names the keys.
common::Json to_json(const std::vector<ValidatedCollective>& rows,
                     const CollectiveSummary& summary);

}  // namespace meshplan::planner
