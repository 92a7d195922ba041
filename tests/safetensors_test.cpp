#include "train/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/philox.h"

namespace curate {
namespace {

std::string temporary_path(const char* name) {
  return testing::TempDir() + "curate_safetensors_" + name;
}

SafetensorsFile example() {
  return {{{"a", {{2, 3}, {1, 2, 3, 4, 5, 6}}}, {"empty", {{0, 4}, {}}}, {"z", {{1}, {-0.5F}}}}, {{"format", "x"}}};
}

TEST(Safetensors, RoundTrip) {
  const std::string path = temporary_path("round_trip");
  write_safetensors(path, example());
  const SafetensorsFile back = read_safetensors(path);
  EXPECT_EQ(back.metadata, example().metadata);
  ASSERT_EQ(back.tensors.size(), 3U);
  for (const auto& [name, tensor] : example().tensors) {
    EXPECT_EQ(back.tensors.at(name).shape, tensor.shape);
    EXPECT_EQ(back.tensors.at(name).values, tensor.values);
  }
  const auto shapes = read_tensor_shapes(path);
  ASSERT_EQ(shapes.size(), 3U);
  for (const auto& [name, tensor] : example().tensors) {
    EXPECT_EQ(shapes.at(name), tensor.shape);
  }
  std::filesystem::remove(path);
}

TEST(Safetensors, EveryCutIsRefused) {
  const std::string path = temporary_path("cut");
  write_safetensors(path, example());
  const std::string whole = read_file(path);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write_file_atomically(path, whole.substr(0, length));
    EXPECT_THROW(read_safetensors(path), InputError) << length;
    EXPECT_THROW(read_tensor_shapes(path), InputError) << length;
  }
  std::filesystem::remove(path);
}

TEST(Safetensors, ShapesOfWhatIsNoFile) {
  EXPECT_THROW(read_tensor_shapes(temporary_path("nowhere")), InputError);
  EXPECT_THROW(read_tensor_shapes(testing::TempDir()), InputError);
}

// Names come from the file: none may write to the terminal by way of a message.
TEST(Safetensors, MessagesHaveNoControlCharacters) {
  const std::string path = temporary_path("control");
  write_safetensors(path, {{{"\x1b[2J\n\x7f", {{1}, {1.0F}}}}, {}});
  std::string content = read_file(path);
  content.replace(content.find("F32"), 3, "F16");
  write_file_atomically(path, content);
  try {
    read_safetensors(path);
    ADD_FAILURE() << "taken";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("tensor \\x1b[2J\\x0a\\x7f is F16"), std::string::npos) << error.what();
  }
  std::filesystem::remove(path);
}

TEST(Safetensors, DamagedBytesNeverCrash) {
  const std::string path = temporary_path("damaged");
  write_safetensors(path, example());
  const std::string whole = read_file(path);
  for (std::uint64_t round = 0; round < 2000; ++round) {
    std::string damaged = whole;
    const PhiloxWords words = philox(5, round, 0, RandomPurpose::synthetic_noise);
    damaged[words.word[0] % damaged.size()] = static_cast<char>(words.word[1]);
    damaged[words.word[2] % 120] = static_cast<char>(words.word[3]);
    write_file_atomically(path, damaged);
    try {
      for (const auto& [name, tensor] : read_safetensors(path).tensors) {
        std::int64_t elements = 1;
        for (const std::int64_t extent : tensor.shape) {
          elements *= extent;
        }
        EXPECT_EQ(static_cast<std::int64_t>(tensor.values.size()), elements);
      }
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
    }
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace curate
