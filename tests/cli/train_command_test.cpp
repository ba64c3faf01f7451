#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/file.h"
#include "formats/indexed_dataset.h"
#include "formats/run_folder.h"
#include "formats/safetensors.h"
#include "planner/plan/plan.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A folder with a model, a dataset, and a copy of meshplan beside a program that stands for
/// meshplan-train.
class TrainCommand : public testing::Test {
 protected:
  void SetUp() override {
    common::write_file(folder_ / "model/config.json",
                       to_json(planner::load_model("demo-qwen2")).dump());
    const std::vector<std::byte> bytes(64);
    const formats::TensorToWrite tensor{
        .name = "model.norm.weight", .type = formats::TensorType::kF32, .shape = {16}};
    formats::write_safetensors(weights_, std::span(&tensor, 1),
                               [&](std::size_t) { return std::span(bytes); });
    formats::IndexedDatasetWriter data(data_, 2048);
    const std::array<std::int64_t, 4> tokens = {1, 2, 3, 4};
    data.add(tokens);
    data.finish();
    std::filesystem::create_directories(folder_ / "bin");
    std::filesystem::create_directories(folder_ / "share/meshplan");
    write_script(folder_ / "share/meshplan/prepare_data", "");
    std::filesystem::copy_file(MESHPLAN_PROGRAM, program_);
    write_script(folder_ / "bin/meshplan-train", "echo \"$@\"\n");
    // torchrun's part:
    // "-c CODE --standalone --max-restarts M --no-python --nproc-per-node N PROGRAM ARGUMENTS...".
    write_script(python_, "echo \"$8 ranks, $OMP_NUM_THREADS threads\"; shift 8; exec \"$@\"\n");
  }

  Running start(std::vector<std::string> flags, const Variables& environment = {}) const {
    if (std::find(flags.begin(), flags.end(), "--dataset-name") == flags.end())
      flags.insert(flags.end(), {"--data", data_});
    return start_as_said(std::move(flags), environment);
  }

  Ended start_without_data(std::vector<std::string> flags) const {
    return start_as_said(std::move(flags), {}).wait();
  }

  Running start_as_said(std::vector<std::string> flags, Variables environment) const {
    flags.insert(flags.begin(), {program_, "train"});
    flags.insert(flags.end(), {"--storage-path", runs_, "--experiment-name", "run"});
    environment.emplace("MESHPLAN_TORCH_PYTHON", python_);
    return Running(flags, environment);
  }

  Ended train(const std::vector<std::string>& flags, const Variables& environment = {}) const {
    return start(flags, environment).wait();
  }

  std::filesystem::path run_folder() const { return std::filesystem::path(runs_) / "run"; }

  TemporaryFolder folder_;
  std::string model_ = folder_ / "model";
  std::string weights_ = folder_ / "model/model.safetensors";
  std::string data_ = folder_ / "data";
  std::string runs_ = folder_ / "runs";
  std::string program_ = folder_ / "bin/meshplan";
  std::string python_ = folder_ / "python";
};

