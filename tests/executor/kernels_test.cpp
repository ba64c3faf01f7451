#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "executor/kernels/accumulate.h"
#include "executor/kernels/composed.h"
#include "executor/kernels/embedding_rows.h"
#include "executor/kernels/qk_norm.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/rope.h"
#include "executor/kernels/swiglu.h"
#include "executor/kernels/vector_loops.h"
#include "executor/memory/counting_allocator.h"
#include "tests/executor/parity.h"

// Every fused CPU kernel against its composition of ATen calls, which other devices run. The
// layers' tests hold the fused ones against autograd.

namespace meshplan::executor {
namespace {

constexpr int kCases = 20;
constexpr double kEps = 1e-5;

struct Shape {
  std::int64_t batch, sequence, heads, head_dim, width;
  std::int64_t tokens() const { return batch * sequence; }
};

Shape random_shape(std::mt19937& random) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  return {pick(1, 3), pick(1, 40), pick(1, 5), 2 * pick(1, 40), pick(1, 200)};
}

/// Runs body(type, shape) over random shapes in all element types.
template <class Body>
void for_random_shapes(const Body& body) {
  std::mt19937 random(7);
  at::manual_seed(7);
  for (int i = 0; i < kCases; ++i) {
    const Shape shape = random_shape(random);
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) body(type, shape);
  }
}

/// bfloat16: results are rounded once from float32 arithmetic, so they may differ by one unit in
/// the last place.
double tolerance(at::ScalarType type) {
  return type == at::kDouble ? 1e-13 : type == at::kFloat ? 2e-6 : 8e-3;
}

at::Tensor normal(at::IntArrayRef shape, at::ScalarType type) {
  return at::randn(shape, at::kDouble).to(type);
}
at::Tensor statistics(at::IntArrayRef shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions().dtype(statistics_type(type)));
}
RopeTable table_for(const Shape& shape, at::ScalarType type) {
  return make_rope_table({}, shape.head_dim, shape.sequence, statistics_type(type), at::kCPU);
}

TEST(RmsNorm, FusedAgreesWithComposed) {
  Parity parity("rms_norm");
  for_random_shapes([&](at::ScalarType type, const Shape& shape) {
    const at::Tensor x = normal({shape.tokens(), shape.width}, type);
    const at::Tensor weight = normal({shape.width}, type);
    const at::Tensor grad_out = normal(x.sizes(), type);
    const at::Tensor residual = normal(x.sizes(), type);
    const at::Tensor out = at::empty_like(x), other_out = at::empty_like(x),
                     applied = at::empty_like(x);
    const at::Tensor rstd = statistics({shape.tokens()}, type), other_rstd = at::empty_like(rstd);
    rms_norm(x, weight, kEps, out, rstd);
    composed::rms_norm(x, weight, kEps, other_out, other_rstd);
    parity.expect_close(out, other_out, tolerance(type));
    parity.expect_close(rstd, other_rstd, tolerance(type));
    apply_rms_norm(x, weight, rstd, applied);
    EXPECT_TRUE(at::equal(applied, out));

    const at::Tensor grad_x = residual.clone(), other_grad_x = residual.clone();
    const at::Tensor grad_weight = at::empty_like(weight),
                     other_grad_weight = at::empty_like(weight);
    rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight);
    composed::rms_norm_backward(x, weight, rstd, grad_out, other_grad_x, other_grad_weight);
    parity.expect_close(grad_x, other_grad_x, tolerance(type));
    parity.expect_close(grad_weight, other_grad_weight, tolerance(type));

    const at::Tensor in_place = grad_out.clone(), other_in_place = grad_out.clone();
    rms_norm_backward_in_place(x, weight, rstd, in_place, grad_weight);
    composed::rms_norm_backward_in_place(x, weight, rstd, other_in_place, other_grad_weight);
    parity.expect_close(in_place, other_in_place, tolerance(type));
    parity.expect_close(grad_weight, other_grad_weight, tolerance(type));
  });
}

