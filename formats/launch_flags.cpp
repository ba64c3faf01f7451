#include "formats/launch_flags.h"

#include <fmt/format.h>

#include "common/error.h"
#include "formats/launch_variables.h"

namespace meshplan::formats {
namespace {

std::int64_t flag_number(const char* flag, const std::string& value, std::int64_t min,
                         std::int64_t max) {
  const auto parsed = whole_number(value);
  if (parsed && *parsed >= min && *parsed <= max) return *parsed;
  throw common::Error(common::ErrorCode::kUsage,
                      fmt::format("{}: must be a whole number from {} to {}", value, min, max),
                      flag);
}

}  // namespace

const std::vector<LaunchFlag>& launch_flags() {
  static const std::vector<LaunchFlag> flags = {
      {"--launcher",
       "Whose variables tell this rank's place: auto, torchrun, ray, environment (RANK, WORLD_SIZE "
       "and LOCAL_RANK), openmpi, pmi, slurm, or none (default: auto)",
       "", [](LaunchFlags& to, const std::string& value) { to.launcher = value; }},
      {"--rank", "This process's rank, where no launcher says it", "R",
       [](LaunchFlags& to, const std::string& value) {
         to.rank = flag_number("--rank", value, 0, kMostRanks - 1);
       }},
      {"--world-size", "Ranks of the job", "W",
       [](LaunchFlags& to, const std::string& value) {
         to.world_size = flag_number("--world-size", value, 1, kMostRanks);
       }},
      {"--local-rank",
       "This process's rank on its node (default with --rank: by --local-world-size)", "L",
       [](LaunchFlags& to, const std::string& value) {
         to.local_rank = flag_number("--local-rank", value, 0, kMostRanks - 1);
       }},
      {"--local-world-size", "Ranks on each node", "N",
       [](LaunchFlags& to, const std::string& value) {
         to.local_world_size = flag_number("--local-world-size", value, 1, kMostRanks);
       }},
      {"--master-addr", "Host of rank 0, where the ranks meet (default: the launcher's)", "HOST",
       [](LaunchFlags& to, const std::string& value) { to.master_address = value; }},
      {"--master-port", "A free port there (default: the launcher's, or agreed on)", "PORT",
       [](LaunchFlags& to, const std::string& value) {
         to.master_port = flag_number("--master-port", value, 1, 65535);
       }},
      {"--rendezvous-timeout", "Seconds that ranks wait for each other (default: 120)", "S",
       [](LaunchFlags& to, const std::string& value) {
         to.timeout_s = flag_number("--rendezvous-timeout", value, 1, 86400);
       }},
  };
  return flags;
}

}  // namespace meshplan::formats
