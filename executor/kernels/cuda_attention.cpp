#include "executor/kernels/cuda_attention.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <map>
#include <tuple>

#include "common/error.h"
#include "executor/kernels/composed.h"

namespace meshplan::executor::cuda_attention {
namespace {

/// As at::_scaled_dot_product_*_attention take it.
constexpr double kNoDropout = 0.0;

at::Tensor for_query_heads(const at::Tensor& heads, const at::Tensor& q) {
  return heads.size(1) == q.size(1) ? heads : heads.repeat_interleave(q.size(1) / heads.size(1), 1);
}

at::Tensor sum_over_group(const at::Tensor& grad, std::int64_t kv_heads) {
  return grad.size(1) == kv_heads ? grad
                                  : grad.unflatten(1, {kv_heads, grad.size(1) / kv_heads}).sum(2);
}

/// Places 0, 1, 6 and 7 of what flash's and cuDNN's functions return.
template <class Result>
Output output_of(const Result& result) {
  return {std::get<0>(result), std::get<1>(result), std::get<6>(result), std::get<7>(result)};
}

template <class Result>
Gradients gradients_of(const Result& result) {
  return {std::get<0>(result), std::get<1>(result), std::get<2>(result)};
}

Gradients efficient_backward(const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v, const Output& output) {
  const auto [grad_q, grad_k, grad_v, grad_bias] =
      at::_scaled_dot_product_efficient_attention_backward(
          grad_out, q, for_query_heads(k, q), for_query_heads(v, q), /*attn_bias=*/{}, output.out,
          output.log_sum_exp, output.random_seed, output.random_offset, kNoDropout,
          std::array<bool, 4>{true, true, true, false}, /*is_causal=*/true);
  return {grad_q, sum_over_group(grad_k, k.size(1)), sum_over_group(grad_v, v.size(1))};
}

/// Random heads of one sequence, in memory as a row of qkv has them.
struct Trial {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
  at::Tensor grad_out;

  Trial(const at::Tensor& like_q, const at::Tensor& like_k) {
    const auto heads = [&](const at::Tensor& like) {
      // Of its own generator: the run's random numbers do not depend on the choice.
      const at::Tensor wave =
          at::arange(like.size(1) * like.size(2) * like.size(3), like.options().dtype(at::kFloat));
      return wave.mul_(0.7)
          .sin_()
          .to(like.scalar_type())
          .view({1, like.size(2), like.size(1), like.size(3)})
          .transpose(1, 2);
    };
    q = heads(like_q);
    k = heads(like_k);
    v = heads(like_k).flip(2);
    grad_out = heads(like_q).flip(3);
  }

  std::tuple<Output, Gradients> run(Algorithm algorithm) const {
    Output output = forward(algorithm, q, k, v);
    Gradients gradients = backward(algorithm, grad_out, q, k, v, output);
    return {std::move(output), std::move(gradients)};
  }

  double milliseconds(Algorithm algorithm) const {
    constexpr int kWarmUp = 2;
    constexpr int kRounds = 5;
    const c10::Stream stream = c10::impl::VirtualGuardImpl(q.device().type()).getStream(q.device());
    c10::Event begin(q.device().type(), c10::EventFlag::BACKEND_DEFAULT);
    c10::Event end(q.device().type(), c10::EventFlag::BACKEND_DEFAULT);
    for (int i = 0; i < kWarmUp; ++i) run(algorithm);
    begin.record(stream);
    for (int i = 0; i < kRounds; ++i) run(algorithm);
    end.record(stream);
    end.synchronize();
    return begin.elapsedTime(end) / kRounds;
  }
};

bool agree(const at::Tensor& a, const at::Tensor& b) {
  constexpr double kTolerance = 2e-2;
  const at::Tensor exact = b.to(at::kFloat);
  const at::Tensor difference = (a.to(at::kFloat) - exact).abs().max();
  return (difference <= kTolerance * exact.abs().max()).item<bool>();
}

bool agree(const std::tuple<Output, Gradients>& a, const std::tuple<Output, Gradients>& b) {
  const auto& [output_a, gradients_a] = a;
  const auto& [output_b, gradients_b] = b;
  return agree(output_a.out, output_b.out) && agree(gradients_a.q, gradients_b.q) &&
         agree(gradients_a.k, gradients_b.k) && agree(gradients_a.v, gradients_b.v);
}

Algorithm choose_by_trial(const at::Tensor& q, const at::Tensor& k) {
  const Trial trial(q, k);
  try {
    if (!agree(trial.run(Algorithm::kCudnn), trial.run(Algorithm::kFlash))) {
      spdlog::warn("attention: cuDNN's results differ from flash's; using flash");
      return Algorithm::kFlash;
    }
    const double cudnn = trial.milliseconds(Algorithm::kCudnn);
    const double flash = trial.milliseconds(Algorithm::kFlash);
    const Algorithm faster = cudnn < flash ? Algorithm::kCudnn : Algorithm::kFlash;
    spdlog::info("attention {} query and {} key heads x {} x {}: flash {:.3f} ms, cuDNN {:.3f} ms",
                 q.size(1), k.size(1), q.size(2), q.size(3), flash, cudnn);
    return faster;
  } catch (const c10::Error& error) {
    spdlog::info("attention: cuDNN does not serve this shape; using flash");
    return Algorithm::kFlash;
  }
}

Algorithm choose_for_half(const at::Tensor& q, const at::Tensor& k) {
  if (at::globalContext().deterministicAlgorithms()) return Algorithm::kFlash;
  const char* const text = std::getenv("MESHPLAN_ATTENTION");
  const std::string named = text == nullptr ? "" : text;
  if (named == "flash") return Algorithm::kFlash;
  if (named == "cudnn") return Algorithm::kCudnn;
  if (!named.empty() && named != "auto") {
    throw common::Error(common::ErrorCode::kInvalidInput, named + ": use auto, flash or cudnn",
                        "MESHPLAN_ATTENTION");
  }
  using Key = std::array<std::int64_t, 5>;
  static std::map<Key, Algorithm> chosen;
  const Key key{static_cast<std::int64_t>(q.scalar_type()), q.size(1), k.size(1), q.size(2),
                q.size(3)};
  if (const auto known = chosen.find(key); known != chosen.end()) return known->second;
  return chosen.emplace(key, choose_by_trial(q, k)).first->second;
}

}  // namespace

std::string to_string(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kFlash:
      return "flash";
    case Algorithm::kCudnn:
      return "cudnn";
    case Algorithm::kEfficient:
      return "efficient";
    case Algorithm::kComposed:
      return "composed";
  }
  return "";
}

