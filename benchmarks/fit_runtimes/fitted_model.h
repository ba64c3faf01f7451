#pragma once

#include <map>
#include <string>
#include <vector>

#include "planner/runtime/peer_run.h"

namespace meshplan::benchmarks {

/// What is fitted to: step times, or peaks of memory.
enum class Quantity { kTime, kMemory };

/// One fitted constant of docs/cost_model.md, wherever it stands, with its log-normal prior.
struct Constant {
  std::string name;
  Quantity quantity;
  /// Runtimes that it moves; empty: all.
  std::vector<std::string> runtimes;
  double prior;
  /// Of its logarithm.
  double deviation;
  std::vector<double*> places;

  double value() const { return *places.front(); }
  void set(double value) const;
};

/// Copies of all GPUs, fabrics and runtimes, which a fit may change, and the list of what it may
/// change of them.
class FittedModel {
 public:
  /// With the values that meshplan has.
  FittedModel();
  FittedModel(const FittedModel&) = delete;

  /// Makes the run use these copies. Requires its GPU, fabric and runtime to be known ones.
  void adopt(planner::PeerRun& run) const;
  void adopt(planner::Hardware& hardware) const;

  std::vector<Constant> constants(Quantity quantity) const;
  /// Sets every constant of the quantity to its prior.
  void reset(Quantity quantity);

 private:
  using Profile = planner::RuntimeProfile;
  using Runtimes = std::vector<std::string>;

  void list_hardware();
  void list_time();
  void list_memory();
  /// A constant that these runtimes share.
  template <class Member>
  void add(const std::string& name, Quantity quantity, const Runtimes& runtimes, double prior,
           double deviation, Member member);
  template <class Member>
  void add_gpu(const std::string& name, const std::vector<std::string>& gpus, double prior,
               double deviation, Member member);
  void add_fabric(const std::string& name, const std::vector<std::string>& fabrics, double prior,
                  double deviation, double planner::FabricFigures::*member);
  void add_fabric(const std::string& name, const std::vector<std::string>& fabrics, double prior,
                  double deviation, common::Seconds planner::FabricFigures::*member);

  std::map<std::string, planner::GpuFigures> gpus_;
  std::map<std::string, planner::FabricFigures> fabrics_;
  std::map<std::string, Profile> profiles_;
  std::vector<Constant> constants_;
};

}  // namespace meshplan::benchmarks
