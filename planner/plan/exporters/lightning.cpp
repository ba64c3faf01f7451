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

    def train_dataloader(self):
        return make_loader(self.arguments.data, self.device_mesh["data_parallel"].get_local_rank(), self.arguments.seed)

    def training_step(self, batch, index):
        self.log("loss", train_step(self.model, self.optimizers(), *batch), prog_bar=True)


def main():
    parser = argparse.ArgumentParser(description="Trains as planned; start it once for each node as Lightning asks for")
    add_arguments(parser)
    parser.add_argument("--storage-path", default="runs", help="folder of metrics.csv")
    parser.add_argument("--accelerator", default="cuda", choices=["cuda", "cpu"])
    arguments = parser.parse_args()

    strategy = ModelParallelStrategy(data_parallel_size=DP_SHARD, tensor_parallel_size=TP)
    trainer = L.Trainer(accelerator=arguments.accelerator, devices=RANKS_PER_NODE, num_nodes=NODES, strategy=strategy,
                        max_steps=arguments.steps, max_epochs=-1, log_every_n_steps=1, use_distributed_sampler=False,
                        logger=CSVLogger(arguments.storage_path), enable_checkpointing=False)
    trainer.fit(Planned(arguments))


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
      "import lightning as L\nfrom lightning.pytorch.loggers import CSVLogger\n"
      "from lightning.pytorch.strategies import ModelParallelStrategy\n";
  return {imports + script_core(plan) + kProgram, {}};
}

}  // namespace

const ExportTarget kLightning = {
    "lightning", "Lightning 2.6.5 (Python)", "Python", kScriptChoices, kScriptPins, refuse, write};

}  // namespace meshplan::planner
