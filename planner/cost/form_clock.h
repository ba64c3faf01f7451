#pragma once

#include <array>
#include <optional>
#include <vector>

#include "planner/cost/form.h"
#include "planner/cost/instruction_cost.h"
#include "planner/cost/program_shape.h"

namespace meshplan::planner {

/// What a table's times rest on.
struct Decisions {
  /// For each wait that longer regions could decide otherwise, by how much the later was later.
  std::vector<Form<double>> margins;
  /// False when times are no linear forms.
  bool linear = true;
};

/// What a kind of instruction costs in a program, and what more where the model has a block more.
struct KindCost {
  const InstructionCost* cost = nullptr;
  /// Null where a block more changes nothing.
  const InstructionCost* of_longer = nullptr;
};

/// A clock of TimePlayer in linear forms: where two times meet, the one that is later without
/// variation is taken to be later always, and noted as a decision.
class FormClock {
 public:
  using Time = Form<double>;
  struct End {
    Time time;
    Axis axis = Axis::kTp;
  };

  /// The costs are those of a model with `more_blocks` less than the one that is played.
  FormClock(const std::vector<KindCost>& kinds, std::int64_t more_blocks, Decisions& decisions)
      : kinds_(&kinds), more_blocks_(static_cast<double>(more_blocks)), decisions_(&decisions) {}

  const Time& operator[](Stream stream) const { return free_[static_cast<std::size_t>(stream)]; }

  std::optional<End> play(std::size_t kind) {
    const InstructionCost& cost = *(*kinds_)[kind].cost;
    const InstructionCost* longer = (*kinds_)[kind].of_longer;
    run(cost.before, longer != nullptr ? &longer->before : nullptr);
    if (!cost.issued) return std::nullopt;
    Time& free = at(cost.issued->stream);
    free = latest(free, at(Stream::kCompute)) + Time(cost.issued->duration.value);
    const End end{free, cost.issued->axis};
    at(Stream::kCompute).coefficients[0] += cost.issued->taken.value;
    if (cost.issued->awaited) wait(end);
    run(cost.after, longer != nullptr ? &longer->after : nullptr);
    return end;
  }

  void wait(const End& end) { at(Stream::kCompute) = latest(at(Stream::kCompute), end.time); }

  End later(const End& a, const End& b) { return {latest(a.time, b.time), b.axis}; }

  void skip(const FormClock& before, const Repetition& repetition) {
    const auto factor = static_cast<double>(repetition.count);
    for (std::size_t s = 0; s < kStreams; ++s) {
      const Time once = free_[s] - before.free_[s];
      free_[s] += grown(once, factor, repetition.varies);
    }
  }

  /// The end of the step.
  Time end() {
    Time end = free_[0];
    for (std::size_t s = 1; s < kStreams; ++s) end = latest(end, free_[s]);
    return end;
  }

 private:
  Time& at(Stream stream) { return free_[static_cast<std::size_t>(stream)]; }

  void run(const ComputeTime& time, const ComputeTime* longer) {
    Time& compute = at(Stream::kCompute);
    compute.coefficients[0] += time.total.value;
    if (longer == nullptr) return;
    const double more = longer->total.value - time.total.value;
    compute.coefficients[0] += more_blocks_ * more;
    for (std::size_t r = 0; r < kRegions; ++r) compute.coefficients[block_term(r)] += more;
  }

  Time latest(const Time& a, const Time& b) {
    const bool first = a.value() >= b.value();
    const Time margin = first ? a - b : b - a;
    if (!margin.is_constant()) decisions_->margins.push_back(margin);
    return first ? a : b;
  }

  Time grown(const Time& once, double factor, int varies) {
    if (varies == kConstant) return once.times(factor);
    const bool microbatches = varies == kMicrobatches;
    for (std::size_t t = 1; t < kTerms; ++t) {
      if (once.coefficients[t] != 0 && !(microbatches && t < kMicrobatchTerm))
        decisions_->linear = false;
    }
    if (microbatches) return once.times_microbatches(factor);
    return once.times_blocks(factor, static_cast<std::size_t>(varies));
  }

  const std::vector<KindCost>* kinds_;
  double more_blocks_;
  std::array<Time, kStreams> free_{};
  Decisions* decisions_;
};

}  // namespace meshplan::planner
