#pragma once

#include <string>
#include <string_view>

#include "common/json.h"

namespace meshplan::formats {

/// What a JSON text holds, in the order of reading. `depth` counts the containers around the value
/// or key: the outermost value has depth 0. The functions throw to end the reading.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void open_object(int depth) = 0;
  virtual void open_array(int depth) = 0;
  /// The end of the container opened at that depth.
  virtual void close(int depth) = 0;
  virtual void key(int depth, const std::string& name) = 0;
  virtual void scalar(int depth, common::Json value) = 0;
};

/// Reads JSON without building a document, so that a text with a hundred thousand keys costs no
/// more than its length: ordered documents look for each new key among all earlier ones. Throws
/// kInvalidInput, naming `where`, on a syntax error, invalid UTF-8 or more than 64 levels.
/// Duplicate keys are for the receiver to refuse.
void read_json_events(std::string_view text, const std::string& where, JsonEvents& events);

}  // namespace meshplan::formats
