#include "executor/model/model_computations.h"

#include "executor/model/decoder_computations.h"
#include "executor/model/feed_forward_computations.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::executor {

std::unique_ptr<ModelComputations> make_computations(const ComputationRank& rank) {
  if (planner::is_feed_forward(rank.context.model))
    return std::make_unique<FeedForwardComputations>(rank);
  return std::make_unique<DecoderComputations>(rank);
}

}  // namespace meshplan::executor
