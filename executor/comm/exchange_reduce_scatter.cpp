#include "executor/comm/exchange_reduce_scatter.h"

#include <ATen/ATen.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>

namespace meshplan::executor {
namespace {

/// The exchange, and the sum after it.
class ExchangedSum : public c10d::Work {
 public:
  ExchangedSum(c10::intrusive_ptr<c10d::Work> exchange, at::Tensor slices, at::Tensor output)
      : exchange_(std::move(exchange)), slices_(std::move(slices)), output_(std::move(output)) {}

  bool wait(std::chrono::milliseconds timeout) override {
    exchange_->wait(timeout);
    at::add_out(output_, slices_[0], slices_[1]);
    for (std::int64_t rank = 2; rank < slices_.size(0); ++rank) output_.add_(slices_[rank]);
    slices_.reset();
    return true;
  }

 private:
  c10::intrusive_ptr<c10d::Work> exchange_;
  at::Tensor slices_;
  at::Tensor output_;
};

}  // namespace

c10::intrusive_ptr<c10d::Work> exchange_reduce_scatter(c10d::Backend& backend,
                                                       const at::Tensor& output,
                                                       const at::Tensor& input) {
  at::Tensor slices = at::empty({backend.getSize(), output.numel()}, output.options());
  at::Tensor received = slices.view(-1);
  at::Tensor sent = input.view(-1);
  std::vector<std::int64_t> equal_splits;
  auto exchange = backend.alltoall_base(received, sent, equal_splits, equal_splits);
  return c10::make_intrusive<ExchangedSum>(std::move(exchange), std::move(slices),
                                           output.view(-1));
}

}  // namespace meshplan::executor
