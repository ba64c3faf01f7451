// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QObject>
#include <QString>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace meshplan::gui {

/// Thrown by work that was told to stop.
struct Stopped {};

/// How work on the thread hears that it is wanted no longer.
class Stop {
 public:
  explicit Stop(const std::atomic<std::uint64_t>& newest, std::uint64_t own)
      : m_newest(&newest), m_own(own) {}
  bool requested() const { return m_newest->load(std::memory_order_relaxed) != m_own; }
  /// Throws Stopped if so.
  void check() const {
    if (requested()) throw Stopped{};
  }

 private:
  const std::atomic<std::uint64_t>* m_newest;
  std::uint64_t m_own;
};

/// One thread for work of one sort, of which only the newest counts: starting another stops the one
/// that runs, and what waits is forgotten. Belongs to the thread of its owner.
class NewestWork : public QObject {
  Q_OBJECT

 public:
  /// What is done with the result, on the owner's thread.
  using Deliver = std::function<void()>;
  /// Runs on the thread. What it throws, but for Stopped, is told by failed().
  using Work = std::function<Deliver(const Stop&)>;

  explicit NewestWork(QObject* parent = nullptr);
  ~NewestWork() override;

  void start(Work work);
  /// Nothing that was started before is delivered any more.
  void cancel();
  bool isBusy() const { return m_busy; }

 Q_SIGNALS:
  void busyChanged(bool busy);
  void failed(const QString& why);

 private:
  void runThread();
  /// On the owner's thread, if `own` is still the newest.
  void finish(std::uint64_t own, Deliver deliver);
  void setBusy(bool busy);

  std::mutex m_mutex;
  std::condition_variable m_wakes;
  Work m_waiting;
  bool m_ends = false;
  /// Of the newest work; written by the owner's thread.
  std::atomic<std::uint64_t> m_newest = 0;
  bool m_busy = false;
  std::thread m_thread;
};

}  // namespace meshplan::gui
