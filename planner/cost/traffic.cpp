#include "planner/cost/traffic.h"

namespace meshplan::planner {

void add(Traffic& traffic, const Traffic& more, std::int64_t times) {
  for (std::size_t a = 0; a < traffic.size(); ++a) {
    traffic[a].bytes += times * more[a].bytes;
    traffic[a].wire_bytes += times * more[a].wire_bytes;
    traffic[a].operations += times * more[a].operations;
    traffic[a].time += static_cast<double>(times) * more[a].time;
  }
}

}  // namespace meshplan::planner
