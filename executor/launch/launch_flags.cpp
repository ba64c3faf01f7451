#include "executor/launch/launch_flags.h"

#include <CLI/CLI.hpp>
#include <string>

namespace meshplan::executor {

void add_launch_flags(CLI::App& app, formats::LaunchFlags& flags) {
  for (const formats::LaunchFlag& flag : formats::launch_flags()) {
    const auto set = [&flags, flag](const std::string& value) { flag.set(flags, value); };
    app.add_option_function<std::string>(flag.name, set, flag.help);
  }
}

}  // namespace meshplan::executor