TEST(Rope, FusedAgreesWithComposedAndInverseUndoes) {
  Parity parity("rotate");
  for_random_shapes([&](at::ScalarType type, const Shape& shape) {
    const RopeTable table = table_for(shape, type);
    const std::int64_t width = shape.heads * shape.head_dim;
    // Columns in the middle of a wider matrix, as in qkv.
    const at::Tensor wide = normal({shape.tokens(), width + 10}, type);
    const at::Tensor before = wide.clone(), other = wide.clone();
    const at::Tensor heads = wide.narrow(1, 3, width);
    rotate(table, Rotation::kForward, heads, heads);
    composed::rotate(table, Rotation::kForward, other.narrow(1, 3, width),
                     other.narrow(1, 3, width));
    parity.expect_close(wide, other, tolerance(type));
    const at::Tensor back = at::empty({shape.tokens(), width}, wide.options());
    rotate(table, Rotation::kInverse, heads, back);
    parity.expect_close(back, before.narrow(1, 3, width), 2 * tolerance(type));
    EXPECT_TRUE(at::equal(wide.narrow(1, 0, 3), before.narrow(1, 0, 3)));
    EXPECT_TRUE(at::equal(wide.narrow(1, 3 + width, 7), before.narrow(1, 3 + width, 7)));
  });
}

TEST(QkNorm, FusedAgreesWithComposed) {
  Parity parity("norm_and_rotate");
  for_random_shapes([&](at::ScalarType type, const Shape& shape) {
    const RopeTable table = table_for(shape, type);
    const std::int64_t width = shape.heads * shape.head_dim;
    const at::Tensor wide = normal({shape.tokens(), width + 6}, type);
    const at::Tensor other_wide = wide.clone();
    const at::Tensor source = wide.narrow(1, 5, width),
                     other_source = other_wide.narrow(1, 5, width);
    const at::Tensor weight = normal({shape.head_dim}, type);
    const at::Tensor out = at::empty({shape.tokens(), width}, wide.options()),
                     other_out = at::empty_like(out);
    norm_and_rotate(table, source, weight, kEps, out);
    composed::norm_and_rotate(table, other_source, weight, kEps, other_out);
    parity.expect_close(out, other_out, tolerance(type));

    const at::Tensor grad = normal(out.sizes(), type);
    const at::Tensor grad_weight = at::empty_like(weight),
                     other_grad_weight = at::empty_like(weight);
    norm_and_rotate_backward(table, source, weight, kEps, grad, grad_weight);
    composed::norm_and_rotate_backward(table, other_source, weight, kEps, grad, other_grad_weight);
    parity.expect_close(wide, other_wide, tolerance(type));
    parity.expect_close(grad_weight, other_grad_weight, tolerance(type));
  });
}

TEST(Swiglu, FusedAgreesWithComposed) {
  Parity parity("swiglu");
  for_random_shapes([&](at::ScalarType type, const Shape& shape) {
    const at::Tensor gate_up = normal({shape.tokens(), 2 * shape.width}, type).mul_(5);
    const at::Tensor other_gate_up = gate_up.clone();
    const at::Tensor act = at::empty({shape.tokens(), shape.width}, gate_up.options());
    const at::Tensor other_act = at::empty_like(act);
    swiglu(gate_up, act);
    composed::swiglu(other_gate_up, other_act);
    parity.expect_close(act, other_act, tolerance(type));
    const at::Tensor grad = normal(act.sizes(), type);
    swiglu_backward(gate_up, grad);
    composed::swiglu_backward(other_gate_up, grad);
    parity.expect_close(gate_up, other_gate_up, tolerance(type));
  });
}

TEST(Swiglu, ExtremeGatesStayFinite) {
  const at::Tensor gate_up =
      at::tensor({-1e30F, -200.0F, 200.0F, 1e30F, 1.0F, 1.0F, 1.0F, 1.0F}).view({1, 8});
  const at::Tensor act = at::empty({1, 4});
  swiglu(gate_up, act);
  const at::Tensor expected = at::tensor({0.0F, 0.0F, 200.0F, 1e30F}).view({1, 4});
  EXPECT_TRUE(at::allclose(act, expected)) << act;
}

