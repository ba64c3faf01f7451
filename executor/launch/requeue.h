#pragma once

#include <string>

#include "formats/launch_variables.h"

namespace meshplan::executor {

/// Puts the Slurm job that this process is in back into its queue (`scontrol requeue`), for the
/// same script to go on from the checkpoint. Returns what came of it, in words; nothing outside of
/// Slurm. Slurm ends the job's processes as soon as it has agreed.
std::string requeue_slurm_job(const formats::VariableLookup& lookup);

}  // namespace meshplan::executor
