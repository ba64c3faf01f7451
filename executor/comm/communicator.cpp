#include "executor/comm/communicator.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <atomic>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>

#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using planner::CollectiveKind;

std::atomic<std::int64_t> issued_count{0};

/// Two ranks all-reduce by swapping whole tensors up to this size; beyond, Gloo's ring needs less
/// memory.
constexpr std::size_t kLargestSwap = std::size_t{4} << 20;

std::function<void(const Error&)>& lost_rank_handler() {
  static std::function<void(const Error&)> handler;
  return handler;
}

/// The same memory under a tensor that owns none of it: c10d's threads drop their references late,
/// and must not decide when ours is freed.
at::Tensor borrow(const at::Tensor& tensor) {
  return at::for_blob(tensor.data_ptr(), {tensor.numel()})
      .options(at::TensorOptions().dtype(tensor.dtype()).device(tensor.device()))
      .target_device(tensor.device())
      .make_tensor();
}

common::Bytes size_of(const at::Tensor& tensor) {
  return common::Bytes(static_cast<std::int64_t>(tensor.nbytes()));
}

std::string describe(const IssuedCollective& collective) {
  return fmt::format("{} of {} bytes over {}", planner::to_string(collective.kind),
                     collective.bytes.value, planner::to_string(collective.axis));
}

/// What c10d threw, without its backtrace.
std::string reason_of(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
}

[[noreturn]] void fail_lost(const IssuedCollective& collective, const std::exception& cause) {
  const Error error(ErrorCode::kRankLost,
                    fmt::format("{} failed: {}", describe(collective), reason_of(cause)));
  if (lost_rank_handler()) lost_rank_handler()(error);
  throw error;
}

void require(bool holds, const char* what, planner::Axis axis) {
  if (!holds) throw Error(ErrorCode::kInternal, what, planner::to_string(axis));
}

void check_halves(const Communicator& group, const at::Tensor& whole, const at::Tensor& part) {
  require(whole.is_contiguous() && part.is_contiguous(),
          "a collective's tensors are not contiguous", group.axis());
  require(whole.dtype() == part.dtype(), "a collective's tensors differ in type", group.axis());
  require(whole.numel() == part.numel() * group.size(),
          "the whole tensor of a collective is not the group's size times the part", group.axis());
}

void copy_unless_same(const at::Tensor& output, const at::Tensor& input) {
  if (output.data_ptr() != input.data_ptr()) output.view(-1).copy_(input.view(-1));
}

c10::Stream current_stream(c10::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

}  // namespace

/// One of the two: c10d's handle, or the event behind the collective on the group's stream.
struct Pending::InFlight {
  IssuedCollective collective;
  c10::intrusive_ptr<c10d::Work> work = nullptr;
  std::optional<c10::Event> completion = std::nullopt;
  /// What is left to do after c10d's work; may be empty.
  std::function<void()> finish = nullptr;
  CollectiveLog* log = nullptr;
  std::size_t index = 0;

  void wait() {
    if (completion) completion->block(current_stream(completion->device()));
    const CommunicationScope scope;
    if (work) work->wait();
    if (finish) finish();
  }
};

Pending::Pending() = default;
Pending::Pending(Pending&& other) noexcept = default;

Pending::Pending(const IssuedCollective& collective, c10::intrusive_ptr<c10d::Work> work)
    : in_flight_(new InFlight{.collective = collective, .work = std::move(work)}) {}

void Pending::then(std::function<void()> finish) { in_flight_->finish = std::move(finish); }

Pending::Pending(const IssuedCollective& collective, c10::Event&& completion)
    : in_flight_(new InFlight{.collective = collective, .completion = std::move(completion)}) {}

Pending& Pending::operator=(Pending&& other) noexcept {
  Pending old(std::move(other));
  std::swap(in_flight_, old.in_flight_);
  return *this;
}

Pending::~Pending() {
  if (!in_flight_) return;
  try {
    in_flight_->wait();
  } catch (const std::exception&) {
    // Whoever lets go of a collective unwaited is leaving for another reason, which is the one to
    // be told.
  }
}

void Pending::wait() {
  const auto in_flight = std::exchange(in_flight_, nullptr);
  if (!in_flight) return;
  try {
    in_flight->wait();
  } catch (const std::exception& error) {
    fail_lost(in_flight->collective, error);
  }
  if (in_flight->log != nullptr) in_flight->log->mark_waited(in_flight->index);
}

void Pending::time_in(CollectiveLog* log, std::size_t index) {
  in_flight_->log = log;
  in_flight_->index = index;
}

Communicator::Communicator(const Communicator&) = default;
Communicator::~Communicator() = default;

Communicator::Communicator(planner::Axis axis) : axis_(axis) {}

Communicator::Communicator(planner::Axis axis, std::int64_t rank, std::int64_t size,
                           c10::intrusive_ptr<c10d::Backend> backend, CollectiveLog* log)
    : axis_(axis), rank_(rank), size_(size), backend_(std::move(backend)), log_(log) {
  if (backend_ && backend_->getBoundDeviceId()) {
    const c10::Device device = *backend_->getBoundDeviceId();
    stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device, true);
  }
}

Communicator Communicator::unlogged() const {
  Communicator same = *this;
  same.log_ = nullptr;
  return same;
}

