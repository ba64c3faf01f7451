#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "executor/launch/meeting.h"
#include "formats/launch_environment.h"

namespace meshplan::executor {

struct RendezvousOptions {
  /// How long the ranks wait for each other.
  std::chrono::milliseconds timeout = std::chrono::seconds(formats::LaunchFlags().timeout_s);
  /// Of a folder that all ranks see: where rank 0 tells its place, if the launcher names none.
  std::filesystem::path file = {};
};

/// The meeting of all ranks of one start of the program: a key-value store that they share. Under
/// torchrun its agent serves the store, otherwise rank 0 does; a single process keeps one to
/// itself.
///
/// A store that outlives a restart still holds the earlier attempt's keys, and a restart count is
/// no proof of age (it is counted by each node's agent for itself). So the ranks agree on a
/// generation first: each says hello with a random number; rank 0 publishes a roll of the numbers
/// it read, under a random generation; a rank that finds its own number in the roll confirms it
/// under that generation, and when all have, rank 0 opens it. All keys of the run lie under the
/// generation. A stale roll lacks the number of a living rank, and nothing stale lies under a
/// number just drawn. What remains possible: two live processes that claim one rank, of which the
/// later hello counts.
class Rendezvous {
 public:
  /// Throws kRankLost, naming the place and the ranks that are missing, when the ranks have not met
  /// within the timeout; kInvalidInput when rank 0 cannot serve at the port.
  explicit Rendezvous(const formats::LaunchEnvironment& environment,
                      const RendezvousOptions& options = {});
  /// Says that this rank is done; a rank 0 that serves waits until all are, for at most 10 s.
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  /// The run's keys under `prefix`, on the connection that all such stores share: a call that waits
  /// holds it up.
  c10::intrusive_ptr<c10d::Store> store(const std::string& prefix) const;
  /// The same on a connection of its own.
  c10::intrusive_ptr<c10d::Store> connect(const std::string& prefix) const;

  const formats::LaunchEnvironment& environment() const { return environment_; }
  /// Whether this process serves the store, so that the others lose it when this one ends.
  bool serves() const { return meeting_.serves; }
  /// Who is gone when the store is: "rank 0" or "the launcher's agent", and where.
  std::string server_name() const;
  /// Of this machine, numeric: where ranks of other nodes reach it. Empty where all ranks are here.
  std::string network_address() const {
    const bool here = environment_.local_world_size == environment_.world_size;
    return here ? "" : meeting_.local_address;
  }

 private:
  void agree_on_addresses();

  formats::LaunchEnvironment environment_;
  RendezvousOptions options_;
  Meeting meeting_;
  c10::intrusive_ptr<c10d::Store> run_;
};

}  // namespace meshplan::executor
