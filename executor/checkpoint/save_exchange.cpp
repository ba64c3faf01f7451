#include "executor/checkpoint/save_exchange.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>

#include "common/json.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kShortestPoll{1};
constexpr milliseconds kLongestPoll{50};
/// Between two looks at the other ranks.
constexpr milliseconds kCheckPeriod{500};
constexpr char kMessage = '+';
constexpr char kFailure = '-';

ErrorCode code_named(const std::string& name) {
  for (const ErrorCode code : {ErrorCode::kInvalidInput, ErrorCode::kIo,
                               ErrorCode::kCorruptCheckpoint, ErrorCode::kRankLost}) {
    if (name == common::to_string(code)) return code;
  }
  return ErrorCode::kInternal;
}

Error parse_failure(const std::string& text) {
  const common::Json json = common::parse_json(text, "message of a rank");
  const common::JsonObject object(json, "message of a rank");
  return {code_named(object.text("code")), object.text("message"), object.text("where")};
}

}  // namespace

SaveExchange::SaveExchange(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank,
                           std::int64_t world_size, std::function<void()> check_ranks)
    : store_(std::move(store)),
      rank_(rank),
      world_size_(world_size),
      check_ranks_(std::move(check_ranks)) {}

SaveExchange::~SaveExchange() = default;

std::string SaveExchange::key(const std::string& topic, std::int64_t from) const {
  return fmt::format("{}/{}/{}", round_, topic, from);
}

void SaveExchange::next_round() { ++round_; }

void SaveExchange::tell(const std::string& topic, const std::string& text) {
  store_->set(key(topic, rank_), kMessage + text);
}

void SaveExchange::tell_failure(const std::string& topic, const Error& error) {
  const common::Json json = {{"code", common::to_string(error.code())},
                             {"message", error.message()},
                             {"where", error.where()}};
  store_->set(key(topic, rank_),
              kFailure + json.dump(-1, ' ', false, common::Json::error_handler_t::replace));
}

std::string SaveExchange::hear(const std::string& topic, std::int64_t from) {
  const std::vector<std::string> keys = {key(topic, from)};
  milliseconds poll = kShortestPoll;
  Clock::time_point next_check = Clock::now() + kCheckPeriod;
  while (!store_->check(keys)) {
    if (Clock::now() > next_check) {
      try {
        check_ranks_();
      } catch (const Error&) {
        // A rank that has told all it had to may have ended in order.
        if (store_->check(keys)) break;
        throw;
      }
      next_check = Clock::now() + kCheckPeriod;
    }
    std::this_thread::sleep_for(poll);
    poll = std::min(2 * poll, kLongestPoll);
  }
  const std::string text = store_->get_to_str(keys.front());
  if (text.starts_with(kFailure)) throw parse_failure(text.substr(1));
  return text.substr(1);
}

}  // namespace meshplan::executor
