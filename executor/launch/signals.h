#pragma once

#include <functional>

namespace meshplan::executor {

/// Keeps SIGTERM, SIGINT and SIGUSR1 from this thread and all that it starts from now on, and
/// starts one that waits for them. Call it first in main(). Without a handler the process then
/// leaves with 128 + the signal.
void watch_signals();

/// What the waiting thread does on a signal; an empty function restores leaving. Setting it waits
/// for a handler that is running.
void set_signal_handler(std::function<void(int signal)> handler);

}  // namespace meshplan::executor
