#include <fmt/format.h>

#include "planner/plan/exporters/script.h"

namespace meshplan::planner {
namespace {

constexpr const char* kProgram = R"python(

class Planned(L.LightningModule):
    """Steps are taken by hand: FSDP2 is told which microbatch is the last one."""

    def __init__(self, arguments):
        super().__init__()
        self.automatic_optimization = False
        self.arguments = arguments
        self.model = None

    def configure_model(self):
        if self.model is not None:
            return
        mesh = self.device_mesh
        self.model = parallelize_plan(make_model(self.arguments.weights, self.arguments.seed).to(mesh.device_type),
                                      mesh["tensor_parallel"], mesh["data_parallel"])

    def configure_optimizers(self):
        return make_optimizer(self.model, self.arguments.learning_rate, self.arguments.weight_decay)

    def training_step(self, tokens, index):
        loss = train_step(self.model, self.optimizers(), tokens)
        self.log("loss", loss, prog_bar=True)


def main():
    parser = argparse.ArgumentParser(description="Trains as planned; start it once for each node as Lightning asks for")
    parser.add_argument("--tokens", help="file of 32-bit token numbers (default: random ones)")
    parser.add_argument("--weights", help="Hugging Face folder to start from (default: random weights)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--accelerator", default="cuda")
    arguments = parser.parse_args()

    # The strategy gives each data-parallel rank its share of the samples.
    loader = DataLoader(TokenWindows(arguments.tokens), batch_size=MICROBATCH_SIZE * ACCUMULATION, drop_last=True)
    strategy = ModelParallelStrategy(data_parallel_size=DP_SHARD, tensor_parallel_size=TP)
    trainer = L.Trainer(accelerator=arguments.accelerator, devices=RANKS_PER_NODE, num_nodes=NODES, strategy=strategy,
                        max_steps=arguments.steps, log_every_n_steps=1, enable_checkpointing=False)
    trainer.fit(Planned(arguments), loader)


if __name__ == "__main__":
    main()
)python";

std::vector<std::string> refuse(const Plan& plan) {
  std::vector<std::string> refused = script_refusals(plan);
  if (const std::int64_t replicas = plan.layout.mesh.sizes[Axis::kDpReplicate]; replicas > 1) {
    refused.push_back(fmt::format(
        "dp_replicate={}: ModelParallelStrategy has a data-parallel and a tensor-parallel axis; "
        "plan with --dp-replicate 1",
        replicas));
  }
  return refused;
}

Export write(const Plan& plan) {
  const std::string imports =
      "import lightning as L\nfrom lightning.pytorch.strategies import ModelParallelStrategy\n";
  return {imports + script_core(plan) + kProgram, {}};
}

}  // namespace

const ExportTarget kLightning = {
    "lightning", "Lightning 2.6.5 (Python)", "Python", kScriptChoices, refuse, write};

}  // namespace meshplan::planner