TEST_F(TrainCommand, PlansFromFlagsAndStartsTheRanks) {
  const Ended ended =
      train({"--model_name", model_, "--tp_size", "2", "--dp_size", "2", "--num_workers", "4",
             "--seq-length", "128", "--batch-size", "2", "--learning-rate", "1e-3", "--steps", "10",
             "--loss-normalization", "per_rank"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const planner::Plan plan = planner::load_plan(formats::plan_path(run_folder()));
  EXPECT_EQ(plan.layout.mesh.sizes[planner::Axis::kTp], 2);
  EXPECT_EQ(plan.layout.mesh.sizes[planner::Axis::kDpShard], 2);
  EXPECT_EQ(plan.layout.mesh.ranks_per_node, plan.cluster.devices_per_node);
  EXPECT_EQ(plan.layout.microbatch_size, 2);
  EXPECT_EQ(plan.job.seq_length, 128);
  EXPECT_EQ(plan.job.loss_normalization, planner::LossNormalization::kPerRank);
  EXPECT_EQ(plan.model_source, model_);
  EXPECT_THAT(ended.out, HasSubstr("4 ranks, "));
  EXPECT_THAT(ended.out, HasSubstr("train --plan " + formats::plan_path(run_folder()).string() +
                                   " --data " + data_ + " --run-folder " + run_folder().string() +
                                   " --learning-rate 1e-3 --steps 10\n"));
}

TEST_F(TrainCommand, TellsTheRanksWhatIsSetAndNoMore) {
  const Ended ended = train({"--model",
                             model_,
                             "--packing",
                             "on",
                             "--lr_schedule",
                             "wsd",
                             "--warmup-ratio",
                             "0.1",
                             "--min-learning-rate",
                             "1e-6",
                             "--decay-steps",
                             "5",
                             "--validation-data",
                             data_,
                             "--validation-interval",
                             "10",
                             "--trace-steps",
                             "3,5-7",
                             "--memory-snapshot",
                             "2",
                             "--log-interval",
                             "1",
                             "--decay-norms-and-biases",
                             "off"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out,
              HasSubstr(" --packing on --validation-data " + data_ +
                        " --validation-interval 10 --lr-schedule wsd --warmup-ratio 0.1 "
                        "--min-learning-rate 1e-6 --decay-steps 5 --log-interval 1 --trace-steps "
                        "3,5-7 --memory-snapshot 2\n"));
  EXPECT_FALSE(planner::load_plan(formats::plan_path(run_folder())).job.decay_norms_and_biases);
  EXPECT_THAT(ended.err, HasSubstr("full_shard, sequence parallel off"));
}

TEST_F(TrainCommand, RefusesFlagsThatDoNotGoTogether) {
  const auto refused = [&](std::vector<std::string> flags, const char* part) {
    flags.insert(flags.begin(), {"--model", model_});
    const Ended ended = train(flags);
    EXPECT_EQ(ended.exit_code, 2) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(part));
  };
  refused({"--validation-data", data_}, "go together");
  refused({"--validation-interval", "5"}, "go together");
  refused({"--warmup-steps", "5", "--warmup-ratio", "0.1"}, "--warmup");
  for (const char* ratio : {"1.5", "nan"}) refused({"--warmup-ratio", ratio}, "--warmup-ratio");
  refused({"--lr-schedule", "step"}, "--lr-schedule");
  refused({"--trace-steps", "7-3"}, "as in 3,5-7");
  refused({"--dataset-name", "wikitext", "--dataset-percentage", "0"}, "--dataset-percentage");
  refused({"--dataset-name", "wikitext", "--data", data_}, "--data");
  EXPECT_FALSE(std::filesystem::exists(runs_));
}

TEST_F(TrainCommand, TakesAModelOfTheHubFromWhereItsClientPutsIt) {
  write_script(python_, "if [ $# -eq 4 ]; then printf '0 %s' " + model_ +
                            " >&3; echo \"asked for $3, $4\"; exit; fi\nshift 8; echo \"$@\"\n");
  const Ended ended = train({"--model-name", "Qwen/Qwen2.5-0.5B"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("asked for Qwen/Qwen2.5-0.5B, weights\n"));
  const planner::Plan plan = planner::load_plan(formats::plan_path(run_folder()));
  EXPECT_EQ(plan.model_source, model_);
  EXPECT_EQ(plan.model.name, "Qwen2.5-0.5B");
  write_script(python_, "printf '5 cannot be fetched. Fill /cache/models--a--b' >&3\n");
  const Ended offline = train({"--model-name", "a/b"});
  EXPECT_EQ(offline.exit_code, 5);
  EXPECT_THAT(offline.err, HasSubstr("model a/b: cannot be fetched. Fill /cache/models--a--b"));
  const Ended mistyped = train({"--model-name", "llama-3-8c"});
  EXPECT_EQ(mistyped.exit_code, 3) << "no hub name without an owner: " << mistyped.err;
}

TEST_F(TrainCommand, TokenizesADatasetOnce) {
  const std::string script = folder_ / "prepare";
  write_script(script, "");
  // "SCRIPT ... --out PREFIX [--append-eos]", else torchrun's part.
  write_script(python_, "if [ \"$1\" != " + script + R"( ]; then shift 8; echo "$@"; exit; fi
echo "prepares $*"
while [ "$1" != --out ]; do shift; done
cp )" + data_ + ".bin $2.bin; cp " +
                            data_ + ".idx $2.idx\n");
  const std::string text = folder_ / "notes.txt";
  common::write_file(text, "a line\n");
  const auto prepared = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"--model", model_, "--dataset-name"});
    const Ended ended = train(flags, {{"MESHPLAN_PREPARE_DATA", script}});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_THAT(ended.out, HasSubstr(" --data " + runs_ + "/datasets/"));
    return ended.out.find("prepares") != std::string::npos;
  };
  EXPECT_TRUE(prepared({"wikitext", "--dataset-percentage", "10"}));
  EXPECT_FALSE(prepared({"wikitext", "--dataset-percentage", "10"})) << "made before";
  EXPECT_TRUE(prepared({"wikitext"})) << "another percentage";
  EXPECT_TRUE(prepared({"wikitext", "--packing", "on"})) << "with ends of text";
  EXPECT_TRUE(prepared({"wikitext", "--tokenizer", "other/tokenizer"}));
  EXPECT_TRUE(prepared({text}));
  EXPECT_FALSE(prepared({text}));
  common::write_file(text, "another line\n");
  EXPECT_TRUE(prepared({text})) << "the file has changed";
}

