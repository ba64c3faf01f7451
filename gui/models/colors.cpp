// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/colors.h"

#include <QGuiApplication>
#include <QPalette>
#include <algorithm>
#include <array>
#include <cmath>

namespace meshplan::gui {
namespace {

constexpr std::array<QRgb, kCategoryColors> kOnLight = {
    0xff0072b2, 0xffe69f00, 0xff009e73, 0xffcc79a7, 0xff56b4e9, 0xffd55e00, 0xffb8a500, 0xff6b6b6b};
constexpr std::array<QRgb, kCategoryColors> kOnDark = {
    0xff4aa3df, 0xfff0b030, 0xff2fc29a, 0xffe39ac4, 0xff8fd0f5, 0xffff8030, 0xfff0e442, 0xffa8a8a8};
constexpr std::array<QRgb, 6> kScale = {0xff00204d, 0xff31446b, 0xff666970,
                                        0xff958f78, 0xffcbba69, 0xffffea46};

QColor mixed(const QColor& a, const QColor& b, double part) {
  const auto between = [part](int from, int to) {
    return static_cast<int>(std::lround(from + part * (to - from)));
  };
  return {between(a.red(), b.red()), between(a.green(), b.green()), between(a.blue(), b.blue())};
}

}  // namespace

bool isDark() {
  const QPalette palette = QGuiApplication::palette();
  return palette.color(QPalette::Window).lightness() <
         palette.color(QPalette::WindowText).lightness();
}

Ink ink() {
  const QPalette palette = QGuiApplication::palette();
  const QColor ground = palette.color(QPalette::Base);
  const QColor text = palette.color(QPalette::Text);
  return {.ground = ground,
          .text = text,
          .faint = mixed(text, ground, 0.35),
          .line = mixed(text, ground, 0.8),
          .accent = isDark() ? QColor(0xff, 0xff, 0xff) : QColor(0x00, 0x00, 0x00),
          .alarm = isDark() ? QColor(0xff, 0x80, 0x30) : QColor(0xb8, 0x3c, 0x00)};
}

QColor categoryColor(std::size_t index) {
  return QColor::fromRgb((isDark() ? kOnDark : kOnLight)[index % kCategoryColors]);
}

QColor scaleColor(double part) {
  const double place = std::clamp(part, 0.0, 1.0) * static_cast<double>(kScale.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), kScale.size() - 2);
  return mixed(QColor::fromRgb(kScale[below]), QColor::fromRgb(kScale[below + 1]),
               place - static_cast<double>(below));
}

QColor textOn(const QColor& ground) {
  // Relative luminance as in WCAG 2.1, with the plain power of 2.2.
  const auto linear = [](double part) { return std::pow(part, 2.2); };
  const double luminance = 0.2126 * linear(ground.redF()) + 0.7152 * linear(ground.greenF()) +
                           0.0722 * linear(ground.blueF());
  return luminance > 0.18 ? Qt::black : Qt::white;
}

}  // namespace meshplan::gui
