#pragma once

namespace meshplan::executor {

/// What a rank exits with that SIGTERM stopped while no other rank was lost: 128 + SIGTERM, as
/// shells report it.
inline constexpr int kTerminatedExitCode = 143;

/// Ends the process now with this exit code: open files are flushed, no destructor runs and no
/// thread is waited for, so that neither a collective in flight nor a full pipe can keep it.
[[noreturn]] void leave(int exit_code);

/// True for the first thread that asks: it may report why the process stops and leave(). All later
/// ones must wait for the end, with wait_for_the_end().
bool claim_leaving();
[[noreturn]] void wait_for_the_end();

}  // namespace meshplan::executor
