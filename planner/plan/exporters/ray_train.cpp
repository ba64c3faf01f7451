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

    dp_rank = ray.train.get_context().get_world_rank() // TP
    loader = make_loader(config["data"], dp_rank, config["seed"])
    step = epoch = 0
    while step < config["steps"]:
        loader.sampler.set_epoch(epoch)
        for tokens, labels in loader:
            ray.train.report({"step": step, "loss": train_step(model, optimizer, tokens.to(device), labels.to(device))})
            step += 1
            if step == config["steps"]:
                return
        epoch += 1


def main():
    parser = argparse.ArgumentParser(description="Trains as planned on a Ray cluster, one worker a rank")
    add_arguments(parser)
    parser.add_argument("--storage-path", help="folder that all nodes share")
    parser.add_argument("--experiment-name", default="planned")
    parser.add_argument("--cpu", action="store_true", help="on CPUs, for a trial")
    arguments = vars(parser.parse_args())
    run = RunConfig(storage_path=arguments.pop("storage_path"), name=arguments.pop("experiment_name"))
    scaling = ScalingConfig(num_workers=DP_REPLICATE * DP_SHARD * TP, use_gpu=not arguments.pop("cpu"))
    TorchTrainer(train_loop_per_worker, train_loop_config=arguments, run_config=run, scaling_config=scaling).fit()


if __name__ == "__main__":
    main()
)python";

Export write(const Plan& plan) {
  const std::string imports =
      "import ray.train\nimport ray.train.torch\n"
      "from ray.train import RunConfig, ScalingConfig\n"
      "from ray.train.torch import TorchTrainer\n"
      "from torch.distributed.device_mesh import init_device_mesh\n";
  return {imports + script_core(plan) + kProgram, {}};
}

}  // namespace

const ExportTarget kRayTrain = {"ray-train", "Ray Train 2 (Python)", "Python", kScriptChoices,
                                kScriptPins, script_refusals,        write};

}  // namespace meshplan::planner
