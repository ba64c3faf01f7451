#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace meshplan::executor {

/// What came of an attempt to connect to a TCP port.
struct ConnectionAttempt {
  /// Empty where somebody accepted; else why not: "connection refused".
  std::string problem;
  /// Of this machine, towards the other one; numeric.
  std::string local_address;

  bool accepted() const { return problem.empty(); }
};

/// Connects, and closes the connection again. Takes no longer than the timeout, beside the time
/// that finding the host's address takes.
ConnectionAttempt try_to_connect(const std::string& host, std::uint16_t port,
                                 std::chrono::milliseconds timeout);

/// Numeric addresses of this machine's network interfaces that are up, IPv4 first; not the
/// loopback's, and none that only holds on one link.
std::vector<std::string> addresses_of_this_machine();

bool is_loopback_address(const std::string& numeric);

}  // namespace meshplan::executor