TEST_F(TrainCommand, SaysWhatToDoWhereADatasetCannotBePrepared) {
  write_script(python_, "echo 'prepare_data: no network' >&2; exit 5\n");
  const Ended offline = train({"--model", model_, "--dataset-name", "wikitext"});
  EXPECT_EQ(offline.exit_code, 5);
  EXPECT_THAT(offline.err, HasSubstr("no network"));
  EXPECT_THAT(offline.err, HasSubstr("wikitext: the data set cannot be prepared"));
  const Ended catalog =
      train({"--model", "demo-qwen2", "--init", "random", "--dataset-name", "wikitext"});
  EXPECT_EQ(catalog.exit_code, 2);
  EXPECT_THAT(catalog.err, HasSubstr("--tokenizer NAME_OR_DIR"));
}

TEST_F(TrainCommand, RunsAPlanAsItIs) {
  const std::string file = folder_ / "plan.json";
  ASSERT_EQ(meshplan({"plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--seq-length",
                      "64", "-o", file})
                .exit_code,
            0);
  const Ended ended = train({file, "--init", "random", "--num-epochs", "1"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr(" --num-epochs 1 --init random\n"));
  const common::Bytes limit(1 << 24);
  EXPECT_EQ(common::read_file(formats::plan_path(run_folder()), limit),
            common::read_file(file, limit));
  EXPECT_THAT(train({file, "--init", "random", "--debug-steps", "3"}).out,
              HasSubstr(" --debug-steps 3 --init random\n"));

  const Ended conflict = train({file, "--tp-size", "2"});
  EXPECT_EQ(conflict.exit_code, 2);
  EXPECT_THAT(conflict.err, HasSubstr("--tp-size is in the plan"));
  const Ended workers = train({file, "--num-workers", "5"});
  EXPECT_EQ(workers.exit_code, 3);
  const Ended weights = train({file});
  EXPECT_EQ(weights.exit_code, 3);
  EXPECT_THAT(weights.err, HasSubstr("'demo-qwen2' has no weights"));
}

TEST_F(TrainCommand, NamesEverythingThatIsWrongWithTheLayout) {
  const Ended workers =
      train({"--model", model_, "--tp-size", "2", "--dp-size", "2", "--num-workers", "5"});
  EXPECT_EQ(workers.exit_code, 3);
  EXPECT_THAT(workers.err, HasSubstr("num_workers=5: must equal tp_size=2 x dp_size=2 = 4"));
  const Ended heads = train({"--model", model_, "--tp-size", "3", "--dp-size", "1", "--seq-length",
                             "9999", "--dp-replicate", "2"});
  EXPECT_EQ(heads.exit_code, 3);
  EXPECT_THAT(heads.err, HasSubstr("dp_size=1: must equal dp_replicate=2 x dp_shard=0 = 0"));
  const Ended several = train({"--model", model_, "--tp-size", "3", "--seq-length", "9999"});
  EXPECT_THAT(several.err, HasSubstr("tp=3: must divide num_key_value_heads=4; use 1, 2 or 4"));
  EXPECT_THAT(several.err, HasSubstr("seq_length=9999: at most max_position_embeddings=4096"));
  const Ended cluster = train({"--model", model_, "--dp-size", "2", "--cluster", "local-cpu"});
  EXPECT_EQ(cluster.exit_code, 3);
  EXPECT_THAT(cluster.err, HasSubstr("must equal the cluster's 1 node x 4 devices = 4"));
  EXPECT_EQ(
      train({"--model", model_, "--tp-size", "9223372036854775807", "--dp-size", "2"}).exit_code,
      3);
  EXPECT_EQ(train({"--model", model_, "--dp-replicate", "0", "--dp-size", "2"}).exit_code, 3);
  EXPECT_FALSE(std::filesystem::exists(runs_));
}

TEST_F(TrainCommand, RefusesWhatIsNotBuiltYetWithAWayOut) {
  EXPECT_EQ(train({"--model", model_, "--keep-latest-k", "1"}).exit_code, 2);
  EXPECT_EQ(train({"--model", model_, "--checkpoint-interval", "-5"}).exit_code, 2);
  EXPECT_EQ(train({"--model", model_, "--learning-rate", "nan"}).exit_code, 2);
  EXPECT_EQ(train({}).exit_code, 2);
  const Ended nodes =
      train({"--model", model_, "--cluster", "local-cpu", "--nodes", "2", "--dp-size", "8"});
  EXPECT_EQ(nodes.exit_code, 3);
  EXPECT_THAT(nodes.err, HasSubstr("--nnodes 2 --node-rank K --master-addr HOST"));
}

TEST_F(TrainCommand, OpensDataAndWeightsBeforeItStartsRanks) {
  std::filesystem::resize_file(weights_, 60);
  const Ended truncated = train({"--model", model_});
  EXPECT_EQ(truncated.exit_code, 3);
  EXPECT_THAT(truncated.err, HasSubstr(weights_));
  std::filesystem::remove(weights_);
  const Ended missing = train({"--model", model_});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("safetensors"));
  const Ended validation = train({"--model", model_, "--init", "random", "--validation-data",
                                  folder_ / "none", "--validation-interval", "5"});
  EXPECT_EQ(validation.exit_code, 3);
  EXPECT_THAT(validation.err, HasSubstr("none.bin"));
  std::filesystem::resize_file(data_ + ".idx", 20);
  const Ended data = train({"--model", model_, "--init", "random"});
  EXPECT_EQ(data.exit_code, 3);
  EXPECT_THAT(data.err, HasSubstr(data_ + ".idx"));
}

