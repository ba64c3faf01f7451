#include "planner/plan/exporters/script.h"

namespace meshplan::planner {
namespace {

constexpr const char* kProgram = R"python(

def train_loop_per_worker(config):
    """One rank: Ray Train has joined it to the process group."""
    device = ray.train.torch.get_device()
    mesh = init_device_mesh(device.type, (DP_REPLICATE, DP_SHARD, TP), mesh_dim_names=("dp_replicate", "dp_shard", "tp"))
    dp_mesh = mesh["dp_replicate", "dp_shard"] if DP_REPLICATE > 1 else mesh["dp_shard"]
    model = parallelize_plan(make_model(config["weights"], config["seed"]).to(device), mesh["tp"], dp_mesh)
    model.train()
    optimizer = make_optimizer(model, config["learning_rate"], config["weight_decay"])

    # Ranks of a tp group see the same samples.
    dp_rank = ray.train.get_context().get_world_rank() // TP
    dataset = TokenWindows(config["tokens"])
    sampler = DistributedSampler(dataset, num_replicas=DP_REPLICATE * DP_SHARD, rank=dp_rank, seed=config["seed"])
    loader = DataLoader(dataset, batch_size=MICROBATCH_SIZE * ACCUMULATION, sampler=sampler, drop_last=True)
    step = epoch = 0
    while step < config["steps"]:
        sampler.set_epoch(epoch)
        for tokens in loader:
            loss = torch.tensor(train_step(model, optimizer, tokens.to(device)), device=device)
            torch.distributed.all_reduce(loss)
            ray.train.report({"step": step, "loss": loss.item() / torch.distributed.get_world_size()})
            step += 1
            if step == config["steps"]:
                return
        if len(loader) == 0:
            raise ValueError("the token file holds less than one step's tokens")
        epoch += 1


def main():
    parser = argparse.ArgumentParser(description="Trains as planned on a Ray cluster, one worker a rank")
    parser.add_argument("--tokens", help="file of 32-bit token numbers (default: random ones)")
    parser.add_argument("--weights", help="Hugging Face folder to start from (default: random weights)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--storage-path", help="folder that all nodes share")
    parser.add_argument("--experiment-name", default="planned")
    arguments = vars(parser.parse_args())
    run = RunConfig(storage_path=arguments.pop("storage_path"), name=arguments.pop("experiment_name"))
    trainer = TorchTrainer(train_loop_per_worker, train_loop_config=arguments, run_config=run,
                           scaling_config=ScalingConfig(num_workers=DP_REPLICATE * DP_SHARD * TP, use_gpu=True))
    trainer.fit()


if __name__ == "__main__":
    main()
)python";

Export write(const Plan& plan) {
  const std::string imports =
      "import ray.train\nimport ray.train.torch\n"
      "from ray.train import RunConfig, ScalingConfig\n"
      "from ray.train.torch import TorchTrainer\n"
      "from torch.distributed.device_mesh import init_device_mesh\n"
      "from torch.utils.data.distributed import DistributedSampler\n";
  return {imports + script_core(plan) + kProgram, {}};
}

}  // namespace

const ExportTarget kRayTrain = {"ray-train",    "Ray Train 2 (Python)", "Python",
                                kScriptChoices, script_refusals,        write};

}  // namespace meshplan::planner
