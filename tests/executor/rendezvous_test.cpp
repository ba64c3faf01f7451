#include "executor/launch/rendezvous.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <future>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "executor/launch/network_address.h"
#include "formats/meeting_place.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::executor {
namespace {

using namespace std::chrono_literals;
using common::ErrorCode;
using tests::expect_error;

constexpr std::int64_t kRanks = 3;

formats::LaunchEnvironment at_port(std::int64_t rank, std::int64_t world_size, std::uint16_t port) {
  formats::LaunchEnvironment environment;
  environment.rank = environment.local_rank = rank;
  environment.world_size = environment.local_world_size = world_size;
  environment.master_address = "127.0.0.1";
  environment.master_ports = {port};
  environment.launcher = "environment";
  return environment;
}

/// A program that listens, accepts and never answers.
class DeafServer {
 public:
  DeafServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t size = sizeof address;
    auto* const general = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(socket_, general, size), 0);
    EXPECT_EQ(::listen(socket_, 8), 0);
    EXPECT_EQ(::getsockname(socket_, general, &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~DeafServer() { ::close(socket_); }
  DeafServer(const DeafServer&) = delete;
  DeafServer& operator=(const DeafServer&) = delete;
  std::uint16_t port() const { return port_; }

 private:
  int socket_;
  std::uint16_t port_ = 0;
};

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Ranks that all meet, each by itself; returns where each says that the others reach it.
void meet_all(const std::vector<formats::LaunchEnvironment>& environments,
              const RendezvousOptions& options, const std::string& mark) {
  std::vector<std::future<void>> ranks;
  for (const formats::LaunchEnvironment& environment : environments) {
    ranks.push_back(std::async(std::launch::async, [&environment, &options, &mark, &environments] {
      const Rendezvous rendezvous(environment, options);
      const auto store = rendezvous.store("test");
      store->setTimeout(30s);
      store->set("mark/" + std::to_string(environment.rank), mark);
      for (std::size_t other = 0; other < environments.size(); ++other) {
        EXPECT_EQ(store->get_to_str("mark/" + std::to_string(other)), mark);
      }
      EXPECT_EQ(rendezvous.serves(), environment.rank == 0 && !environment.use_agent_store);
    }));
  }
  for (auto& rank : ranks) rank.get();
}

/// A store as torchrun's agent serves it: it outlives the attempts.
class AgentStore {
 public:
  AgentStore() {
    c10d::TCPStoreOptions options;
    options.port = 0;
    options.isServer = true;
    options.waitWorkers = false;
    server_ = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  }

  formats::LaunchEnvironment environment(std::int64_t rank,
                                         std::int64_t world_size = kRanks) const {
    formats::LaunchEnvironment environment = at_port(rank, world_size, server_->getPort());
    environment.launcher = "torchrun";
    environment.use_agent_store = true;
    return environment;
  }
  void set_owner(const std::string& owner) {
    server_->set("meshplan/owner", std::vector<std::uint8_t>(owner.begin(), owner.end()));
  }
  void set(const std::string& key, const std::string& value) {
    c10d::PrefixStore("meshplan", server_)
        .set(key, std::vector<std::uint8_t>(value.begin(), value.end()));
  }

 private:
  c10::intrusive_ptr<c10d::TCPStore> server_;
};

/// One attempt: all ranks meet, each writes its attempt's mark and reads those of the others.
void meet_and_compare(const AgentStore& agent, const std::string& mark) {
  meet_all({agent.environment(0), agent.environment(1), agent.environment(2)}, {.timeout = 30s},
           mark);
}

TEST(Rendezvous, DoesNotBelieveTheKeysOfAnEarlierAttempt) {
  const AgentStore agent;
  for (const char* mark : {"first", "second", "third"}) meet_and_compare(agent, mark);
}

TEST(Rendezvous, DoesNotBelieveForgedHellosAndRolls) {
  AgentStore agent;
  for (const char* rank : {"0", "1", "2"})
    agent.set(std::string("hello/") + rank, std::string(32, 'x'));
  agent.set("roll", std::string(4 * 32, 'x'));
  agent.set(std::string(32, 'x') + "/open", "1");
  meet_and_compare(agent, "only");
}

TEST(Rendezvous, NamesTheRanksThatDoNotCome) {
  const AgentStore agent;
  auto absent = std::async(std::launch::async, [&] {
    expect_error(
        ErrorCode::kRankLost, [&] { Rendezvous(agent.environment(1), {.timeout = 2s}); },
        "rank 1 of 3", "for rank 2;", "127.0.0.1:");
  });
  expect_error(
      ErrorCode::kRankLost, [&] { Rendezvous(agent.environment(0), {.timeout = 2s}); },
      "rank 0 of 3", "for rank 2;", "127.0.0.1:");
  absent.get();
}

TEST(Rendezvous, NamesTheNodeThatDoesNotCome) {
  AgentStore agent;
  formats::LaunchEnvironment environment = agent.environment(0, 4);
  environment.local_world_size = 2;
  agent.set("hello/1", std::string(32, 'x'));
  expect_error(
      ErrorCode::kRankLost, [&] { Rendezvous(environment, {.timeout = 1s}); },
      "for ranks 2, 3 on node 1;");
  environment.hosts = {"n08", "n09"};
  expect_error(
      ErrorCode::kRankLost, [&] { Rendezvous(environment, {.timeout = 1s}); },
      "for ranks 2, 3 on n09;");
}

TEST(Rendezvous, NamesTheStoreThatIsNotThere) {
  const double seconds = seconds_of([] {
    expect_error(
        ErrorCode::kRankLost, [] { Rendezvous(at_port(1, 2, 1), {.timeout = 2s}); }, "rank 1 of 2",
        "127.0.0.1:1", "connection refused", "MASTER_PORT");
  });
  EXPECT_LT(seconds, 5);
}

TEST(Rendezvous, NamesTheHostThatHasNoAddress) {
  formats::LaunchEnvironment environment = at_port(1, 2, 2900);
  environment.master_address = "no-such-host.invalid";
  expect_error(
      ErrorCode::kRankLost, [&] { Rendezvous(environment, {.timeout = 1s}); },
      "no address of 'no-such-host.invalid'");
}

TEST(Rendezvous, DoesNotWaitForAProgramThatNeverAnswers) {
  const DeafServer deaf;
  const double seconds = seconds_of([&] {
    expect_error(
        ErrorCode::kRankLost, [&] { Rendezvous(at_port(1, 2, deaf.port()), {.timeout = 3s}); },
        "something else than a store answers");
  });
  EXPECT_LT(seconds, 10);
}

TEST(Rendezvous, NamesThePortThatIsTaken) {
  const DeafServer deaf;
  expect_error(
      ErrorCode::kInvalidInput, [&] { Rendezvous(at_port(0, 2, deaf.port()), {.timeout = 2s}); },
      "cannot serve", "the port is taken", "free MASTER_PORT");
}

TEST(Rendezvous, TakesTheNextPortWhereSeveralAreAllowed) {
  const DeafServer deaf;
  const AgentStore of_another_job;
  const std::uint16_t free_port = DeafServer().port();
  std::vector<formats::LaunchEnvironment> job;
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    job.push_back(at_port(rank, kRanks, deaf.port()));
    job.back().master_ports.push_back(of_another_job.environment(0).master_ports.front());
    job.back().master_ports.push_back(free_port);
    job.back().job = "slurm/1.0/0";
  }
  meet_all(job, {.timeout = 30s}, "mark");
}

TEST(Rendezvous, MeetsWhereRankZeroPublishesAPlace) {
  const tests::TemporaryFolder folder;
  const RendezvousOptions options{.timeout = 30s, .file = folder / "meeting.json"};
  std::vector<formats::LaunchEnvironment> job;
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    job.push_back(at_port(rank, kRanks, 1));
    job.back().master_ports.clear();
    job.back().master_address.clear();
  }
  meet_all(job, options, "first");
  EXPECT_FALSE(std::filesystem::exists(options.file));

