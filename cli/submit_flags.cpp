#include "cli/submit_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>
#include <string_view>

#include "common/error.h"

namespace meshplan::cli {
namespace {

using common::Error;
using common::ErrorCode;

/// A whole number below a million, or nothing.
std::optional<std::int64_t> number_in(std::string_view text) {
  constexpr std::size_t kMostDigits = 6;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size() && number >= 0;
  return whole && text.size() <= kMostDigits ? std::optional(number) : std::nullopt;
}

std::optional<std::int64_t> clock_time(std::string_view text) {
  const std::size_t dash = text.find('-');
  std::int64_t seconds = 0;
  if (dash != text.npos) {
    const auto days = number_in(text.substr(0, dash));
    if (!days) return std::nullopt;
    seconds = *days * 24;
    text.remove_prefix(dash + 1);
  }
  constexpr std::array<std::int64_t, 3> kBelow = {1000, 60, 60};
  for (std::size_t part = 0; part < kBelow.size(); ++part) {
    const std::size_t end = part + 1 < kBelow.size() ? text.find(':') : text.size();
    if (end == text.npos) return std::nullopt;
    const auto number = number_in(text.substr(0, end));
    if (!number || *number >= kBelow[part]) return std::nullopt;
    seconds = (part == 0 ? seconds : seconds * 60) + *number;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return seconds;
}

std::pair<std::string, std::string> parse_variable(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == 0 || equals == text.npos)
    throw Error(ErrorCode::kUsage, fmt::format("--env {}: must be NAME=VALUE", text));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void add_job_group(CLI::App& app, SubmitFlags& flags) {
  planner::JobRequest& request = flags.request;
  const char* const group = "Job";
  const auto add = [&](const char* flag, auto& value, const char* help, const char* type) {
    return app.add_option(flag, value, help)->type_name(type)->group(group);
  };
  add("--job-name", request.name, "Default: the experiment's name", "NAME");
  add("--time-limit", flags.time_limit, "90m, 12h, 2d or D-HH:MM:SS (default: none)", "TIME");
  add("--signal-ahead", flags.signal_ahead,
      "How long before the time limit the ranks are told to leave a checkpoint", "TIME")
      ->capture_default_str();
  add("--max-restarts", request.max_restarts,
      "Starts from the newest checkpoint after a rank has died", "N")
      ->capture_default_str();
  add("--port", request.port, "Where the ranks meet (default: the target's usual one)", "PORT");
  add("--cpus-per-rank", request.cpus_per_rank, "CPUs of a rank (default: the target's)", "N");
  add("--env", flags.environment,
      "A variable for the ranks, beside those of the cluster file; may be repeated", "NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add("--program", request.program,
      "meshplan on the nodes (default: this one; in containers and on Ray: meshplan)", "PATH")
      ->default_str("");
  add("--torchrun", request.torchrun, "torchrun on the nodes, where it starts the ranks", "PATH")
      ->capture_default_str();
}

/// Adds options of one target.
class TargetGroup {
 public:
  TargetGroup(CLI::App& app, SubmitFlags& flags, const char* name, const char* target)
      : app_(app), flags_(flags), name_(name), target_(target) {}

  template <class Value>
  CLI::Option* add(const char* flag, Value& value, const char* help, const char* type) {
    return keep(app_.add_option(flag, value, help)->type_name(type));
  }
  CLI::Option* add_flag(const char* flag, bool& value, const char* help) {
    return keep(app_.add_flag(flag, value, help));
  }

 private:
  CLI::Option* keep(CLI::Option* option) {
    flags_.of_target.emplace_back(option, target_);
    return option->group(name_);
  }

  CLI::App& app_;
  SubmitFlags& flags_;
  const char* name_;
  const char* target_;
};

void add_target_groups(CLI::App& app, SubmitFlags& flags) {
  planner::JobRequest& request = flags.request;
  TargetGroup slurm(app, flags, "Slurm", "slurm");
  slurm
      .add("--launcher", flags.launcher,
           "srun: a task a rank; torchrun: a task a node, which has 30 s for the checkpoint", "")
      ->check(CLI::IsMember({"srun", "torchrun"}))
      ->capture_default_str();
  slurm.add("--partition", request.slurm.partition, "Default: the cluster's", "NAME");
  slurm.add("--account", request.slurm.account, "Default: yours", "NAME");
  slurm
      .add("--sbatch-option", request.slurm.options,
           "Any other: --sbatch-option=--exclusive; may be repeated", "OPTION")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  TargetGroup kubernetes(app, flags, "Kubernetes", "kubernetes");
  kubernetes.add("--image", request.kubernetes.image,
                 "Container image with meshplan and torchrun; for Anyscale, the image_uri",
                 "IMAGE");
  kubernetes.add_flag("--pytorchjob", request.kubernetes.pytorch_job,
                      "A PyTorchJob (Kubeflow training operator 1.9) in place of a TrainJob "
                      "(Kubeflow Trainer 2.3)");
  kubernetes.add("--namespace", request.kubernetes.name_space, "Default: kubectl's", "NAME");
  kubernetes
      .add("--runtime", request.kubernetes.runtime, "A TrainJob's ClusterTrainingRuntime", "NAME")
      ->capture_default_str();
  kubernetes.add("--claim", request.kubernetes.claim,
                 "Persistent volume claim with data and storage path", "NAME");
  kubernetes.add("--claim-mount", request.kubernetes.claim_mount, "Where it is mounted", "PATH")
      ->capture_default_str();
  kubernetes.add("--gpu-resource", request.kubernetes.gpu_resource, "What a GPU is called", "NAME")
      ->capture_default_str();
  TargetGroup ray(app, flags, "Ray", "ray");
  ray.add_flag("--anyscale", flags.anyscale, "Submit to Anyscale instead of the Ray cluster");
  ray.add("--compute-config", request.ray.compute_config, "Anyscale's, by name", "NAME");
  TargetGroup ssh(app, flags, "ssh", "ssh");
  ssh.add("--hosts", flags.hosts,
          "One for each node, by the names under which they know each other", "HOST,...");
}

/// --image serves two targets.
bool is_for(const CLI::Option& option, const std::string& target, const std::string& to) {
  return target == to || (option.get_name() == "--image" && to == "ray");
}

void check_targets(const SubmitFlags& flags) {
  for (const auto& [option, target] : flags.of_target) {
    if (option->count() == 0 || is_for(*option, target, flags.to)) continue;
    throw Error(ErrorCode::kUsage, fmt::format("{} is for --to {}, not for --to {}",
                                               option->get_name(), target, flags.to));
  }
}

}  // namespace

std::int64_t parse_time(const std::string& text, const std::string& where) {
  struct Unit {
    char letter;
    std::int64_t seconds;
  };
  constexpr std::array kUnits = {Unit{'s', 1}, Unit{'m', 60}, Unit{'h', 3600}, Unit{'d', 86400}};
  const std::string_view view = text;
  for (const Unit& unit : kUnits) {
    if (!view.ends_with(unit.letter)) continue;
    if (const auto number = number_in(view.substr(0, view.size() - 1)))
      return *number * unit.seconds;
  }
  if (const auto seconds = clock_time(view)) return *seconds;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("'{:.40}': must be like 90s, 30m, 12h, 2d, 12:00:00 or 1-12:00:00", text),
              where);
}

void add_submit_flags(CLI::App& app, SubmitFlags& flags) {
  app.add_option("plan", flags.train.plan, "The plan.json")->required();
  app.add_option("--to", flags.to, "slurm, kubernetes, ray or ssh")
      ->required()
      ->type_name("TARGET");
  app.add_flag("--dry-run", flags.dry_run,
               "Submit nothing; print the job's files, or write them where -o is given");
  app.add_option("-o,--output", flags.output, "Folder for the job's files (default: JOB-NAME-job)")
      ->type_name("DIR");
  add_json_flag(app, flags.json);
  add_job_group(app, flags);
  add_target_groups(app, flags);
  const std::vector<CLI::Option*> others = app.get_options();
  add_flags_beside_plan(app, flags.train);
  for (const CLI::Option* option : app.get_options()) {
    if (std::find(others.begin(), others.end(), option) == others.end())
      flags.of_train.push_back(option);
  }
}

planner::JobRequest read_request(const SubmitFlags& flags) {
  planner::JobRequest request = flags.request;
  request.target = planner::parse_job_target(flags.to, "--to");
  check_targets(flags);
  if (!flags.time_limit.empty())
    request.time_limit_s = parse_time(flags.time_limit, "--time-limit");
  request.signal_ahead_s = parse_time(flags.signal_ahead, "--signal-ahead");
  for (const std::string& variable : flags.environment)
    request.environment.push_back(parse_variable(variable));
  request.slurm.launcher = flags.launcher == "torchrun" ? planner::SlurmLauncher::kTorchrun
                                                        : planner::SlurmLauncher::kSrun;
  request.ray.image = request.kubernetes.image;
  std::istringstream hosts(flags.hosts);
  for (std::string host; std::getline(hosts, host, ',');) request.hosts.push_back(host);
  return request;
}

}  // namespace meshplan::cli
