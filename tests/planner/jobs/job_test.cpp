#include "planner/plan/jobs/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "common/error.h"
#include "common/file.h"
#include "planner/plan/jobs/quoting.h"
#include "tests/planner/plans.h"

namespace meshplan::planner {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Two nodes of four H100: tp inside, dp_shard across.
Plan plan_of_two_nodes() {
  Layout layout = layout_of({.dp_shard = 2, .tp = 4});
  layout.mesh.ranks_per_node = 4;
  ClusterSpec cluster = load_cluster("h100-sxm", {.nodes = 2, .devices_per_node = 4});
  cluster.environment = {{"NCCL_SOCKET_IFNAME", "eth0"}, {"NCCL_IB_HCA", "=mlx5_0:1,mlx5_1:1"}};
  return plan_of(small_model(), cluster, small_job(), layout);
}

JobRequest request_to(JobTarget target) {
  JobRequest request;
  request.target = target;
  request.name = "first run";
  request.program = "/opt/meshplan/bin/meshplan";
  request.plan_path = "/shared/plan.json";
  request.train = {"--data",         "/shared/a text", "--steps",           "100",
                   "--storage-path", "/shared/runs",   "--experiment-name", "first run"};
  request.environment = {{"NCCL_DEBUG", "WARN"}, {"NCCL_SOCKET_IFNAME", "ib0"}};
  request.time_limit_s = 36 * 3600;
  request.kubernetes.image = "registry.example/meshplan:1";
  request.ray.image = request.kubernetes.image;
  request.hosts = {"node-a", "node-b"};
  return request;
}

std::string generated(const JobRequest& request, std::size_t file = 0) {
  return generate_job(plan_of_two_nodes(), request).at(file).content;
}

/// What generate_job says; empty where it does what it is asked.
std::string complaint(const JobRequest& request, const Plan& plan = plan_of_two_nodes()) {
  try {
    generate_job(plan, request);
    return "";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kInvalidInput);
    return error.what();
  }
}

/// Without the plan, whose figures are others' to test.
std::string without_plan(const std::string& yaml) {
  const std::size_t begin = yaml.find("  plan.json: |\n");
  if (begin == yaml.npos) return yaml;
  const std::size_t end = yaml.find("---\n");
  return yaml.substr(0, begin) + "  plan.json: (the plan)\n" + yaml.substr(end);
}

/// Compares with tests/planner/jobs/golden/NAME; writes it instead where MESHPLAN_WRITE_GOLDEN is
/// set.
void expect_golden(const std::string& name, const std::string& content) {
  const std::filesystem::path path =
      std::filesystem::path(MESHPLAN_SOURCE_DIR) / "tests/planner/jobs/golden" / name;
  if (std::getenv("MESHPLAN_WRITE_GOLDEN") != nullptr) common::write_file(path, content);
  EXPECT_EQ(content, common::read_file(path, common::Bytes(1 << 20))) << name;
}

TEST(Job, FilesAreThoseThatWereReadByHand) {
  JobRequest slurm = request_to(JobTarget::kSlurm);
  slurm.slurm.partition = "gpu";
  slurm.slurm.options = {"--exclusive"};
  slurm.slurm.output = "first-run-%j.out";
  slurm.cpus_per_rank = 8;
  expect_golden("srun.sbatch", generated(slurm));
  slurm.slurm.launcher = SlurmLauncher::kTorchrun;
  expect_golden("torchrun.sbatch", generated(slurm));

  JobRequest kubernetes = request_to(JobTarget::kKubernetes);
  kubernetes.kubernetes.claim = "shared";
  kubernetes.kubernetes.name_space = "training";
  expect_golden("trainjob.yaml", without_plan(generated(kubernetes)));
  kubernetes.kubernetes.pytorch_job = true;
  kubernetes.cpus_per_rank = 8;
  expect_golden("pytorchjob.yaml", without_plan(generated(kubernetes)));

  JobRequest ray = request_to(JobTarget::kRay);
  ray.ray.compute_config = "two-nodes";
  expect_golden("job.yaml", generated(ray, 0));
  expect_golden("first-run.py", generated(ray, 1));
  expect_golden("first-run.sh", generated(request_to(JobTarget::kSsh)));
}

TEST(Job, EqualRequestsGiveEqualFiles) {
  for (const JobTarget target :
       {JobTarget::kSlurm, JobTarget::kKubernetes, JobTarget::kRay, JobTarget::kSsh}) {
    EXPECT_EQ(generated(request_to(target)), generated(request_to(target)));
    EXPECT_EQ(parse_job_target(to_string(target), "test"), target);
  }
}

