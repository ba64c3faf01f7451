#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/complaints.h"
#include "common/json.h"

namespace meshplan::planner {

inline constexpr std::int64_t kMaxSize = std::int64_t{1} << 31;
inline constexpr std::int64_t kMaxLayers = 100'000;
/// The experts of a block are listed one by one.
inline constexpr std::int64_t kMaxExperts = 4096;

/// The fields of a config.json. What is wrong with one becomes a complaint, and 0 or the fallback
/// stands in for it; a field that is null or left out is the fallback.
class ConfigFields {
 public:
  ConfigFields(const common::JsonObject& object, common::Complaints& complaints)
      : object_(&object), complaints_(&complaints) {}

  /// The name under which the config gives a field: `own`, or else `common`.
  std::string key(const char* own, const char* common) const;

  /// From 1 to max; without a fallback it must be there.
  std::int64_t size(const std::string& key, std::optional<std::int64_t> fallback = std::nullopt,
                    std::int64_t max = kMaxSize) const;
  /// From 0 to max.
  std::int64_t count(const std::string& key, std::int64_t fallback,
                     std::int64_t max = kMaxSize) const;
  bool flag(const std::string& key, bool fallback) const;
  double number(const std::string& key, double fallback, double min, double max) const;
  std::string text(const std::string& key, const std::string& fallback) const;

  bool has(const std::string& key) const { return object_->has(key); }
  bool is_null(const std::string& key) const { return object_->is_null(key); }
  void complain(const std::string& key, const std::string& message) const;

  const common::JsonObject& object() const { return *object_; }
  common::Complaints& complaints() const { return *complaints_; }

 private:
  const common::JsonObject* object_;
  common::Complaints* complaints_;
};

}  // namespace meshplan::planner