TEST(EmbeddingRows, FusedAgreesWithComposed) {
  Parity parity("embedding rows");
  for_random_shapes([&](at::ScalarType type, const Shape& shape) {
    const VocabularySlice slice{10, 7};
    const at::Tensor weight = normal({slice.rows + 2, shape.width}, type);
    // Ids of this slice, of slices before and after it, and of the padding's place.
    const at::Tensor ids = at::randint(0, 30, {shape.tokens()}, at::kLong);
    const at::Tensor out = at::empty({shape.tokens(), shape.width}, weight.options());
    const at::Tensor other_out = at::empty_like(out);
    gather_rows(weight, slice, ids, out);
    composed::gather_rows(weight, slice, ids, other_out);
    EXPECT_TRUE(at::equal(out, other_out));

    const at::Tensor grad = normal(out.sizes(), type);
    const at::Tensor grad_weight = weight.clone();
    // ATen on CPU rounds every sum to bfloat16: let it add in float32.
    const at::Tensor other =
        weight.to(statistics_type(type), /*non_blocking=*/false, /*copy=*/true);
    add_rows(grad, slice, ids, grad_weight);
    composed::add_rows(grad.to(other.scalar_type()), slice, ids, other);
    parity.expect_close(grad_weight, other, tolerance(type));
  });
}

TEST(Accumulate, FusedAgreesWithComposed) {
  Parity parity("accumulate");
  for_random_shapes([&](at::ScalarType type, const Shape& shape) {
    const at::Tensor total = normal({shape.width}, statistics_type(type));
    const at::Tensor other = total.clone();
    const at::Tensor term = normal({shape.width}, type);
    accumulate(total, term);
    composed::accumulate(other, term);
    parity.expect_close(total, other, tolerance(at::kFloat));
  });
}

TEST(CausalAttention, ComposedAgreesWithFlash) {
  Parity parity("attention");
  std::mt19937 random(3);
  at::manual_seed(3);
  for (int i = 0; i < kCases; ++i) {
    const Shape shape = random_shape(random);
    const std::int64_t group = std::int64_t{1} << (i % 3);
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const at::Tensor q =
          normal({shape.batch, shape.heads * group, shape.sequence, shape.head_dim}, type);
      const at::Tensor k = normal({shape.batch, shape.heads, shape.sequence, shape.head_dim}, type);
      const at::Tensor v = normal(k.sizes(), type), grad = normal(q.sizes(), type);
      const auto [out, sums] = composed::causal_attention(q, k, v);
      const auto [flash_out, flash_sums] =
          at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, true);
      parity.expect_close(out, flash_out, 2 * tolerance(type));
      parity.expect_close(sums, flash_sums, 2 * tolerance(type));
      EXPECT_TRUE(out.transpose(1, 2).is_contiguous());
      const auto ours = composed::causal_attention_backward(grad, q, k, v, out, sums);
      const auto flash = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          grad, q, k, v, flash_out, flash_sums, 0.0, true);
      parity.expect_close(std::get<0>(ours), std::get<0>(flash), 10 * tolerance(type));
      parity.expect_close(std::get<1>(ours), std::get<1>(flash), 10 * tolerance(type));
      parity.expect_close(std::get<2>(ours), std::get<2>(flash), 10 * tolerance(type));
    }
  }
}

template <class Real>
double largest_exp_error(Real low, Real high) {
  double largest = 0;
  for (int i = 0; i <= 100000; ++i) {
    const Real x = low + (high - low) * static_cast<Real>(i) / 100000;
    const double exact = std::exp(static_cast<double>(x));
    largest = std::max(largest, std::abs(static_cast<double>(vector_exp(x)) / exact - 1));
  }
  return largest;
}

