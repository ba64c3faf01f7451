#include "planner/model/feed_forward_model.h"
#include "planner/program/emitter.h"
#include "planner/program/feed_forward.h"

namespace meshplan::planner {
namespace {

class FeedForwardPasses {
 public:
  FeedForwardPasses(Emitter& emit, const Layout& layout)
      : emit_(emit),
        gathers_each_pass_(without_replicas(layout.sharding) == Sharding::kFullShard),
        releases_(gathers_each_pass_ ||
                  without_replicas(layout.sharding) == Sharding::kShardGradOp),
        accumulates_whole_(accumulates_whole_gradients(layout)),
        shards_(layout.mesh.sizes[Axis::kDpShard] > 1),
        replicas_(layout.mesh.sizes[Axis::kDpReplicate] > 1) {}

  /// Each unit is gathered while the one before it computes.
  void microbatch(std::int64_t index, std::int64_t count) {
    emit_.begin_microbatch(index, count);
    emit_.once([&] {
      emit_.gather(kGateUnit);
      emit_.gather(kUpUnit);
      emit_.compute(Opcode::kForward, Computation::kGate, kGateUnit);
      release(kGateUnit);
      emit_.gather(kDownUnit);
      emit_.compute(Opcode::kForward, Computation::kUp, kUpUnit);
      release(kUpUnit);
      emit_.compute(Opcode::kLoss, Computation::kDown, kDownUnit);
      release(kDownUnit);
      reduce(kDownUnit);
      emit_.compute(Opcode::kBackward, Computation::kUp, kUpUnit);
      reduce(kUpUnit);
      emit_.compute(Opcode::kBackward, Computation::kGate, kGateUnit);
      reduce(kGateUnit);
      if (sums_replicas()) emit_.sum_replicas_of_last_reduction();
    });
  }

 private:
  void release(std::int64_t unit) {
    if (releases_ && (gathers_each_pass_ || emit_.place().last)) emit_.release(unit);
  }

  bool sums_replicas() const { return replicas_ && emit_.place().last; }

  void reduce(std::int64_t unit) {
    if (accumulates_whole_ && !emit_.place().last) return emit_.accumulate(unit);
    // A reduction over dp_shard is waited for one unit later; without one there is nothing to wait
    // for.
    if (sums_replicas() && shards_) emit_.sum_replicas_of_last_reduction();
    emit_.reduce(unit);
    if (sums_replicas() && !shards_) emit_.sum_replicas_of_last_reduction();
  }

  Emitter& emit_;
  bool gathers_each_pass_;
  bool releases_;
  bool accumulates_whole_;
  bool shards_;
  bool replicas_;
};

}  // namespace

StepProgram build_feed_forward_program(const Job& job, const Layout& layout) {
  Emitter emit(/*units=*/3, /*first_block=*/kUpUnit, /*blocks=*/1);
  FeedForwardPasses passes(emit, layout);
  StepProgram program;
  emit.microbatches(program, layout.accumulation,
                    [&](std::int64_t index) { passes.microbatch(index, layout.accumulation); });
  emit.epilogue(program, job);
  return program;
}

}  // namespace meshplan::planner
