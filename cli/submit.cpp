#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <sstream>

#include "cli/child_process.h"
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/submit_flags.h"
#include "common/error.h"
#include "common/file.h"
#include "planner/model/coverage.h"
#include "planner/plan/jobs/quoting.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;
using planner::JobFile;
using planner::JobFiles;
using planner::JobTarget;

/// Whether the nodes see this machine's files under the same names; containers and Ray's nodes do
/// not.
bool shares_files(JobTarget target) {
  return target == JobTarget::kSlurm || target == JobTarget::kSsh;
}

/// Whether the value of the flag is a path here. `synthetic` is none, and a data set or tokenizer
/// may be a name on the Hugging Face hub.
bool is_path(const std::string& flag, const std::string& value) {
  if (flag == "--storage-path") return true;
  if (flag == "--data" || flag == "--validation-data") return value != "synthetic";
  if (flag == "--resume") return value != "auto" && value != "never";
  std::error_code ignored;
  return (flag == "--dataset-name" || flag == "--tokenizer") && fs::exists(value, ignored);
}

/// The value as the nodes are to be told it.
std::string on_nodes(JobTarget target, const std::string& flag, const std::string& value) {
  if (!is_path(flag, value) || fs::path(value).is_absolute()) return value;
  if (shares_files(target)) return fs::absolute(value).lexically_normal().string();
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("'{}': must be a path from the root, as the nodes of a {} job find it",
                          value, to_string(target)),
              flag);
}

void add_word(std::vector<std::string>& words, const std::string& flag, const std::string& value) {
  if (value.starts_with("-")) {
    words.push_back(flag + "=" + value);
  } else {
    words.insert(words.end(), {flag, value});
  }
}

std::vector<std::string> train_words(const SubmitFlags& flags, JobTarget target,
                                     const std::string& experiment) {
  std::vector<std::string> words;
  for (const CLI::Option* option : flags.of_train) {
    const std::string name = option->get_name();
    if (option->count() == 0 || name == "--storage-path" || name == "--experiment-name") continue;
    if (option->get_expected_max() == 0) {
      words.push_back(name);
    } else {
      add_word(words, name, on_nodes(target, name, option->results().back()));
    }
  }
  add_word(words, "--storage-path", on_nodes(target, "--storage-path", flags.train.storage_path));
  add_word(words, "--experiment-name", experiment);
  return words;
}

/// The folder of the run where none is named, which a job that is started again must find again.
std::string new_experiment(const planner::Plan& plan) {
  return fmt::format("{}-{:%Y%m%d-%H%M%S}", planner::safe_name(plan.model.name),
                     fmt::localtime(std::time(nullptr)));
}

fs::path this_program() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

planner::JobRequest make_request(const SubmitFlags& flags, const planner::Plan& plan) {
  planner::JobRequest request = read_request(flags);
  const std::string experiment =
      flags.train.experiment_name.empty() ? new_experiment(plan) : flags.train.experiment_name;
  if (request.name.empty()) request.name = experiment;
  if (request.program.empty())
    request.program = shares_files(request.target) ? this_program().string() : "meshplan";
  request.plan_path = fs::absolute(flags.train.plan).lexically_normal().string();
  request.slurm.output = planner::safe_name(request.name) + "-%j.out";
  request.train = train_words(flags, request.target, experiment);
  return request;
}

/// What submits the job, run in its folder.
std::vector<std::string> client_command(const SubmitFlags& flags, JobTarget target,
                                        const JobFiles& files) {
  const std::string& first = files.front().name;
  switch (target) {
    case JobTarget::kSlurm:
      return {"sbatch", first};
    case JobTarget::kKubernetes:
      return {"kubectl", "apply", "-f", first};
    case JobTarget::kRay:
      if (flags.anyscale) return {"anyscale", "job", "submit", "-f", first};
      return {"ray", "job", "submit", "--no-wait",  "--working-dir",
              ".",   "--",  "python", files[1].name};
    case JobTarget::kSsh:
      return {"bash", first};
  }
  return {};
}

bool is_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path file = fs::path(folder) / program;
    if (::access(file.c_str(), X_OK) == 0 && !fs::is_directory(file)) return true;
  }
  return false;
}

void write_files(const fs::path& folder, const JobFiles& files) {
  for (const JobFile& file : files) {
    common::write_file(folder / file.name, file.content);
    if (file.executable)
      fs::permissions(folder / file.name, fs::perms::owner_exec, fs::perm_options::add);
  }
}

