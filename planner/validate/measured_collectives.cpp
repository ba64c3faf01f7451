#include "planner/validate/measured_collectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "planner/catalog/catalog.h"
#include "planner/cluster/gpu_catalog.h"
#include "planner/validate/row_reader.h"
#include "planner/validate/statistics.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kMaxRanks = 1'000'000;
constexpr double kMaxGigabytes = 1e6;
/// What a message whose size is not told is taken to be: large, as bandwidth tests are.
constexpr common::Bytes kLargeMessage{std::int64_t{1} << 30};
/// Bus bandwidths are printed with two decimals: below this, rounding alone is 5 % and more.
constexpr double kCoarseGigabytes = 0.1;

/// On the one published fabric that is shared with other jobs (H100 nodes of 8, EFA): bandwidth
/// falls with nodes as k^-0.66 (gather and scatter) and k^-0.45 (all-reduce). Fitted to 18 rows.
constexpr double kGatherCrowding = 0.66;
constexpr double kReduceCrowding = 0.45;

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

/// The catalog's GPU whose name begins so; an H100 where the source names none.
std::string catalog_gpu(const std::string& text) {
  if (text.empty()) return "h100-sxm";
  std::string family = text.substr(0, text.find_first_of("- ("));
  std::transform(family.begin(), family.end(), family.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string& name : catalog_names("gpus")) {
    if (name == family || name.starts_with(family + "-")) return name;
  }
  return "";
}

/// The number before " node", or 1.
std::int64_t nodes_of(const std::string& link) {
  const std::size_t end = link.find(" node");
  if (end == std::string::npos) return 1;
  std::size_t begin = end;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(link[begin - 1])) != 0) --begin;
  return begin == end || end - begin > 6 ? 1 : std::stoll(link.substr(begin, end - begin));
}

NodeNetwork network_of(const MeasuredCollective& row, const std::string& notes, std::int64_t gpus) {
  if (!contains(row.link, "EFA")) {
    // Fabric and adapters are not named: 100 GB/s a node is what its largest messages come to.
    NodeNetwork network = node_network_of(load_network("roce-1600", "catalog"), gpus);
    network.adapter_bandwidth =
        common::BytesPerSecond(100e9 / static_cast<double>(network.adapters));
    return network;
  }
  NodeNetwork network = node_network_of(load_network("efa-3200", "catalog"), gpus);
  if (contains(notes, "shared production cluster")) {
    network.gather_crowding = kGatherCrowding;
    network.reduce_crowding = kReduceCrowding;
  }
  return network;
}

std::optional<CollectiveKind> kind_of(const std::string& name) {
  for (const CollectiveKind kind : {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                    CollectiveKind::kReduceScatter, CollectiveKind::kAllToAll}) {
    if (name == to_string(kind)) return kind;
  }
  if (name.starts_with("p2p")) return CollectiveKind::kSend;
  return std::nullopt;
}

/// Bytes on a rank's wire for each byte of the message, which bus bandwidth counts.
double wire_share(CollectiveKind kind, std::int64_t ranks) {
  if (kind == CollectiveKind::kSend) return 1;
  const double n = static_cast<double>(ranks);
  return (kind == CollectiveKind::kAllReduce ? 2 : 1) * (n - 1) / n;
}

void place(MeasuredCollective& row, std::int64_t ranks, const std::string& notes) {
  const std::string name = catalog_gpu(row.gpu);
  const std::int64_t nodes = nodes_of(row.link);
  if (name.empty()) {
    row.skipped = fmt::format("the catalog has no GPU '{:.40}'", row.gpu);
    return;
  }
  if (ranks % nodes != 0) {
    row.skipped = "ranks are not spread evenly over the nodes";
    return;
  }
  const GpuEntry gpu = load_gpu(name, "catalog");
  row.place = {.ranks = ranks,
               .ranks_in_node = ranks / nodes,
               .nodes = nodes,
               .ranks_per_node = std::max(gpu.gpus_per_node, ranks / nodes)};
  row.links = node_links_of(gpu, row.place.ranks_per_node);
  row.network = network_of(row, notes, row.place.ranks_per_node);
  // Rows that name the ring ran with SHARP switched off.
  if (contains(row.link, "NVLS_ENABLE=0") || contains(row.link, "NVLS off") ||
      row.link.ends_with(" Ring"))
    row.links.sharp_share = 0;
}

MeasuredCollective read_row(const RowReader& reader) {
  MeasuredCollective row;
  row.gpu = reader.text("gpu");
  row.link = reader.text("link");
  row.collective = reader.text("collective");
  row.source = reader.text("source");
  const std::int64_t ranks = reader.required_integer("nranks", 2, kMaxRanks);
  row.bytes = common::Bytes(
      reader.integer("message_bytes", 1, std::int64_t{1} << 50).value_or(kLargeMessage.value));
  const auto algorithm = reader.number("algbw_GBps", kMaxGigabytes);
  const auto bus = reader.number("busbw_GBps", kMaxGigabytes);
  const auto kind = kind_of(row.collective);
  if (!kind) {
    row.skipped = fmt::format("collective '{:.40}' is not known", row.collective);
    return row;
  }
  row.kind = *kind;
  place(row, ranks, reader.text("notes"));
  const double bytes = static_cast<double>(row.bytes.value);
  if (algorithm && *algorithm > 0) {
    row.time = common::Seconds(bytes / (*algorithm * 1e9));
  } else if (bus && *bus > 0) {
    row.time = common::Seconds(wire_share(*kind, ranks) * bytes / (*bus * 1e9));
  }
  if (!row.time) {
    row.doubt = "no bandwidth is published";
  } else if (algorithm.value_or(*bus) < kCoarseGigabytes) {
    row.doubt = "bandwidth is rounded to 5 % or more";
  }
  return row;
}

