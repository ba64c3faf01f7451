#include "executor/launch/rendezvous.h"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>
#include <vector>

#include "common/error.h"
#include "executor/launch/handshake.h"
#include "executor/launch/network_address.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using formats::LaunchEnvironment;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{20};
constexpr std::chrono::seconds kFarewell{10};
constexpr const char* kDone = "done";

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

/// Opens the store and meets the others. A client may have reached the store of an earlier run that
/// is just ending: it then tries again until the deadline.
std::pair<Meeting, std::string> meet(const LaunchEnvironment& environment,
                                     const std::filesystem::path& file,
                                     Clock::time_point deadline) {
  for (;;) {
    Meeting meeting = open_meeting(environment, file, deadline);
    meeting.store->setTimeout(
        std::max(std::chrono::milliseconds(1),
                 std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now())));
    try {
      std::string generation =
          agree_on_generation(c10::make_intrusive<c10d::PrefixStore>("meshplan", meeting.store),
                              environment, meeting.place, deadline, meeting.has_moved);
      return {std::move(meeting), std::move(generation)};
    } catch (const MeetingMoved&) {
      continue;
    } catch (const c10::DistError& error) {
      if (meeting.serves || Clock::now() > deadline) {
        throw Error(ErrorCode::kRankLost,
                    fmt::format("rank {} of {} lost the store at {} while the ranks met: rank 0 "
                                "has ended ({})",
                                environment.rank, environment.world_size, meeting.place,
                                error.what_without_backtrace()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }
}

}  // namespace

Rendezvous::Rendezvous(const LaunchEnvironment& environment, const RendezvousOptions& options)
    : environment_(environment), options_(options) {
  const QuietTorchLog quiet;
  if (environment.world_size == 1) {
    meeting_.store = c10::make_intrusive<c10d::HashStore>();
    run_ = meeting_.store;
    return;
  }
  auto [meeting, generation] = meet(environment, options.file, Clock::now() + options.timeout);
  meeting_ = std::move(meeting);
  meeting_.store->setTimeout(options.timeout);
  run_ = c10::make_intrusive<c10d::PrefixStore>("meshplan/" + generation, meeting_.store);
  agree_on_addresses();
}

/// The rank beside the store may have reached it by the loopback, where no other machine reaches
/// this one.
void Rendezvous::agree_on_addresses() {
  if (environment_.local_world_size == environment_.world_size) return;
  std::vector<std::string> keys;
  for (std::int64_t rank = 0; rank < environment_.world_size; ++rank)
    keys.push_back(fmt::format("address/{}", rank));
  run_->set(keys[static_cast<std::size_t>(environment_.rank)], meeting_.local_address);
  if (!is_loopback_address(meeting_.local_address) && !meeting_.local_address.empty()) return;
  run_->wait(keys);
  const auto all = run_->multiGet(keys);
  const bool others_are_outside = std::any_of(all.begin(), all.end(), [](const auto& text) {
    const std::string address(text.begin(), text.end());
    return !address.empty() && !is_loopback_address(address);
  });
  const std::vector<std::string> own = addresses_of_this_machine();
  if (others_are_outside && !own.empty()) meeting_.local_address = own.front();
}

Rendezvous::~Rendezvous() {
  if (environment_.world_size == 1) return;
  try {
    run_->add(kDone, 1);
    const Clock::time_point deadline = Clock::now() + kFarewell;
    while (meeting_.serves && run_->add(kDone, 0) < environment_.world_size &&
           Clock::now() < deadline) {
      std::this_thread::sleep_for(kPoll);
    }
  } catch (const std::exception&) {
    // The store went first: nobody is left to be told.
  }
  std::error_code ignored;
  if (meeting_.serves && environment_.master_ports.empty())
    std::filesystem::remove(options_.file, ignored);
}

c10::intrusive_ptr<c10d::Store> Rendezvous::store(const std::string& prefix) const {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, run_);
}

c10::intrusive_ptr<c10d::Store> Rendezvous::connect(const std::string& prefix) const {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, run_->clone());
}

std::string Rendezvous::server_name() const {
  return fmt::format("{} (store at {})",
                     environment_.use_agent_store ? "torchrun's agent" : "rank 0", meeting_.place);
}

}  // namespace meshplan::executor
