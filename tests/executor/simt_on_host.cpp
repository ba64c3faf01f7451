#include "executor/kernels/cuda/kernel_table.h"
// The order matters: the interface uses the table's types.
#include <ucontext.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "tests/executor/simt_on_host.h"

namespace meshplan::executor::device {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kWarpLanes = 32;

enum class State { kRunning, kAtBlockBarrier, kAtWarpBarrier, kEnded };

/// One thread of the block, on a stack of its own.
struct Fibre {
  ucontext_t context;
  std::unique_ptr<std::byte[]> stack;
  State state = State::kRunning;
  /// What it hands to its warp: this and the last shuffle's, since a lane may be one ahead.
  float handed[2] = {0, 0};
  unsigned shuffles = 0;
};

class Block {
 public:
  void run(int threads, std::int64_t shared_bytes, const std::function<void()>& thread) {
    thread_ = &thread;
    shared_.assign(static_cast<std::size_t>(shared_bytes) / sizeof(float),
                   std::numeric_limits<float>::quiet_NaN());
    fibres_.resize(static_cast<std::size_t>(threads));
    for (Fibre& fibre : fibres_) start(fibre);
    // Odd blocks run their threads backwards: the order must not matter.
    const bool backwards = blockIdx.x % 2 == 1;
    while (run_all_once(backwards)) release();
  }

  void wait(State barrier) {
    Fibre& self = fibres_[current_];
    self.state = barrier;
    swapcontext(&self.context, &scheduler_);
  }

  float exchange(float value, int distance) {
    Fibre& self = fibres_[current_];
    const std::size_t partner = current_ ^ static_cast<std::size_t>(distance);
    const unsigned slot = self.shuffles++ % 2;
    self.handed[slot] = value;
    wait(State::kAtWarpBarrier);
    return fibres_[partner].handed[slot];
  }

  float* shared() { return shared_.data(); }

  void run_current() {
    (*thread_)();
    fibres_[current_].state = State::kEnded;
  }

 private:
  void start(Fibre& fibre) {
    if (!fibre.stack) fibre.stack = std::make_unique<std::byte[]>(kStackBytes);
    getcontext(&fibre.context);
    fibre.context.uc_stack = {.ss_sp = fibre.stack.get(), .ss_flags = 0, .ss_size = kStackBytes};
    fibre.context.uc_link = &scheduler_;
    fibre.state = State::kRunning;
    fibre.shuffles = 0;
    makecontext(&fibre.context, &Block::enter, 0);
  }

  static void enter();

  /// Whether any thread has not ended.
  bool run_all_once(bool backwards) {
    bool alive = false;
    for (std::size_t i = 0; i < fibres_.size(); ++i) {
      current_ = backwards ? fibres_.size() - 1 - i : i;
      if (fibres_[current_].state == State::kRunning) {
        threadIdx.x = static_cast<unsigned>(current_);
        swapcontext(&scheduler_, &fibres_[current_].context);
      }
      alive |= fibres_[current_].state != State::kEnded;
    }
    return alive;
  }

  bool all_at(State state, std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < end; ++i)
      if (fibres_[i].state != state) return false;
    return true;
  }

  void let_run(std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) fibres_[i].state = State::kRunning;
  }

  void release() {
    bool released = false;
    for (std::size_t begin = 0; begin < fibres_.size(); begin += kWarpLanes) {
      if (!all_at(State::kAtWarpBarrier, begin, begin + kWarpLanes)) continue;
      let_run(begin, begin + kWarpLanes);
      released = true;
    }
    if (all_at(State::kAtBlockBarrier, 0, fibres_.size())) {
      let_run(0, fibres_.size());
      released = true;
    }
    if (!released) throw std::logic_error("a barrier is not reached by all threads of a kernel");
  }

  std::vector<Fibre> fibres_;
  std::vector<float> shared_;
  ucontext_t scheduler_;
  std::size_t current_ = 0;
  const std::function<void()>* thread_ = nullptr;
};

Block& block() {
  static Block instance;
  return instance;
}

void Block::enter() { block().run_current(); }

}  // namespace

void __syncthreads() { block().wait(State::kAtBlockBarrier); }

float __shfl_xor_sync(unsigned, float value, int distance) {
  return block().exchange(value, distance);
}

float* dynamic_shared() { return block().shared(); }

void run_grid(const Grid& grid, const std::function<void()>& thread) {
  if (grid.threads % static_cast<int>(kWarpLanes) != 0)
    throw std::logic_error("a block is not made of whole warps");
  blockDim = {static_cast<unsigned>(grid.threads), 1};
  for (std::int64_t y = 0; y < grid.y; ++y) {
    for (std::int64_t x = 0; x < grid.x; ++x) {
      blockIdx = {static_cast<unsigned>(x), static_cast<unsigned>(y)};
      block().run(grid.threads, grid.shared_bytes, thread);
    }
  }
}

}  // namespace meshplan::executor::device
