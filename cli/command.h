#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "common/json.h"

namespace meshplan::cli {

/// What a subcommand does once its flags have been read; returns the exit code. Throws
/// common::Error for bad input.
using Action = std::function<int()>;

/// Each describes its subcommand to `app`, help and flags, and gives what it does.
Action define_plan(CLI::App& app);
Action define_estimate(CLI::App& app);
Action define_simulate(CLI::App& app);
Action define_train(CLI::App& app);
Action define_calibrate(CLI::App& app);
Action define_compare(CLI::App& app);
Action define_catalog(CLI::App& app);
Action define_checkpoint(CLI::App& app);
Action define_validate(CLI::App& app);
Action define_what_if(CLI::App& app);
Action define_goodput(CLI::App& app);
Action define_submit(CLI::App& app);
Action define_export(CLI::App& app);

/// Prints the one object that --json promises on stdout.
void print_json(const common::Json& json);

/// "12.3 %" of a fraction.
std::string percent(double fraction);

}  // namespace meshplan::cli
