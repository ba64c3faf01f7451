#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>

namespace meshplan::executor {

/// Records every allocation of a step from now on.
void start_memory_snapshot(c10::Device device);

/// Ends the recording and writes it into the run's folder. On CUDA it is torch's own snapshot, a
/// pickle that https://pytorch.org/memory_viz shows. On CPU it is a JSON object: what was held
/// before the step, its allocations (+bytes) and frees (-bytes) in order, and what of them was held
/// at the peak, by size. Throws kIo.
void write_memory_snapshot(c10::Device device, const std::filesystem::path& run, std::int64_t step,
                           std::int64_t rank);

}  // namespace meshplan::executor
