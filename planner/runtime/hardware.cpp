#include "planner/runtime/hardware.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "planner/cluster/gpu_catalog.h"

namespace meshplan::planner {
namespace {

using common::Bytes;
using common::BytesPerSecond;
using common::Seconds;

/// What was fitted of a GPU, by its catalog name.
struct FittedShares {
  const char* name;
  double matmul_ceiling;
  double attention_forward;
  double attention_backward;
  bool switched_in_fours = false;
};

// Fitted for the A100, H100, H200 and B200; the others take the shares of the nearest of them
// (GB200 of B200, L40S and RTX 4090 of A100), but MI300X takes its ceiling from published matrix
// multiplies, 51 % of the peak.
constexpr std::array kFittedShares = {
    FittedShares{"a100-40gb-sxm", 0.8018, 0.5141, 0.2605},
    FittedShares{"a100-80gb-sxm", 0.8018, 0.5141, 0.2605},
    FittedShares{"h100-sxm", 0.657, 0.267, 0.1505},
    FittedShares{"h100-96gb-500w", 0.6562, 0.267, 0.1505},
    FittedShares{"h200-sxm", 0.7263, 0.4967, 0.3211},
    FittedShares{"b200-sxm", 0.6109, 0.2939, 0.1749, true},
    FittedShares{"gb200", 0.6109, 0.2939, 0.1749, true},
    FittedShares{"mi300x", 0.51, 0.267, 0.1505, true},
    FittedShares{"l40s", 0.8018, 0.5141, 0.2605, true},
    FittedShares{"rtx-4090", 0.8018, 0.5141, 0.2605, true},
};

GpuFigures figures_of(const FittedShares& fitted) {
  const GpuEntry entry = load_gpu(fitted.name, "catalog");
  return {.name = entry.name,
          .title = entry.device.name,
          .peak = entry.device.bfloat16_peak,
          .memory_bandwidth = entry.nominal_memory_bandwidth,
          .link = entry.link_bandwidth,
          .memory = entry.device.memory,
          .matmul_ceiling = fitted.matmul_ceiling,
          .attention_forward = fitted.attention_forward,
          .attention_backward = fitted.attention_backward,
          .switched_in_fours = fitted.switched_in_fours,
          .kernels = {}};
}

/// Read from the catalog once.
const std::vector<GpuFigures>& gpus() {
  static const std::vector<GpuFigures> figures = [] {
    std::vector<GpuFigures> read;
    for (const FittedShares& fitted : kFittedShares) read.push_back(figures_of(fitted));
    return read;
  }();
  return figures;
}

template <class Matches>
const GpuFigures* find_if(const Matches& matches) {
  const auto found = std::find_if(gpus().begin(), gpus().end(), matches);
  return found == gpus().end() ? nullptr : &*found;
}

constexpr std::array kFabrics = {
    FabricFigures{"efa", 0.648, Seconds(3.67e-05), 0.2285, Seconds(0.0001696)},
    FabricFigures{"roce", 0.8688, Seconds(1.606e-05), 0.01585, Seconds(0)},
    FabricFigures{"ib", 0.8814, Seconds(1.528e-05), 0.01915, Seconds(0)},
};

NetworkFigures network(const FabricFigures& fabric, double gbit) {
  return {.nominal = BytesPerSecond(gbit / 8 * 1e9), .fabric = &fabric};
}

double as_double(Bytes bytes) { return static_cast<double>(bytes.value); }

}  // namespace

const GpuFigures* find_gpu(std::string_view name) {
  return find_if([&](const GpuFigures& gpu) { return gpu.name == name; });
}

const GpuFigures* find_gpu_of(const DeviceSpec& device) {
  if (device.kind != DeviceKind::kGpu) return nullptr;
  const GpuFigures* titled =
      find_if([&](const GpuFigures& gpu) { return gpu.title == device.name; });
  if (titled != nullptr) return titled;
  const std::optional<std::string> name = gpu_of_driver(device.name);
  return name ? find_gpu(*name) : nullptr;
}

std::optional<NetworkFigures> parse_network(std::string_view name, std::int64_t gpus_per_node) {
  constexpr std::string_view kPerGpu = "-per-gpu";
  const bool per_gpu = name.ends_with(kPerGpu);
  if (per_gpu) name.remove_suffix(kPerGpu.size());
  const std::size_t dash = name.rfind('-');
  if (dash == std::string_view::npos || dash == 0 || name[dash - 1] == '-') return std::nullopt;
  const std::string_view digits = name.substr(dash + 1);
  std::int64_t gbit = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), gbit);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (gbit <= 0 || gbit > 1'000'000) return std::nullopt;
  const std::string_view kind = name.substr(0, std::min(dash, name.find('-')));
  for (const FabricFigures& fabric : kFabrics) {
    if (kind != fabric.name) continue;
    const double share = per_gpu ? 1.0 : 1.0 / static_cast<double>(gpus_per_node);
    return network(fabric, static_cast<double>(gbit) * share);
  }
  return std::nullopt;
}

