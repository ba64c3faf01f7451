#include "executor/calibrate/kernel_work.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>

#include "executor/kernels/cross_entropy.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/rope.h"
#include "executor/kernels/squares.h"
#include "executor/kernels/swiglu.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/causal_attention.h"
#include "executor/layers/linear.h"
#include "planner/program/expand.h"
#include "planner/program/step_program.h"

namespace meshplan::executor {
namespace {

using planner::KernelKind;
using planner::Operation;
using planner::StepContext;

/// Tensors of one shape, of which each call takes the next.
class Cycle {
 public:
  Cycle(std::int64_t count, at::IntArrayRef shape, const at::TensorOptions& options) {
    for (std::int64_t i = 0; i < count; ++i) tensors_.push_back(at::rand(shape, options));
  }
  const at::Tensor& next() { return tensors_[next_++ % tensors_.size()]; }

 private:
  std::vector<at::Tensor> tensors_;
  std::size_t next_ = 0;
};

/// Makes the work of kernels by their names in the program.
class Workshop {
 public:
  Workshop(const StepContext& context, at::ScalarType type, at::Device device)
      : c_(context), options_(at::TensorOptions(type).device(device)) {}

  /// Nothing for a kernel that is not measured.
  std::function<void()> work(const Operation& operation) const {
    const std::string_view name = operation.name;
    if (operation.kernel == KernelKind::kMatmul) return matmul(operation);
    if (operation.kernel == KernelKind::kAttention) return attention(name.ends_with("backward"));
    if (name == "input_norm" || name == "input_norm backward")
      return norm(name.ends_with("backward"));
    if (name == "swiglu" || name == "swiglu backward") return gate(name.ends_with("backward"));
    if (name == "rope") return rope();
    if (name == "attention_residual") return residual();
    if (name == "logits sum") return exponentials();
    if (name == "gradient_norm") return squares(operation);
    if (name == "adamw") return adamw(operation);
    return {};
  }

 private:
  at::Tensor random(at::IntArrayRef shape) const { return at::rand(shape, options_); }
  at::TensorOptions statistics() const {
    return options_.dtype(statistics_type(c10::typeMetaToScalarType(options_.dtype())));
  }
  /// A tensor for each block, within reason.
  std::shared_ptr<Cycle> each_block(at::IntArrayRef shape) const {
    constexpr std::int64_t kMostElements = std::int64_t{1} << 24;
    const std::int64_t count =
        std::clamp<std::int64_t>(kMostElements / c10::multiply_integers(shape), 1,
                                 std::min<std::int64_t>(8, c_.model.num_hidden_layers));
    return std::make_shared<Cycle>(count, shape, options_);
  }

  /// The program's [m, k] x [k, n] as the layer's forward pass, input gradient or weight gradient.
  std::function<void()> matmul(const Operation& o) const {
    const std::string_view name = o.name;
    if (name.ends_with("weight gradient")) {
      return [grad_out = random({o.k, o.m}), x = random({o.k, o.n}),
              grad = each_block({o.m, o.n})] { linear_backward_weight(grad_out, x, grad->next()); };
    }
    const at::Tensor in = random({o.m, o.k});
    const at::Tensor out = random({o.m, o.n});
    if (name.ends_with("input gradient")) {
      return [in, out, weight = each_block({o.k, o.n})] {
        linear_backward_input(in, weight->next(), out);
      };
    }
    return [in, out, weight = each_block({o.n, o.k})] { linear(in, weight->next(), {}, out); };
  }

  at::Tensor heads(std::int64_t count) const {
    const std::int64_t sequence = c_.job.seq_length;
    return random({c_.tokens / sequence, sequence, count, c_.model.head_dim}).transpose(1, 2);
  }

  std::function<void()> attention(bool backward) const {
    const at::Tensor q = heads(c_.heads);
    const at::Tensor k = heads(c_.kv_heads);
    const at::Tensor v = heads(c_.kv_heads);
    if (!backward) return [q, k, v] { causal_attention(q, k, v); };
    return [q, k, v, grad = heads(c_.heads), output = causal_attention(q, k, v)] {
      causal_attention_backward(grad, q, k, v, output);
    };
  }

  std::function<void()> norm(bool backward) const {
    const std::int64_t hidden = c_.model.hidden_size;
    const at::Tensor x = random({c_.residual_tokens, hidden});
    const at::Tensor weight = random({hidden});
    const at::Tensor statistic = at::rand({c_.residual_tokens}, statistics());
    const at::Tensor other = random({c_.residual_tokens, hidden});
    if (!backward) {
      return [=, eps = c_.model.rms_norm_eps] { rms_norm(x, weight, eps, other, statistic); };
    }
    const at::Tensor grad_x = random({c_.residual_tokens, hidden});
    return [=, grad_weight = random({hidden})] {
      rms_norm_backward(x, weight, statistic, other, grad_x, grad_weight);
    };
  }

