#pragma once

#include <string>

#include "executor/run/training.h"

namespace CLI {
class App;
}

namespace meshplan::executor {

/// What `meshplan-train train` is given. `meshplan train` checks the user's flags and starts ranks
/// with these, so that they say what to do and no more.
struct TrainCommand {
  std::string plan;
  TrainingOptions options;
};

/// Adds the subcommand that runs train().
void add_train(CLI::App& program, TrainCommand& command);

}  // namespace meshplan::executor
