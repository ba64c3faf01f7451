#include "executor/launch/rendezvous.h"

#include <gtest/gtest.h>

#include <array>
#include <future>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "tests/common/expect_error.h"

namespace meshplan::executor {
namespace {

using namespace std::chrono_literals;
using common::ErrorCode;
using tests::expect_error;

constexpr std::int64_t kRanks = 3;

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

  LaunchEnvironment environment(std::int64_t rank, std::int64_t world_size = kRanks) const {
    return {rank, rank, world_size, world_size, "127.0.0.1", server_->getPort(), "torchrun", true};
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
  std::vector<std::future<void>> ranks;
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    ranks.push_back(std::async(std::launch::async, [&, rank] {
      const Rendezvous rendezvous(agent.environment(rank), 30s);
      const auto store = rendezvous.store("test");
      store->setTimeout(30s);
      store->set("mark/" + std::to_string(rank), mark);
      for (std::int64_t other = 0; other < kRanks; ++other) {
        EXPECT_EQ(store->get_to_str("mark/" + std::to_string(other)), mark);
      }
    }));
  }
  for (auto& rank : ranks) rank.get();
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
        ErrorCode::kRankLost, [&] { Rendezvous(agent.environment(1), 2s); }, "rank 1 of 3",
        "rank 0", "127.0.0.1:");
  });
  expect_error(
      ErrorCode::kRankLost, [&] { Rendezvous(agent.environment(0), 2s); }, "rank 0 of 3",
      "for ranks 2;", "127.0.0.1:");
  absent.get();
}

TEST(Rendezvous, NamesTheStoreThatIsNotThere) {
  LaunchEnvironment environment{1, 1, 2, 2, "127.0.0.1", 1, "environment", false};
  expect_error(
      ErrorCode::kRankLost, [&] { Rendezvous(environment, 2s); }, "127.0.0.1:1", "MASTER_PORT");
}

TEST(Rendezvous, NamesThePortThatIsTaken) {
  const AgentStore agent;
  LaunchEnvironment environment = agent.environment(0);
  environment.use_agent_store = false;
  expect_error(
      ErrorCode::kInvalidInput, [&] { Rendezvous(environment, 2s); }, "cannot serve",
      "free MASTER_PORT");
}

TEST(Rendezvous, OfOneRankNeedsNoNetwork) {
  const Rendezvous rendezvous(LaunchEnvironment{});
  const auto store = rendezvous.store("test");
  store->set("key", std::string("value"));
  EXPECT_EQ(rendezvous.connect("test")->get_to_str("key"), "value");
  EXPECT_FALSE(rendezvous.serves());
}

}  // namespace
}  // namespace meshplan::executor
