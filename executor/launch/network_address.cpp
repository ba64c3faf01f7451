#include "executor/launch/network_address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <memory>

namespace meshplan::executor {
namespace {

using Clock = std::chrono::steady_clock;

/// A socket that is closed in the end.
class Socket {
 public:
  explicit Socket(int family)
      : descriptor_(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

std::string numeric_address(const sockaddr* address, socklen_t size) {
  std::array<char, NI_MAXHOST> text{};
  if (::getnameinfo(address, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0)
    return "";
  return text.data();
}

std::string lower(const char* text) {
  std::string message = text;
  if (!message.empty()) message[0] = static_cast<char>(std::tolower(message[0]));
  return message;
}

ConnectionAttempt connect_to(const addrinfo& to, Clock::time_point deadline) {
  const Socket socket(to.ai_family);
  const auto failed = [](int reason) {
    return ConnectionAttempt{lower(std::strerror(reason)), ""};
  };
  if (socket.descriptor() < 0) return failed(errno);
  if (::connect(socket.descriptor(), to.ai_addr, to.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return failed(errno);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{socket.descriptor(), POLLOUT, 0};
    if (::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(0, left))) != 1)
      return {"no answer", ""};
    int reason = 0;
    socklen_t size = sizeof reason;
    ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &reason, &size);
    if (reason != 0) return failed(reason);
  }
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  auto* const address = reinterpret_cast<sockaddr*>(&own);
  if (::getsockname(socket.descriptor(), address, &size) != 0) return failed(errno);
  return {"", numeric_address(address, size)};
}

bool is_of_one_link(const sockaddr* address) {
  if (address->sa_family != AF_INET6) return false;
  return IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr) != 0;
}

}  // namespace

ConnectionAttempt try_to_connect(const std::string& host, std::uint16_t port,
                                 std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      error != 0) {
    return {fmt::format("no address of '{}' ({})", host, lower(::gai_strerror(error))), ""};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  ConnectionAttempt last{"no address", ""};
  for (const addrinfo* to = found; to != nullptr; to = to->ai_next) {
    last = connect_to(*to, deadline);
    if (last.accepted()) break;
  }
  return last;
}

std::vector<std::string> addresses_of_this_machine() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(all, &::freeifaddrs);
  std::vector<std::string> addresses;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
      if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != family) continue;
      const bool up = (each->ifa_flags & IFF_UP) != 0 && (each->ifa_flags & IFF_LOOPBACK) == 0;
      if (!up || is_of_one_link(each->ifa_addr)) continue;
      const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      addresses.push_back(numeric_address(each->ifa_addr, size));
    }
  }
  return addresses;
}

bool is_loopback_address(const std::string& numeric) {
  return numeric == "::1" || numeric.starts_with("127.") || numeric.starts_with("::ffff:127.");
}

}  // namespace meshplan::executor
