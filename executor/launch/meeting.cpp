#include "executor/launch/meeting.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "common/error.h"
#include "executor/launch/handshake.h"
#include "executor/launch/network_address.h"
#include "formats/meeting_place.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using formats::LaunchEnvironment;
using formats::MeetingPlace;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::TCPStore>;

/// Where a store says whose it is, if it is one of several that a rank may find.
constexpr const char* kOwner = "meshplan/owner";
constexpr Milliseconds kBetweenAttempts{100};
/// How long a rank tries one of several places.
constexpr Milliseconds kOneAttempt{1000};
/// What a foreign program that has accepted a connection is given to answer.
constexpr Milliseconds kAnswer{5000};

Milliseconds time_until(Clock::time_point deadline) {
  return std::max(Milliseconds(1),
                  std::chrono::duration_cast<Milliseconds>(deadline - Clock::now()));
}

StorePointer open_store(const std::string& host, std::uint16_t port, bool serve,
                        Milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = serve;
  options.waitWorkers = false;
  options.timeout = timeout;
  return c10::make_intrusive<c10d::TCPStore>(host, options);
}

std::string at(const std::string& host, std::uint16_t port) {
  const bool bare = host.find(':') == std::string::npos;
  return fmt::format(fmt::runtime(bare ? "{}:{}" : "[{}]:{}"), host, port);
}

std::string ports_of(const LaunchEnvironment& environment) {
  const auto& ports = environment.master_ports;
  if (ports.size() == 1) return at(environment.master_address, ports.front());
  return fmt::format("{} to {}", at(environment.master_address, ports.front()), ports.back());
}

void set_owner(c10d::Store& store, const std::string& owner) { store.set(kOwner, owner); }

bool is_owned_by(c10d::Store& store, const std::string& owner) {
  return store.check({kOwner}) && store.get_to_str(kOwner) == owner;
}

/// Serves at the first port that is free.
std::pair<StorePointer, std::uint16_t> serve_at(const std::vector<std::uint16_t>& ports,
                                                const std::string& named, Milliseconds timeout) {
  for (const std::uint16_t port : ports) {
    try {
      StorePointer store = open_store("127.0.0.1", port, true, timeout);
      const std::uint16_t bound = store->getPort();
      return {std::move(store), bound};
    } catch (const c10::Error& error) {
      if (port != ports.back()) continue;
      const std::string reason = error.what_without_backtrace();
      const bool taken = reason.find("EADDRINUSE") != std::string::npos;
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("rank 0 cannot serve the store at {}: {}; use a free MASTER_PORT, or "
                              "--master-port",
                              named, taken ? "the port is taken by another process" : reason));
    }
  }
  throw Error(ErrorCode::kInternal, "no port to serve at");
}

/// The places that rank 0's machine may be reached at.
std::vector<std::string> own_addresses(const LaunchEnvironment& environment) {
  if (environment.local_world_size == environment.world_size) return {"127.0.0.1"};
  std::vector<std::string> addresses = addresses_of_this_machine();
  addresses.emplace_back("127.0.0.1");
  return addresses;
}

Meeting serve(const LaunchEnvironment& environment, const std::filesystem::path& file,
              Clock::time_point deadline) {
  Meeting meeting;
  meeting.serves = true;
  meeting.has_moved = [] { return false; };
  if (!environment.master_ports.empty()) {
    const auto [store, port] =
        serve_at(environment.master_ports, ports_of(environment), time_until(deadline));
    set_owner(*store, environment.job);
    meeting.store = store;
    meeting.place = at(environment.master_address, port);
    meeting.local_address =
        try_to_connect(environment.master_address, port, kOneAttempt).local_address;
    return meeting;
  }
  const auto [store, port] = serve_at({0}, "a port of its own", time_until(deadline));
  const MeetingPlace place{own_addresses(environment), port, random_number()};
  set_owner(*store, place.nonce);
  formats::write_meeting_place(file, place);
  meeting.store = store;
  meeting.place = at(place.addresses.front(), port);
  meeting.local_address = place.addresses.front();
  return meeting;
}

