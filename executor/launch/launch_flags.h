#pragma once

#include "formats/launch_flags.h"

namespace CLI {
class App;
}

namespace meshplan::executor {

/// Adds the flags of formats::launch_flags(); `flags` outlives the app.
void add_launch_flags(CLI::App& app, formats::LaunchFlags& flags);

}  // namespace meshplan::executor
