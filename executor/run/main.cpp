#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "common/error.h"
#include "executor/calibrate/calibrate.h"
#include "executor/launch/signals.h"
#include "executor/memory/counting_allocator.h"
#include "executor/run/train_command.h"
#include "formats/error_record.h"

namespace {

using namespace meshplan;

int run(int argc, char** argv) {
  CLI::App program(
      "One rank of meshplan's executor; `meshplan train` and `meshplan calibrate` start it");
  program.require_subcommand(1);
  executor::TrainCommand train;
  executor::CalibrationOptions calibration;
  executor::add_train(program, train);
  executor::add_calibrate(program, calibration);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : static_cast<int>(common::ErrorCode::kUsage);
  }
  return 0;
}

/// Says it to the user, and to torchrun, whose root cause it then is.
int report(const std::string& message, int exit_code) {
  std::fprintf(stderr, "meshplan-train: %s\n", message.c_str());
  try {
    formats::tell_torchrun(message);
  } catch (const common::Error& error) {
    std::fprintf(stderr, "meshplan-train: no message for torchrun: %s\n", error.what());
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  executor::watch_signals();
  executor::install_counting_allocator();
  spdlog::set_default_logger(spdlog::stderr_color_mt("meshplan"));
  spdlog::set_pattern("%v");
  try {
    return run(argc, argv);
  } catch (const common::Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const std::exception& error) {
    return report(std::string("internal error: ") + error.what(),
                  static_cast<int>(common::ErrorCode::kInternal));
  }
}
