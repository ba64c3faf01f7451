// One rank of the multi-process tests: comm_worker SCENARIO RUN_FOLDER. Exits 0 when what it checks
// holds.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <thread>

#include "common/error.h"
#include "executor/comm/mesh_communicators.h"
#include "executor/launch/leave.h"
#include "executor/launch/liveness.h"
#include "executor/launch/rendezvous.h"
#include "executor/launch/signals.h"
#include "executor/memory/counting_allocator.h"

namespace {

using namespace meshplan::executor;
using meshplan::common::Bytes;
using meshplan::common::Error;
using meshplan::common::ErrorCode;
using meshplan::planner::Axis;
using meshplan::planner::CollectiveKind;
using meshplan::planner::DeviceMesh;

struct Rank {
  const Rendezvous& rendezvous;
  Liveness& liveness;
  std::int64_t number;
};

void require(bool holds, const std::string& what) {
  if (!holds) throw Error(ErrorCode::kInternal, "does not hold: " + what);
}

DeviceMesh mesh_of(std::int64_t dp_replicate, std::int64_t dp_shard, std::int64_t tp) {
  DeviceMesh mesh;
  mesh.sizes[Axis::kDpReplicate] = dp_replicate;
  mesh.sizes[Axis::kDpShard] = dp_shard;
  mesh.sizes[Axis::kTp] = tp;
  mesh.ranks_per_node = 4;
  return mesh;
}

MeshCommunicators communicate(const Rank& rank, const DeviceMesh& mesh,
                              std::chrono::milliseconds timeout = std::chrono::seconds(50)) {
  CommunicationOptions options;
  options.timeout = timeout;
  return MeshCommunicators(mesh, rank.number, at::kCPU, rank.rendezvous.store("groups"), options);
}

void check_axes(const Rank& rank, const DeviceMesh& mesh) {
  MeshCommunicators communicators(
      mesh, rank.number, at::kCPU,
      rank.rendezvous.store("groups/" + std::to_string(mesh.sizes[Axis::kTp])));
  for (const Axis axis : meshplan::planner::kMeshAxes) {
    double expected = 0;
    for (const std::int64_t member : group_of(mesh, axis, rank.number))
      expected += std::pow(10, member);
    at::Tensor value = at::full({3}, std::pow(10, rank.number), at::kDouble);
    communicators[axis].all_reduce(value, ReduceOp::kSum).wait();
    require(at::equal(value, at::full({3}, expected, at::kDouble)),
            std::string("sum over ") + to_string(axis));
    require(communicators[axis].rank() == coordinates_of(mesh, rank.number)[axis],
            "rank within the group");
  }
  communicators.barrier();
}

void groups_reduce_only_their_axis(const Rank& rank) {
  check_axes(rank, mesh_of(1, 2, 2));
  check_axes(rank, mesh_of(2, 2, 1));
  check_axes(rank, mesh_of(1, 1, 4));
}

void check_type(Communicator& group, at::ScalarType type) {
  const auto options = at::TensorOptions().dtype(type);
  const std::string name = c10::toString(type);
  const auto rank = group.rank();
  const auto size = group.size();

  at::Tensor sum = at::arange(6, options) + rank;
  group.all_reduce(sum, ReduceOp::kSum).wait();
  require(at::equal(sum, at::arange(6, options) * size + size * (size - 1) / 2),
          name + " all_reduce sum");

  at::Tensor most = at::arange(6, options) * (rank == 1 ? 1 : -1);
  group.all_reduce(most, ReduceOp::kMax).wait();
  require(at::equal(most, at::arange(6, options)), name + " all_reduce max");

  const at::Tensor expected = at::arange(size * 5, options);
  at::Tensor in_place = at::zeros({size * 5}, options);
  const at::Tensor slice = in_place.narrow(0, rank * 5, 5);
  slice.copy_(expected.narrow(0, rank * 5, 5));
  group.all_gather(in_place, slice).wait();
  require(at::equal(in_place, expected), name + " all_gather in place");

  at::Tensor apart = at::zeros({size, 5}, options);
  group.all_gather(apart, expected.narrow(0, rank * 5, 5)).wait();
  require(at::equal(apart.view(-1), expected), name + " all_gather");

  const at::Tensor input = at::arange(size * 3, options) + rank;
  at::Tensor part = at::zeros({3}, options);
  group.reduce_scatter(part, input).wait();
  const at::Tensor whole = at::arange(size * 3, options) * size + size * (size - 1) / 2;
  require(at::equal(part, whole.narrow(0, rank * 3, 3)), name + " reduce_scatter");
  require(at::equal(input, at::arange(size * 3, options) + rank),
          name + " reduce_scatter leaves its input");
}

void collectives_of_all_types(const Rank& rank) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 2, 2));
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble, at::kLong}) {
    check_type(communicators[Axis::kTp], type);
    check_type(communicators[Axis::kDpShard], type);
  }
}

