#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"

namespace meshplan::cli {

/// The whole command line, before it has read anything: every subcommand with its flags and help.
struct Application {
  std::unique_ptr<CLI::App> root;
  std::map<std::string, Action> actions;
};

Application define_application();

/// In the order of the help.
std::vector<std::string> subcommand_names();

}  // namespace meshplan::cli
