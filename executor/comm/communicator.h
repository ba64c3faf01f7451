#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "common/error.h"
#include "executor/comm/collective_log.h"
#include "planner/layout/device_mesh.h"

namespace c10 {
struct Event;
}  // namespace c10

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

namespace meshplan::executor {

enum class ReduceOp { kSum, kMax };

/// A collective that has been issued. Its tensors must stay alive, and unread and unwritten, until
/// wait(): declare a Pending after them, since its destructor waits (and keeps silent about errors)
/// where wait() was not reached.
class Pending {
 public:
  Pending();
  Pending(const IssuedCollective& collective, c10::intrusive_ptr<c10d::Work> work);
  Pending(const IssuedCollective& collective, c10::Event&& completion);
  Pending(Pending&& other) noexcept;
  Pending& operator=(Pending&& other) noexcept;
  ~Pending();

  /// Returns when the result may be used: on CPU when the data is there, on CUDA after the current
  /// stream was made to wait. Throws kRankLost when the group broke. A second call, or one without
  /// a collective, does nothing.
  void wait();

  /// Has wait() call `finish` once the data is there. Only on a collective that was not waited for.
  void then(std::function<void()> finish);

  /// Has wait() mark the end of the collective with that index in the log; null marks nothing.
  void time_in(CollectiveLog* log, std::size_t index);

 private:
  struct InFlight;
  std::unique_ptr<InFlight> in_flight_;
};

/// The ranks that differ on one axis of the mesh. Collectives are issued in the same order by all
/// of them, and every one is written to the log as it is issued; a group of one communicates
/// nothing and logs nothing. The tensors given are contiguous, of float32, bfloat16, float64 or
/// int64. The group keeps no reference to them: freeing them after wait() frees their memory. On
/// CPU a collective runs on the group's own threads, on CUDA on a stream of high priority of its
/// own.
class Communicator {
 public:
  /// A group of one.
  explicit Communicator(planner::Axis axis);
  /// `log` may be null; otherwise it outlives the group.
  Communicator(planner::Axis axis, std::int64_t rank, std::int64_t size,
               c10::intrusive_ptr<c10d::Backend> backend, CollectiveLog* log);
  Communicator(const Communicator&);
  Communicator& operator=(const Communicator&) = delete;
  ~Communicator();

  planner::Axis axis() const { return axis_; }
  std::int64_t rank() const { return rank_; }
  std::int64_t size() const { return size_; }

  /// In place over all ranks of the group.
  Pending all_reduce(const at::Tensor& tensor, ReduceOp op);
  /// output [size * n] = the inputs [n] in rank order; `input` may be this rank's slice of output.
  Pending all_gather(const at::Tensor& output, const at::Tensor& input);
  /// output [n] = this rank's slice of the sum of the inputs [size * n].
  Pending reduce_scatter(const at::Tensor& output, const at::Tensor& input);

  /// The same group, whose collectives are not logged: for what is no part of a training step.
  Communicator unlogged() const;

 private:
  template <class Call>
  Pending issue(planner::CollectiveKind kind, const at::Tensor& sized, Call&& call);

  /// On CPU: every rank sends each other one its slice, and adds up, in rank order, what it gets.
  /// c10d's reduce-scatter over Gloo all-reduces a copy of the whole input: twice the bytes.
  Pending reduce_scatter_by_exchange(const at::Tensor& output, const at::Tensor& input);

  /// On CPU a group of two swaps tensors: one message each way, which lands in its place, where
  /// c10d's collectives over Gloo take several and copy.
  bool swaps() const { return !stream_ && size_ == 2; }
  c10::intrusive_ptr<c10d::Work> swap(const at::Tensor& received, const at::Tensor& sent);
  Pending all_reduce_by_swap(const at::Tensor& tensor, ReduceOp op);

  planner::Axis axis_;
  std::int64_t rank_ = 0;
  std::int64_t size_ = 1;
  c10::intrusive_ptr<c10d::Backend> backend_;
  CollectiveLog* log_ = nullptr;
  std::optional<c10::Stream> stream_;
};

/// Collectives that this process has issued, logged or not, since it started. Any thread may ask.
std::int64_t issued_collectives();

/// Called with the error, on the thread that waits, before a collective throws kRankLost: a handler
/// that ends the process keeps the stack from unwinding under other collectives in flight. None by
/// default.
void set_lost_rank_handler(std::function<void(const common::Error&)> handler);

}  // namespace meshplan::executor
