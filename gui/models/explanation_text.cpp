// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/explanation_text.h"

#include <QObject>
#include <QStringList>

#include "gui/models/quantities.h"

namespace meshplan::gui {

QString explanationText(const LayoutDetail& detail) {
  const planner::Estimate& estimate = detail.candidate.estimate;
  QString text = titleOf(detail.candidate.layout) + "\n" + choicesOf(detail.candidate.layout) +
                 "\n\n" + QObject::tr("A step takes %1:").arg(textOf(estimate.step_time));
  QStringList parts;
  for (std::size_t part = 0; part < planner::kStepParts; ++part) {
    const double share = detail.shares[part].value / estimate.step_time.value;
    constexpr double kNamed = 0.001;
    if (share < kNamed) continue;
    parts.append(QString(" %1 %2").arg(
        percentText(share), planner::description_of(static_cast<planner::StepPart>(part))));
  }
  text += parts.join(",") + ".\n";
  if (!estimate.fits) {
    text += QObject::tr("It does not fit: it needs %1 of %2; the peak is in %3.\n")
                .arg(textOf(estimate.memory.peak_device), textOf(estimate.memory.capacity),
                     QString::fromStdString(estimate.memory.peak_instruction));
  }
  if (detail.step && detail.step->critical_path) {
    text += QObject::tr("\nOn the critical path of the simulated step:\n");
    for (const std::string& sentence : simulator::in_words(*detail.step->critical_path))
      text += "  " + QString::fromStdString(sentence) + "\n";
  }
  if (!detail.explanation.isEmpty()) text += "\n" + detail.explanation;
  return text;
}

}  // namespace meshplan::gui
