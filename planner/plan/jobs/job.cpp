#include "planner/plan/jobs/job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "common/complaints.h"
#include "common/error.h"
#include "common/text.h"
#include "planner/layout/rules.h"
#include "planner/plan/jobs/quoting.h"
#include "planner/plan/jobs/targets.h"

namespace meshplan::planner {
namespace {

using common::Complaints;

struct NamedTarget {
  JobTarget target;
  const char* name;
};
constexpr std::array kTargets = {
    NamedTarget{JobTarget::kSlurm, "slurm"}, NamedTarget{JobTarget::kKubernetes, "kubernetes"},
    NamedTarget{JobTarget::kRay, "ray"}, NamedTarget{JobTarget::kSsh, "ssh"}};

constexpr std::size_t kMostWords = 100;
constexpr std::size_t kMostVariables = 100;
constexpr std::size_t kLongestText = 4096;
constexpr std::int64_t kLongestTime = 366 * 24 * 3600;
constexpr std::int64_t kMostRestarts = 1000;
constexpr std::int64_t kMostCpus = 4096;
constexpr std::int64_t kLargestPort = 65535;
constexpr const char* kCapitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr const char* kSmallLetters = "abcdefghijklmnopqrstuvwxyz";
constexpr const char* kDigits = "0123456789";

/// Checks the values of a request; what is wrong becomes a complaint.
class Check {
 public:
  explicit Check(Complaints& complaints) : complaints_(complaints) {}

  void fail(const std::string& what, const std::string& message) { complaints_.add(what, message); }
  void text(const std::string& what, const std::string& value) {
    if (value.size() > kLongestText || !common::is_one_line(value))
      fail(what, fmt::format("must be one line of UTF-8 without control characters, of at most {} "
                             "bytes",
                             kLongestText));
  }
  void given(const std::string& what, const std::string& value) {
    text(what, value);
    if (value.empty()) fail(what, "must not be empty");
  }
  void number(const std::string& what, std::int64_t value, std::int64_t min, std::int64_t max) {
    if (value < min || value > max)
      fail(fmt::format("{}={}", what, value), fmt::format("must be from {} to {}", min, max));
  }
  /// Of these characters alone, the first of them no hyphen.
  void plain(const std::string& what, const std::string& value, const std::string& characters) {
    text(what, value);
    if (value.empty() || value.size() > 253 || value.front() == '-' ||
        value.find_first_not_of(characters) != value.npos) {
      fail(what, fmt::format("'{:.60}': must be 1 to 253 of the characters {}, and not begin "
                             "with -",
                             common::is_one_line(value) ? value : "", characters));
    }
  }

 private:
  Complaints& complaints_;
};

const std::string kLabelCharacters = std::string(kSmallLetters) + kDigits + "-.";
const std::string kHostCharacters = kLabelCharacters + kCapitals + "_:";

/// Whether whoever starts the ranks sets the variable.
bool is_of_launcher(const std::string& name) {
  static const std::set<std::string> kNames = {"RANK",        "LOCAL_RANK", "WORLD_SIZE",
                                               "MASTER_ADDR", "GROUP_RANK", "LOCAL_WORLD_SIZE",
                                               "MASTER_PORT", "NODE_RANK"};
  constexpr std::array<const char*, 5> kPrefixes = {"PET_", "TORCHELASTIC_", "SLURM_", "OMPI_",
                                                    "PMI_"};
  return kNames.contains(name) ||
         std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&name](const char* prefix) { return name.starts_with(prefix); });
}

void check_environment(const JobRequest& request, Check& check) {
  const std::string characters = std::string(kCapitals) + kSmallLetters + kDigits + "_";
  if (request.environment.size() > kMostVariables)
    check.fail("environment", fmt::format("must have at most {} variables", kMostVariables));
  for (const auto& [name, value] : request.environment) {
    check.text("the value of " + std::string(common::is_one_line(name) ? name : "a variable"),
               value);
    check.plain("variable", name, characters);
    if (!name.empty() && std::string_view(kDigits).find(name.front()) != std::string_view::npos)
      check.fail("variable", fmt::format("'{:.60}': must not begin with a digit", name));
    if (is_of_launcher(name))
      check.fail(fmt::format("variable {:.60}", name), "is set by what starts the ranks");
  }
}

void check_slurm(const SlurmChoices& slurm, Check& check) {
  check.text("partition", slurm.partition);
  check.text("account", slurm.account);
  check.text("output", slurm.output);
  for (const std::string& option : slurm.options) {
    check.text("sbatch option", option);
    if (!option.starts_with("-"))
      check.fail("sbatch option", fmt::format("'{:.60}': must be like --exclusive or --mem=64G",
                                              common::is_one_line(option) ? option : ""));
  }
}

void check_kubernetes(const JobRequest& request, Check& check) {
  const KubernetesChoices& kubernetes = request.kubernetes;
  check.given("image", kubernetes.image);
  check.plain("runtime", kubernetes.runtime, kLabelCharacters);
  if (!kubernetes.name_space.empty())
    check.plain("namespace", kubernetes.name_space, kLabelCharacters);
  if (!kubernetes.claim.empty()) check.plain("claim", kubernetes.claim, kLabelCharacters);
  check.text("claim mount", kubernetes.claim_mount);
  if (!kubernetes.claim_mount.starts_with("/"))
    check.fail("claim mount", "must be a path from the root");
  check.plain("gpu resource", kubernetes.gpu_resource, kLabelCharacters + "/");
}

