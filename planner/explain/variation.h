#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace meshplan::planner {

/// What a sweep can vary. The last four are factors of what the cluster has: bandwidth of its
/// links, latency of all of them, memory of its devices.
enum class VariedInput {
  kSeqLength,
  kMicrobatchSize,
  kGlobalBatchSize,
  kNodes,
  kGpusPerNode,
  kInterBandwidth,
  kIntraBandwidth,
  kLatency,
  kMemory,
};
/// "seq_length", "inter_bandwidth", ...
const char* to_string(VariedInput input);
/// Whether its values are factors, and not counts.
bool is_factor(VariedInput input);

/// An input with the values that it takes, ascending where a range gave them.
struct Variation {
  VariedInput input = VariedInput::kSeqLength;
  std::vector<double> values;
};

/// Most values of a variation, and most points of a sweep.
inline constexpr std::size_t kMaxPoints = 1000;

/// "seq-length=1024,4096", "nodes=1:8:1" (from:to:step) or "seq-length=1024:65536:x2"
/// (from:to:xfactor); the end is included where it is met. Throws kInvalidInput, naming `where` and
/// what is allowed.
Variation parse_variation(const std::string& text, const std::string& where);

/// The value as it was written: "4096", "x0.5".
std::string value_text(VariedInput input, double value);

}  // namespace meshplan::planner
