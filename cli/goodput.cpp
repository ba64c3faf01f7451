#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "cli/command.h"
#include "cli/options.h"
#include "common/complaints.h"
#include "common/text.h"
#include "planner/model/parameter_table.h"
#include "planner/plan/plan.h"
#include "simulator/goodput/played_runs.h"

namespace meshplan::cli {
namespace {

using common::Json;
using common::Seconds;
using simulator::FailureModel;
using simulator::Goodput;

constexpr double kHour = 3600;
constexpr double kDay = 24 * kHour;
constexpr std::int64_t kMostRuns = 100'000;
/// Runs x failures that are played at most: seconds.
constexpr double kMostPlayed = 1e9;

struct GoodputFlags {
  std::string plan;
  double days = 0;
  double gpu_mtbf_hours = 0;
  double node_mtbf_hours = 0;
  std::optional<double> checkpoint_seconds;
  std::optional<double> blocking_seconds;
  double storage_gigabytes = 0;
  double restart_seconds = 600;
  double detection_seconds = 60;
  std::string interval = "auto";
  std::int64_t runs = 1000;
  std::uint64_t seed = 0;
  bool json = false;
};

/// Weights, masters and moments, once in the whole cluster.
common::Bytes checkpoint_bytes(const planner::Plan& plan) {
  const planner::Job& job = plan.job;
  const std::int64_t weights = common::size_of(job.param_dtype);
  const std::int64_t master = common::size_of(job.master_dtype);
  const std::int64_t state = 2 * common::size_of(planner::moment_dtype(job)) +
                             (job.master_dtype == job.param_dtype ? 0 : master);
  return common::Bytes(planner::parameter_count(plan.model) * (weights + state));
}

/// Complains unless least < value <= most (or value == least, where that is allowed).
void check(common::Complaints& complaints, const char* flag, double value, double most,
           bool may_be_zero) {
  if (std::isfinite(value) && value <= most && (value > 0 || (may_be_zero && value == 0))) return;
  complaints.add("", fmt::format("{}={}: must be {} 0 and at most {}", flag, value,
                                 may_be_zero ? "at least" : "above", most));
}

double parse_interval(const GoodputFlags& flags, common::Complaints& complaints) {
  if (flags.interval == "auto") return 0;
  double minutes = 0;
  if (!CLI::detail::lexical_cast(flags.interval, minutes)) minutes = std::nan("");
  if (std::isfinite(minutes) && minutes > 0 && minutes * 60 <= flags.days * kDay) return minutes;
  complaints.add("", fmt::format("--interval-minutes={:.40}: must be auto, or above 0 and within "
                                 "the run's {} days",
                                 flags.interval, flags.days));
  return 0;
}

/// What is asked, checked.
struct Question {
  FailureModel model;
  Seconds time;
  Seconds interval;
  bool automatic = true;
};

Question read_question(const GoodputFlags& flags, const planner::Plan& plan) {
  common::Complaints complaints;
  check(complaints, "--days", flags.days, 36'500, false);
  check(complaints, "--mtbf-hours-per-gpu", flags.gpu_mtbf_hours, 1e12, true);
  check(complaints, "--mtbf-hours-per-node", flags.node_mtbf_hours, 1e12, true);
  check(complaints, "--restart-seconds", flags.restart_seconds, 1e6, true);
  check(complaints, "--detection-seconds", flags.detection_seconds, 1e6, true);
  if (flags.checkpoint_seconds)
    check(complaints, "--checkpoint-seconds", *flags.checkpoint_seconds, 1e6, true);
  else if (flags.storage_gigabytes == 0)
    complaints.add("",
                   "--storage-bandwidth=0: must be above 0, as no --checkpoint-seconds says what a "
                   "checkpoint takes; give one of them");
  else
    check(complaints, "--storage-bandwidth", flags.storage_gigabytes, 1e9, false);
  if (flags.blocking_seconds)
    check(complaints, "--blocking-seconds", *flags.blocking_seconds, 1e6, true);
  if (flags.blocking_seconds && flags.checkpoint_seconds &&
      *flags.blocking_seconds > *flags.checkpoint_seconds)
    complaints.add("", fmt::format("--blocking-seconds={}: a part of --checkpoint-seconds={}; must "
                                   "be at most as long",
                                   *flags.blocking_seconds, *flags.checkpoint_seconds));
  if (flags.runs < 0 || flags.runs > kMostRuns)
    complaints.add("", fmt::format("--runs={}: must be from 0 to {}", flags.runs, kMostRuns));
  const double minutes = parse_interval(flags, complaints);
  complaints.throw_if_any("flags");

  Question question;
  question.time = Seconds(flags.days * kDay);
  question.automatic = flags.interval == "auto";
  FailureModel& model = question.model;
  model.gpus = planner::world_size(plan.layout.mesh);
  model.nodes = (model.gpus - 1) / plan.cluster.devices_per_node + 1;
  model.gpu_mtbf = Seconds(flags.gpu_mtbf_hours * kHour);
  model.node_mtbf = Seconds(flags.node_mtbf_hours * kHour);
  model.restart = Seconds(flags.restart_seconds);
  model.detection = Seconds(flags.detection_seconds);
  const Seconds write =
      flags.checkpoint_seconds
          ? Seconds(*flags.checkpoint_seconds)
          : simulator::write_time(checkpoint_bytes(plan),
                                  common::BytesPerSecond(flags.storage_gigabytes * 1e9));
  model.checkpoint_blocking =
      flags.blocking_seconds ? Seconds(std::min(*flags.blocking_seconds, write.value)) : write;
  model.checkpoint_async = write - model.checkpoint_blocking;
  question.interval =
      question.automatic ? best_interval(model, question.time) : Seconds(minutes * 60);

  const double segment = (question.interval + model.checkpoint_blocking).value;
  if (segment < model.checkpoint_async.value)
    complaints.add("", fmt::format("--interval-minutes={}: a checkpoint takes {} to write, and the "
                                   "next one would begin before; use auto, or more",
                                   minutes, common::human(write)));
  const double failures = expected_failures(model, question.time);
  if (failures * static_cast<double>(flags.runs) > kMostPlayed)
    complaints.add("", fmt::format("--runs={}: with {:.3g} failures a run; use at most {:.0f} runs",
                                   flags.runs, failures, std::floor(kMostPlayed / failures)));
  // Beyond this a run hardly ever gets past one segment, and powers of e leave their type.
  const double stuck = failure_rate(model) *
                       (segment + (model.checkpoint_async + model.restart + model.detection).value);
  if (stuck > 100)
    complaints.add("", fmt::format("{:.3g} failures are expected between two checkpoints: the run "
                                   "would never end; make failures rarer or the interval shorter",
                                   stuck));
  complaints.throw_if_any("flags");
  return question;
}

double tokens_of(const planner::Plan& plan, double seconds) {
  return plan.estimate.tokens_per_second_per_gpu *
         static_cast<double>(planner::world_size(plan.layout.mesh)) * seconds;
}

Json shares_json(const Goodput& shares) {
  return {{"useful", shares.useful},
          {"checkpoints", shares.checkpoints},
          {"rework", shares.rework},
          {"down", shares.down}};
}

Json spread_json(const simulator::Spread& spread) {
  return {{"mean", spread.mean}, {"p5", spread.low}, {"p95", spread.high}};
}

Json answer_json(const planner::Plan& plan, const Question& question, const GoodputFlags& flags,
                 const Goodput& shares, const std::optional<simulator::PlayedGoodput>& played) {
  const FailureModel& model = question.model;
  const bool fails = failure_rate(model) > 0;
  const double useful = shares.useful * question.time.value;
  Json json = {{"schema_version", 1},
               {"days", flags.days},
               {"gpus", model.gpus},
               {"nodes", model.nodes},
               {"failures", expected_failures(model, question.time)},
               {"mtbf_s", fails ? Json(1 / failure_rate(model)) : Json(nullptr)},
               {"checkpoint_bytes", checkpoint_bytes(plan).value},
               {"checkpoint_blocking_s", model.checkpoint_blocking.value},
               {"checkpoint_async_s", model.checkpoint_async.value},
               {"interval_s", question.interval.value},
               {"young_interval_s", fails ? Json(young_interval(model).value) : Json(nullptr)},
               {"daly_interval_s", fails ? Json(daly_interval(model).value) : Json(nullptr)},
               {"goodput", shares_json(shares)},
               {"steps", useful / plan.estimate.step_time.value},
               {"tokens", tokens_of(plan, useful)}};
  if (plan.cluster.price.value > 0) {
    json["cost"] =
        plan.cluster.price.value * static_cast<double>(model.gpus) * question.time.value / kHour;
  }
  if (played) {
    json["played"] = {{"runs", flags.runs},
                      {"seed", flags.seed},
                      {"failures", spread_json(played->failures)},
                      {"useful", spread_json(played->useful)}};
  }
  return json;
}

using Table = std::vector<std::vector<std::string>>;

std::string share_text(double share, const Question& question) {
  return fmt::format("{}, {:.1f} h", percent(share), share * question.time.value / kHour);
}

void print_answer(const planner::Plan& plan, const Question& question, const GoodputFlags& flags,
                  const Goodput& shares, const std::optional<simulator::PlayedGoodput>& played) {
  const FailureModel& model = question.model;
  const double useful = shares.useful * question.time.value;
  Table rows = {
      {fmt::format("{} days on {} GPUs", flags.days, model.gpus), ""},
      {"failures expected", fmt::format("{:.1f}", expected_failures(model, question.time))},
      {"checkpoint, training waits", common::human(model.checkpoint_blocking)},
      {"checkpoint, beside training", common::human(model.checkpoint_async)},
      {question.automatic ? "best interval" : "interval as given",
       common::human(question.interval)}};
  if (failure_rate(model) > 0) {
    rows.push_back({"interval by Young 1974", common::human(young_interval(model))});
    rows.push_back({"interval by Daly 2006", common::human(daly_interval(model))});
  }
  rows.push_back({"goodput", share_text(shares.useful, question)});
  rows.push_back({"lost to checkpoints", share_text(shares.checkpoints, question)});
  rows.push_back({"lost to training done again", share_text(shares.rework, question)});
  rows.push_back({"lost to detection and restarts", share_text(shares.down, question)});
  rows.push_back({"steps", common::human_count(useful / plan.estimate.step_time.value)});
  rows.push_back({"tokens", common::human_count(tokens_of(plan, useful))});
  if (plan.cluster.price.value > 0) {
    rows.push_back(
        {"cost", common::human_count(plan.cluster.price.value * static_cast<double>(model.gpus) *
                                     question.time.value / kHour)});
  }
  if (played) {
    rows.push_back({fmt::format("goodput of {} runs played", flags.runs),
                    fmt::format("{}, 5 to 95 %: {} to {}", percent(played->useful.mean),
                                percent(played->useful.low), percent(played->useful.high))});
    rows.push_back({"failures of these",
                    fmt::format("{:.1f}, 5 to 95 %: {:.0f} to {:.0f}", played->failures.mean,
                                played->failures.low, played->failures.high)});
  }
  fmt::print("{}", common::format_table(rows));
}

int run_goodput(const GoodputFlags& flags) {
  const planner::Plan plan = planner::load_plan(flags.plan);
  const Question question = read_question(flags, plan);
  const Goodput shares = expected_goodput(question.model, question.interval);
  std::optional<simulator::PlayedGoodput> played;
  if (flags.runs > 0) {
    played = simulator::summarize(simulator::play_runs(question.model, question.interval,
                                                       question.time, flags.runs, flags.seed));
  }
  if (flags.json)
    print_json(answer_json(plan, question, flags, shares, played));
  else
    print_answer(plan, question, flags, shares, played);
  return 0;
}

}  // namespace

Action define_goodput(CLI::App& app) {
  app.description(
      "What failures and checkpoints leave of a long run, and how often to checkpoint\n\n"
      "A checkpoint's time is given, or its bytes over --storage-bandwidth; with "
      "--blocking-seconds\n"
      "training waits for that part alone, and the rest is written beside it. docs/goodput.md has "
      "the\nformulas.\n\n"
      "Examples:\n"
      "  meshplan goodput plan.json --days 54 --mtbf-hours-per-gpu 50000 --checkpoint-seconds 60\n"
      "  meshplan goodput plan.json --days 30 --mtbf-hours-per-gpu 50000 --mtbf-hours-per-node "
      "100000 \\\n"
      "    --storage-bandwidth 100 --blocking-seconds 10 --interval-minutes 15 --json");
  const auto flags = std::make_shared<GoodputFlags>();
  app.add_option("plan", flags->plan, "The plan.json that meshplan plan writes")->required();
  app.add_option("--days", flags->days, "How long the run is")->required()->type_name("D");
  app.add_option("--mtbf-hours-per-gpu", flags->gpu_mtbf_hours,
                 "Mean time between failures of a GPU (default: GPUs do not fail)")
      ->type_name("H");
  app.add_option("--mtbf-hours-per-node", flags->node_mtbf_hours,
                 "Of a node, beside its GPUs' (default: nodes do not fail)")
      ->type_name("H");
  app.add_option("--checkpoint-seconds", flags->checkpoint_seconds,
                 "To write a checkpoint (default: its bytes over --storage-bandwidth)")
      ->type_name("S");
  app.add_option("--storage-bandwidth", flags->storage_gigabytes,
                 "GB/s that the whole cluster writes")
      ->type_name("GB/S");
  app.add_option("--blocking-seconds", flags->blocking_seconds,
                 "The part of a checkpoint for which training waits (default: all of it)")
      ->type_name("S");
  app.add_option("--restart-seconds", flags->restart_seconds,
                 "From a failure's detection to training again (default: 600)")
      ->type_name("S");
  app.add_option("--detection-seconds", flags->detection_seconds,
                 "Until a failure is noticed (default: 60)")
      ->type_name("S");
  app.add_option("--interval-minutes", flags->interval,
                 "Training between checkpoints, or auto: the best (default: auto)")
      ->type_name("M");
  app.add_option("--runs", flags->runs, "Runs played with random failures (default: 1000)")
      ->type_name("N");
  add_choice(app, "--seed", flags->seed, parse_seed, "Of these failures (default: 0)")
      ->type_name("S");
  add_json_flag(app, flags->json);
  return [flags] { return run_goodput(*flags); };
}

}  // namespace meshplan::cli
