#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <functional>
#include <string>

#include "formats/launch_environment.h"

namespace c10d {
class Store;
}  // namespace c10d

namespace meshplan::executor {

/// 128 random bits, as text.
std::string random_number();

/// Thrown where the ranks turn out to meet at another store than this one.
struct MeetingMoved {};

/// Agrees with all ranks on a generation, by a store that may hold keys of earlier attempts (see
/// Rendezvous). `place` names the store in messages; `has_moved` is asked now and then. Throws
/// kRankLost, naming the ranks that are missing, at the deadline; MeetingMoved.
std::string agree_on_generation(const c10::intrusive_ptr<c10d::Store>& store,
                                const formats::LaunchEnvironment& environment,
                                const std::string& place,
                                std::chrono::steady_clock::time_point deadline,
                                const std::function<bool()>& has_moved);

}  // namespace meshplan::executor