void check_hosts(const Plan& plan, const JobRequest& request, Check& check) {
  const auto& hosts = request.hosts;
  if (static_cast<std::int64_t>(hosts.size()) != plan.cluster.nodes)
    check.fail("hosts", fmt::format("{} are named, and the plan has {} nodes; name one for each",
                                    hosts.size(), plan.cluster.nodes));
  for (const std::string& host : hosts) check.plain("host", host, kHostCharacters);
}

void check(const Plan& plan, const JobRequest& request) {
  Complaints complaints;
  Check check(complaints);
  if (const auto broken = executor_violations(plan.model, plan.job, plan.layout); !broken.empty())
    check.fail("plan.layout", to_string(broken));
  check.given("job name", request.name);
  check.given("program", request.program);
  check.given("torchrun", request.torchrun);
  check.text("plan", request.plan_path);
  if (request.train.size() > kMostWords)
    check.fail("meshplan train",
               fmt::format("has {} words; at most {} are taken", request.train.size(), kMostWords));
  for (const std::string& word : request.train) check.text("a word of meshplan train", word);
  check_environment(request, check);
  if (request.port) check.number("port", *request.port, 1, kLargestPort);
  check.number("signal_ahead_s", request.signal_ahead_s, 1, kLongestTime);
  if (request.time_limit_s)
    check.number("time_limit_s", *request.time_limit_s, request.signal_ahead_s + 1, kLongestTime);
  check.number("max_restarts", request.max_restarts, 0, kMostRestarts);
  check.number("cpus_per_rank", request.cpus_per_rank, 0, kMostCpus);
  if (request.target == JobTarget::kSlurm) check_slurm(request.slurm, check);
  if (request.target == JobTarget::kKubernetes) check_kubernetes(request, check);
  if (request.target == JobTarget::kSsh) check_hosts(plan, request, check);
  check.text("compute config", request.ray.compute_config);
  check.text("image", request.ray.image);
  complaints.throw_if_any("job");
}

}  // namespace

const char* to_string(JobTarget target) {
  for (const NamedTarget& named : kTargets) {
    if (named.target == target) return named.name;
  }
  return "";
}

JobTarget parse_job_target(const std::string& text, const std::string& where) {
  std::vector<std::string> names;
  for (const NamedTarget& named : kTargets) {
    if (text == named.name) return named.target;
    names.emplace_back(named.name);
  }
  throw common::Error(common::ErrorCode::kInvalidInput,
                      fmt::format("unknown target '{:.60}'; use {}", text, fmt::join(names, ", ")),
                      where);
}

std::string mesh_text(const Plan& plan) {
  std::string axes;
  for (const Axis axis : kMeshAxes) {
    const std::int64_t size = plan.layout.mesh.sizes[axis];
    if (size > 1) axes += fmt::format("{} {} {}", axes.empty() ? "," : " x", to_string(axis), size);
  }
  return fmt::format("{} {} x {} ranks{}", plan.cluster.nodes,
                     plan.cluster.nodes == 1 ? "node" : "nodes", plan.layout.mesh.ranks_per_node,
                     axes);
}

std::vector<std::pair<std::string, std::string>> environment_of(const Plan& plan,
                                                                const JobRequest& request) {
  auto variables = plan.cluster.environment;
  for (const auto& own : request.environment) {
    std::erase_if(variables, [&own](const auto& variable) { return variable.first == own.first; });
    variables.push_back(own);
  }
  return variables;
}

std::string export_lines(const Plan& plan, const JobRequest& request) {
  std::string lines;
  for (const auto& [name, value] : environment_of(plan, request))
    lines += fmt::format("export {}={}\n", name, shell_word(value));
  return lines;
}

std::vector<std::string> train_words(const JobRequest& request, const std::string& plan_path) {
  std::vector<std::string> words = {request.program, "train", plan_path};
  words.insert(words.end(), request.train.begin(), request.train.end());
  return words;
}

std::string shell_lines(const std::vector<std::string>& words, std::size_t indent) {
  std::string lines;
  for (const std::string& word : words) {
    const bool begins = lines.empty() || word.starts_with("-");
    if (begins && !lines.empty()) lines += " \\\n";
    lines += begins ? std::string(indent, ' ') : " ";
    lines += shell_word(word);
  }
  return lines;
}

JobFiles generate_job(const Plan& plan, const JobRequest& request) {
  check(plan, request);
  switch (request.target) {
    case JobTarget::kSlurm:
      return slurm_job(plan, request);
    case JobTarget::kKubernetes:
      return kubernetes_job(plan, request);
    case JobTarget::kRay:
      return ray_job(plan, request);
    case JobTarget::kSsh:
      return ssh_job(plan, request);
  }
  return {};
}

}  // namespace meshplan::planner
