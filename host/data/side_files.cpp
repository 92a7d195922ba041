#include "data/side_files.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "curate/error.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

class FolderFiles : public SideFiles {
 public:
  explicit FolderFiles(std::string folder) : folder_(std::move(folder)) {}

  bool has(const std::string& name) const override {
    std::error_code error;
    return fs::is_regular_file(path(name), error);
  }

  std::string path(const std::string& name) const override { return (fs::path(folder_) / name).string(); }

  void read(const std::string& name, const Take& take) const override {
    constexpr std::size_t kPiece = std::size_t{1} << 20U;
    std::ifstream file(path(name), std::ios::binary);
    std::vector<char> piece(kPiece);
    while (file) {
      file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      if (file.gcount() > 0) {
        take({piece.data(), static_cast<std::size_t>(file.gcount())});
      }
    }
    if (!file.eof()) {
      throw InputError(fmt::format("{}: cannot read this file; check that you may read it", path(name)));
    }
  }

 private:
  std::string folder_;
};

}  // namespace

std::string SideFiles::text(const std::string& name) const {
  std::string whole;
  read(name, [&](std::string_view piece) { whole += piece; });
  return whole;
}

std::unique_ptr<SideFiles> files_in_folder(const std::string& folder) {
  return std::make_unique<FolderFiles>(folder);
}

std::unique_ptr<SideFiles> files_beside(const Dataset& dataset) {
  std::error_code error;
  return files_in_folder(fs::is_directory(dataset.source, error) ? dataset.source
                                                                 : fs::path(dataset.source).parent_path().string());
}

}  // namespace curate
