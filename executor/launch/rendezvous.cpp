#include "executor/launch/rendezvous.h"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <fmt/format.h>

#include <cstdlib>
#include <random>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "common/error.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using Clock = std::chrono::steady_clock;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

constexpr std::chrono::milliseconds kPoll{20};
constexpr std::chrono::seconds kFarewell{10};
constexpr const char* kDone = "done";

std::string random_number() {
  std::random_device source;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", source(), source(), source(), source());
}

std::string place(const LaunchEnvironment& environment) {
  return fmt::format("{}:{}", environment.master_address, environment.master_port);
}

std::string hello_key(std::int64_t rank) { return fmt::format("hello/{}", rank); }

std::chrono::milliseconds time_until(Clock::time_point deadline) {
  return std::max(std::chrono::milliseconds(1),
                  std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()));
}

/// Unless the user asks for them (TORCH_CPP_LOG_LEVEL): warnings of torch's stores, each with its
/// stack, in which our own one line would drown; and errors too while one lives.
class QuietTorchLog {
 public:
  QuietTorchLog() { set(c10::GLOG_FATAL); }
  ~QuietTorchLog() { set(c10::GLOG_ERROR); }
  QuietTorchLog(const QuietTorchLog&) = delete;
  QuietTorchLog& operator=(const QuietTorchLog&) = delete;

 private:
  static void set(int level) {
    if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = level;
  }
};

StorePointer open_store(const LaunchEnvironment& environment, bool serve,
                        Clock::time_point deadline) {
  c10d::TCPStoreOptions options;
  options.port = environment.master_port;
  options.isServer = serve;
  options.waitWorkers = false;
  options.timeout = time_until(deadline);
  try {
    return c10::make_intrusive<c10d::TCPStore>(environment.master_address, options);
  } catch (const c10::Error& error) {
    if (serve) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("rank 0 cannot serve the store at {}: {}; use a free MASTER_PORT",
                              place(environment), error.what_without_backtrace()));
    }
    throw Error(ErrorCode::kRankLost,
                fmt::format("rank {} found no store at {}: {}; check MASTER_ADDR and MASTER_PORT, "
                            "and that rank 0 (or "
                            "torchrun's agent) runs there",
                            environment.rank, place(environment), error.what_without_backtrace()));
  }
}

/// How the ranks agree on a generation; see Rendezvous.
class Handshake {
 public:
  Handshake(StorePointer store, const LaunchEnvironment& environment, Clock::time_point deadline)
      : store_(std::move(store)),
        environment_(environment),
        deadline_(deadline),
        number_(random_number()) {
    for (std::int64_t rank = 0; rank < environment.world_size; ++rank)
      hellos_.push_back(hello_key(rank));
  }

  std::string agree() {
    store_->set(hello_key(environment_.rank), number_);
    return environment_.rank == 0 ? call_the_roll() : answer_the_roll();
  }

 private:
  std::string call_the_roll() {
    std::string generation;
    std::vector<std::vector<std::uint8_t>> roll;
    std::vector<std::string> confirmations;
    for (;; wait_a_little(generation)) {
      if (!store_->check(hellos_)) continue;
      auto numbers = store_->multiGet(hellos_);
      if (numbers != roll) {
        roll = std::move(numbers);
        generation = random_number();
        confirmations.clear();
        for (std::int64_t rank = 1; rank < environment_.world_size; ++rank) {
          confirmations.push_back(confirmation_key(generation, rank));
        }
        store_->set("roll", generation + joined(roll));
      }
      if (!store_->check(confirmations)) continue;
      store_->set(generation + "/open", std::string("1"));
      return generation;
    }
  }

  std::string answer_the_roll() {
    std::string confirmed;
    for (;; wait_a_little(confirmed)) {
      if (store_->get_to_str(hello_key(environment_.rank)) != number_) {
        store_->set(hello_key(environment_.rank), number_);
      }
      if (!store_->check({"roll"})) continue;
      const std::string roll = store_->get_to_str("roll");
      const std::size_t at = number_.size() * static_cast<std::size_t>(1 + environment_.rank);
      if (roll.size() < at + number_.size() || roll.compare(at, number_.size(), number_) != 0)
        continue;
      const std::string generation = roll.substr(0, number_.size());
      if (generation != confirmed) {
        store_->set(confirmation_key(generation, environment_.rank), std::string("1"));
        confirmed = generation;
      }
      if (store_->check({generation + "/open"})) return generation;
    }
  }