/// What the client program said; of ssh nothing, as its output is the run's and goes to stderr.
std::string submit(JobTarget target, const std::vector<std::string>& client,
                   const fs::path& folder) {
  const bool waits = target == JobTarget::kSsh;
  // Behind ssh stands ssh itself, which the script starts.
  const std::string program = waits ? "ssh" : client.front();
  const std::string by_hand =
      fmt::format("cd {} && {}", planner::shell_word(folder.string()), fmt::join(client, " "));
  if (!is_in_path(program)) {
    throw Error(ErrorCode::kIo,
                fmt::format("is not in PATH, so nothing is submitted; where it is: {}", by_hand),
                program);
  }
  std::vector<std::string> command = {
      "/bin/sh", "-c", waits ? "cd \"$0\" && exec \"$@\" >&2" : "cd \"$0\" && exec \"$@\" >&3",
      folder.string()};
  command.insert(command.end(), client.begin(), client.end());
  const ChildEnd end = run_child(command, {});
  if (end.exit_code == 0) return end.report;
  if (end.interrupted_by != 0) throw Error(ErrorCode::kInterrupted, "stopped", program);
  if (waits)
    throw Error(
        ErrorCode::kRankLost,
        fmt::format("the run ended with exit code {}; what it said is above", end.exit_code));
  throw Error(
      ErrorCode::kIo,
      fmt::format("ended with exit code {}, see above; again by hand: {}", end.exit_code, by_hand),
      program);
}

common::Json file_json(const JobFile& file) {
  return {{"name", file.name}, {"executable", file.executable}, {"content", file.content}};
}

void print_files(const JobFiles& files) {
  for (const JobFile& file : files) {
    if (files.size() > 1)
      fmt::print("{}==> {} <==\n", &file == &files.front() ? "" : "\n", file.name);
    fmt::print("{}", file.content);
  }
}

int run_submit(const SubmitFlags& flags) {
  check_usage(flags.train, false);
  const planner::Plan plan = planner::load_plan(flags.train.plan);
  planner::require_trainable(plan.model);
  check_data_usage(flags.train, plan.model);
  const planner::JobRequest request = make_request(flags, plan);
  const JobFiles files = planner::generate_job(plan, request);
  const std::vector<std::string> client = client_command(flags, request.target, files);
  const bool writes = !flags.dry_run || !flags.output.empty();
  const fs::path folder =
      fs::absolute(flags.output.empty() ? planner::safe_name(request.name) + "-job" : flags.output);
  if (writes) write_files(folder, files);
  if (writes && !flags.json)
    fmt::print(stderr, "meshplan submit: wrote {} to {}\n", files.front().name, folder.string());
  const std::string said = flags.dry_run ? "" : submit(request.target, client, folder);
  if (!flags.json) {
    if (!writes) print_files(files);
    fmt::print("{}", said);
    return 0;
  }
  common::Json json = {{"schema_version", 1},
                       {"target", to_string(request.target)},
                       {"name", request.name},
                       {"nodes", plan.cluster.nodes},
                       {"ranks_per_node", plan.layout.mesh.ranks_per_node},
                       {"folder", writes ? common::Json(folder.string()) : common::Json()},
                       {"files", common::Json::array()},
                       {"command", client},
                       {"submitted", !flags.dry_run},
                       {"output", said}};
  for (const JobFile& file : files) json["files"].push_back(file_json(file));
  print_json(json);
  return 0;
}

}  // namespace

Action define_submit(CLI::App& app) {
  app.description(
      "Hand the training of a plan to Slurm, Kubernetes, Ray or hosts reached by ssh: writes the "
      "job's files and submits them\n\n"
      "The flags on data, optimizer and run are those of meshplan train, and are checked here.\n\n"
      "Examples:\n"
      "  meshplan submit plan.json --to slurm --time-limit 12h --data /shared/text --steps 1000 "
      "--storage-path /shared/runs\n"
      "  meshplan submit plan.json --to slurm --dry-run --data synthetic --init random\n"
      "  meshplan submit plan.json --to kubernetes --image registry/meshplan:1 --claim shared \\\n"
      "      --data /storage/text --storage-path /storage/runs\n"
      "  meshplan submit plan.json --to ray --data /mnt/shared/text --storage-path "
      "/mnt/shared/runs\n"
      "  meshplan submit plan.json --to ssh --hosts node-1,node-2 --data /shared/text "
      "--storage-path /shared/runs");
  const auto flags = std::make_shared<SubmitFlags>();
  flags->request.program.clear();
  add_submit_flags(app, *flags);
  return [flags] { return run_submit(*flags); };
}

}  // namespace meshplan::cli
