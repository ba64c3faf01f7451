#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

namespace meshplan::executor {

/// Issues a reduce-scatter that sends each rank its slice and adds up what arrives, in rank order,
/// when it is waited for: (n-1)/n of `input` on the wire and one copy of it in memory. Gloo's own
/// all-reduces all of the input. output [n], input [size * n]; both live until then.
c10::intrusive_ptr<c10d::Work> exchange_reduce_scatter(c10d::Backend& backend,
                                                       const at::Tensor& output,
                                                       const at::Tensor& input);

}  // namespace meshplan::executor
