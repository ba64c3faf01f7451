#pragma once

#include <vector>

#include "simulator/score.h"

namespace meshplan::simulator {

/// Writes into the beats of collectives how much longer they take because others of the same rank
/// are on its links at the same time. Plays the step with one rank for each stage, whose links are
/// those of the stage's worst node; ranks of a stage share alike. What stages do together is taken
/// to have the links to itself, and so is what is measured and not described; a message shares
/// those of the rank that sends it. Throws kInternal when stages wait for each other in a circle.
void share_links(std::vector<Score>& scores, const planner::Layout& layout,
                 const Scenario& scenario);

}  // namespace meshplan::simulator
