#include "executor/launch/liveness.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>
#include <sstream>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "common/json.h"
#include "executor/comm/communicator.h"
#include "executor/launch/leave.h"
#include "executor/launch/signals.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;
using Clock = std::chrono::steady_clock;

constexpr const char* kCause = "cause";
constexpr const char* kDeparted = "departed";
constexpr std::chrono::milliseconds kPoll{50};
/// One wish may reach a rank as several signals, from its launcher and from the scheduler.
constexpr std::chrono::seconds kSameWish{1};
/// How long a rank waits for the others between two looks at whether they live.
constexpr std::chrono::milliseconds kWaiting{500};
/// How long a rank stays when it serves the store, for the others to read the cause in it; and when
/// the store is gone, for the others to find out who was lost first: two heartbeats and a bit.
constexpr std::chrono::milliseconds kLinger{2500};

std::string process_key(std::int64_t rank) { return fmt::format("process/{}", rank); }

std::vector<std::string> beat_keys(std::int64_t world_size) {
  std::vector<std::string> keys;
  for (std::int64_t rank = 0; rank < world_size; ++rank)
    keys.push_back(fmt::format("beat/{}", rank));
  return keys;
}

std::string to_text(const formats::ErrorRecord& cause) {
  return Json{{"rank", cause.rank},
              {"code", cause.code},
              {"exit_code", cause.exit_code},
              {"message", cause.message}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

formats::ErrorRecord parse_cause(const std::string& text) {
  const Json json = common::parse_json(text, "published cause");
  const common::JsonObject object(json, "published cause");
  return {object.integer("rank"), object.text("code"),
          static_cast<int>(object.integer("exit_code", 1, 255)), object.text("message")};
}

std::string to_text(const ProcessIdentity& process) {
  return Json{{"pid", process.pid},
              {"start_ticks", process.start_ticks},
              {"pid_space", process.pid_space},
              {"host_name", process.host_name}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

ProcessIdentity parse_process(const std::string& text) {
  const Json json = common::parse_json(text, "process of a rank");
  const common::JsonObject object(json, "process of a rank");
  return {object.integer("pid"), object.integer("start_ticks"), object.text("pid_space"),
          object.text("host_name")};
}

/// The one whose constructor has ended: it stops the process on an exception that no thread
/// catches, as NCCL's watchdog throws them.
std::atomic<Liveness*> running{nullptr};

[[noreturn]] void stop_on_terminate() {
  Error error(ErrorCode::kInternal, "std::terminate was called");
  try {
    if (const std::exception_ptr thrown = std::current_exception()) std::rethrow_exception(thrown);
  } catch (const c10::DistError& thrown) {
    error = Error(ErrorCode::kRankLost, thrown.what_without_backtrace());
  } catch (const std::exception& thrown) {
    error = Error(ErrorCode::kInternal, thrown.what());
  } catch (...) {
    error = Error(ErrorCode::kInternal, "an exception of unknown type");
  }
  if (Liveness* const liveness = running.load()) liveness->stop(error);
  leave(error.exit_code());
}

std::string list_of(const std::vector<std::int64_t>& values) {
  return fmt::format("{}", fmt::join(values, ", "));
}

}  // namespace

Liveness::Liveness(const Rendezvous& rendezvous, const LivenessOptions& options)
    : options_(options),
      rank_(rendezvous.environment().rank),
      world_size_(rendezvous.environment().world_size),
      serves_(rendezvous.serves()),
      server_name_(rendezvous.server_name()),
      stop_(rank_, world_size_) {
  introduce(rendezvous);
  store_.emplace(
      rendezvous.connect("liveness"), options.heartbeat,
      [this](c10d::Store& store) {
        if (running == this) beat(store);
      },
      [this](const std::string& reason) { handle_lost_store(reason); });
  set_signal_handler([this](int signal) { handle_signal(signal); });
  set_lost_rank_handler([this](const Error& error) { stop(error); });
  running = this;
  old_terminate_ = std::set_terminate(&stop_on_terminate);
}

Liveness::~Liveness() {
  running = nullptr;
  std::set_terminate(old_terminate_);
  set_lost_rank_handler({});
  set_signal_handler({});
  finished_ = true;
  store_->ask([this](c10d::Store& store) { beat(store); });
}

void Liveness::introduce(const Rendezvous& rendezvous) {
  const auto store = rendezvous.store("liveness");
  const std::string start = "0 0 0";
  try {
    store->set(beat_keys(world_size_)[static_cast<std::size_t>(rank_)], start);
    store->set(process_key(rank_), to_text(this_process()));
    for (std::int64_t rank = 0; rank < world_size_; ++rank) {
      processes_.push_back(parse_process(store->get_to_str(process_key(rank))));
    }
  } catch (const c10::Error& error) {
    throw Error(ErrorCode::kRankLost,
                fmt::format("rank {} of {} did not introduce itself: {}", processes_.size(),
                            world_size_, error.what_without_backtrace()));
  }
}

void Liveness::set_run_folder(const std::filesystem::path& run_folder) {
  const std::scoped_lock lock(run_folder_mutex_);
  run_folder_ = run_folder;
}

void Liveness::beat(c10d::Store& store) {
  store.set(beat_keys(world_size_)[static_cast<std::size_t>(rank_)],
            fmt::format("{} {} {}", ++beats_, issued_collectives(), finished_.load() ? 1 : 0));
  if (finished_) return;
  stop_.poll(store);
  if (!store.check({kCause})) return;
  const formats::ErrorRecord cause = parse_cause(store.get_to_str(kCause));
  if (cause.rank != rank_ && claim_leaving()) follow(cause);
}

std::optional<formats::ErrorRecord> Liveness::published_cause() {
  const auto text = std::make_shared<std::string>();
  const bool answered = store_->ask([text](c10d::Store& store) {
    if (store.check({kCause})) *text = store.get_to_str(kCause);
  });
  if (!answered || text->empty()) return std::nullopt;
  return parse_cause(*text);
}

std::optional<Liveness::Heartbeats> Liveness::heartbeats() {
  const auto texts = std::make_shared<std::vector<std::vector<std::uint8_t>>>();
  const auto keys = beat_keys(world_size_);
  if (!store_->ask([texts, keys](c10d::Store& store) { *texts = store.multiGet(keys); }))
    return std::nullopt;
  Heartbeats all;
  for (const auto& text : *texts) {
    Heartbeat heartbeat;
    std::istringstream fields(std::string(text.begin(), text.end()));
    fields >> heartbeat.beats >> heartbeat.collectives >> heartbeat.finished;
    all.push_back(heartbeat);
  }
  return all;
}

std::vector<std::int64_t> Liveness::neighbours_in(ProcessState state) const {
  const std::string& here = processes_[static_cast<std::size_t>(rank_)].pid_space;
  std::vector<std::int64_t> ranks;
  for (std::int64_t rank = 0; rank < world_size_; ++rank) {
    const ProcessIdentity& process = processes_[static_cast<std::size_t>(rank)];
    if (rank != rank_ && process.pid_space == here && state_of(process) == state)
      ranks.push_back(rank);
  }
  return ranks;
}

std::optional<formats::ErrorRecord> Liveness::find_trouble(SearchFor what) {
  const auto lost = [this](std::string message) {
    return formats::ErrorRecord{rank_, common::to_string(ErrorCode::kRankLost),
                                static_cast<int>(ErrorCode::kRankLost), std::move(message)};
  };
  const Clock::time_point deadline = Clock::now() + options_.search;
  const auto before = heartbeats();
  do {
    auto gone = neighbours_in(ProcessState::kGone);
    if (before)
      std::erase_if(gone,
                    [&](auto rank) { return (*before)[static_cast<std::size_t>(rank)].finished; });
    // A rank that left in order published the cause before it went.
    if (auto cause = published_cause()) return cause;
    if (!gone.empty()) return lost(name_ranks(gone) + " died");
    if (what == SearchFor::kAnyTrouble) {
      if (const auto stopped = neighbours_in(ProcessState::kStopped); !stopped.empty()) {
        return lost(fmt::format("{} {} stopped (SIGSTOP)", name_ranks(stopped),
                                stopped.size() == 1 ? "is" : "are"));
      }
    }
    std::this_thread::sleep_for(kPoll);
  } while (Clock::now() < deadline);
  if (what == SearchFor::kDeath) return std::nullopt;
  const auto after = heartbeats();
  if (!before || !after) return lost(server_name_ + " does not answer");
  const std::string found = silent_or_behind(*before, *after);
  return found.empty() ? std::nullopt : std::optional(lost(found));
}

std::string Liveness::silent_or_behind(const Heartbeats& before, const Heartbeats& after) const {
  std::vector<std::int64_t> silent;
  std::vector<std::int64_t> behind;
  std::int64_t fewest = after.front().collectives;
  std::int64_t most = fewest;
  for (const Heartbeat& heartbeat : after) {
    fewest = std::min(fewest, heartbeat.collectives);
    most = std::max(most, heartbeat.collectives);
  }
  for (std::size_t rank = 0; rank < after.size(); ++rank) {
    const auto number = static_cast<std::int64_t>(rank);
    if (number == rank_ || after[rank].finished) continue;
    if (after[rank].beats == before[rank].beats) silent.push_back(number);
    if (after[rank].collectives == fewest) behind.push_back(number);
  }
  if (!silent.empty()) {
    return fmt::format("{} gave no sign of life for {} s", name_ranks(silent),
                       std::chrono::duration<double>(options_.search).count());
  }
  if (fewest == most || behind.empty()) return "";
  return fmt::format("{} hung: {} collectives issued, {} by the others", name_ranks(behind), fewest,
                     most);
}

std::string Liveness::name_ranks(const std::vector<std::int64_t>& ranks) const {
  std::vector<std::int64_t> pids;
  std::vector<std::string> hosts;
  for (const std::int64_t rank : ranks) {
    const ProcessIdentity& process = processes_[static_cast<std::size_t>(rank)];
    pids.push_back(process.pid);
    if (std::find(hosts.begin(), hosts.end(), process.host_name) == hosts.end())
      hosts.push_back(process.host_name);
  }
  const bool elsewhere =
      hosts != std::vector{processes_[static_cast<std::size_t>(rank_)].host_name};
  return fmt::format("{} {} of {} ({} {}{})", ranks.size() == 1 ? "rank" : "ranks", list_of(ranks),
                     world_size_, ranks.size() == 1 ? "pid" : "pids", list_of(pids),
                     elsewhere ? fmt::format(" on {}", fmt::join(hosts, ", ")) : "");
}

std::string Liveness::own_name() const { return fmt::format("rank {} of {}", rank_, world_size_); }

std::string Liveness::describe_lost_ranks() {
  const auto trouble = find_trouble(SearchFor::kAnyTrouble);
  return trouble ? trouble->message : "";
}

void Liveness::guard(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    stop(error);
  } catch (const c10::Error& error) {
    stop(Error(ErrorCode::kInternal, error.what_without_backtrace()));
  } catch (const std::exception& error) {
    stop(Error(ErrorCode::kInternal, error.what()));
  }
}

void Liveness::stop(const Error& error) {
  if (!claim_leaving()) wait_for_the_end();
  stop_for(error);
}

void Liveness::stop_for(const Error& error) {
  if (error.code() == ErrorCode::kRankLost) {
    if (const auto trouble = find_trouble(SearchFor::kAnyTrouble)) follow(*trouble);
    follow({rank_, common::to_string(error.code()), error.exit_code(), error.what()});
  }
  end({rank_, common::to_string(error.code()), error.exit_code(),
       own_name() + " failed: " + error.what()},
      error.what(), error.exit_code());
}

void Liveness::handle_lost_store(const std::string& reason) {
  if (!finished_ && claim_leaving()) {
    stop_for(Error(ErrorCode::kRankLost, fmt::format("{} is gone: {}", server_name_, reason)));
  }
}

bool Liveness::may_start(std::int64_t step) {
  stops_in_order_ = true;
  Clock::time_point next_look = Clock::now() + kWaiting;
  const bool may = stop_.may_start(step, [&] {
    store_->ask([this](c10d::Store& store) { stop_.poll(store); });
    if (Clock::now() < next_look) return;
    require_ranks();
    next_look = Clock::now() + kWaiting;
  });
  if (may) set_step(step);
  return may;
}

void Liveness::require_ranks() {
  constexpr std::int64_t kSearchEvery = 20;
  const auto gone = neighbours_in(ProcessState::kGone);
  if (!gone.empty()) throw Error(ErrorCode::kRankLost, name_ranks(gone) + " died");
  if (++times_required_ % kSearchEvery != 0) return;
  const std::string lost = describe_lost_ranks();
  if (!lost.empty()) throw Error(ErrorCode::kRankLost, lost);
}

bool Liveness::asks_to_stop(int signal) {
  if (!stops_in_order_ || (signal != SIGTERM && signal != SIGUSR1)) return false;
  if (stop_.request(signal)) {
    store_->ask([this](c10d::Store& store) { stop_.poll(store); });
    return true;
  }
  return Clock::now() - *stop_.requested_at() < kSameWish;
}

void Liveness::handle_signal(int signal) {
  if (asks_to_stop(signal) || !claim_leaving()) return;
  if (signal == SIGTERM) {
    if (const auto trouble = find_trouble(SearchFor::kDeath)) follow(*trouble);
  }
  follow({rank_, common::to_string(ErrorCode::kInterrupted), 128 + signal,
          fmt::format("{} was stopped by SIG{}", own_name(), ::sigabbrev_np(signal))});
}

void Liveness::follow(const formats::ErrorRecord& cause) {
  const bool interrupted = cause.code == common::to_string(ErrorCode::kInterrupted);
  const std::int64_t step = step_.load();
  const std::string where = step < 0 ? "before its first step" : fmt::format("at step {}", step);
  end(cause, fmt::format("{}; rank {} stops {}", cause.message, rank_, where),
      interrupted ? cause.exit_code : static_cast<int>(ErrorCode::kRankLost));
}

void Liveness::end(const formats::ErrorRecord& cause, const std::string& message, int exit_code) {
  const bool first_hand = cause.rank == rank_;
  const bool interrupted = cause.code == common::to_string(ErrorCode::kInterrupted);
  report({rank_, first_hand || interrupted ? cause.code : common::to_string(ErrorCode::kRankLost),
          exit_code, message});
  publish(cause);
  leave(exit_code);
}

void Liveness::report(const formats::ErrorRecord& own) const {
  const std::string line = "meshplan-train: " + own.message + "\n";
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;
  try {
    const std::scoped_lock lock(run_folder_mutex_);
    if (!run_folder_.empty()) formats::write_error_record(run_folder_, own);
    formats::tell_torchrun(own.message);
  } catch (const Error& error) {
    const std::string failure =
        std::string("meshplan-train: no error record: ") + error.what() + "\n";
    if (::write(STDERR_FILENO, failure.data(), failure.size()) < 0) return;
  }
}

void Liveness::publish(const formats::ErrorRecord& cause) {
  const bool told = store_->ask([text = to_text(cause)](c10d::Store& store) {
    store.compareSet(kCause, std::string(), text);
    store.add(kDeparted, 1);
  });
  if (told && !serves_) return;
  const Clock::time_point deadline = Clock::now() + kLinger;
  const auto departed = std::make_shared<std::int64_t>(0);
  const auto others_are_gone = [&] {
    return std::ssize(neighbours_in(ProcessState::kGone)) == world_size_ - 1;
  };
  while (*departed < world_size_ && !others_are_gone() && Clock::now() < deadline) {
    if (told) {
      store_->ask([departed](c10d::Store& store) { *departed = store.add(kDeparted, 0); });
    }
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace meshplan::executor