  // What earlier starts left: of a dead one, of one whose port another program has, of a store.
  const DeafServer deaf;
  const AgentStore alive;
  for (const std::uint16_t port :
       {std::uint16_t{1}, deaf.port(), alive.environment(0).master_ports.front()}) {
    formats::write_meeting_place(options.file, {{"127.0.0.1"}, port, "stale"});
    meet_all(job, options, "again");
  }
}

TEST(Rendezvous, LeavesTheStoreOfAnEarlierStartThatStillLives) {
  const tests::TemporaryFolder folder;
  const RendezvousOptions options{.timeout = 30s, .file = folder / "meeting.json"};
  AgentStore alive;
  alive.set_owner("stale");
  formats::write_meeting_place(options.file,
                               {{"127.0.0.1"}, alive.environment(0).master_ports.front(), "stale"});
  std::vector<formats::LaunchEnvironment> job;
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    job.push_back(at_port(rank, 2, 1));
    job.back().master_ports.clear();
  }
  auto early = std::async(std::launch::async, [&] { Rendezvous(job[1], options); });
  std::this_thread::sleep_for(300ms);
  Rendezvous(job[0], options);
  early.get();
}

TEST(Rendezvous, WithoutAPlaceAsksForOne) {
  formats::LaunchEnvironment environment = at_port(0, 2, 1);
  environment.master_ports.clear();
  environment.launcher = "openmpi";
  expect_error(
      ErrorCode::kInvalidInput, [&] { Rendezvous(environment, {.timeout = 1s}); }, "Open MPI",
      "--master-addr");
}

TEST(NetworkAddress, TellsLoopbackFromOthers) {
  const DeafServer deaf;
  const ConnectionAttempt attempt = try_to_connect("127.0.0.1", deaf.port(), 1s);
  EXPECT_TRUE(attempt.accepted()) << attempt.problem;
  EXPECT_EQ(attempt.local_address, "127.0.0.1");
  for (const std::string& address : addresses_of_this_machine()) {
    EXPECT_FALSE(is_loopback_address(address)) << address;
    // The server has none of IPv6.
    if (address.find(':') != std::string::npos) continue;
    EXPECT_EQ(try_to_connect(address, deaf.port(), 1s).local_address, address);
  }
}

TEST(Rendezvous, OfOneRankNeedsNoNetwork) {
  const Rendezvous rendezvous(formats::LaunchEnvironment{});
  const auto store = rendezvous.store("test");
  store->set("key", std::string("value"));
  EXPECT_EQ(rendezvous.connect("test")->get_to_str("key"), "value");
  EXPECT_FALSE(rendezvous.serves());
}

}  // namespace
}  // namespace meshplan::executor
