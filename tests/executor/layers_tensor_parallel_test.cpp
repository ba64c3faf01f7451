#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <barrier>
#include <random>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "executor/layers/decoder_block.h"
#include "executor/layers/demo_linears.h"
#include "executor/layers/embedding.h"
#include "executor/layers/head_loss.h"
#include "tests/executor/layers_reference.h"
#include "tests/executor/parity.h"

// Layers split over the tp ranks of one process, a thread each, against the same layers whole. Real
// processes and groups are tested elsewhere.

namespace meshplan::executor {
namespace {

/// What the threads of a group share: each rank's tensor of the collective under way.
struct Meeting {
  explicit Meeting(int size) : tensors(static_cast<std::size_t>(size)), barrier(size) {}

  std::vector<at::Tensor> tensors;
  std::barrier<> barrier;
};

class Finished : public c10d::Work {
 public:
  Finished() { finish(); }
};

class ThreadGroup : public c10d::Backend {
 public:
  ThreadGroup(int rank, int size, Meeting& meeting)
      : c10d::Backend(rank, size), meeting_(meeting) {}

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override {
    meeting_.tensors[static_cast<std::size_t>(getRank())] = tensors[0];
    meeting_.barrier.arrive_and_wait();
    at::Tensor result = meeting_.tensors[0].clone();
    for (std::size_t i = 1; i < meeting_.tensors.size(); ++i) {
      if (options.reduceOp == c10d::ReduceOp::MAX) {
        result = at::maximum(result, meeting_.tensors[i]);
      } else {
        result = result + meeting_.tensors[i];
      }
    }
    meeting_.barrier.arrive_and_wait();
    tensors[0].copy_(result);
    return c10::make_intrusive<Finished>();
  }

  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& output, at::Tensor& input,
                                                 const c10d::AllgatherOptions&) override {
    meeting_.tensors[static_cast<std::size_t>(getRank())] = input;
    meeting_.barrier.arrive_and_wait();
    output.copy_(at::cat(meeting_.tensors));
    meeting_.barrier.arrive_and_wait();
    return c10::make_intrusive<Finished>();
  }

  /// Without splits each rank gets its part of every input; with them, as two ranks swap, all of
  /// the other's.
  c10::intrusive_ptr<c10d::Work> alltoall_base(at::Tensor& output, at::Tensor& input,
                                               std::vector<std::int64_t>& output_splits,
                                               std::vector<std::int64_t>&,
                                               const c10d::AllToAllOptions&) override {
    const auto rank = static_cast<std::size_t>(getRank());
    meeting_.tensors[rank] = input;
    meeting_.barrier.arrive_and_wait();
    std::vector<at::Tensor> received;
    for (const at::Tensor& sent : meeting_.tensors) {
      if (output_splits.empty()) {
        received.push_back(sent.chunk(getSize())[rank]);
      } else if (sent.data_ptr() != input.data_ptr()) {
        received.push_back(sent);
      }
    }
    at::Tensor result = at::cat(received);
    meeting_.barrier.arrive_and_wait();
    output.copy_(result);
    return c10::make_intrusive<Finished>();
  }