void log_holds_what_was_issued(const Rank& rank) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 2, 2));
  at::Tensor whole = at::ones({8});
  at::Tensor part = at::ones({4});
  Pending gather = communicators[Axis::kDpShard].all_gather(whole, part);
  at::Tensor value = at::ones({3}, at::kBFloat16);
  Pending reduce = communicators[Axis::kTp].all_reduce(value, ReduceOp::kMax);
  gather.wait();
  communicators[Axis::kDpReplicate].all_reduce(value, ReduceOp::kSum).wait();
  communicators[Axis::kDpShard].reduce_scatter(part, whole).wait();
  reduce.wait();
  communicators.barrier();
  const std::vector<IssuedCollective> expected = {
      {CollectiveKind::kAllGather, Axis::kDpShard, Bytes(32)},
      {CollectiveKind::kAllReduce, Axis::kTp, Bytes(6)},
      {CollectiveKind::kReduceScatter, Axis::kDpShard, Bytes(32)},
  };
  require(communicators.log().issued() == expected, "kinds, axes and bytes in order of issue");
  communicators.log().clear();
  require(communicators.log().issued().empty(), "an empty log");
}

/// What our tensors take must depend on our program alone, whatever Gloo's threads still hold.
void late_drops_leave_own_memory_alone(const Rank& rank) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 2, 2));
  constexpr std::int64_t kElements = 64 * 1024;
  const std::int64_t bytes = 4 * kElements;
  const MemoryCounts start = memory_counts();
  reset_peak_memory();
  record_allocations(true);
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    at::Tensor whole = at::empty({2 * kElements});
    at::Tensor part = at::empty({kElements}).fill_(1);
    Pending gather = communicators[Axis::kDpShard].all_gather(whole, part);
    gather.wait();
    Pending scatter = communicators[Axis::kTp].reduce_scatter(part, whole);
    scatter.wait();
    whole.reset();
    require(memory_counts().own - start.own == Bytes(bytes), "memory is ours to free after wait()");
  }
  record_allocations(false);
  const MemoryCounts end = memory_counts();
  require(end.own == start.own, "all own memory is freed");
  require(end.own_peak - start.own == Bytes(3 * bytes), "the own peak is that of our tensors");
  require(end.library_peak > start.library, "Gloo's temporaries are counted apart");
  std::vector<std::int64_t> expected;
  for (int round = 0; round < kRounds; ++round) {
    expected.insert(expected.end(), {2 * bytes, bytes, -2 * bytes, -bytes});
  }
  require(recorded_allocations() == expected, "the log of own allocations");
}

/// Trains nothing for ever: an all_reduce over both axes a step. Says "ready" after some.
void loop(const Rank& rank, std::chrono::milliseconds timeout) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 2, 2), timeout);
  at::Tensor value = at::ones({1024});
  for (std::int64_t step = 0;; ++step) {
    rank.liveness.set_step(step);
    Pending over_tp = communicators[Axis::kTp].all_reduce(value, ReduceOp::kMax);
    over_tp.wait();
    communicators[Axis::kDpShard].all_reduce(value, ReduceOp::kMax).wait();
    if (step == 50) std::cout << "ready " << ::getpid() << std::endl;
  }
}

