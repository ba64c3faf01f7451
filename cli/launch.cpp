#include "cli/launch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "cli/child_process.h"
#include "cli/installation.h"
#include "common/error.h"
#include "common/json.h"
#include "formats/error_record.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;

/// torchrun's own main. Where it would end in a traceback this tells us on descriptor 3, as
/// "EXIT_CODE MESSAGE": its last output would otherwise bury that of the ranks. The ranks take the
/// libraries of this Python's torch, also where they were linked with another one's place.
constexpr const char* kTorchrun = R"python(
import glob, os, sys
sys.path[:] = [path for path in sys.path if path]  # no module of the working directory may stand for Python's own
report = os.fdopen(3, "w")
def give_up(code, message):
    report.write(f"{code} {message[:4000]}")
    report.close()
    sys.exit(1)
try:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main
except ImportError as error:
    give_up(5, f"{sys.executable}: cannot import torch ({error}); run scripts/bootstrap, or name a Python that has it: "
               "MESHPLAN_TORCH_PYTHON=/path/to/python")
torch = os.path.dirname(sys.modules["torch"].__file__)
libraries = [os.path.join(torch, "lib"), *sorted(glob.glob(os.path.join(os.path.dirname(torch), "nvidia", "*", "lib")))]
os.environ["LD_LIBRARY_PATH"] = ":".join(libraries + list(filter(None, [os.environ.get("LD_LIBRARY_PATH")])))
try:
    main(sys.argv[1:])
except ChildFailedError as failed:
    rank, failure = failed.get_first_failure()
    if failure.error_file_data.get("message", "<NONE>") != "<NONE>":
        said = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        give_up(failure.exitcode, said)
    how = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with exit code {failure.exitcode}"
    give_up(failure.exitcode, f"rank {rank} (pid {failure.pid}) {how}; what it said is above")
except SignalException as stopped:
    give_up(130, str(stopped))
except Exception as error:
    give_up(8, f"torchrun: {type(error).__name__}: {error}")
)python";

bool is_executable(const fs::path& path) {
  return ::access(path.c_str(), X_OK) == 0 && !fs::is_directory(path);
}

/// The code that the number stands for; kRankLost for one that is none of ours.
ErrorCode error_code_of(std::int64_t exit_code) {
  for (const ErrorCode code :
       {ErrorCode::kInternal, ErrorCode::kUsage, ErrorCode::kInvalidInput, ErrorCode::kNoLayoutFits,
        ErrorCode::kIo, ErrorCode::kCorruptCheckpoint, ErrorCode::kDiverged,
        ErrorCode::kInterrupted}) {
    if (exit_code == static_cast<std::int64_t>(code)) return code;
  }
  return ErrorCode::kRankLost;
}

[[noreturn]] void throw_cause(const ChildEnd& end, const std::optional<fs::path>& run_folder) {
  if (end.interrupted_by != 0) {
    throw Error(ErrorCode::kInterrupted, fmt::format("stopped by SIG{}; all ranks have ended",
                                                     ::sigabbrev_np(end.interrupted_by)));
  }
  if (run_folder) {
    if (const auto cause = formats::first_cause(*run_folder)) {
      throw Error(error_code_of(cause->exit_code), cause->message,
                  fmt::format("rank {}", cause->rank));
    }
  }
  std::int64_t code = 0;
  const std::string& report = end.report;
  const auto [rest, unreadable] =
      std::from_chars(report.data(), report.data() + report.size(), code);
  if (unreadable == std::errc()) {
    const auto text = static_cast<std::size_t>(rest - report.data()) + 1;
    throw Error(error_code_of(code), report.substr(std::min(text, report.size())));
  }
  throw Error(ErrorCode::kRankLost,
              fmt::format("the ranks ended with exit code {}{}{}; what they said is above",
                          end.exit_code, report.empty() ? "" : ": ", report));
}

/// How torchrun's agents find each other.
std::vector<std::string> torchrun_meeting(const std::optional<formats::NodeEnvironment>& node) {
  if (!node) return {"--standalone"};
  // torchrun reads an elastic job's PET_RDZV_ENDPOINT and the like itself.
  if (node->elastic) return {};
  return {"--nnodes",      std::to_string(node->nodes),
          "--node-rank",   std::to_string(node->node_rank),
          "--master-addr", node->master_address,
          "--master-port", std::to_string(node->master_port)};
}

}  // namespace

