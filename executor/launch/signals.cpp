#include "executor/launch/signals.h"

#include <pthread.h>

#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include "executor/launch/leave.h"

namespace meshplan::executor {
namespace {

/// Never destroyed: the thread that waits for signals outlives main().
struct SignalState {
  std::mutex mutex;
  std::function<void(int)> handler;
};

SignalState& state() {
  static SignalState* const instance = new SignalState;
  return *instance;
}

[[noreturn]] void wait_for_signals(const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    const std::scoped_lock lock(state().mutex);
    if (state().handler) {
      state().handler(signal);
    } else if (claim_leaving()) {
      leave(128 + signal);
    }
  }
}

}  // namespace

void watch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  state();
  std::thread([signals] { wait_for_signals(signals); }).detach();
}

void set_signal_handler(std::function<void(int)> handler) {
  const std::scoped_lock lock(state().mutex);
  state().handler = std::move(handler);
}

}  // namespace meshplan::executor
