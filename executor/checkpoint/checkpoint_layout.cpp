#include "executor/checkpoint/checkpoint_layout.h"

#include <sys/vfs.h>

#include <algorithm>
#include <array>

namespace meshplan::executor {
namespace {

constexpr std::array kLayoutNames = {"whole", "merged", "per_rank"};

}  // namespace

std::string name_of(CheckpointLayout layout) {
  return kLayoutNames[static_cast<std::size_t>(layout)];
}

CheckpointLayout layout_named(const std::string& name) {
  const auto found = std::ranges::find(kLayoutNames, name);
  return static_cast<CheckpointLayout>(found - kLayoutNames.begin());
}

bool loses_shared_writes(const std::filesystem::path& folder) {
  constexpr std::array<unsigned long, 7> kMagic = {0x6969,     0x65735546, 0x517b,    0xff534d42,
                                                   0xfe534d42, 0x01021997, 0x5346414f};
  struct statfs status {};
  if (::statfs(folder.c_str(), &status) != 0) return false;
  return std::ranges::count(kMagic, static_cast<unsigned long>(status.f_type) & 0xffffffff) > 0;
}

}  // namespace meshplan::executor