  std::function<void()> gate(bool backward) const {
    const at::Tensor act = random({c_.tokens, c_.intermediate});
    const auto gate_up = each_block({c_.tokens, 2 * c_.intermediate});
    if (backward) return [=] { swiglu_backward(gate_up->next(), act); };
    return [=] { swiglu(gate_up->next(), act); };
  }

  std::function<void()> rope() const {
    const auto table = std::make_shared<RopeTable>(make_rope_table(
        c_.model.rope, c_.model.head_dim, c_.job.seq_length, at::kFloat, options_.device()));
    const at::Tensor rows = random({c_.tokens, (c_.heads + c_.kv_heads) * c_.model.head_dim});
    return [=] { rotate(*table, Rotation::kForward, rows, rows); };
  }

  std::function<void()> residual() const {
    const at::Tensor x = random({c_.residual_tokens, c_.model.hidden_size});
    const at::Tensor y = random({c_.residual_tokens, c_.model.hidden_size});
    return [=] { at::Tensor(y).add_(x); };
  }

  std::function<void()> exponentials() const {
    const std::int64_t rows = std::max<std::int64_t>(1, c_.tokens / c_.layout.loss_chunks);
    const at::Tensor logits = at::rand({rows, c_.vocab_rows}, statistics());
    const at::Tensor max = at::rand({rows}, statistics());
    const at::Tensor sums = at::empty({2, rows}, statistics());
    const at::Tensor labels = at::zeros({rows}, options_.dtype(at::kLong));
    return [=, slice = VocabularySlice{0, c_.vocab_rows}] {
      cross_entropy_exp(logits, slice, max, labels, sums);
    };
  }

  std::function<void()> squares(const Operation& o) const {
    const std::vector<at::Tensor> gradient = {at::rand({o.bytes.value / 4}, statistics())};
    return [=] { sum_of_squares(gradient); };
  }

  /// In float32 whatever the parameters' type: 28 bytes an element.
  std::function<void()> adamw(const Operation& o) const {
    const auto list = [&] {
      return std::vector<at::Tensor>{at::rand({o.bytes.value / 28}, statistics())};
    };
    const std::vector<at::Tensor> step = {at::full({}, 1.0, statistics())};
    return [step, master = list(), gradient = list(), first = list(), second = list()] {
      at::_fused_adamw_(master, gradient, first, second, {}, step, 1e-5, 0.9, 0.999, 0.01, 1e-8,
                        /*amsgrad=*/false, /*maximize=*/false);
    };
  }

  const StepContext& c_;
  at::TensorOptions options_;
};

KernelWork work_of(const Workshop& workshop, Operation operation) {
  constexpr common::Bytes kMostOfAdamw(std::int64_t{28} << 24);
  if (operation.kernel == KernelKind::kElementwise)
    operation.bytes = std::min(operation.bytes, kMostOfAdamw);
  return {.operation = operation, .share = 0, .run = workshop.work(operation)};
}

}  // namespace

std::vector<KernelWork> step_kernels(const StepContext& context, at::ScalarType type,
                                     at::Device device) {
  const Workshop workshop(context, type, device);
  std::vector<KernelWork> works;
  std::map<std::string_view, std::size_t> known;
  const planner::StepProgram program =
      planner::build_program(context.model, context.job, context.layout);
  for (const planner::Instruction& instruction : planner::unroll(program)) {
    for (const Operation& operation : planner::expand(context, instruction)) {
      if (operation.kind != planner::OperationKind::kKernel || operation.bytes.value == 0) continue;
      const auto [place, is_new] = known.try_emplace(operation.name, works.size());
      if (is_new) works.push_back(work_of(workshop, operation));
      KernelWork& work = works[place->second];
      work.share += static_cast<double>(operation.bytes.value) /
                    static_cast<double>(work.operation.bytes.value);
    }
  }
  std::erase_if(works, [](const KernelWork& work) { return !work.run; });
  return works;
}

std::function<void()> smallest_kernel(at::Device device) {
  const at::Tensor x = at::rand({1, 64}, at::TensorOptions(at::kFloat).device(device));
  const at::Tensor weight = at::rand({64}, x.options());
  const at::Tensor statistic = at::rand({1}, x.options());
  return [=] { apply_rms_norm(x, weight, statistic, at::empty_like(x)); };
}

}  // namespace meshplan::executor
