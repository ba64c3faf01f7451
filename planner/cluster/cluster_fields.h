#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/complaints.h"
#include "common/json.h"
#include "planner/cluster/cluster_spec.h"

namespace meshplan::planner {

// Far beyond any machine, and small enough that no product or quotient of them leaves its type.
inline constexpr std::int64_t kMaxNodes = 1'000'000;
inline constexpr std::int64_t kMaxDevicesPerNode = 1024;
inline constexpr std::int64_t kMaxBytes = std::int64_t{1} << 60;
inline constexpr double kMaxRate = 1e24;
inline constexpr double kMaxSeconds = 3600.0;
inline constexpr std::int64_t kMaxAdapters = 1024;
inline constexpr double kMaxOversubscription = 1000.0;
inline constexpr double kMaxPower = 1e6;
inline constexpr double kMaxPrice = 1e6;
inline constexpr std::size_t kMaxVariables = 64;
inline constexpr std::size_t kMaxVariableLength = 1024;

/// The fields of one object of a cluster file or of a catalog entry. What is wrong with one becomes
/// a complaint.
class ClusterFields {
 public:
  ClusterFields(const common::JsonObject& object, common::Complaints& complaints)
      : object_(&object), complaints_(&complaints) {}

  std::string text(const char* key) const;
  std::string text_or(const char* key, const std::string& fallback) const;
  std::int64_t integer(const char* key, std::int64_t min, std::int64_t max) const;
  bool flag_or(const char* key, bool fallback) const;
  double number(const char* key, double min, double max) const;
  std::int64_t integer_or(const char* key, std::int64_t fallback, std::int64_t min,
                          std::int64_t max) const;
  double number_or(const char* key, double fallback, double min, double max) const;

  /// From 1 to kMaxRate.
  double rate(const char* key) const;
  /// The same, or 0 where it is left out or 0.
  double rate_or_none(const char* key) const;
  common::Seconds seconds(const char* key) const;
  MatmulEfficiency matmul(const char* key) const;
  LinkSpec link(const char* key) const;
  /// Nothing where the key is left out.
  std::optional<NodeLinks> node_links(const char* key) const;
  std::optional<NodeNetwork> node_network(const char* key) const;
  /// Variables of communication libraries (NCCL_*, FI_*, ...) and their values; none where the key
  /// is left out.
  std::vector<std::pair<std::string, std::string>> environment(const char* key) const;
  /// From 1 to kMaxOversubscription; 1 where it is left out.
  double oversubscription(const char* key) const;

  /// What `read` makes of the fields of the object of that key, or its default.
  template <class Read>
  auto object(const char* key, const Read& read) const {
    return complaints_->of([&] {
      const common::JsonObject inner = object_->object(key);
      const ClusterFields fields(inner, *complaints_);
      auto value = read(fields);
      fields.reject_unknown_keys();
      return value;
    });
  }
  void reject_unknown_keys() const;

  const common::JsonObject& json() const { return *object_; }
  common::Complaints& complaints() const { return *complaints_; }

 private:
  const common::JsonObject* object_;
  common::Complaints* complaints_;
};

/// Complains unless the version is ours.
void check_schema_version(const ClusterFields& fields);

}  // namespace meshplan::planner