/// Rank 1 stays away from the sixth step on while its heart beats.
void hang(const Rank& rank) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 2, 2), std::chrono::seconds(3));
  at::Tensor value = at::ones({16});
  for (std::int64_t step = 0;; ++step) {
    rank.liveness.set_step(step);
    if (rank.number == 1 && step == 5) std::this_thread::sleep_for(std::chrono::hours(1));
    communicators[Axis::kTp].all_reduce(value, ReduceOp::kSum).wait();
    communicators[Axis::kDpShard].all_reduce(value, ReduceOp::kMax).wait();
  }
}

/// Rank 2 finds something wrong with its input.
void fail(const Rank& rank) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 2, 2));
  at::Tensor value = at::ones({16});
  for (std::int64_t step = 0;; ++step) {
    rank.liveness.set_step(step);
    if (rank.number == 2 && step == 5)
      throw Error(ErrorCode::kInvalidInput, "token 999 is beyond the vocabulary");
    communicators[Axis::kTp].all_reduce(value, ReduceOp::kSum).wait();
    communicators[Axis::kDpShard].all_reduce(value, ReduceOp::kMax).wait();
  }
}

/// Never communicates, so that only a signal can bring news of the others.
void sleep(const Rank&) {
  std::cout << "ready " << ::getpid() << std::endl;
  std::this_thread::sleep_for(std::chrono::hours(1));
}

/// Rank 2 has a thread that nobody catches the exception of.
void throw_on_a_thread(const Rank& rank) {
  if (rank.number == 2)
    std::thread([] { throw std::runtime_error("thrown on a thread"); }).detach();
  loop(rank, std::chrono::seconds(50));
}

/// Rank 1 dies in the launcher's first attempt; in the second all goes well.
void die_in_the_first_attempt(const Rank& rank) {
  const char* attempt = std::getenv("TORCHELASTIC_RESTART_COUNT");
  require(attempt != nullptr, "torchrun counts attempts");
  if (std::string(attempt) != "0") return check_axes(rank, mesh_of(1, 2, 2));
  if (rank.number == 1) ::kill(::getpid(), SIGKILL);
  loop(rank, std::chrono::seconds(50));
}

void alone(const Rank& rank) {
  MeshCommunicators communicators = communicate(rank, mesh_of(1, 1, 1));
  at::Tensor value = at::ones({2});
  communicators[Axis::kTp].all_reduce(value, ReduceOp::kSum).wait();
  communicators.barrier();
  require(communicators.log().issued().empty(), "groups of one log nothing");
}

const std::map<std::string, std::function<void(const Rank&)>> kScenarios = {
    {"groups_reduce_only_their_axis", groups_reduce_only_their_axis},
    {"collectives_of_all_types", collectives_of_all_types},
    {"log_holds_what_was_issued", log_holds_what_was_issued},
    {"late_drops_leave_own_memory_alone", late_drops_leave_own_memory_alone},
    {"loop", [](const Rank& rank) { loop(rank, std::chrono::seconds(50)); }},
    {"loop_with_short_timeout", [](const Rank& rank) { loop(rank, std::chrono::seconds(4)); }},
    {"hang", hang},
    {"fail", fail},
    {"throw_on_a_thread", throw_on_a_thread},
    {"die_in_the_first_attempt", die_in_the_first_attempt},
    {"sleep", sleep},
    {"alone", alone},
};

int run(const std::string& scenario, const std::string& run_folder) {
  const auto environment =
      meshplan::formats::read_launch_environment(meshplan::formats::process_environment());
  const Rendezvous rendezvous(environment);
  Liveness liveness(rendezvous);
  liveness.set_run_folder(run_folder);
  liveness.guard([&] { kScenarios.at(scenario)({rendezvous, liveness, environment.rank}); });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  watch_signals();
  install_counting_allocator();
  at::set_num_threads(1);
  try {
    return run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
  } catch (const Error& error) {
    std::cerr << error.what() << std::endl;
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
