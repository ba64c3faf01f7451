#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "planner/plan/plan.h"

namespace meshplan::planner {

/// Whose job a training run becomes.
enum class JobTarget { kSlurm, kKubernetes, kRay, kSsh };

/// "slurm", "kubernetes", "ray" or "ssh".
const char* to_string(JobTarget target);
/// Throws kInvalidInput, naming `where` and the targets.
JobTarget parse_job_target(const std::string& text, const std::string& where);

/// What starts the ranks of a node in a Slurm job: srun each of them, or torchrun all of them.
enum class SlurmLauncher { kSrun, kTorchrun };

struct SlurmChoices {
  SlurmLauncher launcher = SlurmLauncher::kSrun;
  std::string partition;
  std::string account;
  /// Further options of sbatch: "--exclusive", "--reservation=big".
  std::vector<std::string> options;
  /// Where the job's output goes; "%j" is its number.
  std::string output;
};

struct KubernetesChoices {
  /// A PyTorchJob of Kubeflow's training operator (v1) in place of a TrainJob of its trainer (v2).
  bool pytorch_job = false;
  std::string image;
  std::string name_space;
  /// The ClusterTrainingRuntime of a TrainJob.
  std::string runtime = "torch-distributed";
  /// A persistent volume claim, and where it is mounted; none where empty.
  std::string claim;
  std::string claim_mount = "/storage";
  std::string gpu_resource = "nvidia.com/gpu";
};

struct RayChoices {
  /// Of an Anyscale job.
  std::string compute_config;
  std::string image;
};

/// A training run of a plan that somebody else's program is to start.
struct JobRequest {
  JobTarget target = JobTarget::kSlurm;
  /// Of the job, for people; files and Kubernetes objects are called safe_name(name).
  std::string name;
  /// The programs, as the nodes find them.
  std::string program = "meshplan";
  std::string torchrun = "torchrun";
  /// Where the nodes find the plan. Not for Kubernetes and Ray, whose jobs carry it along.
  std::string plan_path;
  /// The words after `meshplan train PLAN`, the same for all ranks.
  std::vector<std::string> train;
  /// Beside the variables of the cluster, and before them where both name one.
  std::vector<std::pair<std::string, std::string>> environment;
  /// Where the ranks or torchrun's agents meet; without it the target's usual one.
  std::optional<std::int64_t> port;
  std::optional<std::int64_t> time_limit_s;
  /// How long before that the ranks are told, by SIGUSR1, to leave a checkpoint.
  std::int64_t signal_ahead_s = 180;
  /// How often the ranks are started anew, from the newest checkpoint, where one of them died.
  std::int64_t max_restarts = 3;
  /// 0 = the target's default.
  std::int64_t cpus_per_rank = 0;
  SlurmChoices slurm;
  KubernetesChoices kubernetes;
  RayChoices ray;
  /// For ssh, one a node, by the names under which they know one another.
  std::vector<std::string> hosts;
};

struct JobFile {
  std::string name;
  std::string content;
  bool executable = false;
};

/// The files of a job, in the order of reading. The first is the one to submit.
using JobFiles = std::vector<JobFile>;

/// Ranks are laid out in blocks: ranks_per_node consecutive ones on each node, as the plan has
/// them. Equal input gives equal bytes; whatever a value holds, it stays a value: it is quoted, or
/// refused where it could not be. Throws kInvalidInput with everything that is wrong.
JobFiles generate_job(const Plan& plan, const JobRequest& request);

}  // namespace meshplan::planner