Algorithm choose(const at::Tensor& q, const at::Tensor& k) {
  const std::int64_t head_dim = q.size(-1);
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  // Heads of a multiple of 16 bytes; cuDNN's backward pass goes to 128 elements.
  if (half && head_dim % 8 == 0 && head_dim <= 128) return choose_for_half(q, k);
  if (half && head_dim % 8 == 0 && head_dim <= 256) return Algorithm::kFlash;
  if (q.scalar_type() == at::kFloat && head_dim % 4 == 0) return Algorithm::kEfficient;
  return Algorithm::kComposed;
}

Output forward(Algorithm algorithm, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  switch (algorithm) {
    case Algorithm::kFlash:
      return output_of(
          at::_scaled_dot_product_flash_attention(q, k, v, kNoDropout, /*is_causal=*/true));
    case Algorithm::kCudnn:
      return output_of(at::_scaled_dot_product_cudnn_attention(
          q, k, v, /*attn_bias=*/std::nullopt, /*compute_log_sumexp=*/true, kNoDropout,
          /*is_causal=*/true));
    case Algorithm::kEfficient: {
      auto [out, log_sum_exp, seed, offset] = at::_scaled_dot_product_efficient_attention(
          q, for_query_heads(k, q), for_query_heads(v, q), /*attn_bias=*/{},
          /*compute_log_sumexp=*/true, kNoDropout, /*is_causal=*/true);
      return {std::move(out), std::move(log_sum_exp), std::move(seed), std::move(offset)};
    }
    case Algorithm::kComposed:
      break;
  }
  auto [out, log_sum_exp] = composed::causal_attention(q, k, v);
  return {std::move(out), std::move(log_sum_exp), {}, {}};
}

Gradients backward(Algorithm algorithm, const at::Tensor& grad_out, const at::Tensor& q,
                   const at::Tensor& k, const at::Tensor& v, const Output& output) {
  const std::int64_t sequence = q.size(2);
  switch (algorithm) {
    case Algorithm::kFlash:
      return gradients_of(at::_scaled_dot_product_flash_attention_backward(
          grad_out, q, k, v, output.out, output.log_sum_exp, /*cum_seq_q=*/{}, /*cum_seq_k=*/{},
          sequence, sequence, kNoDropout, /*is_causal=*/true, output.random_seed,
          output.random_offset));
    case Algorithm::kCudnn:
      return gradients_of(at::_scaled_dot_product_cudnn_attention_backward(
          grad_out, q, k, v, output.out, output.log_sum_exp, output.random_seed,
          output.random_offset, /*attn_bias=*/{}, /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, sequence,
          sequence, kNoDropout, /*is_causal=*/true));
    case Algorithm::kEfficient:
      return efficient_backward(grad_out, q, k, v, output);
    case Algorithm::kComposed:
      break;
  }
  auto [grad_q, grad_k, grad_v] =
      composed::causal_attention_backward(grad_out, q, k, v, output.out, output.log_sum_exp);
  return {std::move(grad_q), std::move(grad_k), std::move(grad_v)};
}

}  // namespace meshplan::executor::cuda_attention
