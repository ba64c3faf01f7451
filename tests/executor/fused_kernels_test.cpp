#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"
#include "executor/memory/device.h"
#include "tests/executor/parity.h"

// Every fused CUDA kernel against its composition of ATen calls. Built twice: for the CPU, where
// the kernels' own code runs thread by thread (simt_on_host.h), and for the GPU.

namespace meshplan::executor {
namespace {

#ifdef MESHPLAN_SIMT_ON_HOST
class EmulatedKernels : public testing::Environment {
 public:
  void SetUp() override { fused::use_table(meshplan_kernel_table()); }
};
[[maybe_unused]] const auto* const emulated =
    testing::AddGlobalTestEnvironment(new EmulatedKernels);
const at::Device kDevice = at::kCPU;
#else
const at::Device kDevice(at::kCUDA, 0);
#endif

constexpr double kEps = 1e-5;
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

/// Results are rounded once from float32, so that they may differ by one unit in the last place.
double tolerance(at::ScalarType type) {
  return type == at::kFloat ? 4e-6 : type == at::kHalf ? 1e-3 : 8e-3;
}

class FusedKernels : public testing::Test {
 protected:
  void SetUp() override {
#ifndef MESHPLAN_SIMT_ON_HOST
    if (!device_for(0).is_cuda()) GTEST_SKIP() << "no CUDA device is visible";
#endif
    ASSERT_TRUE(fused::takes(at::kFloat)) << fused::describe();
    at::manual_seed(7);
  }

  static at::Tensor normal(at::IntArrayRef shape, at::ScalarType type) {
    return at::randn(shape, at::kFloat).to(type).to(kDevice);
  }
  static at::Tensor floats(at::IntArrayRef shape) {
    return at::empty(shape, at::TensorOptions(at::kFloat).device(kDevice));
  }
};

/// Rows and columns: single, odd, a vector's multiple, more rows than parts, more columns than one
/// pass of a block.
constexpr std::pair<std::int64_t, std::int64_t> kMatrices[] = {
    {1, 3}, {3, 7}, {17, 64}, {33, 257}, {300, 72}, {5, 1024}, {2, 8200}, {1, 24576}};

TEST_F(FusedKernels, RmsNormAgreesWithComposed) {
  Parity parity("rms_norm");
  for (const at::ScalarType type : kTypes) {
    for (const auto& [rows, width] : kMatrices) {
      const at::Tensor x = normal({rows, width}, type), weight = normal({width}, type);
      const at::Tensor grad_out = normal({rows, width}, type),
                       residual = normal({rows, width}, type);
      const at::Tensor out = at::empty_like(x), expected = at::empty_like(x);
      const at::Tensor rstd = floats({rows}), expected_rstd = floats({rows});
      fused::rms_norm(x, weight, kEps, out, rstd);
      composed::rms_norm(x, weight, kEps, expected, expected_rstd);
      parity.expect_close(out, expected, tolerance(type), "out");
      parity.expect_close(rstd, expected_rstd, tolerance(at::kFloat), "rstd");
      out.zero_();
      fused::apply_rms_norm(x, weight, rstd, out);
      parity.expect_close(out, expected, tolerance(type), "applied");

      const at::Tensor grad_x = residual.clone(), expected_grad_x = residual.clone();
      const at::Tensor grad_weight = at::empty_like(weight),
                       expected_weight = at::empty_like(weight);
      fused::rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight);
      composed::rms_norm_backward(x, weight, rstd, grad_out, expected_grad_x, expected_weight);
      parity.expect_close(grad_x, expected_grad_x, tolerance(type), "grad_x");
      parity.expect_close(grad_weight, expected_weight, tolerance(type), "grad_weight");

      const at::Tensor in_place = grad_out.clone(), expected_in_place = grad_out.clone();
      grad_weight.zero_();
      fused::rms_norm_backward_in_place(x, weight, rstd, in_place, grad_weight);
      composed::rms_norm_backward_in_place(x, weight, rstd, expected_in_place, expected_weight);
      parity.expect_close(in_place, expected_in_place, tolerance(type), "in place");
      parity.expect_close(grad_weight, expected_weight, tolerance(type), "grad_weight in place");
    }
  }
}

/// Heads of a matrix [batch * sequence, width] that holds other columns on both sides.
struct HeadCase {
  std::int64_t batch, sequence, heads, head_dim, before, after;
  std::int64_t rows() const { return batch * sequence; }
  std::int64_t width() const { return heads * head_dim; }