TEST(Job, CarriesItsPlanWhereTheNodesDoNotSeeThisMachine) {
  const Plan plan = plan_of_two_nodes();
  const JobFiles ray = generate_job(plan, request_to(JobTarget::kRay));
  ASSERT_EQ(ray.size(), 3U);
  EXPECT_EQ(to_json(read_plan(common::parse_json(ray[2].content, "test"), "test")), to_json(plan));
  EXPECT_THAT(ray[1].content,
              AllOf(HasSubstr("    \"plan.json\",\n"), HasSubstr("CPUS, GPUS = 4, 4")));
  EXPECT_THAT(generated(request_to(JobTarget::kKubernetes)),
              AllOf(HasSubstr("/etc/meshplan/plan.json"), HasSubstr("  plan.json: |\n    {\n")));
}

TEST(Job, VariablesOfTheRequestWinOverTheCluster) {
  const std::string script = generated(request_to(JobTarget::kSlurm));
  EXPECT_THAT(script, AllOf(HasSubstr("export NCCL_SOCKET_IFNAME=ib0\n"),
                            HasSubstr("export NCCL_IB_HCA==mlx5_0:1,mlx5_1:1\n"),
                            HasSubstr("export NCCL_DEBUG=WARN\n"), Not(HasSubstr("eth0"))));
}

TEST(Job, CpusNeedNoGpus) {
  const Layout layout = layout_of({.dp_shard = 2, .tp = 2});
  const Plan plan = plan_of(small_model(), cpu_cluster(layout), small_job(), layout);
  EXPECT_THAT(generate_job(plan, request_to(JobTarget::kSlurm)).front().content,
              AllOf(Not(HasSubstr("gpus")), HasSubstr("--ntasks-per-node=4")));
  EXPECT_THAT(generate_job(plan, request_to(JobTarget::kKubernetes)).front().content,
              Not(HasSubstr("nvidia.com/gpu")));
  EXPECT_THAT(generate_job(plan, request_to(JobTarget::kRay)).at(1).content,
              HasSubstr("CPUS, GPUS = 4, 0"));
}

TEST(Job, SaysAllThatIsWrongAtOnce) {
  JobRequest request = request_to(JobTarget::kSlurm);
  request.name = "two\nlines";
  request.port = 70000;
  request.time_limit_s = 60;
  request.max_restarts = -1;
  request.train.emplace_back("\x1b[2J");
  request.environment = {{"WORLD_SIZE", "4"}, {"1A", "x"}, {"A B", "x"}, {"OK", "\n"}};
  request.slurm.options = {"exclusive"};
  EXPECT_THAT(complaint(request),
              AllOf(HasSubstr("10 things are wrong"), HasSubstr("job name: must be one line"),
                    HasSubstr("port=70000: must be from 1 to 65535"),
                    HasSubstr("time_limit_s=60: must be from 181 to"),
                    HasSubstr("max_restarts=-1: must be from 0 to 1000"),
                    HasSubstr("a word of meshplan train: must be one line"),
                    HasSubstr("variable WORLD_SIZE: is set by what starts the ranks"),
                    HasSubstr("'1A': must not begin with a digit"),
                    HasSubstr("'exclusive': must be like --exclusive")));
}

TEST(Job, NeedsAHostForEachNode) {
  JobRequest request = request_to(JobTarget::kSsh);
  request.hosts = {"node-a"};
  EXPECT_THAT(complaint(request), HasSubstr("1 are named, and the plan has 2 nodes"));
  request.hosts = {"node-a", "-oProxyCommand=evil"};
  EXPECT_THAT(complaint(request), HasSubstr("not begin with -"));
  request.hosts = {"node-a", "$(id)"};
  EXPECT_THAT(complaint(request), HasSubstr("'$(id)': must be"));
}

TEST(Job, NeedsAnImageAndNamesThatKubernetesTakes) {
  JobRequest request = request_to(JobTarget::kKubernetes);
  request.kubernetes.image = "";
  request.kubernetes.name_space = "Training";
  request.kubernetes.claim = "a b";
  request.kubernetes.claim_mount = "storage";
  EXPECT_THAT(complaint(request),
              AllOf(HasSubstr("image: must not be empty"), HasSubstr("namespace: 'Training'"),
                    HasSubstr("claim: 'a b'"), HasSubstr("must be a path from the root")));
}

TEST(Job, RefusesAPlanThatTheExecutorDoesNotRun) {
  Plan plan = plan_of_two_nodes();
  plan.layout.async_tp = true;
  EXPECT_THAT(complaint(request_to(JobTarget::kSlurm), plan), HasSubstr("plan.layout"));
}

TEST(Job, TargetsAreKnownByName) { EXPECT_THROW(parse_job_target("lsf", "--to"), common::Error); }

}  // namespace
}  // namespace meshplan::planner
