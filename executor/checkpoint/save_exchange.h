#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <functional>
#include <string>

#include "common/error.h"

namespace c10d {
class Store;
}  // namespace c10d

namespace meshplan::executor {

/// What the ranks tell each other while they save or load a checkpoint, through the store and not
/// by collectives, so that it can go on beside a training step. A rank that fails tells its error
/// in the place of its message, so that nobody waits for it.
class SaveExchange {
 public:
  /// `check_ranks` is called while waiting and throws where a rank is lost.
  SaveExchange(c10::intrusive_ptr<c10d::Store> store, std::int64_t rank, std::int64_t world_size,
               std::function<void()> check_ranks);
  ~SaveExchange();

  std::int64_t rank() const { return rank_; }
  std::int64_t world_size() const { return world_size_; }

  /// All later messages are of the next round, which every rank starts as often as the others.
  void next_round();

  /// Publishes a message of this rank.
  void tell(const std::string& topic, const std::string& text);
  void tell_failure(const std::string& topic, const common::Error& error);

  /// Waits for the message of a rank; throws the error that it told instead.
  std::string hear(const std::string& topic, std::int64_t from);

 private:
  std::string key(const std::string& topic, std::int64_t from) const;

  c10::intrusive_ptr<c10d::Store> store_;
  std::int64_t rank_;
  std::int64_t world_size_;
  std::function<void()> check_ranks_;
  std::int64_t round_ = 0;
};

}  // namespace meshplan::executor
