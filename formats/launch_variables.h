#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace meshplan::formats {

using VariableLookup = std::function<std::optional<std::string>(const std::string&)>;
/// This process's environment.
VariableLookup process_environment();

/// A variable (or flag) that is set.
struct Setting {
  std::string name;
  std::string value;
};

/// No job is larger, and no number of ranks or nodes is read beyond it.
inline constexpr std::int64_t kMostRanks = 1 << 20;

/// Throws kInvalidInput about the environment that a process was started in.
[[noreturn]] void refuse_launch(const std::string& message);

/// Of "A|B|C" the first variable that is set.
std::optional<Setting> find_variable(const VariableLookup& lookup, const std::string& names);
/// Its value, or nothing.
std::string variable_text(const VariableLookup& lookup, const std::string& names);

/// The text as a whole number; empty where it is none of 64 bits.
std::optional<std::int64_t> whole_number(const std::string& text);
/// The same of a setting. Throws kInvalidInput, naming it, where it is not from min to max.
std::int64_t number_in(const Setting& setting, std::int64_t min, std::int64_t max);

}  // namespace meshplan::formats
