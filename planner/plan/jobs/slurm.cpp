#include <fmt/format.h>

#include "planner/cluster/cluster_spec.h"
#include "planner/plan/jobs/quoting.h"
#include "planner/plan/jobs/targets.h"

namespace meshplan::planner {
namespace {

/// What runs the ranks, from `command` (an array of words) on: they are run again where one of them
/// died, and the job is queued again where they were told to leave a checkpoint.
constexpr const char* kRun = R"bash(
# Whether one of the ranks died, and none of them gave a reason that would come again.
died() { (($1 == 8 || ($1 > 128 && $1 != 130 && $1 != 138 && $1 != 143))); }

asked=no
step=
# Sent ahead of the time limit, and passed on to the ranks.
trap 'asked=yes; [[ -z $step ]] || kill -USR1 "$step"' USR1
for ((start = 1; ; ++start)); do
  "${command[@]}" &
  step=$!
  while kill -0 "$step" 2>/dev/null; do wait "$step"; done # a signal ends the wait, and not the step
  wait "$step"
  code=$?
  [[ $asked == no ]] && ((start <= restarts)) && died "$code" || break
  echo "job $SLURM_JOB_ID: the ranks ended with exit code $code; start $((start + 1)) of $((restarts + 1))" >&2
done

# The ranks left a checkpoint, and the job goes on from it when its turn comes again. Where a rank could, it has asked for
# that itself, and this is no longer run.
if [[ $asked == yes ]]; then
  echo "job $SLURM_JOB_ID: stopped ahead of its time limit (exit code $code), and queued again" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
)bash";

/// "1-02:03:04", "02:03:04"
std::string slurm_time(std::int64_t seconds) {
  constexpr std::int64_t kDay = 86400;
  const std::string clock =
      fmt::format("{:02}:{:02}:{:02}", seconds % kDay / 3600, seconds / 60 % 60, seconds % 60);
  return seconds < kDay ? clock : fmt::format("{}-{}", seconds / kDay, clock);
}

bool by_torchrun(const JobRequest& request) {
  return request.slurm.launcher == SlurmLauncher::kTorchrun;
}

std::int64_t tasks_per_node(const Plan& plan, const JobRequest& request) {
  return by_torchrun(request) ? 1 : plan.layout.mesh.ranks_per_node;
}

std::int64_t cpus_per_task(const Plan& plan, const JobRequest& request) {
  return request.cpus_per_rank * (by_torchrun(request) ? plan.layout.mesh.ranks_per_node : 1);
}

std::string directives(const Plan& plan, const JobRequest& request) {
  std::string lines;
  const auto add = [&lines](const std::string& option) {
    lines += "#SBATCH " + sbatch_word(option) + "\n";
  };
  const SlurmChoices& slurm = request.slurm;
  add("--job-name=" + request.name);
  add(fmt::format("--nodes={}", plan.cluster.nodes));
  add(fmt::format("--ntasks-per-node={}", tasks_per_node(plan, request)));
  if (plan.cluster.device.kind == DeviceKind::kGpu)
    add(fmt::format("--gpus-per-node={}", plan.layout.mesh.ranks_per_node));
  if (request.cpus_per_rank > 0)
    add(fmt::format("--cpus-per-task={}", cpus_per_task(plan, request)));
  if (!slurm.partition.empty()) add("--partition=" + slurm.partition);
  if (!slurm.account.empty()) add("--account=" + slurm.account);
  if (request.time_limit_s) {
    add("--time=" + slurm_time(*request.time_limit_s));
    add(fmt::format("--signal=B:USR1@{}", request.signal_ahead_s));
  }
  add("--requeue");
  add("--open-mode=append");
  if (!slurm.output.empty()) add("--output=" + slurm.output);
  for (const std::string& option : slurm.options) add(option);
  return lines;
}

/// The array of words that starts the ranks. In blocks: consecutive ranks share a node, as the plan
/// has them.
std::string command(const Plan& plan, const JobRequest& request) {
  std::string srun = fmt::format("srun --nodes={} --ntasks-per-node={} --distribution=block",
                                 plan.cluster.nodes, tasks_per_node(plan, request));
  if (request.cpus_per_rank > 0)
    srun += fmt::format(" --cpus-per-task={}", cpus_per_task(plan, request));
  const std::string train = shell_lines(train_words(request, request.plan_path), 4);
  if (!by_torchrun(request)) {
    const std::string port =
        request.port ? fmt::format("export MASTER_PORT={}\n", *request.port) : "";
    // The ranks end one another, and one that has saved its part must not end those that have not.
    return port + fmt::format("restarts={}\ncommand=(\n  {} --kill-on-bad-exit=0\n{}\n)\n",
                              request.max_restarts, srun, train);
  }
  const std::string port =
      request.port ? std::to_string(*request.port) : "$((15000 + SLURM_JOB_ID % 10000))";
  return fmt::format(
      "export PET_SIGNALS_TO_HANDLE={}\n"
      "head=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)\n"
      "restarts=0 # torchrun's own are counted by itself\n"
      "command=(\n"
      "  {} --kill-on-bad-exit=1\n"
      "    {} --nnodes={} --nproc-per-node={} --max-restarts={}\n"
      "    --rdzv-backend=c10d --rdzv-id=\"$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}\" "
      "--rdzv-endpoint=\"$head:{}\"\n"
      "    --no-python\n"
      "{}\n)\n",
      kTorchrunSignals, srun, shell_word(request.torchrun), plan.cluster.nodes,
      plan.layout.mesh.ranks_per_node, request.max_restarts, port, train);
}

}  // namespace

JobFiles slurm_job(const Plan& plan, const JobRequest& request) {
  std::string script = "#!/bin/bash\n" + directives(plan, request);
  script += fmt::format("# {}; made by `meshplan submit --to slurm` for Slurm 22.05 and newer.\n\n",
                        mesh_text(plan));
  script += export_lines(plan, request) + command(plan, request) + kRun;
  return {{safe_name(request.name) + ".sbatch", script, true}};
}

}  // namespace meshplan::planner
