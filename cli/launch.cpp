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

std::int64_t number_of(const char* variable) {
  const char* text = std::getenv(variable);
  std::int64_t number = -1;
  if (text != nullptr) {
    const char* const end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, number);
    if (error == std::errc() && stop == end && number >= 0) return number;
  }
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("{}={}: must be a whole number; start the ranks with torchrun, or unset "
                          "it for a run of its own",
                          variable, text == nullptr ? "" : text),
              "launch environment");
}

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

std::optional<RankPlace> place_in_job() {
  const auto set = [](const char* variable) { return std::getenv(variable) != nullptr; };
  if (!set("TORCHELASTIC_RUN_ID") && !(set("RANK") && set("WORLD_SIZE") && set("LOCAL_RANK")))
    return std::nullopt;
  RankPlace place{.rank = number_of("RANK"), .world_size = number_of("WORLD_SIZE")};
  place.local_world_size =
      set("LOCAL_WORLD_SIZE") ? number_of("LOCAL_WORLD_SIZE") : place.world_size;
  if (place.rank >= place.world_size || place.local_world_size < 1) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("RANK={} WORLD_SIZE={} LOCAL_WORLD_SIZE={}: contradict each other; "
                            "start the ranks with torchrun",
                            place.rank, place.world_size, place.local_world_size),
                "launch environment");
  }
  return place;
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

void become_rank(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {rank_program()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  become(command);
}

void launch_ranks(std::int64_t ranks, const std::vector<std::string>& arguments,
                  const std::optional<fs::path>& run_folder) {
  std::vector<std::string> command = {torch_python(),        "-c",          kTorchrun,
                                      "--standalone",        "--no-python", "--nproc-per-node",
                                      std::to_string(ranks), rank_program()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  if (run_folder) formats::clear_error_records(*run_folder);
  const std::int64_t threads =
      std::max<std::int64_t>(1, std::thread::hardware_concurrency() / ranks);
  const ChildEnd end =
      run_child(command, {{"OMP_NUM_THREADS", std::to_string(threads)},
                          // Torchrun's own four, and the one that asks for a checkpoint.
                          {"PET_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"},
                          // torchrun's warnings; errors reach us through the report.
                          {"LOGLEVEL", "CRITICAL"}});
  if (end.exit_code != 0) throw_cause(end, run_folder);
}

}  // namespace meshplan::cli