fs::path torch_python() {
  const char* named = std::getenv("MESHPLAN_TORCH_PYTHON");
  const fs::path python = named != nullptr && *named != '\0' ? named : default_torch_python();
  if (!python.empty() && is_executable(python)) return fs::absolute(python);
  throw Error(
      ErrorCode::kIo,
      fmt::format("{}no Python with torch to start the ranks; run scripts/bootstrap, or name one: "
                  "MESHPLAN_TORCH_PYTHON=/path/to/python",
                  python.empty() ? "" : python.string() + ": cannot be run; "),
      "torchrun");
}

std::optional<formats::LaunchEnvironment> place_in_job(const LaunchOptions& options) {
  if (node_in_job(options)) return std::nullopt;
  auto place = formats::read_launch_environment(formats::process_environment(), options.rank);
  if (place.launcher == "none") return std::nullopt;
  return place;
}

std::optional<formats::NodeEnvironment> node_in_job(const LaunchOptions& options) {
  const formats::LaunchFlags& rank = options.rank;
  if (rank.rank || (rank.launcher != "auto" && rank.launcher != "none")) return std::nullopt;
  if (!options.node_rank && !options.nodes)
    return formats::read_node_environment(formats::process_environment());
  const std::int64_t nodes = options.nodes.value_or(0);
  if (nodes == 1) return std::nullopt;
  if (!options.node_rank || rank.master_address.empty()) {
    throw Error(ErrorCode::kUsage,
                "--nnodes, --node-rank and --master-addr go together: each node is told its own "
                "number, and the host of the first");
  }
  if (nodes != 0 && *options.node_rank >= nodes) {
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: must be from 0 to {}, as --nnodes is {}", *options.node_rank,
                            nodes - 1, nodes),
                "--node-rank");
  }
  formats::NodeEnvironment node;
  node.nodes = nodes;
  node.node_rank = *options.node_rank;
  node.master_address = rank.master_address;
  if (rank.master_port) node.master_port = static_cast<std::uint16_t>(*rank.master_port);
  return node;
}

fs::path rank_program() {
  const fs::path program = program_folder() / "meshplan-train";
  if (is_executable(program)) return program;
  throw Error(
      ErrorCode::kIo,
      "is missing, which runs the ranks; install the package meshplan-executor, or build it with "
      "scripts/build (a build with -DMESHPLAN_EXECUTOR=OFF has none)",
      program.string());
}

void become_rank(const std::vector<std::string>& arguments, const LaunchOptions& options) {
  std::vector<std::string> command = {rank_program()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.insert(command.end(), options.given.begin(), options.given.end());
  become(command);
}

void launch_ranks(const LocalRanks& ranks, const std::vector<std::string>& arguments,
                  const std::optional<fs::path>& run_folder) {
  std::vector<std::string> command = {torch_python(), "-c", kTorchrun};
  const std::vector<std::string> meeting = torchrun_meeting(ranks.node);
  command.insert(command.end(), meeting.begin(), meeting.end());
  command.insert(command.end(),
                 {"--max-restarts", std::to_string(ranks.max_restarts), "--no-python",
                  "--nproc-per-node", std::to_string(ranks.count), rank_program()});
  command.insert(command.end(), arguments.begin(), arguments.end());
  if (ranks.timeout_s != formats::LaunchFlags().timeout_s)
    command.insert(command.end(), {"--rendezvous-timeout", std::to_string(ranks.timeout_s)});
  if (run_folder) formats::clear_error_records(*run_folder);
  const std::int64_t threads =
      std::max<std::int64_t>(1, std::thread::hardware_concurrency() / ranks.count);
  const ChildEnd end =
      run_child(command, {{"OMP_NUM_THREADS", std::to_string(threads)},
                          // Torchrun's own four, and the one that asks for a checkpoint.
                          {"PET_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"},
                          // torchrun's warnings; errors reach us through the report.
                          {"LOGLEVEL", "CRITICAL"}});
  if (end.exit_code != 0) throw_cause(end, run_folder);
}

}  // namespace meshplan::cli
