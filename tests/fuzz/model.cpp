// A model from elsewhere: model.safetensors, users.tsv, items.tsv and perhaps features.json. What loads can predict,
// evaluate, and be saved and loaded again. Input: the lengths of users.tsv, items.tsv and features.json (two bytes
// each, 0: no features.json), these, then model.safetensors.

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "curate/model.h"
#include "tests/fuzz/support.h"
#include "train/safetensors.h"

namespace curate::fuzz {
namespace {

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
}

void test(std::string_view users, std::string_view items, std::string_view features, std::string_view tensors) {
  static const ScratchFile kUsers("users.tsv");
  static const ScratchFile kItems("items.tsv");
  static const ScratchFile kTensors("model.safetensors");
  static const std::string kCopy = [] {
    std::string folder = scratch_folder() + "/copy";
    std::filesystem::create_directory(folder);
    return folder;
  }();
  kUsers.write(users);
  kItems.write(items);
  kTensors.write(tensors);
  // Unlike a scratch file it may be missing.
  const std::string features_path = scratch_folder() + "/features.json";
  if (features.empty()) {
    std::filesystem::remove(features_path);
  } else {
    std::ofstream(features_path, std::ios::binary) << features;
  }
  refusal_of([&] {
    for (const auto& [name, tensor] : read_safetensors(kTensors.path()).tensors) {
      std::size_t elements = 1;
      for (const std::int64_t extent : tensor.shape) {
        check(extent >= 0, "a negative extent");
        elements *= static_cast<std::size_t>(extent);
      }
      check(tensor.values.size() == elements, "a tensor whose values do not fit its shape");
    }
  });

  std::optional<Model> model;
  if (refusal_of([&] { model.emplace(Model::load(scratch_folder())); })) {
    return;
  }
  const Model::Parts& parts = model->parts();
  std::vector<RawPair> pairs = {{1, 1}, {-1, -1}};
  RatingTable ratings;
  for (std::int32_t id = 0; id < std::max(parts.users.size(), parts.items.size()) && id < 4; ++id) {
    pairs.push_back({id < parts.users.size() ? parts.users.id(id) : RawId(1),
                     id < parts.items.size() ? parts.items.id(id) : RawId(1)});
    ratings.users.push_back(id);
    ratings.items.push_back(id);
    ratings.ratings.push_back(3.0F);
  }
  const ComputeOptions compute = {"cpu", 1};
  const std::vector<Prediction> predictions = model->predict(pairs, compute);
  check(predictions.size() == pairs.size(), "another number of predictions");
  model->evaluate(ratings, compute);

  model->save(kCopy);
  std::optional<Model> copy;
  const auto refusal = refusal_of([&] { copy.emplace(Model::load(kCopy)); });
  check(!refusal, "saved and refused: " + refusal.value_or(""));
  const std::vector<Prediction> again = copy->predict(pairs, compute);
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    check(same_bits(again[k].rating, predictions[k].rating) && again[k].basis == predictions[k].basis,
          "saved and loaded: another prediction");
  }
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  curate::fuzz::Input input(data, size);
  const std::size_t users_size = input.two_bytes();
  const std::size_t items_size = input.two_bytes();
  const std::size_t features_size = input.two_bytes();
  const std::string_view users = input.take(users_size);
  const std::string_view items = input.take(items_size);
  const std::string_view features = input.take(features_size);
  curate::fuzz::test(users, items, features, input.rest());
  return 0;
}
