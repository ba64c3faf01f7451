#include "executor/launch/environment.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <vector>

#include "common/error.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;

/// The variables in which a launcher tells a process its place. A row applies when its `marker` is
/// set; the others must then be set too.
struct Launcher {
  const char* name;
  const char* marker;
  const char* rank;
  const char* local_rank;
  const char* world_size;
  const char* local_world_size;
};

/// In order of precedence: torchrun under another launcher has both sets, and starts the processes.
constexpr std::array kLaunchers = {
    Launcher{"torchrun", "TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE",
             "LOCAL_WORLD_SIZE"},
    Launcher{"environment", "RANK", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"},
    // A job that has a world but no rank was meant to be launched: refuse it rather than train it
    // alone.
    Launcher{"environment", "WORLD_SIZE", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"},
};

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::kInvalidInput, message, "launch environment");
}

void require_all_set(const Launcher& launcher, const VariableLookup& lookup) {
  std::string set;
  std::string missing;
  for (const char* name : {launcher.rank, launcher.local_rank, launcher.world_size}) {
    std::string& list = lookup(name) ? set : missing;
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  if (!missing.empty()) {
    fail(
        fmt::format("{} set without {}: a rank needs all of them; start the ranks with torchrun, "
                    "or unset them for "
                    "a single process",
                    set.empty() ? launcher.marker : set, missing));
  }
}

std::int64_t number(const char* name, const std::string& text, std::int64_t min, std::int64_t max) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    fail(fmt::format("{}={}: must be a whole number from {} to {}", name, text, min, max));
  }
  return value;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void read_master(const VariableLookup& lookup, LaunchEnvironment& environment) {
  const auto address = lookup("MASTER_ADDR");
  const auto port = lookup("MASTER_PORT");
  if (environment.world_size == 1 && (!address || !port)) return;
  if (!address || address->empty() || !port) {
    fail(fmt::format(
        "WORLD_SIZE={} without {}: the ranks do not know where to meet; set MASTER_ADDR to the "
        "host of "
        "rank 0 and MASTER_PORT to a free port there",
        environment.world_size, address && !address->empty() ? "MASTER_PORT" : "MASTER_ADDR"));
  }
  environment.master_address = *address;
  environment.master_port = static_cast<std::uint16_t>(number("MASTER_PORT", *port, 1, 65535));
}

void read_local_world_size(const Launcher& launcher, const VariableLookup& lookup,
                           LaunchEnvironment& environment) {
  if (const auto text = lookup(launcher.local_world_size)) {
    environment.local_world_size =
        number(launcher.local_world_size, *text, 1, environment.world_size);
  } else if (environment.world_size == 1 || is_loopback(environment.master_address)) {
    environment.local_world_size = environment.world_size;
  } else {
    fail(fmt::format(
        "{} is not set and MASTER_ADDR={} is no loopback address: set it to the number of ranks on "
        "this node",
        launcher.local_world_size, environment.master_address));
  }
}

LaunchEnvironment read_from(const Launcher& launcher, const VariableLookup& lookup) {
  require_all_set(launcher, lookup);
  constexpr std::int64_t kMostRanks = 1 << 20;
  LaunchEnvironment environment;
  environment.launcher = launcher.name;
  environment.world_size = number(launcher.world_size, *lookup(launcher.world_size), 1, kMostRanks);
  environment.rank = number(launcher.rank, *lookup(launcher.rank), 0, environment.world_size - 1);
  read_master(lookup, environment);
  read_local_world_size(launcher, lookup, environment);
  environment.local_rank = number(launcher.local_rank, *lookup(launcher.local_rank), 0,
                                  environment.local_world_size - 1);
  environment.use_agent_store = lookup("TORCHELASTIC_USE_AGENT_STORE") == "True";
  return environment;
}

}  // namespace

LaunchEnvironment read_launch_environment(const VariableLookup& lookup) {
  for (const Launcher& launcher : kLaunchers) {
    if (lookup(launcher.marker)) return read_from(launcher, lookup);
  }
  return {};
}

LaunchEnvironment read_launch_environment() {
  return read_launch_environment([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
}

}  // namespace meshplan::executor
