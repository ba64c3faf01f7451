#include "tests/planner/peer_runs.h"

namespace meshplan::planner {

PeerRun eight_billion(const char* runtime) {
  PeerRun run;
  run.runtime = find_runtime(runtime);
  run.hardware.gpu = find_gpu("h100-sxm");
  run.hardware.network = usual_network(*run.hardware.gpu);
  run.model = {.num_hidden_layers = 32,
               .hidden_size = 4096,
               .intermediate_size = 14336,
               .gated_mlp = true,
               .num_attention_heads = 32,
               .num_key_value_heads = 8,
               .head_dim = 128,
               .vocab_size = 128256,
               .tie_word_embeddings = false};
  run.mesh.sizes[Axis::kDpShard] = 8;
  run.mesh.ranks_per_node = 8;
  run.microbatch_size = 1;
  run.seq_length = 8192;
  run.state_bytes_per_parameter = run.runtime->state_bytes_per_parameter;
  return run;
}

}  // namespace meshplan::planner