 private:
  Meeting& meeting_;
};

/// body(rank, communicator) on a thread for each rank; the log of rank 0.
template <class Body>
std::vector<IssuedCollective> on_each_rank(int size, const Body& body) {
  Meeting meeting(size);
  std::vector<CollectiveLog> logs(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      at::set_num_threads(1);
      Communicator tp(planner::Axis::kTp, rank, size,
                      c10::make_intrusive<ThreadGroup>(rank, size, meeting),
                      &logs[static_cast<std::size_t>(rank)]);
      body(static_cast<std::int64_t>(rank), tp);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const CollectiveLog& log : logs) EXPECT_EQ(log.issued(), logs[0].issued());
  return logs[0].issued();
}

/// Part `rank` of `parts` equal ranges of rows, or of columns.
at::Tensor rows_of(const at::Tensor& tensor, std::int64_t rank, std::int64_t parts) {
  if (!tensor.defined()) return tensor;
  const std::int64_t size = tensor.size(0) / parts;
  return tensor.narrow(0, rank * size, size);
}
at::Tensor columns_of(const at::Tensor& tensor, std::int64_t rank, std::int64_t parts) {
  return rows_of(tensor.t(), rank, parts).t();
}

/// A rank's share of a tensor whose rows are several matrices of these sizes (q, k and v; gate and
/// up).
at::Tensor rows_of_each(const at::Tensor& tensor, at::IntArrayRef sizes, std::int64_t rank,
                        std::int64_t parts) {
  if (!tensor.defined()) return tensor;
  std::vector<at::Tensor> shares;
  for (const at::Tensor& part : tensor.split_with_sizes(sizes))
    shares.push_back(rows_of(part, rank, parts));
  return at::cat(shares);
}

BlockWeights share_of(const BlockWeights& whole, const BlockCase& c, std::int64_t rank,
                      std::int64_t parts) {
  BlockWeights share = whole;
  const std::vector<std::int64_t> qkv = {c.heads * c.head_dim, c.kv_heads * c.head_dim,
                                         c.kv_heads * c.head_dim};
  share.qkv = rows_of_each(whole.qkv, qkv, rank, parts);
  share.qkv_bias = rows_of_each(whole.qkv_bias, qkv, rank, parts);
  share.o_proj = columns_of(whole.o_proj, rank, parts).contiguous();
  share.gate_up = rows_of_each(whole.gate_up, {c.intermediate, c.intermediate}, rank, parts);
  share.down = columns_of(whole.down, rank, parts).contiguous();
  return share;
}

struct BlockRun {
  at::Tensor y;
  at::Tensor grad_x;
  BlockWeights gradients;
};

BlockRun run_block(const BlockWeights& weights, const RopeTable& rope, const at::Tensor& x,
                   const at::Tensor& grad, const TensorParallel& tp,
                   const planner::Recompute& recompute = {}) {
  const BlockContext context{kReferenceEps, rope, tp};
  BlockRun run{{}, {}, gradients_for(weights)};
  BlockSaved saved;
  run.y = forward_block(weights, context, recompute, x, saved);
  run.grad_x = backward_block(weights, run.gradients, context, std::move(saved), grad.clone());
  return run;
}

void expect_block_splits(BlockCase c, int size, Parity& parity) {
  const BlockWeights weights = random_weights(c, at::kDouble);
  const RopeTable rope = rope_for(c, at::kDouble);
  const at::Tensor x = at::randn({c.tokens(), c.hidden}, at::kDouble), grad = at::randn_like(x);
  Communicator alone(planner::Axis::kTp);
  BlockRun whole = run_block(weights, rope, x, grad, {alone});
  std::vector<BlockRun> runs(static_cast<std::size_t>(size));
  const std::vector<IssuedCollective> issued =
      on_each_rank(size, [&](std::int64_t rank, Communicator& tp) {
        runs[static_cast<std::size_t>(rank)] =
            run_block(share_of(weights, c, rank, size), rope, x, grad, {tp});
      });
  const IssuedCollective reduce{planner::CollectiveKind::kAllReduce, planner::Axis::kTp,
                                common::Bytes(8 * c.tokens() * c.hidden)};
  EXPECT_EQ(issued, std::vector<IssuedCollective>(4, reduce));

  for (std::int64_t rank = 0; rank < size; ++rank) {
    BlockRun& run = runs[static_cast<std::size_t>(rank)];
    EXPECT_TRUE(at::equal(run.y, runs[0].y));
    EXPECT_TRUE(at::equal(run.grad_x, runs[0].grad_x));
    EXPECT_TRUE(at::equal(run.gradients.input_norm, runs[0].gradients.input_norm));
    parity.expect_close(run.y, whole.y, 1e-12, "y");
    parity.expect_close(run.grad_x, whole.grad_x, 1e-12, "grad_x");
    if (c.qk_norm && rank > 0) {
      runs[0].gradients.q_norm.add_(run.gradients.q_norm);
      runs[0].gradients.k_norm.add_(run.gradients.k_norm);
    }
  }
  for (std::int64_t rank = 0; rank < size; ++rank) {
    BlockRun& run = runs[static_cast<std::size_t>(rank)];
    run.gradients.q_norm = runs[0].gradients.q_norm;
    run.gradients.k_norm = runs[0].gradients.k_norm;
    BlockWeights expected = share_of(whole.gradients, c, rank, size);
    const std::vector<at::Tensor*> actual = tensors_of(run.gradients);
    for (std::size_t i = 0; i < actual.size(); ++i) {
      parity.expect_close(*actual[i], *tensors_of(expected)[i], 1e-12, "parameter");
    }
  }
}

TEST(TensorParallelBlock, AgreesWithTheWholeBlock) {
  Parity parity("tensor parallel block");
  std::mt19937 random(12);
  at::manual_seed(12);
  for (int i = 0; i < 12; ++i) {
    for (const int size : {2, 3}) {
      BlockCase c = random_block_case(random);
      c.heads *= size;
      c.kv_heads *= size;
      c.intermediate *= size;
      expect_block_splits(c, size, parity);
    }
  }
}

/// The gradients of what tp replicates are sums over a rank's rows: their sum over ranks is whole.
void expect_tokens_split(BlockCase c, const planner::Recompute& recompute, Parity& parity) {
  constexpr int kSize = 2;
  BlockWeights weights = random_weights(c, at::kDouble);
  const RopeTable rope = rope_for(c, at::kDouble);
  const at::Tensor x = at::randn({c.tokens(), c.hidden}, at::kDouble), grad = at::randn_like(x);
  Communicator alone(planner::Axis::kTp);
  BlockRun whole = run_block(weights, rope, x, grad, {alone});
  std::array<BlockRun, kSize> runs;
  const auto issued = on_each_rank(kSize, [&](std::int64_t rank, Communicator& tp) {
    runs[static_cast<std::size_t>(rank)] =
        run_block(share_of(weights, c, rank, kSize), rope, rows_of(x, rank, kSize),
                  rows_of(grad, rank, kSize), {tp, true}, recompute);
  });
  using enum planner::CollectiveKind;
  const auto count = [&](planner::CollectiveKind kind) {
    return std::count_if(issued.begin(), issued.end(), [kind](const IssuedCollective& collective) {
      return collective.kind == kind;
    });
  };
  const int again = recompute.attention ? 1 : 0;
  EXPECT_EQ(count(kAllReduce), 0);
  EXPECT_EQ(count(kAllGather), 6 + again);
  EXPECT_EQ(count(kReduceScatter), 4 + again);

  const std::vector<at::Tensor*> all = tensors_of(weights);
  for (std::size_t rank = 0; rank < kSize; ++rank) {
    const auto r = static_cast<std::int64_t>(rank);
    parity.expect_close(runs[rank].y, rows_of(whole.y, r, kSize), 1e-12, "y");
    parity.expect_close(runs[rank].grad_x, rows_of(whole.grad_x, r, kSize), 1e-12, "grad_x");
    BlockWeights expected = share_of(whole.gradients, c, r, kSize);
    for (std::size_t i = 0; i < all.size(); ++i) {
      at::Tensor actual = *tensors_of(runs[rank].gradients)[i];
      const at::Tensor& other = *tensors_of(runs[1 - rank].gradients)[i];
      const bool replicated = tensors_of(expected)[i]->sizes() == all[i]->sizes();
      if (replicated) actual = actual + other;
      parity.expect_close(actual, *tensors_of(expected)[i], 1e-12, "parameter");
    }
  }
}

TEST(SequenceParallelBlock, AgreesWithTheWholeBlockWhateverIsComputedAgain) {
  Parity parity("sequence parallel block");
  std::mt19937 random(15);
  at::manual_seed(15);
  for (int i = 0; i < 8; ++i) {
    BlockCase c = random_block_case(random);
    c.heads *= 2;
    c.kv_heads *= 2;
    c.intermediate *= 2;
    c.batch *= 2;
    for (const planner::Recompute& recompute :
         {planner::Recompute{}, planner::Recompute{true, false, true},
          planner::Recompute{true, true, true}}) {
      expect_tokens_split(c, recompute, parity);
    }
  }
}

TEST(TensorParallelEmbedding, AgreesWithTheWholeTable) {
  at::manual_seed(13);
  const at::Tensor weight = at::randn({12, 5}, at::kDouble), grad_weight = at::zeros_like(weight);
  const at::Tensor ids = at::randint(0, 12, {40}, at::kLong),
                   grad = at::randn({40, 5}, at::kDouble);
  on_each_rank(3, [&](std::int64_t rank, Communicator& tp) {
    const VocabularySlice slice{4 * rank, 4};
    EXPECT_TRUE(at::equal(forward_embedding(rows_of(weight, rank, 3), slice, ids, {tp}),
                          weight.index_select(0, ids)));
    backward_embedding(grad, slice, ids, {tp}, rows_of(grad_weight, rank, 3));
  });
  EXPECT_TRUE(at::allclose(grad_weight, at::zeros_like(weight).index_add_(0, ids, grad)));
}

TEST(SequenceParallelEmbedding, AgreesWithTheWholeTable) {
  at::manual_seed(16);
  const at::Tensor weight = at::randn({12, 5}, at::kDouble), grad_weight = at::zeros_like(weight);
  const at::Tensor ids = at::randint(0, 12, {39}, at::kLong),
                   grad = at::randn({39, 5}, at::kDouble);
  on_each_rank(3, [&](std::int64_t rank, Communicator& tp) {
    const VocabularySlice slice{4 * rank, 4};
    EXPECT_TRUE(at::equal(forward_embedding(rows_of(weight, rank, 3), slice, ids, {tp, true}),
                          rows_of(weight.index_select(0, ids), rank, 3)));
    backward_embedding(rows_of(grad, rank, 3), slice, ids, {tp, true},
                       rows_of(grad_weight, rank, 3));
  });
  EXPECT_TRUE(at::allclose(grad_weight, at::zeros_like(weight).index_add_(0, ids, grad)));
}

TEST(TensorParallelHeadLoss, AgreesWithTheWholeHeadDespitePadding) {
  Parity parity("tensor parallel head");
  at::manual_seed(14);
  constexpr std::int64_t kTokens = 29, kHidden = 14, kVocabulary = 22;
  // Three ranks of 10 rows: the last one holds 2 ids, and padding.
  HeadWeights weights{at::randn({kHidden}, at::kDouble), at::randn({30, kHidden}, at::kDouble)};
  const at::Tensor x = at::randn({kTokens, kHidden}, at::kDouble);
  at::Tensor labels = at::randint(0, kVocabulary, {kTokens}, at::kLong);
  labels.narrow(0, 3, 5).fill_(kIgnoredLabel);
  HeadLossOptions options{kReferenceEps, {0, kVocabulary}, 2, 0.5, true};
  const HeadWeights whole_gradients{at::empty_like(weights.norm), at::empty_like(weights.output)};
  Communicator alone(planner::Axis::kTp);
  const HeadLoss whole = head_loss(weights, whole_gradients, options, x, labels, {alone});

  const HeadWeights gradients{at::empty({3, kHidden}, at::kDouble),
                              at::full_like(weights.output, 7)};
  std::array<HeadLoss, 3> losses;
  const auto issued = on_each_rank(3, [&](std::int64_t rank, Communicator& tp) {
    HeadLossOptions of_rank = options;
    of_rank.slice = {10 * rank, std::min<std::int64_t>(10, kVocabulary - 10 * rank)};
    losses[static_cast<std::size_t>(rank)] = head_loss(
        {weights.norm, rows_of(weights.output, rank, 3)},
        {gradients.norm[rank], rows_of(gradients.output, rank, 3)}, of_rank, x, labels, {tp});
  });
  const auto reduce = [](std::int64_t elements) {
    return IssuedCollective{planner::CollectiveKind::kAllReduce, planner::Axis::kTp,
                            common::Bytes(8 * elements)};
  };
  EXPECT_EQ(issued, (std::vector{reduce(15), reduce(30), reduce(14), reduce(28),
                                 reduce(kTokens * kHidden)}));
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    EXPECT_NEAR(losses[static_cast<std::size_t>(rank)].loss_sum, whole.loss_sum,
                1e-12 * whole.loss_sum);
    parity.expect_close(losses[static_cast<std::size_t>(rank)].grad, whole.grad, 1e-12, "grad_x");
    parity.expect_close(gradients.norm[rank], whole_gradients.norm, 1e-12, "norm");
  }
  parity.expect_close(gradients.output, whole_gradients.output, 1e-12, "output");
}

