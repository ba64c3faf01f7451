#include "planner/explain/layout_text.h"

#include <fmt/format.h>

namespace meshplan::planner {

std::string layout_text(const Layout& layout) {
  const AxisSizes& sizes = layout.mesh.sizes;
  std::string text = fmt::format("tp={} dp_shard={} dp_replicate={}", sizes[Axis::kTp],
                                 sizes[Axis::kDpShard], sizes[Axis::kDpReplicate]);
  for (Axis axis : {Axis::kCp, Axis::kPp}) {
    if (sizes[axis] > 1) text += fmt::format(" {}={}", to_string(axis), sizes[axis]);
  }
  text += fmt::format(" microbatch_size={}", layout.microbatch_size);
  if (layout.accumulation > 1) text += fmt::format(" accumulation={}", layout.accumulation);
  return text;
}

std::string counted(std::int64_t count, const std::string& noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace meshplan::planner
