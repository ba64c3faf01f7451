#pragma once

#include <QDeadlineTimer>
#include <QTemporaryDir>
#include <QTest>
#include <functional>

#include "gui/export/picture.h"

namespace meshplan::gui {

/// Handles events until it is so, for half a minute at most; says whether it is so.
inline bool eventually(const std::function<bool()>& so) {
  QDeadlineTimer deadline(30'000);
  while (!so() && !deadline.hasExpired()) QTest::qWait(2);
  return so();
}

/// A small job that is priced and played within milliseconds.
inline Inputs smallInputs() {
  Inputs inputs = exampleInputs();
  inputs[Field::kModel] = "llama-3.2-1b";
  inputs[Field::kNodes] = "2";
  inputs[Field::kSeqLength] = "2048";
  inputs[Field::kGlobalBatch] = "64";
  return inputs;
}

/// Sets the inputs and waits for layouts and detail.
inline void settle(Workspace& workspace, const Inputs& inputs) {
  workspace.document.setAll(inputs, "test");
  waitUntilReady(workspace);
}

}  // namespace meshplan::gui
