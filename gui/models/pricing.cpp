// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/pricing.h"

namespace meshplan::gui {
namespace {

struct Outcome {
  std::shared_ptr<const LayoutSet> set;
  std::vector<FieldError> errors;
};

Outcome priceInputs(const Inputs& inputs, const std::optional<planner::Layout>& wanted,
                    const Stop& stop) {
  Resolution resolution = resolve(inputs);
  if (!resolution.problem) return {nullptr, std::move(resolution.errors)};
  return {std::make_shared<LayoutSet>(priceAll(std::move(resolution.problem), wanted, stop)), {}};
}

}  // namespace

Pricing::Pricing(Document& document, QObject* parent)
    : QObject(parent), m_document(document), m_set(std::make_shared<LayoutSet>()) {
  connect(&document, &Document::inputsChanged, this, &Pricing::restart);
  connect(&m_work, &NewestWork::busyChanged, this, &Pricing::busyChanged);
  connect(&m_work, &NewestWork::failed, this,
          [this](const QString& why) { publish(nullptr, {}, why); });
  restart();
}

void Pricing::want(const std::optional<planner::Layout>& layout) {
  m_wanted = layout;
  restart();
}

void Pricing::restart() {
  m_work.start([this, inputs = m_document.inputs(), wanted = m_wanted](const Stop& stop) {
    Outcome outcome = priceInputs(inputs, wanted, stop);
    return [this, outcome = std::move(outcome)] { publish(outcome.set, outcome.errors, ""); };
  });
}

void Pricing::publish(std::shared_ptr<const LayoutSet> set, std::vector<FieldError> errors,
                      const QString& failure) {
  if (set) m_set = std::move(set);
  m_errors = std::move(errors);
  m_failure = failure;
  Q_EMIT priced();
}

}  // namespace meshplan::gui