TEST_F(TrainCommand, TheFeedForwardDemoNeedsNeitherDataNorWeights) {
  const Ended ended =
      start_without_data({"--model", "feed-forward-demo", "--tp-size", "2", "--dp-size", "2",
                          "--batch-size", "32", "--debug-steps", "5"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr(" --data synthetic --run-folder " + run_folder().string() +
                                   " --debug-steps 5 --init random\n"));
  const planner::Plan plan = planner::load_plan(formats::plan_path(run_folder()));
  EXPECT_EQ(plan.job.seq_length, 1);
  EXPECT_FALSE(plan.layout.sequence_parallel);
}

TEST_F(TrainCommand, RefusesTokensForTheFeedForwardDemo) {
  const Ended tokens = train({"--model", "feed-forward-demo"});
  EXPECT_EQ(tokens.exit_code, 3);
  EXPECT_THAT(tokens.err, HasSubstr(data_ + ": is a token dataset; the model reads rows of "
                                            "numbers: use synthetic, or a safetensors file with a "
                                            "float32 tensor rows [N, 8192]"));
  const Ended text = train({"--model", "feed-forward-demo", "--dataset-name", "wikitext"});
  EXPECT_EQ(text.exit_code, 2);
  EXPECT_THAT(text.err, HasSubstr("--dataset-name is of text, and feed-forward-demo reads rows"));
  const Ended weights = train({"--model", "feed-forward-demo", "--init", "weights"});
  EXPECT_EQ(weights.exit_code, 3);
  EXPECT_THAT(weights.err, HasSubstr("'feed-forward-demo' has no weights"));
  const Ended nothing = start_without_data({"--model", model_});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("give --data PREFIX, --data synthetic, or --dataset-name"));
}

TEST_F(TrainCommand, SaysWhereTorchAndTheRanksProgramComeFrom) {
  const Ended python = train({"--model", model_}, {{"MESHPLAN_TORCH_PYTHON", "/no/python"}});
  EXPECT_EQ(python.exit_code, 5);
  EXPECT_THAT(python.err, HasSubstr("/no/python: cannot be run; no Python with torch"));
  std::filesystem::remove(folder_ / "bin/meshplan-train");
  const Ended program = train({"--model", model_});
  EXPECT_EQ(program.exit_code, 5);
  EXPECT_THAT(program.err, HasSubstr("bin/meshplan-train: is missing"));
}

TEST_F(TrainCommand, EndsWithTheFirstCauseThatARankRecorded) {
  const std::string errors = (run_folder() / "errors").string();
  write_script(folder_ / "bin/meshplan-train", R"(
record() { echo "{\"rank\": $1, \"code\": \"$2\", \"exit_code\": $3, \"message\": \"$4\"}" >$5/rank-0000$1.json; }
errors=)" + errors + R"(
[ -e $errors ] && echo "old records"
mkdir -p $errors
record 0 rank_lost 8 "rank 2 failed" $errors
record 2 diverged 7 "the loss is nan in step 3" $errors
echo '{"rank"' >$errors/rank-00003.json
exit 1
)");
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Ended ended = train({"--model", model_});
    EXPECT_EQ(ended.exit_code, 7);
    EXPECT_THAT(ended.err,
                testing::EndsWith("meshplan train: rank 2: the loss is nan in step 3\n"));
    EXPECT_THAT(ended.out, Not(HasSubstr("old records")));
  }
}

