#include "executor/launch/handshake.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <random>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "common/error.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using formats::LaunchEnvironment;
using Clock = std::chrono::steady_clock;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

constexpr std::chrono::milliseconds kPoll{20};
/// From one look at whether the meeting is elsewhere to the next.
constexpr std::chrono::seconds kLook{1};

std::string hello_key(std::int64_t rank) { return fmt::format("hello/{}", rank); }

/// How the ranks agree on a generation; see Rendezvous.
class Handshake {
 public:
  Handshake(StorePointer store, const LaunchEnvironment& environment, const std::string& place,
            Clock::time_point deadline, const std::function<bool()>& has_moved)
      : store_(std::move(store)),
        environment_(environment),
        place_(place),
        deadline_(deadline),
        has_moved_(has_moved),
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
    const Clock::time_point now = Clock::now();
    if (now > deadline_) fail(generation);
    if (now > next_look_) {
      if (has_moved_()) throw MeetingMoved();
      next_look_ = now + kLook;
    }
    std::this_thread::sleep_for(kPoll);
  }

  /// "ranks 4, 5 on n10": what is missing of a call of the roll, or of the hellos.
  std::string missing_ranks(const std::string& generation) {
    std::vector<std::int64_t> missing;
    std::vector<std::int64_t> nodes;
    for (std::int64_t rank = 0; rank < environment_.world_size; ++rank) {
      if (rank == environment_.rank) continue;
      const bool confirms = environment_.rank == 0 && !generation.empty();
      if (store_->check({confirms ? confirmation_key(generation, rank) : hello_key(rank)}))
        continue;
      missing.push_back(rank);
      const std::int64_t node = rank / environment_.local_world_size;
      if (nodes.empty() || nodes.back() != node) nodes.push_back(node);
    }
    if (missing.empty()) return "";
    return fmt::format("{} {}{}", missing.size() == 1 ? "rank" : "ranks", fmt::join(missing, ", "),
                       whereabouts(nodes));
  }

  std::string whereabouts(const std::vector<std::int64_t>& nodes) const {
    if (environment_.local_world_size == environment_.world_size) return "";
    std::vector<std::string> names;
    for (const std::int64_t node : nodes) {
      const auto at = static_cast<std::size_t>(node);
      names.push_back(at < environment_.hosts.size() ? environment_.hosts[at]
                                                     : fmt::format("node {}", node));
    }
    return fmt::format(" on {}", fmt::join(names, ", "));
  }

  [[noreturn]] void fail(const std::string& generation) {
    const std::string missing = missing_ranks(generation);
    throw Error(ErrorCode::kRankLost,
                fmt::format("rank {} of {} waited in vain at {} for {}; check that every rank was "
                            "started and reaches that address",
                            environment_.rank, environment_.world_size, place_,
                            missing.empty() ? "rank 0 to call the roll of all ranks" : missing));
  }

  StorePointer store_;
  const LaunchEnvironment& environment_;
  const std::string& place_;
  Clock::time_point deadline_;
  Clock::time_point next_look_ = Clock::now() + kLook;
  const std::function<bool()>& has_moved_;
  std::string number_;
  std::vector<std::string> hellos_;
};

}  // namespace

std::string random_number() {
  std::random_device source;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", source(), source(), source(), source());
}

std::string agree_on_generation(const StorePointer& store, const LaunchEnvironment& environment,
                                const std::string& place, Clock::time_point deadline,
                                const std::function<bool()>& has_moved) {
  return Handshake(store, environment, place, deadline, has_moved).agree();
}

}  // namespace meshplan::executor
