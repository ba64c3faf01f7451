#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace meshplan::formats {

/// The hosts that a Slurm node list names, in its order: "gnode[08-10,12],login1" and
/// "rack[0-1]n[1-2]"; zeros in front are kept, and lists may be split by commas or blanks. Throws
/// kInvalidInput, naming `where`, for brackets that do not match, ranges that are none, and more
/// than 65,536 hosts.
std::vector<std::string> expand_host_list(const std::string& list, const std::string& where);

/// The numbers of SLURM_TASKS_PER_NODE: "4(x2),3" is 4 4 3. Throws kInvalidInput, naming `where`,
/// for another text and for more than 65,536 numbers.
std::vector<std::int64_t> expand_task_counts(const std::string& list, const std::string& where);

}  // namespace meshplan::formats
