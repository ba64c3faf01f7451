#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>
#include <c10/util/intrusive_ptr.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "common/error.h"
#include "executor/comm/collective_log.h"
#include "planner/layout/device_mesh.h"

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
  /// What c10d's threads do.
  Pending(const IssuedCollective& collective, c10::intrusive_ptr<c10d::Work> work);
  /// What a stream does, up to the mark.
  Pending(const IssuedCollective& collective, DeviceMark completion);
  Pending(Pending&& other) noexcept;
  Pending& operator=(Pending&& other) noexcept;
  ~Pending();

  /// Returns when the result may be used: where c10d's threads communicate when the data is there,
  /// on a stream at once, after the current stream was made to wait. Throws kRankLost when the
  /// group broke. A second call, or one without a collective, does nothing.
  void wait();

  /// Has wait() mark the end of the collective with that index in the log; null marks nothing.
  void time_in(CollectiveLog* log, std::size_t index);
  /// Has wait() copy `staged`, which the collective fills on the host, to its place on a device.
  void then_copy(const at::Tensor& staged, const at::Tensor& place);

 private:
  struct InFlight;
  std::unique_ptr<InFlight> in_flight_;
};

/// The ranks that differ on one axis of the mesh. Collectives are issued in the same order by all
/// of them, and every one is written to the log as it is issued; a group of one communicates
/// nothing and logs nothing. The tensors given are contiguous, of float32, bfloat16, float64 or
/// int64 (on CUDA float16 too). The group keeps no reference to them: freeing them after wait()
/// frees their memory, on a device for work that the current stream is given later.
///
/// Over Gloo a collective runs on the group's own threads; tensors of a device are first copied to
/// the host, which waits for them, and the result is copied back in wait(). Over NCCL it runs on a
/// stream of high priority, behind what the current stream was given before, and the host never
/// waits. Gathers and reductions over an axis other than tp have a stream each, so that neither
/// waits for the other's inputs; tp's collectives, which the next kernel waits for, share one.
class Communicator {
 public:
  /// A group of one.
  explicit Communicator(planner::Axis axis);
  /// Streams are used where the backend is bound to a device. `log` may be null; otherwise it
  /// outlives the group.
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
  /// Whether there is anybody to communicate with.
  bool is_alone() const { return !backend_; }
  /// call(output, input, asynchronous) hands the collective to c10d.
  template <class Call>
  Pending issue(planner::CollectiveKind kind, const at::Tensor& output, const at::Tensor& input,
                const Call& call);
  template <class Call>
  Pending issue_on_threads(const IssuedCollective& collective, const at::Tensor& output,
                           const at::Tensor& input, const Call& call);
  template <class Call>
  Pending issue_on_stream(const IssuedCollective& collective, std::size_t index,
                          const at::Tensor& output, const at::Tensor& input, const Call& call);
  const c10::Stream& stream_for(planner::CollectiveKind kind) const;

  planner::Axis axis_;
  std::int64_t rank_ = 0;
  std::int64_t size_ = 1;
  c10::intrusive_ptr<c10d::Backend> backend_;
  CollectiveLog* log_ = nullptr;
  /// For gathers and for reductions; none over Gloo.
  std::array<std::optional<c10::Stream>, 2> streams_;
};

/// Collectives that this process has issued, logged or not, since it started. Any thread may ask.
std::int64_t issued_collectives();

/// Called with the error, on the thread that waits, before a collective throws kRankLost: a handler
/// that ends the process keeps the stack from unwinding under other collectives in flight. None by
/// default.
void set_lost_rank_handler(std::function<void(const common::Error&)> handler);

}  // namespace meshplan::executor