TEST(VectorExp, IsExactToAboutOneUnitInTheLastPlace) {
  const double of_float = largest_exp_error<float>(-86.9F, 87.9F);
  const double of_double = largest_exp_error<double>(-707.9, 708.9);
  std::printf(
      "vector_exp: largest relative difference %.2e float, %.2e double; tolerance 1.2e-7, "
      "4.5e-16\n",
      of_float, of_double);
  EXPECT_LT(of_float, 1.2e-7);
  EXPECT_LT(of_double, 4.5e-16);
  EXPECT_EQ(vector_exp(0.0F), 1.0F);
  EXPECT_TRUE(std::isnan(vector_exp(std::nanf(""))));
  EXPECT_LT(vector_exp(-1e30F), 1e-37F);
  EXPECT_GT(vector_exp(1e30F), 1e38F);
}

/// All results of one pass over the kernels that threads share.
std::vector<at::Tensor> threaded_results(at::ScalarType type) {
  at::manual_seed(11);
  const Shape shape{4, 64, 8, 32, 512};
  const at::Tensor x = normal({shape.tokens(), shape.width}, type),
                   weight = normal({shape.width}, type);
  const at::Tensor out = at::empty_like(x), grad = normal(x.sizes(), type),
                   grad_weight = at::empty_like(weight);
  const at::Tensor rstd = statistics({shape.tokens()}, type);
  rms_norm(x, weight, kEps, out, rstd);
  rms_norm_backward(x, weight, rstd, grad, out, grad_weight);
  const at::Tensor heads = normal({shape.tokens(), shape.heads * shape.head_dim}, type);
  const at::Tensor norm = normal({shape.head_dim}, type), grad_norm = at::empty_like(norm);
  norm_and_rotate_backward(table_for(shape, type), heads, norm, kEps, heads.clone(), grad_norm);
  const at::Tensor rows = at::zeros({16, shape.width}, x.options());
  add_rows(x, {0, 16}, at::randint(0, 16, {shape.tokens()}, at::kLong), rows);
  return {out, grad_weight, heads, grad_norm, rows};
}

TEST(Kernels, ResultsDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    at::set_num_threads(1);
    const std::vector<at::Tensor> one = threaded_results(type);
    at::set_num_threads(3);
    const std::vector<at::Tensor> three = threaded_results(type);
    for (std::size_t i = 0; i < one.size(); ++i)
      EXPECT_TRUE(at::equal(one[i], three[i])) << "result " << i;
  }
  at::set_num_threads(threads);
}

TEST(Kernels, AllocateNothingOnCpu) {
  install_counting_allocator();
  const Shape shape{2, 9, 3, 8, 24};
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::Tensor x = normal({shape.tokens(), shape.width}, type),
                     weight = normal({shape.width}, type);
    const at::Tensor out = at::empty_like(x), rstd = statistics({shape.tokens()}, type);
    const at::Tensor gate_up = normal({shape.tokens(), 2 * shape.width}, type),
                     norm = normal({shape.head_dim}, type);
    const at::Tensor ids = at::randint(0, 20, {shape.tokens()}, at::kLong),
                     total = statistics(x.sizes(), type);
    const RopeTable table = table_for(shape, type);
    record_allocations(true);
    rms_norm(x, weight, kEps, out, rstd);
    apply_rms_norm(x, weight, rstd, out);
    rms_norm_backward(x, weight, rstd, out, out, weight);
    rms_norm_backward_in_place(x, weight, rstd, out, weight);
    rotate(table, Rotation::kForward, x, x);
    norm_and_rotate(table, x, norm, kEps, out);
    norm_and_rotate_backward(table, x, norm, kEps, out, norm);
    swiglu(gate_up, out);
    swiglu_backward(gate_up, out);
    gather_rows(x, {0, 18}, ids, out);
    add_rows(out, {0, 18}, ids, x);
    accumulate(total, x);
    record_allocations(false);
    EXPECT_TRUE(recorded_allocations().empty()) << type;
  }
}

}  // namespace
}  // namespace meshplan::executor
