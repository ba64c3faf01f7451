#pragma once

#include <string>

#include "planner/layout/device_mesh.h"

namespace meshplan::cli {

/// The ranks of the mesh as a grid of text: a row for each data-parallel rank, a column for each tp
/// rank, a frame around each node. Meshes of more than 8 rows or 16 columns show the first and the
/// last ones. Requires pp = cp = 1 and ends with a newline.
std::string mesh_diagram(const planner::DeviceMesh& mesh);

}  // namespace meshplan::cli
