// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/newest_work.h"

namespace meshplan::gui {

NewestWork::NewestWork(QObject* parent) : QObject(parent), m_thread([this] { runThread(); }) {}

NewestWork::~NewestWork() {
  {
    const std::lock_guard lock(m_mutex);
    m_ends = true;
    m_waiting = nullptr;
    ++m_newest;
  }
  m_wakes.notify_one();
  m_thread.join();
}

void NewestWork::start(Work work) {
  {
    const std::lock_guard lock(m_mutex);
    ++m_newest;
    m_waiting = std::move(work);
  }
  m_wakes.notify_one();
  setBusy(true);
}

void NewestWork::cancel() {
  {
    const std::lock_guard lock(m_mutex);
    ++m_newest;
    m_waiting = nullptr;
  }
  setBusy(false);
}

void NewestWork::setBusy(bool busy) {
  if (m_busy == busy) return;
  m_busy = busy;
  Q_EMIT busyChanged(busy);
}

void NewestWork::runThread() {
  for (;;) {
    Work work;
    std::uint64_t own = 0;
    {
      std::unique_lock lock(m_mutex);
      m_wakes.wait(lock, [this] { return m_ends || m_waiting != nullptr; });
      if (m_ends) return;
      work = std::exchange(m_waiting, nullptr);
      own = m_newest.load();
    }
    try {
      finish(own, work(Stop(m_newest, own)));
    } catch (const Stopped&) {
      // What replaced it is waiting, or nobody waits.
    } catch (const std::exception& error) {
      finish(own, [this, why = QString::fromUtf8(error.what())] { Q_EMIT failed(why); });
    }
  }
}

void NewestWork::finish(std::uint64_t own, Deliver deliver) {
  // Queued calls of an object that is gone are dropped by Qt.
  QMetaObject::invokeMethod(
      this,
      [this, own, deliver = std::move(deliver)] {
        if (m_newest.load() != own) return;
        setBusy(false);
        deliver();
      },
      Qt::QueuedConnection);
}

}  // namespace meshplan::gui