constexpr std::array kSizeClasses = {
    std::pair{std::int64_t{1} << 20, "up to 1 MiB"}, std::pair{std::int64_t{64} << 20, "to 64 MiB"},
    std::pair{std::int64_t{1} << 30, "to 1 GiB"}, std::pair{INT64_MAX, "above 1 GiB"}};

int size_class(common::Bytes bytes) {
  int found = 0;
  while (bytes.value > kSizeClasses[static_cast<std::size_t>(found)].first) ++found;
  return found;
}

struct Errors {
  std::vector<double> values;
  std::size_t left_out = 0;
};

CollectiveErrors statistics_of(const Errors& errors) {
  CollectiveErrors result{.rows = errors.values.size(), .left_out = errors.left_out};
  if (errors.values.empty()) return result;
  std::vector<double> sizes;
  for (const double value : errors.values) sizes.push_back(std::abs(value));
  result.median = quantile(sizes, 0.5);
  for (const double size : sizes) result.mean += size / static_cast<double>(sizes.size());
  result.worst = *std::max_element(sizes.begin(), sizes.end());
  result.bias = quantile(errors.values, 0.5);
  return result;
}

template <class Key>
std::map<Key, CollectiveErrors> statistics_of(const std::map<Key, Errors>& groups) {
  std::map<Key, CollectiveErrors> result;
  for (const auto& [key, errors] : groups) result[key] = statistics_of(errors);
  return result;
}

common::Json errors_json(const CollectiveErrors& errors) {
  return {{"rows", errors.rows}, {"left_out", errors.left_out}, {"median", errors.median},
          {"mean", errors.mean}, {"worst", errors.worst},       {"bias", errors.bias}};
}

common::Json row_json(const ValidatedCollective& row) {
  const MeasuredCollective& measured = row.measured;
  common::Json json = {{"gpu", measured.gpu},
                       {"link", measured.link},
                       {"collective", measured.collective},
                       {"ranks", measured.place.ranks},
                       {"bytes", measured.bytes.value},
                       {"error", row.error ? common::Json(*row.error) : common::Json(nullptr)},
                       {"doubt", measured.doubt},
                       {"skipped", measured.skipped}};
  if (row.measured.time) json["measured_s"] = measured.time->value;
  if (row.predicted) {
    json["predicted"] = {{"time_s", row.predicted->total().value},
                         {"algorithm", to_string(row.predicted->algorithm)},
                         {"protocol", to_string(row.predicted->protocol)}};
  }
  return json;
}

}  // namespace

const char* size_class_name(int size_class) {
  return kSizeClasses[static_cast<std::size_t>(size_class)].second;
}

bool is_collectives_table(const formats::CsvTable& table) {
  return table.column("collective") && table.column("message_bytes") && table.column("busbw_GBps");
}

std::vector<ValidatedCollective> validate_collectives(const formats::CsvTable& table) {
  std::vector<ValidatedCollective> rows;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    ValidatedCollective row{
        .measured = read_row(RowReader(table, r)), .predicted = {}, .error = {}};
    const MeasuredCollective& measured = row.measured;
    if (measured.skipped.empty()) {
      row.predicted = collective_time(measured.links, measured.network, measured.kind,
                                      measured.bytes, measured.place);
      if (measured.doubt.empty())
        row.error = row.predicted->total().value / measured.time->value - 1;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

CollectiveSummary summarize(const std::vector<ValidatedCollective>& rows) {
  std::map<std::pair<std::string, int>, Errors> sizes;
  std::map<std::string, Errors> collectives;
  std::map<std::pair<std::string, std::string>, Errors> links;
  for (const ValidatedCollective& row : rows) {
    const MeasuredCollective& measured = row.measured;
    const std::string where = fmt::format("{}, {}", measured.gpu, measured.link);
    for (Errors* errors :
         {&sizes[{measured.collective, size_class(measured.bytes)}],
          &collectives[measured.collective], &links[{where, measured.collective}]}) {
      if (row.error) {
        errors->values.push_back(*row.error);
      } else {
        ++errors->left_out;
      }
    }
  }
  return {.rows = rows.size(),
          .sizes = statistics_of(sizes),
          .collectives = statistics_of(collectives),
          .links = statistics_of(links)};
}

common::Json to_json(const std::vector<ValidatedCollective>& rows,
                     const CollectiveSummary& summary) {
  common::Json json = {{"schema_version", 1}, {"rows", common::Json::array()}};
  for (const ValidatedCollective& row : rows) json["rows"].push_back(row_json(row));
  common::Json sizes = common::Json::array();
  for (const auto& [key, errors] : summary.sizes) {
    common::Json entry = errors_json(errors);
    entry["collective"] = key.first;
    entry["size"] = size_class_name(key.second);
    sizes.push_back(std::move(entry));
  }
  common::Json links = common::Json::array();
  for (const auto& [key, errors] : summary.links) {
    common::Json entry = errors_json(errors);
    entry["link"] = key.first;
    entry["collective"] = key.second;
    links.push_back(std::move(entry));
  }
  common::Json collectives = common::Json::object();
  for (const auto& [name, errors] : summary.collectives) collectives[name] = errors_json(errors);
  json["summary"] = {{"rows", summary.rows},
                     {"collectives", std::move(collectives)},
                     {"sizes", std::move(sizes)},
                     {"links", std::move(links)}};
  return json;
}

}  // namespace meshplan::planner
