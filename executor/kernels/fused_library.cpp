#include "executor/kernels/fused_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "common/error.h"
#include "executor/kernels/fused.h"

namespace meshplan::executor::fused {
namespace {

namespace fs = std::filesystem;

struct Library {
  const MeshplanKernelTable* table = nullptr;
  std::string description;
};

[[noreturn]] void fail(const fs::path& path, const std::string& why) {
  throw common::Error(
      common::ErrorCode::kIo,
      fmt::format("{}; build it anew on this machine (cmake -S executor/kernels/cuda -B "
                  "build/kernels && cmake --build build/kernels), or do without: "
                  "MESHPLAN_KERNELS=none",
                  why),
      path.string());
}

/// Stays loaded to the end of the process.
Library load(const fs::path& path) {
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(path, ::dlerror());
  using Entry = const MeshplanKernelTable* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "meshplan_kernel_table"));
  if (entry == nullptr) fail(path, "is no library of meshplan's kernels");
  const MeshplanKernelTable* const table = entry();
  if (table->version != kMeshplanKernelVersion) {
    fail(path, fmt::format("has kernels of version {}, this program takes {}", table->version,
                           kMeshplanKernelVersion));
  }
  return {table, fmt::format("fused ({})", path.string())};
}

Library find_library() {
  const char* const named = std::getenv("MESHPLAN_KERNELS");
  if (named != nullptr && *named != '\0') {
    if (std::string(named) == "none") return {nullptr, "composed (MESHPLAN_KERNELS=none)"};
    return load(named);
  }
  std::error_code ignored;
  const fs::path beside =
      fs::read_symlink("/proc/self/exe", ignored).parent_path() / "libmeshplan_kernels.so";
  if (fs::exists(beside, ignored)) return load(beside);
  return {nullptr, fmt::format("composed, as there is no {}; docs/gpu.md tells how to build it",
                               beside.string())};
}

Library& library() {
  static Library found = find_library();
  return found;
}

}  // namespace

const MeshplanKernelTable* kernel_table() { return library().table; }

std::string describe() { return library().description; }

void use_table(const MeshplanKernelTable* table) { library() = {table, "named by the program"}; }

bool takes(at::ScalarType type) {
  return (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf) &&
         kernel_table() != nullptr;
}

}  // namespace meshplan::executor::fused
