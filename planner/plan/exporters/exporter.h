#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "planner/plan/exporters/choice.h"
#include "planner/plan/plan.h"

namespace meshplan::planner {

/// A plan in the words of another trainer.
struct Export {
  std::string text;
  /// What such a file never says and its training script must be told, one line each.
  std::vector<std::string> for_the_script;
};

/// A flag of `meshplan plan` with which a search finds what a target can express.
struct SearchPin {
  const char* flag;
  /// Null: that of --param-dtype.
  const char* value;
};

/// A trainer that plans are written for.
struct ExportTarget {
  const char* name;
  /// Of the trainer: the one whose source its keys were read in.
  const char* version;
  /// "TOML", "Python", ...
  const char* format;
  /// What of a plan it can say; everything else is refused.
  std::span<const Choice> choices;
  /// Of what the planner else chooses in a way that the target cannot say.
  std::span<const SearchPin> pins;
  /// What else of the plan it cannot do, one line each: its model, sizes that do not go together.
  std::vector<std::string> (*refusals)(const Plan& plan);
  /// The file below its header. Called for plans without refusals.
  Export (*write)(const Plan& plan);
};

/// All of them.
std::span<const ExportTarget> export_targets();

/// Throws kInvalidInput with their names.
const ExportTarget& find_export_target(const std::string& name, const std::string& where);

bool expresses(const ExportTarget& target, Choice choice);

/// Everything that the target cannot express, one line each with its remedy; empty = none.
std::vector<std::string> refusals(const Plan& plan, const ExportTarget& target);

/// The plan with the nearest choices that the target can express, on the same mesh, priced anew;
/// nothing where there are none that keep the rules. What it was refused for has changed.
std::optional<Plan> nearest_exportable(const Plan& plan, const ExportTarget& target);

/// What a file for the target may be called: "planned.toml".
std::string default_file_name(const ExportTarget& target);

/// The target's file, under a comment that names its version and meshplan's (JSON has no comments;
/// there it is left to the script). Throws kInvalidInput with all refusals.
Export export_plan(const Plan& plan, const ExportTarget& target);

}  // namespace meshplan::planner
