#include <gtest/gtest.h>

#include <QFile>
#include <QImage>

#include "common/error.h"
#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

QByteArray bytesOf(const QString& path) {
  QFile file(path);
  return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
}

TEST(Export, DrawsEveryViewInEveryFormat) {
  const QTemporaryDir folder;
  Workspace workspace;
  settle(workspace, smallInputs());
  for (const QString& view : exportedViews() + QStringList{""}) {
    for (const QString suffix : {"png", "svg", "pdf"}) {
      const QString path = folder.filePath("a." + suffix);
      exportViews(workspace, {.path = path, .view = view});
      EXPECT_GT(bytesOf(path).size(), 4000) << view.toStdString() << " " << suffix.toStdString();
    }
    const QImage image(folder.filePath("a.png"));
    ASSERT_EQ(image.size(), QSize(2400, 1600));
    EXPECT_TRUE(bytesOf(folder.filePath("a.pdf")).startsWith("%PDF-"));
  }
}

TEST(Export, RefusesWhatItDoesNotKnow) {
  const QTemporaryDir folder;
  Workspace workspace;
  settle(workspace, smallInputs());
  EXPECT_THROW(exportViews(workspace, {.path = folder.filePath("a.gif")}), common::Error);
  EXPECT_THROW(exportViews(workspace, {.path = folder.filePath("a.png"), .view = "cloud"}),
               common::Error);
  EXPECT_THROW(exportViews(workspace, {.path = folder.filePath("no/folder/a.png")}), common::Error);
  EXPECT_FALSE(QFile::exists(folder.filePath("a.png")));
}

}  // namespace
}  // namespace meshplan::gui
