#pragma once

#include <string>
#include <utility>
#include <vector>

#include "planner/plan/jobs/job.h"

namespace meshplan::planner {

// What the targets share, and one generator each; generate_job has checked the request.

/// "2 nodes x 8 ranks, dp_shard 2 x tp 8"
std::string mesh_text(const Plan& plan);

/// The cluster's variables and the request's, each name once.
std::vector<std::pair<std::string, std::string>> environment_of(const Plan& plan,
                                                                const JobRequest& request);

/// `export NAME=VALUE`, a line each.
std::string export_lines(const Plan& plan, const JobRequest& request);

/// The words of `meshplan train` for one rank, which finds the plan there.
std::vector<std::string> train_words(const JobRequest& request, const std::string& plan_path);

/// Words as lines of a shell command that goes on, each with its indent: a flag and its value on
/// one.
std::string shell_lines(const std::vector<std::string>& words, std::size_t indent);

/// What torchrun reads as a default of its own: it passes on the signal that asks for a checkpoint.
inline constexpr const char* kTorchrunSignals = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1";

JobFiles slurm_job(const Plan& plan, const JobRequest& request);
JobFiles kubernetes_job(const Plan& plan, const JobRequest& request);
JobFiles ray_job(const Plan& plan, const JobRequest& request);
JobFiles ssh_job(const Plan& plan, const JobRequest& request);

}  // namespace meshplan::planner
