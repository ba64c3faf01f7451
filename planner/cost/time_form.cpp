#include "planner/cost/time_form.h"

#include <bit>

namespace meshplan::planner {
namespace {

constexpr std::size_t term_of_block(std::size_t region) { return 1 + region; }
constexpr std::size_t term_of_run(std::size_t run) { return (1 + run) * (1 + kRegions); }

template <class Body>
void each_bit(GrowsWith bits, const Body& body) {
  for (unsigned left = bits; left != 0; left &= left - 1)
    body(static_cast<std::size_t>(std::countr_zero(left)));
}

}  // namespace

void FormRank::skip(const Mark& before, const Repeated& repeated, std::int64_t times) {
  const std::optional<std::int64_t> least = clock().least_skip(before.clock, repeated.use, times);
  const double once = clock().compute() - before.clock.compute;
  const Repetition& repetition = repeated.repetition;
  rank_.skip(before.clock, repeated, times);
  // What a longer phase takes follows from its own form.
  const bool may_fall_behind = repeated.is_phase && StreamClock::leaves_alone(repeated.use);
  if (!least || may_fall_behind || !clock().has_ended_but(repeated.use)) form_.holds = false;
  require_as_long(repeated, count_of(repetition, growth_) - times + least.value_or(0));
  if (repeated.is_phase) {
    add_phases(before, repetition, times, once);
  } else {
    each_bit(repetition.varies,
             [&](std::size_t region) { form_.seconds[term_of_block(region)] += once; });
  }
}

void FormRank::end_unsteady(const Repeated& repeated) {
  if (repeated.repetition.varies != kConstant) form_.holds = false;
}

void FormRank::require_as_long(const Repeated& repeated, std::int64_t repetitions) {
  const GrowsWith bits = repeated.repetition.varies;
  each_bit(bits, [&](std::size_t i) {
    const std::int64_t least =
        std::has_single_bit(bits) ? repetitions - repeated.repetition.count : growth_[i];
    form_.least[i] = std::max(form_.least[i], least);
  });
}

void FormRank::add_phases(const Mark& before, const Repetition& repetition, std::int64_t times,
                          double once) {
  const std::array<double, kRegions> now = of_block();
  std::int64_t grown = 0;
  each_bit(repetition.varies, [&](std::size_t i) { grown += growth_[i]; });
  const auto always = static_cast<double>(times - grown);
  for (std::size_t r = 0; r < kRegions; ++r) {
    const double of_block = now[r] - before.of_block[r];
    form_.seconds[term_of_block(r)] += always * of_block;
    once -= of_block * static_cast<double>(growth_[r]);
    each_bit(repetition.varies,
             [&](std::size_t i) { form_.seconds[term_of_run(i - kRegions) + 1 + r] += of_block; });
  }
  each_bit(repetition.varies,
           [&](std::size_t i) { form_.seconds[term_of_run(i - kRegions)] += once; });
}

TimeForm FormRank::form() const {
  TimeForm form = form_;
  form.seconds[0] = 0;
  form.seconds[0] = clock().end() - form.at(growth_);
  return form;
}

}  // namespace meshplan::planner
