#include "benchmarks/fit_runtimes/fitted_model.h"

#include <algorithm>

namespace meshplan::benchmarks {
namespace {

using common::Seconds;
using planner::FabricFigures;
using planner::GpuFigures;
using planner::KernelFigures;
using planner::RuntimeProfile;

constexpr auto kTime = Quantity::kTime;
constexpr auto kMemory = Quantity::kMemory;

const std::vector<std::string> kTorch = {"torch_eager", "torch_compile", "torch_aot_eager"};
const std::vector<std::string> kAll = {"torch_eager", "torch_compile", "torch_aot_eager",
                                       "megatron",    "nanotron",      "composer_fsdp1"};
const std::vector<std::string> kAmpere = {"a100-40gb-sxm", "a100-80gb-sxm"};
const std::vector<std::string> kHopper = {"h100-sxm", "h100-96gb-500w"};

double* place(double& value) { return &value; }
double* place(Seconds& value) { return &value.value; }

/// "torch" for all of PyTorch's runtimes, else the runtime itself: who shares a constant.
std::vector<std::pair<std::string, std::vector<std::string>>> sharers() {
  return {{"torch", kTorch},
          {"megatron", {"megatron"}},
          {"nanotron", {"nanotron"}},
          {"composer_fsdp1", {"composer_fsdp1"}}};
}

}  // namespace

void Constant::set(double value) const {
  for (double* target : places) *target = value;
}

FittedModel::FittedModel() {
  for (const char* name :
       {"a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h100-96gb-500w", "h200-sxm", "b200-sxm"})
    gpus_.emplace(name, *planner::find_gpu(name));
  for (const char* name : {"efa", "roce", "ib"})
    fabrics_.emplace(name, *planner::parse_network(std::string(name) + "-100", 1)->fabric);
  for (const std::string& name : kAll) profiles_.emplace(name, *planner::find_runtime(name));
  list_hardware();
  list_time();
  list_memory();
}

void FittedModel::adopt(planner::PeerRun& run) const {
  adopt(run.hardware);
  run.runtime = &profiles_.at(run.runtime->name);
}

void FittedModel::adopt(planner::Hardware& hardware) const {
  hardware.gpu = &gpus_.at(hardware.gpu->name);
  hardware.network.fabric = &fabrics_.at(hardware.network.fabric->name);
}

std::vector<Constant> FittedModel::constants(Quantity quantity) const {
  std::vector<Constant> found;
  for (const Constant& constant : constants_) {
    if (constant.quantity == quantity) found.push_back(constant);
  }
  return found;
}

void FittedModel::reset(Quantity quantity) {
  for (const Constant& constant : constants(quantity)) constant.set(constant.prior);
}

template <class Member>
void FittedModel::add(const std::string& name, Quantity quantity, const Runtimes& runtimes,
                      double prior, double deviation, Member member) {
  Constant constant{name, quantity, runtimes, prior, deviation, {}};
  for (const std::string& runtime : runtimes)
    constant.places.push_back(place(profiles_.at(runtime).*member));
  constants_.push_back(std::move(constant));
}

template <class Member>
void FittedModel::add_gpu(const std::string& name, const std::vector<std::string>& gpus,
                          double prior, double deviation, Member member) {
  Constant constant{"gpu." + name, kTime, {}, prior, deviation, {}};
  for (auto& [gpu, figures] : gpus_) {
    if (!gpus.empty() && std::find(gpus.begin(), gpus.end(), gpu) == gpus.end()) continue;
    if constexpr (std::is_member_pointer_v<Member> && std::is_same_v<Member, double GpuFigures::*>)
      constant.places.push_back(&(figures.*member));
    else
      constant.places.push_back(place(figures.kernels.*member));
  }
  constants_.push_back(std::move(constant));
}

void FittedModel::add_fabric(const std::string& name, const std::vector<std::string>& fabrics,
                             double prior, double deviation, double FabricFigures::*member) {
  Constant constant{"network." + name, kTime, {}, prior, deviation, {}};
  for (const std::string& fabric : fabrics)
    constant.places.push_back(&(fabrics_.at(fabric).*member));
  constants_.push_back(std::move(constant));
}

void FittedModel::add_fabric(const std::string& name, const std::vector<std::string>& fabrics,
                             double prior, double deviation, Seconds FabricFigures::*member) {
  Constant constant{"network." + name, kTime, {}, prior, deviation, {}};
  for (const std::string& fabric : fabrics)
    constant.places.push_back(&(fabrics_.at(fabric).*member).value);
  constants_.push_back(std::move(constant));
}

void FittedModel::list_hardware() {
  add_gpu("ceiling.a100", kAmpere, 0.79, 0.05, &GpuFigures::matmul_ceiling);
  add_gpu("ceiling.h100", {"h100-sxm"}, 0.70, 0.07, &GpuFigures::matmul_ceiling);
  add_gpu("ceiling.h100w500", {"h100-96gb-500w"}, 0.65, 0.07, &GpuFigures::matmul_ceiling);
  add_gpu("ceiling.h200", {"h200-sxm"}, 0.72, 0.07, &GpuFigures::matmul_ceiling);
  add_gpu("ceiling.b200", {"b200-sxm"}, 0.65, 0.1, &GpuFigures::matmul_ceiling);
  add_gpu("attention.a100", kAmpere, 0.55, 0.15, &GpuFigures::attention_forward);
  add_gpu("attention.hopper", kHopper, 0.35, 0.2, &GpuFigures::attention_forward);
  add_gpu("attention.h200", {"h200-sxm"}, 0.5, 0.25, &GpuFigures::attention_forward);
  add_gpu("attention.b200", {"b200-sxm"}, 0.3, 0.2, &GpuFigures::attention_forward);
  add_gpu("attention_backward.a100", kAmpere, 0.35, 0.25, &GpuFigures::attention_backward);
  add_gpu("attention_backward.hopper", kHopper, 0.2, 0.25, &GpuFigures::attention_backward);
  add_gpu("attention_backward.h200", {"h200-sxm"}, 0.35, 0.3, &GpuFigures::attention_backward);
  add_gpu("attention_backward.b200", {"b200-sxm"}, 0.2, 0.25, &GpuFigures::attention_backward);
  add_gpu("attention_half_length", {}, 200, 0.7, &KernelFigures::attention_half_length);
  add_gpu("memory_share", {}, 0.89, 0.04, &KernelFigures::memory_share);
  add_gpu("matmul_passes", {}, 0.3, 0.7, &KernelFigures::matmul_passes);
  add_gpu("kernel_tail", {}, 3e-6, 0.7, &KernelFigures::kernel_tail);
  add_gpu("fp8_speedup", {}, 1.6, 0.15, &KernelFigures::fp8_speedup);
  add_gpu("fp8_cast_passes", {}, 0.3, 0.7, &KernelFigures::fp8_cast_passes);
  add_gpu("link_share", {}, 0.82, 0.1, &KernelFigures::link_share);
  add_gpu("collective_start", {}, 15e-6, 0.7, &KernelFigures::collective_start);
  add_gpu("link_hop", {}, 2e-6, 0.7, &KernelFigures::link_hop);
  add_fabric("share.efa", {"efa"}, 0.75, 0.2, &FabricFigures::share);
  add_fabric("share.roce", {"roce"}, 0.9, 0.15, &FabricFigures::share);
  add_fabric("share.ib", {"ib"}, 0.8, 0.2, &FabricFigures::share);
  add_fabric("hop.efa", {"efa"}, 40e-6, 0.7, &FabricFigures::hop);
  add_fabric("hop.roce", {"roce"}, 15e-6, 0.7, &FabricFigures::hop);
  add_fabric("hop.ib", {"ib"}, 15e-6, 0.7, &FabricFigures::hop);
  add_fabric("decay.efa", {"efa"}, 0.2, 0.5, &FabricFigures::decay);
  add_fabric("decay.roce", {"roce"}, 0.02, 0.7, &FabricFigures::decay);
  add_fabric("decay.ib", {"ib"}, 0.02, 0.7, &FabricFigures::decay);
  add_fabric("all_reduce_decay", {"efa", "roce", "ib"}, 0.35, 0.5,
             &FabricFigures::all_reduce_decay);
  add_fabric("tensor_parallel_hop.efa", {"efa"}, 3e-4, 0.7, &FabricFigures::tensor_parallel_hop);
}

void FittedModel::list_time() {
  const std::map<std::string, std::pair<double, double>> elementwise = {
      {"torch_eager", {1.4, 0.3}}, {"torch_compile", {0.6, 0.4}}, {"torch_aot_eager", {1.4, 0.3}},
      {"megatron", {0.8, 0.4}},    {"nanotron", {1.5, 0.3}},      {"composer_fsdp1", {1.2, 0.3}}};
  for (const auto& [runtime, prior] : elementwise)
    add(runtime + ".elementwise", kTime, {runtime}, prior.first, prior.second,
        &RuntimeProfile::elementwise);
  add("torch_aot_eager.tp_skew", kTime, {"torch_aot_eager"}, 2, 0.4, &RuntimeProfile::tp_skew);
  for (const auto& [name, runtimes] : sharers()) {
    const Runtimes skewed = name == "torch" ? Runtimes{"torch_eager", "torch_compile"} : runtimes;
    add(name + ".tp_skew", kTime, skewed, 1.3, 0.4, &RuntimeProfile::tp_skew);
    add(name + ".sharding_slowdown", kTime, runtimes, 0.3, 0.7, &RuntimeProfile::sharding_slowdown);
    add(name + ".loss_bytes_per_logit", kTime, runtimes, 20, 0.4,
        &RuntimeProfile::loss_bytes_per_logit);
    add(name + ".optimizer_traffic_per_parameter", kTime, runtimes, 30, 0.5,
        &RuntimeProfile::optimizer_traffic_per_parameter);
    add(name + ".reduction_hidden", kTime, runtimes, 0.5, 0.5, &RuntimeProfile::reduction_hidden);
    add(name + ".step_overhead", kTime, runtimes, 5e-3, 0.8, &RuntimeProfile::step_overhead);
    const bool host = name == "nanotron";
    add(name + ".block_issue_time", kTime, runtimes, host ? 2e-3 : 1e-3, host ? 0.7 : 0.6,
        &RuntimeProfile::block_issue_time);
  }
  add("tp_overlap", kTime, {"megatron", "nanotron"}, 0.8, 0.3, &RuntimeProfile::tp_overlap);
  add("torch.async_tp_hidden", kTime, kTorch, 0.4, 0.4, &RuntimeProfile::async_tp_hidden);
  add("torch.graph_recompute", kTime, kTorch, 0.3, 0.5, &RuntimeProfile::graph_recompute);
  add("nanotron.pipeline_issue_time", kTime, {"nanotron"}, 2e-3, 1,
      &RuntimeProfile::pipeline_issue_time);
  add("nanotron.tp_node_time", kTime, {"nanotron"}, 0.03, 0.7, &RuntimeProfile::tp_node_time);
  add("nanotron.crowded_message_time", kTime, {"nanotron"}, 0.2, 0.5,
      &RuntimeProfile::crowded_message_time);
  add("nanotron.pipeline_issue_growth", kTime, {"nanotron"}, 0.2, 0.7,
      &RuntimeProfile::pipeline_issue_growth);
}

void FittedModel::list_memory() {
  const std::map<std::string, double> logits = {{"torch_eager", 12},    {"torch_compile", 12},
                                                {"torch_aot_eager", 6}, {"megatron", 6},
                                                {"nanotron", 14},       {"composer_fsdp1", 4}};
  for (const auto& [runtime, bytes] : logits) {
    add(runtime + ".logit_bytes", kMemory, {runtime}, bytes, 0.2, &RuntimeProfile::logit_bytes);
    const bool composer = runtime == "composer_fsdp1";
    add(runtime + ".working_blocks", kMemory, {runtime}, composer ? 0.5 : 0.7, 0.5,
        &RuntimeProfile::working_blocks);
  }
  for (const auto& [name, runtimes] : sharers()) {
    add(name + ".head_hidden", kMemory, runtimes, 2, 0.7, &RuntimeProfile::head_hidden);
    add(name + ".extra_bytes_per_parameter", kMemory, runtimes, 0.3, 0.7,
        &RuntimeProfile::extra_bytes_per_parameter);
    add(name + ".fixed_gib", kMemory, runtimes, name == "composer_fsdp1" ? 1 : 0.3, 0.5,
        &RuntimeProfile::fixed_gib);
    if (name == "megatron" || name == "nanotron") continue;
    add(name + ".gathered_blocks", kMemory, runtimes, 2, 0.5, &RuntimeProfile::gathered_blocks);
    add(name + ".gathered_vocabulary", kMemory, runtimes, 1, 0.5,
        &RuntimeProfile::gathered_vocabulary);
    add(name + ".reduced_blocks", kMemory, runtimes, 1.5, 0.5, &RuntimeProfile::reduced_blocks);
  }
  for (const std::string& runtime : kTorch) {
    add(runtime + ".chunked_logit_bytes", kMemory, {runtime}, 5, 0.5,
        &RuntimeProfile::chunked_logit_bytes);
  }
  add("torch.reserved_over_allocated", kMemory, kTorch, 1.05, 0.04,
      &RuntimeProfile::reserved_over_allocated);
  add("torch.unshared_transients", kMemory, kTorch, 0.7, 0.3, &RuntimeProfile::unshared_transients);
  add("torch.pure_logit_bytes", kMemory, kTorch, 8.5, 0.3, &RuntimeProfile::pure_logit_bytes);
  const Runtimes nanotron = {"nanotron"};
  add("nanotron.single_pass_saving", kMemory, nanotron, 1, 0.5,
      &RuntimeProfile::single_pass_saving);
  add("nanotron.kept_gathered", kMemory, nanotron, 0.8, 0.5, &RuntimeProfile::kept_gathered);
  add("nanotron.tied_stage_bytes", kMemory, nanotron, 8, 0.5, &RuntimeProfile::tied_stage_bytes);
  add("nanotron.zero1_step_bytes", kMemory, nanotron, 18, 0.2, &RuntimeProfile::zero1_step_bytes);
}

}  // namespace meshplan::benchmarks