TEST_F(TrainCommand, EndsWithTheLaunchersWordWhereNoRankLeftARecord) {
  write_script(python_, "printf '7 rank 1 said so' >&3; exit 1\n");
  const Ended said = train({"--model", model_});
  EXPECT_EQ(said.exit_code, 7);
  EXPECT_THAT(said.err, HasSubstr("rank 1 said so\n"));
  write_script(python_, "printf '%s' '-9 rank 1 was killed' >&3; exit 1\n");
  EXPECT_EQ(train({"--model", model_}).exit_code, 8);
  write_script(python_, "kill -9 $$\n");
  const Ended killed = train({"--model", model_});
  EXPECT_EQ(killed.exit_code, 8);
  EXPECT_THAT(killed.err, HasSubstr("exit code 137"));
}

TEST_F(TrainCommand, PassesSignalsOnAndLeavesNoProcessBehind) {
  // A launcher that stops at once, and a rank in a session of its own that does not.
  write_script(python_, "setsid sleep 300 & echo $! >" + (folder_ / "sleeper").string() +
                            "\ntrap 'exit 1' TERM; touch " + (folder_ / "started").string() +
                            "\nwhile :; do sleep 0.05; done\n");
  Running running = start({"--model", model_});
  for (int i = 0; i < 200 && !std::filesystem::exists(folder_ / "started"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_TRUE(std::filesystem::exists(folder_ / "started"));
  ::kill(running.pid(), SIGTERM);
  const Ended ended = running.wait();
  EXPECT_EQ(ended.exit_code, 130) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("stopped by SIGTERM"));
  const pid_t sleeper = std::stoi(common::read_file(folder_ / "sleeper", common::Bytes(64)));
  EXPECT_EQ(::kill(sleeper, 0), -1) << "the rank outlived meshplan";
}

TEST_F(TrainCommand, IsARankInsideALaunchedJob) {
  write_script(folder_ / "bin/meshplan-train", "cat \"$3\"; echo; echo \"$@\"\n");
  const Variables job = {{"WORLD_SIZE", "4"}, {"LOCAL_WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"},
                         {"RANK", "3"},       {"MASTER_ADDR", "n0"},     {"MASTER_PORT", "2900"}};
  const Ended third = train({"--model", model_, "--dp-size", "4"}, job);
  ASSERT_EQ(third.exit_code, 0) << third.err;
  EXPECT_FALSE(std::filesystem::exists(run_folder())) << "rank 0 writes";
  Variables first_place = job;
  first_place["RANK"] = first_place["LOCAL_RANK"] = "0";
  const Ended first = train({"--model", model_, "--dp-size", "4"}, first_place);
  EXPECT_EQ(first.out, third.out) << "all ranks must make the same plan";
  const planner::Plan plan = planner::load_plan(formats::plan_path(run_folder()));
  EXPECT_EQ(plan.cluster.nodes, 2);
  EXPECT_EQ(plan.cluster.devices_per_node, 2);
  EXPECT_THAT(first.out, HasSubstr(to_json(plan).dump()));

  const Ended world = train({"--model", model_, "--dp-size", "2"}, job);
  EXPECT_EQ(world.exit_code, 3);
  Variables wrong = job;
  wrong["RANK"] = "four";
  EXPECT_THAT(train({"--model", model_, "--dp-size", "4"}, wrong).err, HasSubstr("RANK=four"));
}

TEST_F(TrainCommand, CalibrateStartsRanksTheSameWay) {
  const auto calibrate = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {program_, "calibrate"});
    return Running(flags, {{"MESHPLAN_TORCH_PYTHON", python_}}).wait();
  };
  const Ended ended = calibrate({"--ranks", "4", "-o", folder_ / "cluster.json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(
      ended.out,
      HasSubstr("calibrate --output " + (folder_ / "cluster.json").string() +
                " --model demo-qwen2 --seq-length 128 --microbatch-size 2 --dp-shard 2 --tp 2\n"));
  const Ended tp = calibrate({"--ranks", "4", "--tp", "3"});
  EXPECT_EQ(tp.exit_code, 3);
  EXPECT_THAT(tp.err, HasSubstr("tp=3: must divide ranks=4"));
  EXPECT_EQ(calibrate({"--ranks", "0"}).exit_code, 2);
}

}  // namespace
}  // namespace meshplan::tests
