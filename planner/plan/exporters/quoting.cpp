#include "planner/plan/exporters/quoting.h"

#include "common/json.h"

namespace meshplan::planner {

std::string plain(std::string_view text) {
  std::string plain(text);
  for (char& c : plain) {
    if (c < ' ' || c > '~') c = '?';
  }
  return plain;
}

std::string literal(std::string_view text) {
  std::string written = "\"";
  for (char c : plain(text)) {
    if (c == '"' || c == '\\') written += '\\';
    written += c;
  }
  return written + '"';
}

std::string decimal(double number) {
  std::string text = common::Json(number).dump();
  // YAML 1.1 takes 1e-05 for a text.
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos)
    text.insert(exponent, ".0");
  return text;
}

}  // namespace meshplan::planner