  static std::string confirmation_key(const std::string& generation, std::int64_t rank) {
    return fmt::format("{}/confirmed/{}", generation, rank);
  }

  static std::string joined(const std::vector<std::vector<std::uint8_t>>& numbers) {
    std::string text;
    for (const auto& number : numbers) text.append(number.begin(), number.end());
    return text;
  }

  void wait_a_little(const std::string& generation) {
    if (Clock::now() > deadline_) fail(generation);
    std::this_thread::sleep_for(kPoll);
  }

  [[noreturn]] void fail(const std::string& generation) {
    std::string missing;
    for (std::int64_t rank = 1; environment_.rank == 0 && rank < environment_.world_size; ++rank) {
      const std::string key =
          generation.empty() ? hello_key(rank) : confirmation_key(generation, rank);
      if (!store_->check({key})) missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
    }
    throw Error(
        ErrorCode::kRankLost,
        fmt::format("rank {} of {} waited in vain at {} for {}; check that every rank was started "
                    "and reaches "
                    "that address",
                    environment_.rank, environment_.world_size, place(environment_),
                    missing.empty() ? "rank 0 to call the roll of all ranks" : "ranks " + missing));
  }

  StorePointer store_;
  const LaunchEnvironment& environment_;
  Clock::time_point deadline_;
  std::string number_;
  std::vector<std::string> hellos_;
};

/// Opens the store and meets the others. A client may have reached the store of an earlier run that
/// is just ending: it then tries again until the deadline.
std::pair<StorePointer, std::string> meet(const LaunchEnvironment& environment, bool serve,
                                          Clock::time_point deadline) {
  for (;;) {
    const StorePointer base = open_store(environment, serve, deadline);
    base->setTimeout(time_until(deadline));
    try {
      return {base, Handshake(c10::make_intrusive<c10d::PrefixStore>("meshplan", base), environment,
                              deadline)
                        .agree()};
    } catch (const c10::DistError& error) {
      if (serve || Clock::now() > deadline) {
        throw Error(
            ErrorCode::kRankLost,
            fmt::format("rank {} lost the store at {} while the ranks met: {}", environment.rank,
                        place(environment), error.what_without_backtrace()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }
}

}  // namespace

Rendezvous::Rendezvous(const LaunchEnvironment& environment, std::chrono::milliseconds timeout)
    : environment_(environment) {
  const QuietTorchLog quiet;
  if (environment.world_size == 1) {
    base_ = c10::make_intrusive<c10d::HashStore>();
    run_ = base_;
    return;
  }
  serves_ = environment.rank == 0 && !environment.use_agent_store;
  auto [base, generation] = meet(environment, serves_, Clock::now() + timeout);
  base_ = std::move(base);
  base_->setTimeout(timeout);
  run_ = c10::make_intrusive<c10d::PrefixStore>("meshplan/" + generation, base_);
}

Rendezvous::~Rendezvous() {
  if (environment_.world_size == 1) return;
  try {
    run_->add(kDone, 1);
    const Clock::time_point deadline = Clock::now() + kFarewell;
    while (serves_ && run_->add(kDone, 0) < environment_.world_size && Clock::now() < deadline) {
      std::this_thread::sleep_for(kPoll);
    }
  } catch (const std::exception&) {
    // The store went first: nobody is left to be told.
  }
}

c10::intrusive_ptr<c10d::Store> Rendezvous::store(const std::string& prefix) const {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, run_);
}

c10::intrusive_ptr<c10d::Store> Rendezvous::connect(const std::string& prefix) const {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, run_->clone());
}

std::string Rendezvous::server_name() const {
  return fmt::format("{} (store at {})",
                     environment_.use_agent_store ? "torchrun's agent" : "rank 0",
                     place(environment_));
}

}  // namespace meshplan::executor
