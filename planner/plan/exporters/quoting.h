#pragma once

#include <string>
#include <string_view>

namespace meshplan::planner {

/// The text with everything but printable ASCII replaced by '?': it stays on one line of a comment.
std::string plain(std::string_view text);

/// The plain text in double quotes, backslashes and quotes escaped: the same literal in TOML, YAML,
/// JSON and Python.
std::string literal(std::string_view text);

/// With a point, as TOML and YAML tell numbers from integers and texts: "1.0", "1.0e-05".
std::string decimal(double number);

}  // namespace meshplan::planner
