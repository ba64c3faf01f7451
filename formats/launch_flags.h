#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace meshplan::formats {

/// What the user says about a rank's place in its job. Each wins over what the launcher says.
struct LaunchFlags {
  /// Whose variables count, LaunchEnvironment::launcher; "auto": the first that claims the process.
  std::string launcher = "auto";
  std::optional<std::int64_t> rank = std::nullopt;
  std::optional<std::int64_t> world_size = std::nullopt;
  std::optional<std::int64_t> local_rank = std::nullopt;
  std::optional<std::int64_t> local_world_size = std::nullopt;
  std::string master_address = {};
  std::optional<std::int64_t> master_port = std::nullopt;
  /// How long the ranks wait for each other.
  std::int64_t timeout_s = 120;
};

/// A flag that sets a member of LaunchFlags; `set` throws kUsage for a value out of its range.
struct LaunchFlag {
  const char* name;
  const char* help;
  const char* type;
  void (*set)(LaunchFlags& flags, const std::string& value);
};
/// The flags of whatever program is a rank.
const std::vector<LaunchFlag>& launch_flags();

}  // namespace meshplan::formats
