#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "executor/launch/process.h"
#include "executor/launch/rendezvous.h"
#include "executor/launch/stop_agreement.h"
#include "executor/launch/store_thread.h"
#include "formats/error_record.h"

namespace meshplan::executor {

struct LivenessOptions {
  /// How often a rank shows a sign of life and looks whether another one has stopped the run.
  std::chrono::milliseconds heartbeat{1000};
  /// How long to look for the rank that was lost. A rank without a sign of life in it is taken for
  /// lost.
  std::chrono::milliseconds search{3000};
};

/// Knows which ranks live, and ends the run when one does not. Each rank writes a heartbeat (how
/// many collectives it issued) into the store. The first rank that has to stop publishes the cause;
/// the others read it within a heartbeat, say it, and stop as well, whatever they wait for. While
/// it lives, it also ends the process on SIGTERM and SIGINT (see watch_signals), where a collective
/// fails, and on an exception that no thread catches.
///
/// How a rank ends: with an error's own code where it failed itself; with 8 where another rank was
/// lost or failed, also when the news comes as SIGTERM, as torchrun sends it; otherwise with 143 on
/// SIGTERM, 138 on SIGUSR1 and 130 on SIGINT. Once it was asked whether a step may start, SIGTERM
/// and SIGUSR1 do not end the process but make all ranks stop before the same step.
class Liveness {
 public:
  /// Made by all ranks together, before the communicators. Throws kRankLost when a rank does not
  /// say who it is in time.
  explicit Liveness(const Rendezvous& rendezvous, const LivenessOptions& options = {});
  /// Says that this rank has finished.
  ~Liveness();
  Liveness(const Liveness&) = delete;
  Liveness& operator=(const Liveness&) = delete;

  /// The step being trained; any thread.
  void set_step(std::int64_t step) { step_.store(step, std::memory_order_relaxed); }
  /// Before each step: sets it as the one being trained. False where the ranks have agreed, because
  /// one of them got SIGTERM or SIGUSR1, to train no further. The same signal a second or more
  /// later ends the process at once. Throws kRankLost where a rank dies before it has agreed.
  bool may_start(std::int64_t step);
  /// The signal because of which may_start() was false; 0 where it was not.
  int stop_signal() const { return stop_.signal(); }
  /// Signals end the process again.
  void stop_no_more() { stops_in_order_ = false; }

  /// For a thread that waits for the others elsewhere than in a collective, to call now and then:
  /// throws kRankLost where another process of this machine has ended and, at every 20th call,
  /// where a search (describe_lost_ranks) misses a rank.
  void require_ranks();

  /// Where the error record goes from now on; none is written before.
  void set_run_folder(const std::filesystem::path& run_folder);

  /// "rank 1 of 4 (pid 123) died", or the like for ranks that are stopped, silent, or behind in
  /// their collectives; the cause that another rank published, where there is one. Takes up to
  /// options.search. Empty when nobody is missed.
  std::string describe_lost_ranks();

  /// Ends this rank because of the error, and the others with it: says it on stderr, writes the
  /// error record, leaves.
  [[noreturn]] void stop(const common::Error& error);

  /// Runs `work` and stops on whatever it throws.
  void guard(const std::function<void()>& work);

 private:
  /// What a rank last said of itself.
  struct Heartbeat {
    std::int64_t beats = 0;
    std::int64_t collectives = 0;
    bool finished = false;
  };
  using Heartbeats = std::vector<Heartbeat>;
  enum class SearchFor { kDeath, kAnyTrouble };

  void introduce(const Rendezvous& rendezvous);
  void beat(c10d::Store& store);
  std::optional<formats::ErrorRecord> published_cause();
  std::optional<Heartbeats> heartbeats();

  std::vector<std::int64_t> neighbours_in(ProcessState state) const;
  /// The reason for stopping, from a rank that did or about one that cannot.
  std::optional<formats::ErrorRecord> find_trouble(SearchFor what);
  std::string silent_or_behind(const Heartbeats& before, const Heartbeats& after) const;
  std::string name_ranks(const std::vector<std::int64_t>& ranks) const;
  std::string own_name() const;

  void handle_signal(int signal);
  /// Whether the signal only asks the ranks to stop in order.
  bool asks_to_stop(int signal);
  void handle_lost_store(const std::string& reason);
  [[noreturn]] void stop_for(const common::Error& error);
  /// `cause` is what the others are told, `message` what this rank says and records.
  [[noreturn]] void end(const formats::ErrorRecord& cause, const std::string& message,
                        int exit_code);
  /// Ends this rank as the others do for a cause that is not its own failure.
  [[noreturn]] void follow(const formats::ErrorRecord& cause);
  void publish(const formats::ErrorRecord& cause);
  void report(const formats::ErrorRecord& own) const;

  LivenessOptions options_;
  std::int64_t rank_;
  std::int64_t world_size_;
  bool serves_;
  std::string server_name_;
  std::vector<ProcessIdentity> processes_;
  std::atomic<std::int64_t> step_{-1};
  std::atomic<bool> finished_{false};
  StopAgreement stop_;
  std::atomic<bool> stops_in_order_{false};
  std::terminate_handler old_terminate_ = nullptr;
  std::int64_t beats_ = 0;
  std::atomic<std::int64_t> times_required_{0};
  mutable std::mutex run_folder_mutex_;
  std::filesystem::path run_folder_;
  std::optional<StoreThread> store_;
};

}  // namespace meshplan::executor
