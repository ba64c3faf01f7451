#pragma once

#include <string>
#include <string_view>

#include "common/json.h"

namespace meshplan::planner {

// Each takes a text that is_one_line, and keeps it one value of the language that it is for.

/// A word of a POSIX shell, in single quotes where it needs them.
std::string shell_word(std::string_view text);

/// A word of a line of #SBATCH, which sbatch splits by rules of its own: in double quotes, where a
/// backslash keeps quotes and backslashes (as sbatch 22.05.8 does).
std::string sbatch_word(std::string_view text);

/// A string of Python.
std::string python_text(std::string_view text);

/// A word of a container's command, argument or variable, in which Kubernetes replaces $(NAME) by a
/// variable and $$ by $.
std::string kubernetes_word(std::string_view text);

/// The JSON as a YAML document in block style. A text of several lines, which may hold printable
/// ASCII alone, becomes a literal block.
std::string yaml(const common::Json& json);

/// The name in small letters, digits and single hyphens, at most 40 of them, beginning with a
/// letter: fit for a file, and for a label of RFC 1035.
std::string safe_name(std::string_view name);

}  // namespace meshplan::planner
