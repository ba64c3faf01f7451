#include "executor/comm/gloo_exchange.h"

#include <ATen/ATen.h>

#include <functional>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>

namespace meshplan::executor {
namespace {

using WorkPointer = c10::intrusive_ptr<c10d::Work>;

/// Beyond it Gloo's ring needs less memory.
constexpr std::size_t kLargestSwap = std::size_t{4} << 20;

/// An exchange, and what is left to do with what has arrived.
class Exchange : public c10d::Work {
 public:
  Exchange(WorkPointer messages, std::function<void()> finish)
      : messages_(std::move(messages)), finish_(std::move(finish)) {}

  bool wait(std::chrono::milliseconds timeout) override {
    messages_->wait(timeout);
    std::exchange(finish_, nullptr)();
    return true;
  }

 private:
  WorkPointer messages_;
  std::function<void()> finish_;
};

/// One message each way between two ranks.
WorkPointer swap(c10d::Backend& backend, at::Tensor received, at::Tensor sent) {
  std::vector<std::int64_t> splits(2, 0);
  splits[static_cast<std::size_t>(1 - backend.getRank())] = sent.numel();
  // c10d empties the lists that it is given, so that each needs its own.
  std::vector<std::int64_t> sent_splits = splits;
  return backend.alltoall_base(received, sent, splits, sent_splits);
}

}  // namespace

WorkPointer gloo_all_reduce(c10d::Backend& backend, const at::Tensor& tensor,
                            c10d::ReduceOp::RedOpType op) {
  if (backend.getSize() != 2 || tensor.nbytes() > kLargestSwap) {
    c10d::AllreduceOptions options;
    options.reduceOp = op;
    std::vector<at::Tensor> tensors = {tensor};
    return backend.allreduce(tensors, options);
  }
  const at::Tensor received = at::empty_like(tensor);
  return c10::make_intrusive<Exchange>(swap(backend, received, tensor), [received, tensor, op] {
    if (op == c10d::ReduceOp::MAX) {
      at::maximum_out(const_cast<at::Tensor&>(tensor), tensor, received);
    } else {
      tensor.add_(received);
    }
  });
}

WorkPointer gloo_all_gather(c10d::Backend& backend, const at::Tensor& output,
                            const at::Tensor& input) {
  if (backend.getSize() != 2) {
    at::Tensor whole = output;
    at::Tensor part = input;
    return backend._allgather_base(whole, part);
  }
  const at::Tensor halves = output.view({2, -1});
  const at::Tensor own = halves[backend.getRank()];
  if (own.data_ptr() != input.data_ptr()) own.copy_(input);
  return swap(backend, halves[1 - backend.getRank()], input);
}

WorkPointer gloo_reduce_scatter(c10d::Backend& backend, const at::Tensor& output,
                                const at::Tensor& input) {
  const at::Tensor slices = at::empty({backend.getSize(), output.numel()}, output.options());
  at::Tensor received = slices.view(-1);
  at::Tensor sent = input;
  std::vector<std::int64_t> equal_received;
  std::vector<std::int64_t> equal_sent;
  return c10::make_intrusive<Exchange>(
      backend.alltoall_base(received, sent, equal_received, equal_sent), [slices, output] {
        at::add_out(const_cast<at::Tensor&>(output), slices[0], slices[1]);
        for (std::int64_t rank = 2; rank < slices.size(0); ++rank) output.add_(slices[rank]);
      });
}

}  // namespace meshplan::executor
