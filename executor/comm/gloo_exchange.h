#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <torch/csrc/distributed/c10d/Types.hpp>

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

/// Collectives over Gloo as one exchange of messages, finished by the thread that waits. c10d's own
/// take several rounds, and copies of whole tensors: its reduce-scatter all-reduces all of its
/// input, its all-gather fills a second output. Tensors are flat and live until the work is waited
/// for; what the exchange allocates dies with the work.
namespace meshplan::executor {

/// In place. Two ranks swap whole tensors of up to 4 MiB; larger ones and groups go round Gloo's
/// ring.
c10::intrusive_ptr<c10d::Work> gloo_all_reduce(c10d::Backend& backend, const at::Tensor& tensor,
                                               c10d::ReduceOp::RedOpType op);

/// output [size * n] = the inputs [n] in rank order. Two ranks swap theirs.
c10::intrusive_ptr<c10d::Work> gloo_all_gather(c10d::Backend& backend, const at::Tensor& output,
                                               const at::Tensor& input);

/// output [n] = this rank's slice of the sum of the inputs [size * n], added up in rank order: each
/// rank sends the others theirs.
c10::intrusive_ptr<c10d::Work> gloo_reduce_scatter(c10d::Backend& backend, const at::Tensor& output,
                                                   const at::Tensor& input);

}  // namespace meshplan::executor
