#include "formats/launch_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "formats/pod_environment.h"
#include "formats/slurm.h"

namespace meshplan::formats {
namespace {

/// How many ports a job tries where its launcher names none that is its own.
constexpr int kPorts = 8;

/// The variables in which a launcher tells a process its place; of "A|B" the first that is set.
struct Launcher {
  const char* name;
  const char* title;
  const char* rank;
  const char* local_rank;
  const char* world_size;
  const char* local_world_size;
  bool (*claims)(const VariableLookup& lookup);
};

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool torchrun_claims(const VariableLookup& lookup) {
  return lookup("TORCHELASTIC_RUN_ID").has_value();
}

bool variables_claim(const VariableLookup& lookup) {
  return lookup("RANK") && lookup("WORLD_SIZE") && lookup("LOCAL_RANK") && !torchrun_claims(lookup);
}

/// Of a process that a Ray worker starts; its raylet sets them.
bool is_in_ray(const VariableLookup& lookup) {
  return lookup("RAY_JOB_ID") || lookup("RAY_RAYLET_PID");
}

/// Slurm sets SLURM_PROCID=0 in batch scripts and in the shells of salloc as well, where no ranks
/// have been started yet. Steps of these kinds have ids from 0xfffffff0 on (slurm.h:
/// SLURM_MAX_NORMAL_STEP_ID), or none.
bool slurm_claims(const VariableLookup& lookup) {
  if (!lookup("SLURM_PROCID")) return false;
  constexpr std::int64_t kFirstSpecialStep = 0xfffffff0;
  if (const auto step = find_variable(lookup, "SLURM_STEP_ID|SLURM_STEPID"))
    return whole_number(step->value).value_or(0) < kFirstSpecialStep;
  const std::string job_name = variable_text(lookup, "SLURM_JOB_NAME");
  const bool in_shell = job_name == "interactive" || job_name == "bash";
  return !in_shell && variable_text(lookup, "ENVIRONMENT") != "BATCH";
}

/// In order of precedence: torchrun under another launcher has both sets, and starts the processes.
constexpr std::array kLaunchers = {
    Launcher{"torchrun", "torchrun", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
             &torchrun_claims},
    Launcher{
        "ray", "Ray", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
        [](const VariableLookup& lookup) { return variables_claim(lookup) && is_in_ray(lookup); }},
    Launcher{
        "environment", "the environment (RANK)", "RANK", "LOCAL_RANK", "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        [](const VariableLookup& lookup) { return variables_claim(lookup) && !is_in_ray(lookup); }},
    Launcher{
        "openmpi", "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
        [](const VariableLookup& lookup) { return lookup("OMPI_COMM_WORLD_RANK").has_value(); }},
    Launcher{"pmi", "MPI (PMI)", "PMI_RANK", "MPI_LOCALRANKID|PMI_LOCAL_RANK", "PMI_SIZE",
             "MPI_LOCALNRANKS|PMI_LOCAL_SIZE",
             [](const VariableLookup& lookup) { return lookup("PMI_RANK").has_value(); }},
    Launcher{"slurm", "Slurm", "SLURM_PROCID", "SLURM_LOCALID",
             "SLURM_STEP_NUM_TASKS|SLURM_NTASKS|SLURM_NPROCS", "", &slurm_claims},
};
constexpr Launcher kFlags = {"flags", "the flags", "", "", "", "", nullptr};

/// A launcher's claim on this process, as far as its variables are numbers.
struct Claim {
  const Launcher* launcher;
  std::optional<std::int64_t> rank;
  std::optional<std::int64_t> world_size;

  bool same_place(const Claim& other) const {
    return rank && world_size && rank == other.rank && world_size == other.world_size;
  }
};

std::vector<Claim> claims_on_this_process(const VariableLookup& lookup) {
  std::vector<Claim> claims;
  for (const Launcher& launcher : kLaunchers) {
    if (!launcher.claims(lookup)) continue;
    const Claim claim{&launcher, whole_number(variable_text(lookup, launcher.rank)),
                      whole_number(variable_text(lookup, launcher.world_size))};
    // `srun -n 1` and `mpirun -n 1` start programs that start ranks, or shells.
    if (claim.world_size == 1 && launcher.rank != std::string("RANK")) continue;
    claims.push_back(claim);
  }
  // `srun --mpi=pmi2` sets both, and Slurm knows where the ranks can meet.
  if (claims.size() >= 2) {
    const Claim& pmi = claims[claims.size() - 2];
    if (std::string(pmi.launcher->name) == "pmi" && pmi.same_place(claims.back()))
      claims.erase(claims.end() - 2);
  }
  return claims;
}

/// A job that has a world but no rank, or the other way round, was meant to be launched: it is
/// refused rather than trained alone.
void refuse_half_a_place(const VariableLookup& lookup) {
  if (!lookup("RANK") && !lookup("WORLD_SIZE")) return;
  if (lookup("RANK") && read_node_environment(lookup)) {
    refuse_launch(
        fmt::format("RANK={} counts pods, as LOCAL_RANK is not set: start the ranks of a pod with "
                    "`meshplan train` or torchrun",
                    *lookup("RANK")));
  }
  std::string set;
  std::string missing;
  for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK"}) {
    std::string& list = lookup(name) ? set : missing;
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  refuse_launch(
      fmt::format("{} set without {}: a rank needs all of them; start the ranks with torchrun, or "
                  "unset them for a single process",
                  set, missing));
}

const Launcher* named_launcher(const VariableLookup& lookup, const std::string& name) {
  for (const Launcher& launcher : kLaunchers) {
    if (name != launcher.name) continue;
    if (find_variable(lookup, launcher.rank)) return &launcher;
    refuse_launch(
        fmt::format("--launcher {}: {} is not set; leave the flag out, or start the ranks with {}",
                    name, launcher.rank, launcher.title));
  }
  refuse_launch(
      fmt::format("--launcher {}: must be auto, torchrun, ray, environment, openmpi, pmi, slurm or "
                  "none",
                  name));
}

/// Whose variables count; null for a process that is alone.
const Launcher* choose_launcher(const VariableLookup& lookup, const LaunchFlags& flags,
                                const std::vector<Claim>& claims) {
  if (flags.launcher == "none") return nullptr;
  if (flags.launcher != "auto") return named_launcher(lookup, flags.launcher);
  if (flags.rank && flags.world_size) return &kFlags;
  if (!claims.empty()) return claims.front().launcher;
  refuse_half_a_place(lookup);
  if (flags.rank || flags.world_size || flags.local_rank || flags.local_world_size) {
    refuse_launch(
        "--rank and --world-size go together, and --local-rank and --local-world-size with them, "
        "where no launcher says them");
  }
  return nullptr;
}

/// A launcher within another one's tasks has one of those on each of its nodes, or one in all.
/// Anything else is two launchers that each take the process for a rank of theirs.
void refuse_contradiction(const std::vector<Claim>& claims, const LaunchEnvironment& place) {
  const Claim& chosen = claims.front();
  const std::int64_t nodes = place.world_size / place.local_world_size;
  for (const Claim& other : claims) {
    if (other.launcher == chosen.launcher || other.same_place(chosen)) continue;
    if (other.world_size && *other.world_size <= nodes) continue;
    refuse_launch(
        fmt::format("two launchers claim this process: {} says rank {} of {} on {} node{}, {} says "
                    "rank {} of {}; start the ranks with one of them, or say which one counts: "
                    "--launcher {}",
                    chosen.launcher->title, place.rank, place.world_size, nodes,
                    nodes == 1 ? "" : "s", other.launcher->title, other.rank.value_or(-1),
                    other.world_size.value_or(-1), chosen.launcher->name));
  }
}

/// Reads one place after the other into `environment`.
class PlaceReader {
 public:
  PlaceReader(const Launcher& launcher, const VariableLookup& lookup, const LaunchFlags& flags)
      : launcher_(launcher), lookup_(lookup), flags_(flags) {}

  LaunchEnvironment read() {
    environment_.launcher = launcher_.name;
    environment_.use_agent_store =
        is("torchrun") && lookup_("TORCHELASTIC_USE_AGENT_STORE") == "True";
    environment_.world_size =
        number_in(required(flags_.world_size, "--world-size", launcher_.world_size), 1, kMostRanks);
    environment_.rank =
        number_in(required(flags_.rank, "--rank", launcher_.rank), 0, environment_.world_size - 1);
    // The flag may name another place than the launcher's own store.
    if (!flags_.master_address.empty() || flags_.master_port) environment_.use_agent_store = false;
    environment_.master_address = flags_.master_address.empty()
                                      ? variable_text(lookup_, "MASTER_ADDR")
                                      : flags_.master_address;
    read_local_world_size();
    read_local_rank();
    if (is("slurm")) read_slurm_hosts();
    if (environment_.world_size > 1) {
      read_ports();
    } else {
      environment_.master_address.clear();
    }
    return environment_;
  }

 private:
  bool is(const std::string& name) const { return name == launcher_.name; }

  std::optional<Setting> setting(const std::optional<std::int64_t>& flag, const char* flag_name,
                                 const char* variables) const {
    if (flag) return Setting{flag_name, std::to_string(*flag)};
    return find_variable(lookup_, variables);
  }

  Setting required(const std::optional<std::int64_t>& flag, const char* flag_name,
                   const char* variables) const {
    if (auto found = setting(flag, flag_name, variables)) return std::move(*found);
    std::string name = variables;
    name = name.substr(0, name.find('|'));
    refuse_launch(fmt::format("{} is not set, though {} started this process; set it, or give {}",
                              name.empty() ? flag_name : name, launcher_.title, flag_name));
  }

  void read_local_world_size() {
    const std::int64_t world = environment_.world_size;
    if (const auto local =
            setting(flags_.local_world_size, "--local-world-size", launcher_.local_world_size)) {
      environment_.local_world_size = number_in(*local, 1, world);
    } else if (is("slurm")) {
      environment_.local_world_size = slurm_tasks_per_node();
    } else if (world == 1 || is_loopback(environment_.master_address)) {
      environment_.local_world_size = world;
    } else {
      refuse_launch(
          fmt::format("{} is not set and MASTER_ADDR={} is no loopback address: set it to the "
                      "number of ranks on this node",
                      is("flags") ? "--local-world-size" : launcher_.local_world_size,
                      environment_.master_address));
    }
    if (world % environment_.local_world_size == 0) return;
    refuse_launch(
        fmt::format("{} ranks, {} of them on this node: every node must run as many; start the "
                    "same number on each",
                    world, environment_.local_world_size));
  }

  std::int64_t slurm_tasks_per_node() const {
    if (const auto list =
            find_variable(lookup_, "SLURM_STEP_TASKS_PER_NODE|SLURM_TASKS_PER_NODE")) {
      const std::vector<std::int64_t> counts = expand_task_counts(list->value, list->name);
      const bool uneven = std::any_of(counts.begin(), counts.end(),
                                      [&](std::int64_t count) { return count != counts.front(); });
      if (uneven) {
        refuse_launch(
            fmt::format("{}={}: every node must run as many ranks; give srun --ntasks-per-node N",
                        list->name, list->value));
      }
      return number_in({list->name, std::to_string(counts.front())}, 1, environment_.world_size);
    }
    if (const auto each = find_variable(lookup_, "SLURM_NTASKS_PER_NODE")) {
      const std::int64_t count = expand_task_counts(each->value, each->name).front();
      return number_in({each->name, std::to_string(count)}, 1, environment_.world_size);
    }
    refuse_launch(
        "SLURM_STEP_TASKS_PER_NODE is not set, though Slurm started this process; give srun "
        "--ntasks-per-node N");
  }

  void read_local_rank() {
    const std::int64_t local = environment_.local_world_size;
    const auto given = setting(flags_.local_rank, "--local-rank", launcher_.local_rank);
    environment_.local_rank =
        given || !is("flags")
            ? number_in(required(flags_.local_rank, "--local-rank", launcher_.local_rank), 0,
                        local - 1)
            : environment_.rank % local;
    if (environment_.rank % local == environment_.local_rank) return;
    // Where nothing ends the other ranks, they meet first, and are told in one message what is
    // amiss.
    if (is("environment") || is("flags")) return;
    refuse_launch(
        fmt::format("rank {} is local rank {} of {}: ranks must be dealt to the nodes in blocks, "
                    "so that local rank = rank mod {}; {}",
                    environment_.rank, environment_.local_rank, local, local,
                    is("slurm") ? "use srun --distribution=block"
                                : "start them in blocks (mpirun --map-by slot, or core)"));
  }

  void read_slurm_hosts() {
    const std::int64_t nodes = environment_.world_size / environment_.local_world_size;
    if (const auto list =
            find_variable(lookup_, "SLURM_STEP_NODELIST|SLURM_JOB_NODELIST|SLURM_NODELIST")) {
      environment_.hosts = expand_host_list(list->value, list->name);
    }
    if (environment_.master_address.empty()) {
      if (nodes > 1 && environment_.hosts.empty())
        refuse_launch(
            "SLURM_STEP_NODELIST is not set, so the ranks do not know where to meet; give "
            "--master-addr HOST of rank 0");
      // A name of Slurm's need not be one of the network's.
      environment_.master_address = nodes == 1 ? "127.0.0.1" : environment_.hosts.front();
    }
    // The job's list names more hosts than a smaller step has.
    if (std::ssize(environment_.hosts) != nodes) environment_.hosts.clear();
  }

  void read_ports() {
    const auto port = setting(flags_.master_port, "--master-port", "MASTER_PORT");
    const bool owned = port && !(is("ray") && !flags_.master_port);
    if (owned && !environment_.master_address.empty()) {
      environment_.master_ports = {static_cast<std::uint16_t>(number_in(*port, 1, 65535))};
    } else if (is("slurm")) {
      agree_on_slurm_ports();
    } else if (is("ray") && port && !environment_.master_address.empty()) {
      // Ray's own process group holds MASTER_PORT.
      use_ports_from(number_in(*port, 1, 65535) + 1, 1024, 65535);
      environment_.job =
          fmt::format("ray/{}/{}", variable_text(lookup_, "RAY_JOB_ID"), port->value);
    } else if (is("openmpi") || is("pmi")) {
      constexpr std::uint16_t kTorchrunsPort = 29500;
      if (!environment_.master_address.empty()) environment_.master_ports = {kTorchrunsPort};
    } else {
      refuse_launch(
          fmt::format("WORLD_SIZE={} without {}: the ranks do not know where to meet; set "
                      "MASTER_ADDR (or --master-addr) to the host of rank 0 and MASTER_PORT "
                      "(--master-port) to a free port there",
                      environment_.world_size,
                      environment_.master_address.empty() ? "MASTER_ADDR" : "MASTER_PORT"));
    }
  }

  /// The last four digits of the job's number, as PyTorch Lightning takes them, and those after.
  void agree_on_slurm_ports() {
    const auto job = find_variable(lookup_, "SLURM_JOB_ID|SLURM_JOBID");
    if (!job)
      refuse_launch(
          "SLURM_JOB_ID is not set, so the ranks cannot agree on a port; give --master-port P");
    constexpr std::int64_t kFirst = 15000;
    constexpr std::int64_t kLast = 24999;
    use_ports_from(kFirst + number_in(*job, 0, INT64_MAX) % 10000, kFirst, kLast);
    const std::string restarts = variable_text(lookup_, "SLURM_RESTART_COUNT");
    environment_.job = fmt::format("slurm/{}.{}/{}", job->value,
                                   variable_text(lookup_, "SLURM_STEP_ID|SLURM_STEPID"),
                                   restarts.empty() ? "0" : restarts);
  }

  /// So many in a row, going on at `first` behind `last`.
  void use_ports_from(std::int64_t port, std::int64_t first, std::int64_t last) {
    for (int i = 0; i < kPorts; ++i, ++port) {
      if (port > last) port = first;
      environment_.master_ports.push_back(static_cast<std::uint16_t>(port));
    }
  }

  const Launcher& launcher_;
  const VariableLookup& lookup_;
  const LaunchFlags& flags_;
  LaunchEnvironment environment_;
};

}  // namespace

LaunchEnvironment read_launch_environment(const VariableLookup& lookup, const LaunchFlags& flags) {
  const std::vector<Claim> claims = claims_on_this_process(lookup);
  const Launcher* const launcher = choose_launcher(lookup, flags, claims);
  if (launcher == nullptr) return {};
  const LaunchEnvironment environment = PlaceReader(*launcher, lookup, flags).read();
  if (flags.launcher == "auto" && launcher != &kFlags) refuse_contradiction(claims, environment);
  return environment;
}

std::string launcher_title(const std::string& name) {
  for (const Launcher& launcher : kLaunchers) {
    if (name == launcher.name) return launcher.title;
  }
  return name == kFlags.name ? kFlags.title : name;
}

std::string describe(const LaunchEnvironment& environment) {
  std::string meeting = "at a place that rank 0 publishes";
  if (!environment.master_ports.empty()) {
    meeting = fmt::format("at {}{}:{}{}", environment.use_agent_store ? "torchrun's agent, " : "",
                          environment.master_address, environment.master_ports.front(),
                          environment.master_ports.size() > 1 ? " or the next free port" : "");
  }
  return fmt::format("rank {} of {} by {}, {} a node; the ranks meet {}", environment.rank,
                     environment.world_size, launcher_title(environment.launcher),
                     environment.local_world_size, meeting);
}

}  // namespace meshplan::formats
