#include "planner/explain/variation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "common/error.h"
#include "planner/cluster/cluster_fields.h"

namespace meshplan::planner {
namespace {

struct InputLimits {
  VariedInput input;
  const char* name;
  double min;
  double max;
};

constexpr double kMostTokens = 0x1p31;
constexpr double kLeastFactor = 1e-3;
constexpr double kMostFactor = 1e3;

constexpr std::array kInputs = {
    InputLimits{VariedInput::kSeqLength, "seq_length", 1, kMostTokens},
    InputLimits{VariedInput::kMicrobatchSize, "microbatch_size", 1, kMostTokens},
    InputLimits{VariedInput::kGlobalBatchSize, "global_batch_size", 1, kMostTokens},
    InputLimits{VariedInput::kNodes, "nodes", 1, static_cast<double>(kMaxNodes)},
    InputLimits{VariedInput::kGpusPerNode, "gpus_per_node", 1,
                static_cast<double>(kMaxDevicesPerNode)},
    InputLimits{VariedInput::kInterBandwidth, "inter_bandwidth", kLeastFactor, kMostFactor},
    InputLimits{VariedInput::kIntraBandwidth, "intra_bandwidth", kLeastFactor, kMostFactor},
    InputLimits{VariedInput::kLatency, "latency", kLeastFactor, kMostFactor},
    InputLimits{VariedInput::kMemory, "memory", kLeastFactor, kMostFactor},
};

const InputLimits& limits_of(VariedInput input) { return kInputs[static_cast<std::size_t>(input)]; }

[[noreturn]] void refuse(const std::string& where, const std::string& message) {
  throw common::Error(common::ErrorCode::kInvalidInput, message, where);
}

const InputLimits& find_input(const std::string& given, const std::string& where) {
  std::string name = given;
  std::replace(name.begin(), name.end(), '-', '_');
  for (const InputLimits& limits : kInputs) {
    if (name == limits.name) return limits;
  }
  std::vector<std::string> names;
  for (const InputLimits& limits : kInputs) {
    names.emplace_back(limits.name);
    std::replace(names.back().begin(), names.back().end(), '_', '-');
  }
  refuse(where, fmt::format("'{:.60}' cannot be varied; use {}", given, fmt::join(names, ", ")));
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

double parse_number(std::string_view text, const std::string& where) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number))
    refuse(where, fmt::format("'{:.60}' must be a number", text));
  return number;
}

double parse_value(const InputLimits& limits, std::string_view text, const std::string& where) {
  const double value = parse_number(text, where);
  const bool whole = is_factor(limits.input) || value == std::floor(value);
  if (!whole || value < limits.min || value > limits.max) {
    refuse(where, fmt::format("{}={}: must be {} from {} to {}", limits.name, value,
                              is_factor(limits.input) ? "a factor" : "an integer", limits.min,
                              limits.max));
  }
  return value;
}

/// from:to:step or from:to:xfactor.
std::vector<double> range(const InputLimits& limits, const std::vector<std::string>& parts,
                          const std::string& where) {
  const double from = parse_value(limits, parts[0], where);
  const double to = parse_value(limits, parts[1], where);
  const bool multiplies = parts[2].starts_with("x");
  const double by = parse_number(std::string_view(parts[2]).substr(multiplies ? 1 : 0), where);
  if (to < from)
    refuse(where, fmt::format("{}:{}: must not fall; write the smaller one first", from, to));
  if (multiplies ? !(by > 1) : !(by > 0))
    refuse(where,
           fmt::format("'{:.60}' must be a step above 0, or x and a factor above 1", parts[2]));
  std::vector<double> values;
  // A step that adds up to the end but for rounding meets it.
  const double end = to * (1 + 1e-9);
  for (double value = from; value <= end; value = multiplies ? value * by : value + by) {
    if (values.size() == kMaxPoints)
      refuse(where, fmt::format("more than {} values; use a larger step", kMaxPoints));
    const double rounded = is_factor(limits.input) ? std::min(value, to) : std::floor(value);
    if (values.empty() || rounded > values.back()) values.push_back(rounded);
  }
  return values;
}

}  // namespace

const char* to_string(VariedInput input) { return limits_of(input).name; }

bool is_factor(VariedInput input) { return input >= VariedInput::kInterBandwidth; }

Variation parse_variation(const std::string& text, const std::string& where) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals + 1 == text.size()) {
    refuse(where,
           fmt::format("'{:.60}' must be an input and its values, as seq-length=1024:65536:x2 or "
                       "nodes=1,2,4",
                       text));
  }
  const InputLimits& limits = find_input(text.substr(0, equals), where);
  const std::string values = text.substr(equals + 1);
  Variation variation{.input = limits.input, .values = {}};
  const std::vector<std::string> parts = split(values, ':');
  if (parts.size() == 3) {
    variation.values = range(limits, parts, where);
    return variation;
  }
  if (parts.size() != 1)
    refuse(where, fmt::format("'{:.60}' must be a,b,c or from:to:step or from:to:xfactor", values));
  for (const std::string& part : split(values, ',')) {
    variation.values.push_back(parse_value(limits, part, where));
    if (variation.values.size() > kMaxPoints)
      refuse(where, fmt::format("more than {} values; use fewer", kMaxPoints));
  }
  return variation;
}

std::string value_text(VariedInput input, double value) {
  return is_factor(input) ? fmt::format("x{:.4g}", value) : fmt::format("{:.0f}", value);
}

}  // namespace meshplan::planner
