#include <fmt/format.h>

#include "planner/plan/jobs/quoting.h"
#include "planner/plan/jobs/targets.h"

namespace meshplan::planner {
namespace {

using common::Json;

constexpr std::int64_t kPort = 29500;
constexpr const char* kPlanFolder = "/etc/meshplan";

/// The containers that train, as the two operators call them.
constexpr const char* kTrainJobContainer = "node";
constexpr const char* kPytorchJobContainer = "pytorch";

std::string object_name(const JobRequest& request) { return safe_name(request.name); }

Json metadata(const JobRequest& request) {
  Json metadata = {{"name", object_name(request)}};
  if (!request.kubernetes.name_space.empty()) metadata["namespace"] = request.kubernetes.name_space;
  metadata["annotations"] = {{"meshplan/job", request.name}};
  return metadata;
}

/// The plan, which every pod finds as a file.
Json config_map(const Plan& plan, const JobRequest& request) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", metadata(request)},
          {"data", {{"plan.json", to_json(plan).dump(2, ' ', true) + "\n"}}}};
}

Json environment(const Plan& plan, const JobRequest& request) {
  Json list = Json::array({Json{{"name", "PET_SIGNALS_TO_HANDLE"}, {"value", kTorchrunSignals}}});
  for (const auto& [name, value] : environment_of(plan, request))
    list.push_back({{"name", name}, {"value", kubernetes_word(value)}});
  return list;
}

Json resources(const Plan& plan, const JobRequest& request) {
  const std::int64_t ranks = plan.layout.mesh.ranks_per_node;
  Json amounts = Json::object();
  if (plan.cluster.device.kind == DeviceKind::kGpu)
    amounts[request.kubernetes.gpu_resource] = ranks;
  if (request.cpus_per_rank > 0) amounts["cpu"] = ranks * request.cpus_per_rank;
  if (amounts.empty()) return amounts;
  return {{"requests", amounts}, {"limits", amounts}};
}

/// The plan, shared memory that is not 64 MB, and the storage.
Json volumes(const JobRequest& request) {
  Json list = Json::array({Json{{"name", "plan"}, {"configMap", {{"name", object_name(request)}}}},
                           Json{{"name", "shm"}, {"emptyDir", {{"medium", "Memory"}}}}});
  const std::string& claim = request.kubernetes.claim;
  if (!claim.empty())
    list.push_back({{"name", "storage"}, {"persistentVolumeClaim", {{"claimName", claim}}}});
  return list;
}

Json volume_mounts(const JobRequest& request) {
  Json list = Json::array({Json{{"name", "plan"}, {"mountPath", kPlanFolder}, {"readOnly", true}},
                           Json{{"name", "shm"}, {"mountPath", "/dev/shm"}}});
  if (!request.kubernetes.claim.empty())
    list.push_back({{"name", "storage"}, {"mountPath", request.kubernetes.claim_mount}});
  return list;
}

/// torchrun's arguments: those given, then the program of a rank.
Json arguments(const JobRequest& request, const std::vector<std::string>& of_torchrun) {
  Json list(of_torchrun);
  list.push_back(fmt::format("--max-restarts={}", request.max_restarts));
  list.push_back("--no-python");
  for (const std::string& word : train_words(request, std::string(kPlanFolder) + "/plan.json"))
    list.push_back(kubernetes_word(word));
  return list;
}