NetworkFigures usual_network(const GpuFigures& gpu) {
  return network(kFabrics[1], gpu.name.starts_with("a100") ? 200 : 400);
}

Seconds matmul_time(const GpuFigures& gpu, common::Flops flops, Bytes bytes, bool fp8) {
  const Seconds arithmetic = flops / (gpu.peak * gpu.matmul_ceiling);
  const Seconds pass = memory_time(gpu, bytes);
  const KernelFigures& kernels = gpu.kernels;
  if (!fp8) return arithmetic + kernels.matmul_passes * pass + kernels.kernel_tail;
  return arithmetic / kernels.fp8_speedup +
         (kernels.matmul_passes + kernels.fp8_cast_passes) * pass + kernels.kernel_tail;
}

Seconds attention_time(const GpuFigures& gpu, common::Flops flops, double seq_length,
                       bool backward) {
  const double share = backward ? gpu.attention_backward : gpu.attention_forward;
  return (1 + gpu.kernels.attention_half_length / seq_length) * (flops / (gpu.peak * share)) +
         gpu.kernels.kernel_tail;
}

Seconds memory_time(const GpuFigures& gpu, Bytes bytes) {
  return bytes / (gpu.memory_bandwidth * gpu.kernels.memory_share);
}

Seconds collective_time(const Hardware& hardware, CollectiveKind kind, Bytes bytes,
                        const GroupShape& group) {
  if (group.ranks <= 1) return {};
  const double n = static_cast<double>(group.ranks);
  const double local = std::clamp(
      static_cast<double>(group.ranks_per_node) / static_cast<double>(group.stride), 1.0, n);
  const double nodes = n / local;
  const bool reduces_all = kind == CollectiveKind::kAllReduce;
  const double rounds = reduces_all ? 2 : 1;
  const double wire = as_double(bytes) * rounds * (n - 1) / n;
  const KernelFigures& kernels = hardware.gpu->kernels;
  double link = hardware.gpu->link.value * kernels.link_share;
  if (group.ranks_per_node == 4 && !hardware.gpu->switched_in_fours)
    link *= std::min(local - 1, 3.0) / 3;
  if (nodes <= 1)
    return Seconds(wire / std::max(link, 1e9)) + kernels.collective_start +
           rounds * (local - 1) * kernels.link_hop;
  const FabricFigures& fabric = *hardware.network.fabric;
  double bandwidth = hardware.network.nominal.value * fabric.share * local;
  if (local > 1) bandwidth = std::min(bandwidth, link);
  const double decay = fabric.decay * (reduces_all ? fabric.all_reduce_decay : 1) * (n - local) / 8;
  return Seconds(wire / bandwidth * (1 + decay)) + kernels.collective_start +
         rounds * nodes * fabric.hop;
}

Seconds send_time(const Hardware& hardware, Bytes bytes, bool between_nodes) {
  const KernelFigures& kernels = hardware.gpu->kernels;
  if (!between_nodes)
    return bytes / (hardware.gpu->link * kernels.link_share) + kernels.send_start / 2;
  return bytes / (hardware.network.nominal * hardware.network.fabric->share) + kernels.send_start;
}

}  // namespace meshplan::planner
