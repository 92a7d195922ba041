#include "data/side_files.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "data/archive.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

class TreeFiles : public SideFiles {
 public:
  explicit TreeFiles(std::unique_ptr<FileTree> tree) : tree_(std::move(tree)) {}

  bool has(const std::string& name) const override { return tree_->has(name); }

  std::string path(const std::string& name) const override { return tree_->name_of(name); }

  void read(const std::string& name, const Take& take) const override {
    constexpr std::size_t kPiece = std::size_t{1} << 20U;
    const std::unique_ptr<ByteSource> source = tree_->open(name);
    std::vector<char> piece(kPiece);
    while (const std::size_t count = source->read(piece)) {
      take({piece.data(), count});
    }
  }

 private:
  std::unique_ptr<FileTree> tree_;
};

}  // namespace

std::string SideFiles::text(const std::string& name) const {
  std::string whole;
  read(name, [&](std::string_view piece) { whole += piece; });
  return whole;
}

std::unique_ptr<SideFiles> files_in(const std::string& path) {
  return std::make_unique<TreeFiles>(open_tree(path));
}

std::unique_ptr<SideFiles> files_beside(const std::string& source) {
  const PathKind kind = path_kind(source);
  if (kind == PathKind::folder || kind == PathKind::zip) {
    return files_in(source);
  }
  const std::string folder = fs::path(source).parent_path().string();
  return files_in(folder.empty() ? "." : folder);
}

}  // namespace curate