/// Kubeflow trainer v2.3, pkg/apis/trainer/v1alpha1/trainjob_types.go. Nodes, ranks and meeting
/// place reach torchrun as PET_* variables; volumes go into the runtime by a patch.
Json train_job(const Plan& plan, const JobRequest& request) {
  const KubernetesChoices& kubernetes = request.kubernetes;
  Json trainer = {{"image", kubernetes.image},
                  {"command", Json::array({kubernetes_word(request.torchrun)})},
                  {"args", arguments(request, {})},
                  {"env", environment(plan, request)},
                  {"numNodes", plan.cluster.nodes},
                  {"numProcPerNode", plan.layout.mesh.ranks_per_node}};
  if (Json amounts = resources(plan, request); !amounts.empty())
    trainer["resourcesPerNode"] = std::move(amounts);
  const Json pods = {{"volumes", volumes(request)},
                     {"containers", Json::array({Json{{"name", kTrainJobContainer},
                                                      {"volumeMounts", volume_mounts(request)}}})}};
  const Json replicated = {{"name", "node"},
                           {"template", {{"spec", {{"template", {{"spec", pods}}}}}}}};
  const Json patch = {
      {"manager", "meshplan/submit"},
      {"trainingRuntimeSpec",
       {{"template", {{"spec", {{"replicatedJobs", Json::array({replicated})}}}}}}}};
  Json spec = {{"runtimeRef",
                {{"apiGroup", "trainer.kubeflow.org"},
                 {"kind", "ClusterTrainingRuntime"},
                 {"name", kubernetes.runtime}}},
               {"trainer", trainer},
               {"runtimePatches", Json::array({patch})}};
  if (request.time_limit_s) spec["activeDeadlineSeconds"] = *request.time_limit_s;
  return {{"apiVersion", "trainer.kubeflow.org/v1alpha1"},
          {"kind", "TrainJob"},
          {"metadata", metadata(request)},
          {"spec", spec}};
}

/// Kubeflow training operator v1.9.4, pkg/apis/kubeflow.org/v1/pytorch_types.go. torchrun is told
/// what its variables mean, as versions differ in them: RANK is the pod's index in all.
Json pytorch_job(const Plan& plan, const JobRequest& request) {
  const std::int64_t nodes = plan.cluster.nodes;
  const std::int64_t ranks = plan.layout.mesh.ranks_per_node;
  const std::int64_t port = request.port.value_or(kPort);
  Json container = {
      {"name", kPytorchJobContainer},
      {"image", request.kubernetes.image},
      {"command", Json::array({kubernetes_word(request.torchrun)})},
      {"args",
       arguments(request, {fmt::format("--nnodes={}", nodes),
                           fmt::format("--nproc-per-node={}", ranks), "--node-rank=$(RANK)",
                           "--master-addr=$(MASTER_ADDR)", "--master-port=$(MASTER_PORT)"})},
      {"env", environment(plan, request)},
      {"ports", Json::array({Json{{"name", "pytorchjob-port"}, {"containerPort", port}}})},
      {"volumeMounts", volume_mounts(request)}};
  if (Json amounts = resources(plan, request); !amounts.empty())
    container["resources"] = std::move(amounts);
  const Json pods = {{"containers", Json::array({container})}, {"volumes", volumes(request)}};
  const auto replicas = [&pods](std::int64_t count) {
    return Json{
        {"replicas", count}, {"restartPolicy", "OnFailure"}, {"template", {{"spec", pods}}}};
  };
  Json specs = {{"Master", replicas(1)}};
  if (nodes > 1) specs["Worker"] = replicas(nodes - 1);
  Json policy = {{"cleanPodPolicy", "None"}, {"backoffLimit", request.max_restarts}};
  if (request.time_limit_s) policy["activeDeadlineSeconds"] = *request.time_limit_s;
  return {{"apiVersion", "kubeflow.org/v1"},
          {"kind", "PyTorchJob"},
          {"metadata", metadata(request)},
          {"spec",
           {{"nprocPerNode", std::to_string(ranks)},
            {"runPolicy", policy},
            {"pytorchReplicaSpecs", specs}}}};
}

}  // namespace

JobFiles kubernetes_job(const Plan& plan, const JobRequest& request) {
  const bool old = request.kubernetes.pytorch_job;
  std::string text =
      fmt::format("# {}; made by `meshplan submit --to kubernetes` for {}.\n", mesh_text(plan),
                  old ? "Kubeflow's training operator 1.9" : "Kubeflow Trainer 2.3");
  text += yaml(config_map(plan, request)) + "---\n";
  text += yaml(old ? pytorch_job(plan, request) : train_job(plan, request));
  return {{object_name(request) + ".yaml", text}};
}

}  // namespace meshplan::planner