template <class Call>
Pending Communicator::issue(CollectiveKind kind, const at::Tensor& sized, Call&& call) {
  const IssuedCollective collective{kind, axis_, size_of(sized)};
  const std::size_t index = log_ != nullptr ? log_->add(collective) : 0;
  issued_count.fetch_add(1, std::memory_order_relaxed);
  const CommunicationScope scope;
  try {
    if (!stream_) {
      Pending pending(collective, call(/*async=*/true));
      pending.time_in(log_, index);
      return pending;
    }
    // c10d puts a synchronous collective on the current stream: ours, behind what the caller's
    // stream has written.
    c10::Event ready(stream_->device_type());
    ready.record(current_stream(stream_->device()));
    ready.block(*stream_);
    const c10::StreamGuard guard(*stream_);
    call(/*async=*/false);
    c10::Event completion(stream_->device_type());
    completion.record(*stream_);
    Pending pending(collective, std::move(completion));
    pending.time_in(log_, index);
    return pending;
  } catch (const c10::DistError& error) {
    fail_lost(collective, error);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kInternal, describe(collective) + " was refused: " + reason_of(error));
  }
}

c10::intrusive_ptr<c10d::Work> Communicator::swap(const at::Tensor& received,
                                                  const at::Tensor& sent) {
  at::Tensor from_other = borrow(received);
  at::Tensor to_other = borrow(sent);
  std::vector<std::int64_t> splits(2, 0);
  splits[static_cast<std::size_t>(1 - rank_)] = sent.numel();
  // c10d empties the lists that it is given, so that each needs its own.
  std::vector<std::int64_t> sent_splits = splits;
  return backend_->alltoall_base(from_other, to_other, splits, sent_splits);
}

Pending Communicator::all_reduce_by_swap(const at::Tensor& tensor, ReduceOp op) {
  at::Tensor received;
  Pending pending = issue(CollectiveKind::kAllReduce, tensor, [&](bool) {
    received = at::empty({tensor.numel()}, tensor.options());
    return swap(received, tensor);
  });
  pending.then([received, op, result = tensor.view(-1)]() mutable {
    if (op == ReduceOp::kSum) {
      result.add_(received);
    } else {
      at::maximum_out(result, result, received);
    }
  });
  return pending;
}

Pending Communicator::all_reduce(const at::Tensor& tensor, ReduceOp op) {
  if (size_ == 1) return {};
  require(tensor.is_contiguous(), "the tensor of an all_reduce is not contiguous", axis_);
  if (swaps() && tensor.nbytes() <= kLargestSwap) return all_reduce_by_swap(tensor, op);
  return issue(CollectiveKind::kAllReduce, tensor, [&](bool async) {
    c10d::AllreduceOptions options;
    options.reduceOp = op == ReduceOp::kSum ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
    options.asyncOp = async;
    std::vector<at::Tensor> tensors = {borrow(tensor)};
    return backend_->allreduce(tensors, options);
  });
}

Pending Communicator::all_gather(const at::Tensor& output, const at::Tensor& input) {
  check_halves(*this, output, input);
  if (size_ == 1) {
    copy_unless_same(output, input);
    return {};
  }
  if (swaps()) {
    const at::Tensor halves = output.view({2, -1});
    copy_unless_same(halves[rank_], input);
    return issue(CollectiveKind::kAllGather, output,
                 [&](bool) { return swap(halves[1 - rank_], input); });
  }
  return issue(CollectiveKind::kAllGather, output, [&](bool async) {
    c10d::AllgatherOptions options;
    options.asyncOp = async;
    at::Tensor whole = borrow(output);
    at::Tensor part = borrow(input);
    return backend_->_allgather_base(whole, part, options);
  });
}

Pending Communicator::reduce_scatter(const at::Tensor& output, const at::Tensor& input) {
  check_halves(*this, input, output);
  if (size_ == 1) {
    copy_unless_same(output, input);
    return {};
  }
  if (!stream_) return reduce_scatter_by_exchange(output, input);
  return issue(CollectiveKind::kReduceScatter, input, [&](bool async) {
    c10d::ReduceScatterOptions options;
    options.asyncOp = async;
    at::Tensor part = borrow(output);
    at::Tensor whole = borrow(input);
    return backend_->_reduce_scatter_base(part, whole, options);
  });
}

Pending Communicator::reduce_scatter_by_exchange(const at::Tensor& output,
                                                 const at::Tensor& input) {
  at::Tensor slices;
  Pending pending = issue(CollectiveKind::kReduceScatter, input, [&](bool) {
    slices = at::empty({size_, output.numel()}, output.options());
    at::Tensor received = borrow(slices);
    at::Tensor sent = borrow(input);
    std::vector<std::int64_t> equal_received;
    std::vector<std::int64_t> equal_sent;
    return backend_->alltoall_base(received, sent, equal_received, equal_sent);
  });
  pending.then([slices, sum = output.view(-1)]() mutable {
    at::add_out(sum, slices[0], slices[1]);
    for (std::int64_t rank = 2; rank < slices.size(0); ++rank) sum.add_(slices[rank]);
  });
  return pending;
}

std::int64_t issued_collectives() { return issued_count.load(std::memory_order_relaxed); }

void set_lost_rank_handler(std::function<void(const Error&)> handler) {
  lost_rank_handler() = std::move(handler);
}

}  // namespace meshplan::executor
