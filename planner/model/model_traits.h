#pragma once

namespace meshplan::planner {

/// RMSNorm has a weight; layer norm a weight, and in most families a bias.
enum class NormKind { kRms, kLayer };

/// Where a block's norms stand: before attention and feed-forward, after each of them (on what they
/// add to the residual stream, or on their sum with it), or both.
enum class NormPlacement { kBefore, kAfter, kBoth };

/// Rotary angles and linear biases (alibi) have no parameters; learned positions are a table.
enum class Positions { kRotary, kLearned, kAlibi };

/// What a norm of queries and keys has weights for: one head (shared by all), each head, or the
/// heads together as one vector.
enum class QkNormShape { kSharedHead, kEachHead, kAllHeads };

/// What sets one decoder-only architecture apart from another. The defaults are those of Llama.
struct ModelTraits {
  NormKind norm = NormKind::kRms;
  /// False: norms without any parameter (OLMo).
  bool norm_weight = true;
  bool norm_bias = false;
  NormPlacement norm_placement = NormPlacement::kBefore;
  bool final_norm = true;
  /// A norm of the embedding's output (BLOOM).
  bool embedding_norm = false;
  Positions positions = Positions::kRotary;
  /// True: three matrices, act(gate) x up, then down. False: two, act(up), then down.
  bool gated_feed_forward = true;
  bool feed_forward_bias = false;
  bool qkv_bias = false;
  bool attention_output_bias = false;
  bool output_head_bias = false;
  /// A norm of queries and keys before the rotation.
  bool qk_norm = false;
  QkNormShape qk_norm_shape = QkNormShape::kSharedHead;
  /// Attention and feed-forward read the same input, and both are added to it; with shared_norm
  /// they also share one norm.
  bool parallel_residual = false;
  bool shared_norm = false;
  /// A weight for the shared expert, from the hidden state (Qwen2-MoE).
  bool shared_expert_gate = false;

  bool operator==(const ModelTraits&) const = default;
};

}  // namespace meshplan::planner
