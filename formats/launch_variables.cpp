#include "formats/launch_variables.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <utility>

#include "common/error.h"

namespace meshplan::formats {

VariableLookup process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

void refuse_launch(const std::string& message) {
  throw common::Error(common::ErrorCode::kInvalidInput, message, "launch environment");
}

std::optional<Setting> find_variable(const VariableLookup& lookup, const std::string& names) {
  for (std::size_t start = 0; start < names.size();) {
    const std::size_t end = std::min(names.find('|', start), names.size());
    const std::string name = names.substr(start, end - start);
    if (auto value = lookup(name)) return Setting{name, std::move(*value)};
    start = end + 1;
  }
  return std::nullopt;
}

std::string variable_text(const VariableLookup& lookup, const std::string& names) {
  const auto setting = find_variable(lookup, names);
  return setting ? setting->value : "";
}

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole ? std::optional(value) : std::nullopt;
}

std::int64_t number_in(const Setting& setting, std::int64_t min, std::int64_t max) {
  const auto value = whole_number(setting.value);
  if (value && *value >= min && *value <= max) return *value;
  refuse_launch(fmt::format("{}={}: must be a whole number from {} to {}", setting.name,
                            setting.value, min, max));
}

}  // namespace meshplan::formats
