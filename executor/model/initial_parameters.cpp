#include "executor/model/initial_parameters.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string_view>

#include "common/error.h"
#include "formats/safetensors_folder.h"
#include "planner/model/parameter_runs.h"

namespace meshplan::executor {
namespace {

using planner::ParameterRole;
using planner::ParameterRun;

/// Elements read and converted at a time.
constexpr std::int64_t kChunk = 1 << 18;

/// Calls fill(run, destination) for every run of this rank's slice, then moves the slice to the
/// unit's device and type.
template <class Fill>
void fill_slice(ShardedUnit& unit, const ParameterPlace& place, const Fill& fill) {
  const std::int64_t begin = place.dp_shard_rank * unit.flat.shard_elements;
  const bool on_host = unit.master.device().is_cpu() && unit.master.scalar_type() == at::kFloat;
  const at::Tensor host = on_host ? unit.master : at::zeros({unit.flat.shard_elements}, at::kFloat);
  auto* values = host.data_ptr<float>();
  planner::for_each_run(
      unit.flat, {begin, begin + unit.flat.shard_elements}, place.tp_rank,
      [&](const ParameterRun& run) { fill(run, values + (run.flat_begin - begin)); });
  if (!on_host) unit.master.copy_(host);
}

at::ScalarType stored_type(const formats::TensorLocation& location, const std::string& name) {
  switch (location.entry->type) {
    case formats::TensorType::kF32:
      return at::kFloat;
    case formats::TensorType::kBF16:
      return at::kBFloat16;
    case formats::TensorType::kF16:
      return at::kHalf;
    default:
      throw common::Error(common::ErrorCode::kInvalidInput,
                          fmt::format("tensor {} has type {}; use F32, BF16 or F16", name,
                                      formats::to_string(location.entry->type)),
                          location.file->path().string());
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

formats::TensorLocation locate(const formats::SafetensorsFolder& weights,
                               const planner::Parameter& parameter) {
  const formats::TensorLocation location = weights.locate(parameter.name);
  if (location.entry->shape != parameter.shape) {
    throw common::Error(
        common::ErrorCode::kInvalidInput,
        fmt::format("tensor {} has shape {}; config.json makes it {}", parameter.name,
                    shape_text(location.entry->shape), shape_text(parameter.shape)),
        location.file->path().string());
  }
  return location;
}

void read_run(const formats::SafetensorsFolder& weights, const ParameterRun& run,
              float* destination) {
  const planner::Parameter& parameter = run.entry->parameter;
  const formats::TensorLocation location = locate(weights, parameter);
  const at::ScalarType type = stored_type(location, parameter.name);
  const auto size = static_cast<std::int64_t>(c10::elementSize(type));
  for (std::int64_t done = 0; done < run.elements; done += kChunk) {
    const std::int64_t count = std::min(kChunk, run.elements - done);
    const at::Tensor target = at::from_blob(destination + done, {count}, at::kFloat);
    const at::Tensor staged = type == at::kFloat ? target : at::empty({count}, type);
    location.file->read(
        *location.entry, (run.parameter_begin + done) * size,
        {static_cast<std::byte*>(staged.data_ptr()), static_cast<std::size_t>(count * size)});
    if (type != at::kFloat) target.copy_(staged);
  }
}

/// Fowler, Noll and Vo's hash (FNV-1a).
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): 64 well-mixed bits of a counter.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A standard normal number for this counter (Box and Muller 1958).
float normal(std::uint64_t key, std::uint64_t index) {
  const std::uint64_t bits = mix(key ^ mix(index));
  const double u = (static_cast<double>(bits >> 32) + 0.5) * 0x1p-32;
  const double v = static_cast<double>(bits & 0xffffffffu) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

bool is_norm(ParameterRole role) {
  return role == ParameterRole::kInputNorm || role == ParameterRole::kPostAttentionNorm ||
         role == ParameterRole::kFinalNorm || role == ParameterRole::kQueryNorm ||
         role == ParameterRole::kKeyNorm;
}

void randomize_run(const ParameterRun& run, std::uint64_t seed, double deviation,
                   float* destination) {
  const planner::Parameter& parameter = run.entry->parameter;
  if (is_norm(parameter.role)) {
    std::fill_n(destination, run.elements, 1.0f);
  } else if (parameter.shape.size() == 1) {
    std::fill_n(destination, run.elements, 0.0f);
  } else {
    const std::uint64_t key = mix(seed) ^ hash_of(parameter.name);
    at::parallel_for(0, run.elements, kChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto index = static_cast<std::uint64_t>(run.parameter_begin + i);
        destination[i] = static_cast<float>(deviation) * normal(key, index);
      }
    });
  }
}

}  // namespace

void load_parameters(std::vector<ShardedUnit>& units, const ParameterPlace& place,
                     const std::filesystem::path& folder) {
  const formats::SafetensorsFolder weights(folder);
  // All tensors before any data: a wrong one deep in the model is found at once, on every rank.
  for (const ShardedUnit& unit : units) {
    for (const planner::FlatEntry& entry : unit.flat.entries) {
      stored_type(locate(weights, entry.parameter), entry.parameter.name);
    }
  }
  for (ShardedUnit& unit : units) {
    fill_slice(unit, place, [&](const ParameterRun& run, float* destination) {
      read_run(weights, run, destination);
    });
  }
}

void randomize_parameters(std::vector<ShardedUnit>& units, const ParameterPlace& place,
                          const planner::ModelSpec& model, std::uint64_t seed) {
  for (ShardedUnit& unit : units) {
    fill_slice(unit, place, [&](const ParameterRun& run, float* destination) {
      randomize_run(run, seed, model.initializer_range, destination);
    });
  }
}

}  // namespace meshplan::executor
