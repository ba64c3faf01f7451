#include "planner/model/config_fields.h"

#include <fmt/format.h>

namespace meshplan::planner {

std::string ConfigFields::key(const char* own, const char* common) const {
  const bool other = std::string(own) != common;
  if (other && !object_->is_null(own) && !object_->is_null(common) &&
      object_->at(own) != object_->at(common)) {
    complain(common, fmt::format("is set beside {}, to another value; keep one of the two", own));
  }
  return other && object_->is_null(own) && object_->has(common) ? common : own;
}

std::int64_t ConfigFields::size(const std::string& key, std::optional<std::int64_t> fallback,
                                std::int64_t max) const {
  if (fallback && object_->is_null(key)) return *fallback;
  return complaints_->of([&] { return object_->integer(key, 1, max); });
}

std::int64_t ConfigFields::count(const std::string& key, std::int64_t fallback,
                                 std::int64_t max) const {
  if (object_->is_null(key)) return fallback;
  return complaints_->of([&] { return object_->integer(key, 0, max); });
}

bool ConfigFields::flag(const std::string& key, bool fallback) const {
  return complaints_->of([&] { return object_->flag_or(key, fallback); });
}

double ConfigFields::number(const std::string& key, double fallback, double min, double max) const {
  if (object_->is_null(key)) return fallback;
  return complaints_->of([&] { return object_->number(key, min, max); });
}

std::string ConfigFields::text(const std::string& key, const std::string& fallback) const {
  return complaints_->of([&] { return object_->text_or(key, fallback); });
}

void ConfigFields::complain(const std::string& key, const std::string& message) const {
  complaints_->add(object_->where() + "." + key, message);
}

}  // namespace meshplan::planner
