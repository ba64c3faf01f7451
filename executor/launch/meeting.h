#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include "formats/launch_environment.h"

namespace c10d {
class Store;
}  // namespace c10d

namespace meshplan::executor {

/// The store where the ranks meet, as this rank reaches it.
struct Meeting {
  c10::intrusive_ptr<c10d::Store> store;
  /// Whether this process serves it.
  bool serves = false;
  /// "n01:15342".
  std::string place;
  /// Of this machine towards that place; numeric.
  std::string local_address;
  /// Whether rank 0 has published another place meanwhile, since this one is of an earlier start.
  std::function<bool()> has_moved;
};

/// Opens the store: rank 0 serves it at the first free one of the environment's ports, unless the
/// launcher's agent does; where the environment names no port, at any, which `file` then tells the
/// others. The others look for it until the deadline. Throws kInvalidInput where rank 0 cannot
/// serve, and kRankLost, naming place and reason, where a rank finds no store.
Meeting open_meeting(const formats::LaunchEnvironment& environment,
                     const std::filesystem::path& file,
                     std::chrono::steady_clock::time_point deadline);

}  // namespace meshplan::executor