TEST(TensorParallelDemoLinears, AgreeWithTheWholeLayers) {
  constexpr std::int64_t kRows = 9, kHidden = 10, kIntermediate = 24;
  const auto random = [](std::int64_t rows, std::int64_t columns) {
    return at::randn({rows, columns}, at::kDouble) / 4;
  };
  const at::Tensor x = random(kRows, kHidden);
  const at::Tensor w1 = random(kIntermediate, kHidden), w3 = random(kIntermediate, kHidden);
  const at::Tensor w2 = random(kHidden, kIntermediate);
  struct Run {
    double sum = 0;
    at::Tensor w1, w3, w2;
  };
  const auto run = [&x](const Run& weights, Communicator& tp) {
    const auto like = [](const at::Tensor& weight) { return at::full_like(weight, NAN); };
    Run made{0, like(weights.w1), like(weights.w3), like(weights.w2)};
    const at::Tensor gate_up = project_gate(x, weights.w1);
    project_up(x, weights.w3, gate_up);
    made.sum = sum_outputs(gate_up, weights.w2, {.w2 = made.w2, .scale = 0.5}, {tp});
    backward_up(x, gate_up, made.w3);
    backward_gate(x, gate_up, made.w1);
    return made;
  };
  Communicator alone(planner::Axis::kTp);
  const Run whole = run({0, w1, w3, w2}, alone);
  Parity parity("demo linears over tp");
  for (const int size : {2, 4}) {
    std::vector<Run> runs(static_cast<std::size_t>(size));
    const auto issued = on_each_rank(size, [&](std::int64_t rank, Communicator& tp) {
      runs[static_cast<std::size_t>(rank)] =
          run({0, rows_of(w1, rank, size), rows_of(w3, rank, size),
               columns_of(w2, rank, size).contiguous()},
              tp);
    });
    EXPECT_EQ(issued.size(), 1u);
    for (std::int64_t rank = 0; rank < size; ++rank) {
      const Run& share = runs[static_cast<std::size_t>(rank)];
      EXPECT_NEAR(share.sum, whole.sum, 1e-12);
      parity.expect_close(share.w1, rows_of(whole.w1, rank, size), 1e-12, "w1");
      parity.expect_close(share.w3, rows_of(whole.w3, rank, size), 1e-12, "w3");
      parity.expect_close(share.w2, columns_of(whole.w2, rank, size), 1e-12, "w2");
    }
  }
}

}  // namespace
}  // namespace meshplan::executor