  at::Tensor columns_of(const at::Tensor& matrix) const {
    return matrix.narrow(1, before, width());
  }
};
constexpr HeadCase kHeadCases[] = {{1, 1, 1, 2, 0, 0},     {2, 5, 3, 6, 1, 2},
                                   {2, 7, 4, 64, 64, 128}, {1, 40, 5, 128, 0, 256},
                                   {3, 9, 2, 80, 8, 8},    {1, 300, 2, 16, 0, 0}};

TEST_F(FusedKernels, RotationAgreesWithComposedInPlaceAndBack) {
  Parity parity("rotate");
  for (const at::ScalarType type : kTypes) {
    for (const HeadCase& heads : kHeadCases) {
      const RopeTable table =
          make_rope_table({}, heads.head_dim, heads.sequence, at::kFloat, kDevice);
      const at::Tensor original =
          normal({heads.rows(), heads.before + heads.width() + heads.after}, type);
      for (const Rotation rotation : {Rotation::kForward, Rotation::kInverse}) {
        const at::Tensor actual = original.clone(), expected = original.clone();
        fused::rotate(table, rotation, heads.columns_of(actual), heads.columns_of(actual));
        composed::rotate(table, rotation, heads.columns_of(original), heads.columns_of(expected));
        parity.expect_close(actual, expected, tolerance(type));
      }
    }
  }
}

TEST_F(FusedKernels, NormedRotationAgreesWithComposed) {
  Parity parity("norm_and_rotate");
  for (const at::ScalarType type : kTypes) {
    for (const HeadCase& heads : kHeadCases) {
      const RopeTable table =
          make_rope_table({}, heads.head_dim, heads.sequence, at::kFloat, kDevice);
      const at::Tensor source =
          normal({heads.rows(), heads.before + heads.width() + heads.after}, type);
      const at::Tensor weight = normal({heads.head_dim}, type);
      const at::Tensor out = at::zeros({heads.rows(), heads.width()}, source.options());
      const at::Tensor expected = at::zeros_like(out);
      fused::norm_and_rotate(table, heads.columns_of(source), weight, kEps, out);
      composed::norm_and_rotate(table, heads.columns_of(source), weight, kEps, expected);
      parity.expect_close(out, expected, tolerance(type), "out");

      const at::Tensor grad = normal(out.sizes(), type);
      const at::Tensor actual_grad = source.clone(), expected_grad = source.clone();
      const at::Tensor grad_weight = at::empty_like(weight),
                       expected_weight = at::empty_like(weight);
      fused::norm_and_rotate_backward(table, heads.columns_of(actual_grad), weight, kEps, grad,
                                      grad_weight);
      composed::norm_and_rotate_backward(table, heads.columns_of(expected_grad), weight, kEps, grad,
                                         expected_weight);
      parity.expect_close(actual_grad, expected_grad, tolerance(type), "grad");
      parity.expect_close(grad_weight, expected_weight, tolerance(type), "grad_weight");
    }
  }
}

TEST_F(FusedKernels, SwigluAgreesWithComposed) {
  Parity parity("swiglu");
  for (const at::ScalarType type : kTypes) {
    for (const auto& [rows, width] : kMatrices) {
      // Up to 60 in magnitude: where the sigmoid saturates.
      const at::Tensor gate_up = normal({rows, 2 * width}, type).mul_(15);
      const at::Tensor grad_act = normal({rows, width}, type);
      const at::Tensor act = at::empty_like(grad_act), expected = at::empty_like(grad_act);
      fused::swiglu(gate_up, act);
      composed::swiglu(gate_up, expected);
      parity.expect_close(act, expected, tolerance(type), "act");
      const at::Tensor actual_grad = gate_up.clone(), expected_grad = gate_up.clone();
      fused::swiglu_backward(actual_grad, grad_act);
      composed::swiglu_backward(expected_grad, grad_act);
      parity.expect_close(actual_grad, expected_grad, tolerance(type), "grad");
    }
  }
}

struct VocabularyCase {
  std::int64_t rows, width;
  VocabularySlice slice;
};
constexpr VocabularyCase kVocabularies[] = {{1, 1, {0, 1}},    {5, 33, {0, 33}},
                                            {9, 64, {64, 50}}, {7, 2052, {0, 2049}},
                                            {3, 40, {100, 0}}, {4, 5000, {5000, 5000}}};

/// Labels on this slice, on another one, and ignored.
at::Tensor labels_for(const VocabularyCase& vocabulary) {
  const at::Tensor labels =
      at::randint(0, 2 * vocabulary.width + vocabulary.slice.start, {vocabulary.rows}, at::kLong);
  labels[0].fill_(vocabulary.slice.start + vocabulary.slice.rows / 2);
  if (vocabulary.rows > 2) labels[2].fill_(kIgnoredLabel);
  return labels.to(kDevice);
}

TEST_F(FusedKernels, CrossEntropyAgreesWithComposed) {
  Parity parity("cross_entropy");
  for (const at::ScalarType type : kTypes) {
    for (const VocabularyCase& vocabulary : kVocabularies) {
      const auto& [rows, width, slice] = vocabulary;
      const at::Tensor logits = normal({rows, width}, at::kFloat).mul_(5);
      const at::Tensor labels = labels_for(vocabulary);
      const at::Tensor max = floats({rows}), expected_max = floats({rows});
      fused::cross_entropy_max(logits, slice, max);
      composed::cross_entropy_max(logits, slice, expected_max);
      EXPECT_TRUE(at::equal(max, expected_max));
      // As after a reduction over tp: another rank's maximum may be larger.
      max.clamp_min_(3);
      const at::Tensor exps = logits.clone(), expected_exps = logits.clone();
      const at::Tensor sums = floats({2, rows}), expected_sums = floats({2, rows});
      fused::cross_entropy_exp(exps, slice, max, labels, sums);
      composed::cross_entropy_exp(expected_exps, slice, max, labels, expected_sums);
      parity.expect_close(exps, expected_exps, tolerance(at::kFloat), "exps");
      parity.expect_close(sums, expected_sums, tolerance(at::kFloat), "sums");

      sums[0].add_(2);
      const at::Tensor losses = floats({rows}), expected_losses = floats({rows});
      const at::Tensor gradient = at::empty({rows, width}, exps.options().dtype(type));
      const at::Tensor expected = at::empty_like(gradient);
      const at::Tensor in_place = exps.clone();
      fused::cross_entropy_gradient(exps, slice, sums, labels, 0.25, losses, gradient);
      fused::cross_entropy_gradient(in_place, slice, sums, labels, 0.25, losses, in_place);
      composed::cross_entropy_gradient(exps.clone(), slice, sums, labels, 0.25, expected_losses,
                                       expected);
      parity.expect_close(losses, expected_losses, tolerance(at::kFloat), "losses");
      parity.expect_close(gradient, expected, tolerance(type), "gradient");
      parity.expect_close(in_place, expected, tolerance(type), "gradient in place");
      losses.zero_();
      fused::cross_entropy_gradient(exps, slice, sums, labels, 0.25, losses, {});
      parity.expect_close(losses, expected_losses, tolerance(at::kFloat), "losses alone");
    }
  }
}

TEST_F(FusedKernels, EmbeddingRowsAgreeWithComposedAndRepeatBitForBit) {
  Parity parity("embedding rows");
  for (const at::ScalarType type : kTypes) {
    for (const auto& [tokens, width] : kMatrices) {
      const VocabularySlice slice{10, 20};
      const at::Tensor weight = normal({24, width}, type);
      const at::Tensor ids = at::randint(5, 35, {tokens}, at::kLong).to(kDevice);
      const at::Tensor out = at::empty({tokens, width}, weight.options());
      const at::Tensor expected = at::empty_like(out);
      fused::gather_rows(weight, slice, ids, out);
      composed::gather_rows(weight, slice, ids, expected);
      EXPECT_TRUE(at::equal(out, expected));

      const at::Tensor grad_out = normal({tokens, width}, type);
      const at::Tensor actual = weight.clone(), again = weight.clone();
      fused::add_rows(grad_out, slice, ids, actual);
      fused::add_rows(grad_out, slice, ids, again);
      EXPECT_TRUE(at::equal(actual, again));
      // Summed in float32, as the contract says; on CPU the composed sum rounds at every step.
      const at::Tensor sums = weight.to(at::kFloat);
      composed::add_rows(grad_out.to(at::kFloat), slice, ids, sums);
      parity.expect_close(actual, sums.to(type), tolerance(type));
    }
  }
}

}  // namespace
}  // namespace meshplan::executor
