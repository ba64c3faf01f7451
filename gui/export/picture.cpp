// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/export/picture.h"

#include <QEventLoop>
#include <QFileInfo>
#include <QPdfWriter>
#include <QSaveFile>
#include <QSvgGenerator>

#include "common/error.h"
#include "gui/export/report.h"
#include "gui/models/colors.h"
#include "gui/views/memory_view.h"
#include "gui/views/mesh_view.h"
#include "gui/views/timeline_view.h"
#include "gui/views/tradeoff_view.h"
#include "gui/views/traffic_view.h"

namespace meshplan::gui {
namespace {

using common::Error;
using common::ErrorCode;

constexpr QSize kPicture{1200, 800};
/// Pixels of a picture for each of its units, so that it is sharp on any screen.
constexpr int kSharpness = 2;
constexpr int kPdfResolution = 96;

template <class Shown>
std::unique_ptr<View> make(Workspace& workspace) {
  return std::make_unique<Shown>(workspace);
}

struct NamedView {
  const char* name;
  std::unique_ptr<View> (*make)(Workspace&);
};
constexpr std::array<NamedView, 5> kViews = {{{"mesh", make<MeshView>},
                                              {"tradeoff", make<TradeoffView>},
                                              {"traffic", make<TrafficView>},
                                              {"memory", make<MemoryView>},
                                              {"timeline", make<TimelineView>}}};

using Draw = std::function<void(Canvas&, const QSize&)>;

[[noreturn]] void failToWrite(const QString& path, const QString& reason) {
  throw Error(ErrorCode::kIo, "cannot be written: " + reason.toStdString(), path.toStdString());
}

void drawOn(QPaintDevice& device, const QString& path, const QSize& size, const Draw& draw) {
  Canvas canvas;
  if (!canvas.begin(&device)) failToWrite(path, "nothing can be drawn there");
  canvas.setRenderHint(QPainter::Antialiasing);
  draw(canvas, size);
  canvas.end();
}

void writePng(QIODevice& file, const QString& path, const Draw& draw) {
  QImage image(kPicture * kSharpness, QImage::Format_RGB32);
  image.setDevicePixelRatio(kSharpness);
  image.fill(ink().ground);
  drawOn(image, path, kPicture, draw);
  if (!image.save(&file, "PNG")) failToWrite(path, file.errorString());
}

void writeSvg(QIODevice& file, const QString& path, const Draw& draw) {
  QSvgGenerator svg;
  svg.setOutputDevice(&file);
  svg.setSize(kPicture);
  svg.setViewBox(QRect(QPoint(), kPicture));
  svg.setTitle("meshplan");
  drawOn(svg, path, kPicture, draw);
}

void writePdf(QIODevice& file, const QString& path, const Draw& draw) {
  QPdfWriter pdf(&file);
  pdf.setResolution(kPdfResolution);
  pdf.setPageSize(QPageSize(QPageSize::A4));
  pdf.setPageOrientation(QPageLayout::Landscape);
  pdf.setPageMargins(QMarginsF(10, 10, 10, 10), QPageLayout::Millimeter);
  pdf.setTitle("meshplan");
  drawOn(pdf, path, {pdf.width(), pdf.height()}, draw);
}

void write(const QString& path, const Draw& draw) {
  const QString suffix = QFileInfo(path).suffix().toLower();
  if (suffix != "png" && suffix != "svg" && suffix != "pdf") {
    throw Error(ErrorCode::kUsage, "unknown suffix; use .pdf, .png or .svg", path.toStdString());
  }
  QSaveFile file(path);
  if (!file.open(QIODevice::WriteOnly)) failToWrite(path, file.errorString());
  if (suffix == "png") writePng(file, path, draw);
  if (suffix == "svg") writeSvg(file, path, draw);
  if (suffix == "pdf") writePdf(file, path, draw);
  if (!file.commit()) failToWrite(path, file.errorString());
}

}  // namespace

QStringList exportedViews() {
  QStringList names;
  for (const NamedView& view : kViews) names.append(view.name);
  return names;
}

void waitUntilReady(Workspace& workspace) {
  const auto isBusy = [&] { return workspace.pricing.isBusy() || workspace.detailing.isBusy(); };
  QEventLoop loop;
  const auto look = [&] {
    if (!isBusy()) loop.quit();
  };
  QObject::connect(&workspace.pricing, &Pricing::priced, &loop, look);
  QObject::connect(&workspace.detailing, &Detailing::detailChanged, &loop, look);
  if (isBusy()) loop.exec();
  const Pricing& pricing = workspace.pricing;
  if (!pricing.failure().isEmpty())
    throw Error(ErrorCode::kInvalidInput, pricing.failure().toStdString());
  if (!pricing.errors().empty())
    throw Error(ErrorCode::kInvalidInput, pricing.errors().front().message.toStdString());
}

void exportViews(Workspace& workspace, const ExportRequest& request) {
  waitUntilReady(workspace);
  if (!workspace.detailing.detail()) {
    throw Error(ErrorCode::kNoLayoutFits,
                "no layout fits, so there is nothing to draw; use more or larger devices");
  }
  if (request.view.isEmpty()) {
    return write(request.path,
                 [&](Canvas& canvas, const QSize& size) { drawReport(workspace, canvas, size); });
  }
  for (const NamedView& named : kViews) {
    if (request.view != named.name) continue;
    const std::unique_ptr<View> view = named.make(workspace);
    view->resize(kPicture);
    return write(request.path,
                 [&](Canvas& canvas, const QSize& size) { view->drawTo(canvas, size); });
  }
  throw Error(ErrorCode::kUsage, "unknown view; use " + exportedViews().join(", ").toStdString(),
              "--view " + request.view.toStdString());
}

}  // namespace meshplan::gui
