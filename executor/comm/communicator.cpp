#include "executor/comm/communicator.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>

#include "executor/comm/gloo_exchange.h"
#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using planner::CollectiveKind;

std::atomic<std::int64_t> issued_count{0};

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

/// The larger of both: the whole tensor.
common::Bytes size_of(const at::Tensor& output, const at::Tensor& input) {
  return common::Bytes(static_cast<std::int64_t>(std::max(output.nbytes(), input.nbytes())));
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

}  // namespace

/// One of the two: c10d's handle, or the mark behind the collective on its stream.
struct Pending::InFlight {
  IssuedCollective collective;
  c10::intrusive_ptr<c10d::Work> work = {};
  DeviceMark completion = {};
  CollectiveLog* log = nullptr;
  std::size_t index = 0;
  /// Copied one to the other at the end, where defined.
  at::Tensor staged = {};
  at::Tensor place = {};

  void wait() {
    if (completion) completion->block(current_stream(completion->device()));
    const LibraryScope scope;
    if (work) work->wait();
    if (staged.defined()) place.copy_(staged);
    staged.reset();
    place.reset();
  }
};

Pending::Pending() = default;
Pending::Pending(Pending&& other) noexcept = default;

Pending::Pending(const IssuedCollective& collective, c10::intrusive_ptr<c10d::Work> work)
    : in_flight_(new InFlight{.collective = collective, .work = std::move(work)}) {}

Pending::Pending(const IssuedCollective& collective, DeviceMark completion)
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

void Pending::then_copy(const at::Tensor& staged, const at::Tensor& place) {
  in_flight_->staged = staged;
  in_flight_->place = place;
}

Communicator::Communicator(const Communicator&) = default;
Communicator::~Communicator() = default;

Communicator::Communicator(planner::Axis axis) : axis_(axis) {}

Communicator::Communicator(planner::Axis axis, std::int64_t rank, std::int64_t size,
                           c10::intrusive_ptr<c10d::Backend> backend, CollectiveLog* log)
    : axis_(axis), rank_(rank), size_(size), backend_(std::move(backend)), log_(log) {
  if (!backend_ || !backend_->getBoundDeviceId()) return;
  const c10::Device device = *backend_->getBoundDeviceId();
  const c10::impl::VirtualGuardImpl streams(device.type());
  streams_[0] = streams.getStreamFromGlobalPool(device, /*isHighPriority=*/true);
  streams_[1] = axis == planner::Axis::kTp
                    ? streams_[0]
                    : streams.getStreamFromGlobalPool(device, /*isHighPriority=*/true);
}

Communicator Communicator::unlogged() const {
  Communicator same = *this;
  same.log_ = nullptr;
  return same;
}

const c10::Stream& Communicator::stream_for(CollectiveKind kind) const {
  return *streams_[kind == CollectiveKind::kAllGather ? 0 : 1];
}

template <class Call>
Pending Communicator::issue_on_threads(const IssuedCollective& collective, const at::Tensor& output,
                                       const at::Tensor& input, const Call& call) {
  if (output.is_cpu())
    return {collective, call(borrow(output), borrow(input), /*asynchronous=*/true)};
  const at::Tensor staged_input = input.cpu();
  const bool in_place = output.is_same(input);
  const at::Tensor staged = in_place ? staged_input : at::empty_like(output, at::kCPU);
  Pending pending(collective, call(staged.view(-1), staged_input.view(-1), /*asynchronous=*/true));
  pending.then_copy(staged, output);
  return pending;
}

template <class Call>
Pending Communicator::issue_on_stream(const IssuedCollective& collective, std::size_t index,
                                      const at::Tensor& output, const at::Tensor& input,
                                      const Call& call) {
  const c10::Stream& stream = stream_for(collective.kind);
  c10::Event ready(stream.device_type());
  ready.record(current_stream(stream.device()));
  ready.block(stream);
  // c10d puts a synchronous collective on the current stream, without a hop to one of its own.
  const c10::StreamGuard guard(stream);
  const DeviceMark begin = log_ != nullptr ? mark(stream) : nullptr;
  call(borrow(output), borrow(input), /*asynchronous=*/false);
  DeviceMark completion = mark(stream);
  if (log_ != nullptr) log_->set_marks(index, begin, completion);
  return {collective, std::move(completion)};
}

template <class Call>
Pending Communicator::issue(CollectiveKind kind, const at::Tensor& output, const at::Tensor& input,
                            const Call& call) {
  const IssuedCollective collective{kind, axis_, size_of(output, input)};
  const std::size_t index = log_ != nullptr ? log_->add(collective) : 0;
  issued_count.fetch_add(1, std::memory_order_relaxed);
  const LibraryScope scope;
  try {
    Pending pending = streams_[0] ? issue_on_stream(collective, index, output, input, call)
                                  : issue_on_threads(collective, output, input, call);
    pending.time_in(log_, index);
    return pending;
  } catch (const c10::DistError& error) {
    fail_lost(collective, error);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kInternal, describe(collective) + " was refused: " + reason_of(error));
  }
}

Pending Communicator::all_reduce(const at::Tensor& tensor, ReduceOp op) {
  if (is_alone()) return {};
  require(tensor.is_contiguous(), "the tensor of an all_reduce is not contiguous", axis_);
  return issue(CollectiveKind::kAllReduce, tensor, tensor,
               [&](const at::Tensor& whole, const at::Tensor&, bool asynchronous) {
                 const auto type = op == ReduceOp::kSum ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
                 if (asynchronous) return gloo_all_reduce(*backend_, whole, type);
                 c10d::AllreduceOptions options;
                 options.reduceOp = type;
                 options.asyncOp = false;
                 std::vector<at::Tensor> tensors = {whole};
                 return backend_->allreduce(tensors, options);
               });
}

Pending Communicator::all_gather(const at::Tensor& output, const at::Tensor& input) {
  check_halves(*this, output, input);
  if (is_alone()) {
    copy_unless_same(output, input);
    return {};
  }
  return issue(CollectiveKind::kAllGather, output, input,
               [&](at::Tensor whole, at::Tensor part, bool asynchronous) {
                 if (asynchronous) return gloo_all_gather(*backend_, whole, part);
                 c10d::AllgatherOptions options;
                 options.asyncOp = false;
                 return backend_->_allgather_base(whole, part, options);
               });
}

Pending Communicator::reduce_scatter(const at::Tensor& output, const at::Tensor& input) {
  check_halves(*this, input, output);
  if (is_alone()) {
    copy_unless_same(output, input);
    return {};
  }
  return issue(CollectiveKind::kReduceScatter, output, input,
               [&](at::Tensor part, at::Tensor whole, bool asynchronous) {
                 if (asynchronous) return gloo_reduce_scatter(*backend_, part, whole);
                 c10d::ReduceScatterOptions options;
                 options.asyncOp = false;
                 return backend_->_reduce_scatter_base(part, whole, options);
               });
}

std::int64_t issued_collectives() { return issued_count.load(std::memory_order_relaxed); }

void set_lost_rank_handler(std::function<void(const Error&)> handler) {
  lost_rank_handler() = std::move(handler);
}

}  // namespace meshplan::executor