/// A store as its client; null where what listens there does not answer. TCPStore itself waits for
/// ever for an answer to its first words: the thread that does is left behind.
StorePointer open_in_time(const std::string& host, std::uint16_t port, Milliseconds timeout) {
  std::packaged_task<StorePointer()> task(
      [host, port, timeout] { return open_store(host, port, false, timeout); });
  std::future<StorePointer> opened = task.get_future();
  std::thread(std::move(task)).detach();
  return opened.wait_for(timeout) == std::future_status::ready ? opened.get() : nullptr;
}

/// Tries one place. Empty, with the reason in `problem`, where no store of this owner (where there
/// is one) answers there.
std::optional<Meeting> try_to_join(const std::string& host, std::uint16_t port,
                                   const std::optional<std::string>& owner, Milliseconds timeout,
                                   std::string& problem) {
  const ConnectionAttempt attempt = try_to_connect(host, port, std::min(timeout, kOneAttempt));
  problem = attempt.problem;
  if (!attempt.accepted()) return std::nullopt;
  problem = "something else than a store answers there";
  try {
    StorePointer store = open_in_time(host, port, timeout);
    if (!store) return std::nullopt;
    if (owner && !is_owned_by(*store, *owner)) {
      problem = "the store there is of another job";
      return std::nullopt;
    }
    Meeting meeting;
    meeting.store = std::move(store);
    meeting.place = at(host, port);
    meeting.local_address = attempt.local_address;
    meeting.has_moved = [] { return false; };
    return meeting;
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

[[noreturn]] void fail_to_join(const LaunchEnvironment& environment, const std::string& where,
                               const std::string& problem, const std::string& remedy) {
  throw Error(ErrorCode::kRankLost,
              fmt::format("rank {} of {} found no store at {}: {}; {}", environment.rank,
                          environment.world_size, where, problem, remedy));
}

Meeting join_at_ports(const LaunchEnvironment& environment, Clock::time_point deadline) {
  const bool several = environment.master_ports.size() > 1;
  const auto owner = several ? std::optional(environment.job) : std::nullopt;
  std::string problem;
  do {
    for (const std::uint16_t port : environment.master_ports) {
      const Milliseconds patience =
          several ? std::min(kAnswer, time_until(deadline)) : time_until(deadline);
      if (auto meeting = try_to_join(environment.master_address, port, owner, patience, problem)) {
        return std::move(*meeting);
      }
    }
    std::this_thread::sleep_for(kBetweenAttempts);
  } while (Clock::now() < deadline);
  fail_to_join(environment, ports_of(environment), problem,
               environment.use_agent_store
                   ? "check that torchrun's agent runs there and is reached from here"
                   : "check MASTER_ADDR and MASTER_PORT, and that rank 0 runs there and is reached "
                     "from here");
}

Meeting join_by_file(const LaunchEnvironment& environment, const std::filesystem::path& file,
                     Clock::time_point deadline) {
  std::string problem = "rank 0 has published none";
  do {
    const auto place = formats::read_meeting_place(file);
    for (std::size_t i = 0; place && i < place->addresses.size(); ++i) {
      auto meeting = try_to_join(place->addresses[i], place->port, place->nonce,
                                 std::min(kAnswer, time_until(deadline)), problem);
      if (!meeting) {
        problem = fmt::format("{}: {}", at(place->addresses[i], place->port), problem);
        continue;
      }
      meeting->has_moved = [file, nonce = place->nonce] {
        const auto now = formats::read_meeting_place(file);
        return now && now->nonce != nonce;
      };
      return std::move(*meeting);
    }
    std::this_thread::sleep_for(kBetweenAttempts);
  } while (Clock::now() < deadline);
  fail_to_join(environment, "the place in " + file.string(), problem,
               "check that rank 0 was started and that all nodes see this folder, or name rank 0's "
               "host: --master-addr HOST");
}

}  // namespace

Meeting open_meeting(const LaunchEnvironment& environment, const std::filesystem::path& file,
                     Clock::time_point deadline) {
  const bool by_file = environment.master_ports.empty();
  if (by_file && file.empty()) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{} does not say where the ranks meet; give --master-addr HOST of "
                            "rank 0",
                            formats::launcher_title(environment.launcher)),
                "launch environment");
  }
  if (environment.rank == 0 && !environment.use_agent_store)
    return serve(environment, file, deadline);
  return by_file ? join_by_file(environment, file, deadline) : join_at_ports(environment, deadline);
}

}  // namespace meshplan::executor
