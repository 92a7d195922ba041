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

SafetensorsFile example_file() {
  return {{{"a", {{2, 3}, {1, 2, 3, 4, 5, 6}}}, {"empty", {{0, 4}, {}}}, {"z", {{1}, {-0.5F}}}}, {{"format", "x"}}};
}

TEST(Safetensors, RoundTrip) {
  const std::string path = temporary_path("round_trip");
  write_safetensors(path, example_file());
  const SafetensorsFile back = read_safetensors(path);
  EXPECT_EQ(back.metadata, example_file().metadata);
  ASSERT_EQ(back.tensors.size(), 3U);
  for (const auto& [name, tensor] : example_file().tensors) {
    EXPECT_EQ(back.tensors.at(name).shape, tensor.shape);
    EXPECT_EQ(back.tensors.at(name).values, tensor.values);
  }
  const auto shapes = read_tensor_shapes(path);
  ASSERT_EQ(shapes.size(), 3U);
  for (const auto& [name, tensor] : example_file().tensors) {
    EXPECT_EQ(shapes.at(name), tensor.shape);
  }
  std::filesystem::remove(path);
}

TEST(Safetensors, EveryCutIsRefused) {
  const std::string path = temporary_path("cut");
  write_safetensors(path, example_file());
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

/// A file of that header and of values in that order.
void write_raw(const std::string& path, std::string header, const std::vector<float>& values) {
  const std::uint64_t length = header.size();
  std::string content(sizeof length, '\0');
  std::memcpy(content.data(), &length, sizeof length);
  content += header;
  content.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  write_file_atomically(path, content);
}

// Catches: offsets that are not looked at, an order of values that is taken for that of the names or of the header.
TEST(Safetensors, TensorsLieWhereTheirOffsetsSay) {
  const std::string path = temporary_path("offsets");
  write_raw(path,
            R"({"b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},)"
            R"( "none": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]},)"
            R"( "c": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},)"
            R"( "a": {"dtype": "F32", "shape": [3, 1], "data_offsets": [4, 16]}})",
            {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  const TensorMap tensors = read_safetensors(path).tensors;
  ASSERT_EQ(tensors.size(), 4U);
  EXPECT_EQ(tensors.at("c").values, std::vector<float>{1.0F});
  EXPECT_EQ(tensors.at("a").values, (std::vector<float>{2.0F, 3.0F, 4.0F}));
  EXPECT_EQ(tensors.at("a").shape, (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(tensors.at("b").values, (std::vector<float>{5.0F, 6.0F}));
  EXPECT_TRUE(tensors.at("none").values.empty());
  EXPECT_EQ(read_tensor_shapes(path).size(), 4U);
  std::filesystem::remove(path);
}

// The format allows neither bytes of no tensor nor bytes of two.
TEST(Safetensors, EveryByteIsOfOneTensor) {
  const std::string path = temporary_path("bytes");
  const auto tensor = [](const char* name, int elements, int begin) {
    return std::string("\"") + name + R"(": {"dtype": "F32", "shape": [)" + std::to_string(elements) +
           R"(], "data_offsets": [)" + std::to_string(begin) + ", " + std::to_string(begin + 4 * elements) + "]}";
  };
  const std::vector<std::vector<std::string>> cases = {
      {tensor("a", 1, 0), tensor("b", 2, 8)},  // a hole between them
      {tensor("a", 3, 4)},                     // one before
      {tensor("a", 2, 0)},                     // one behind
      {tensor("a", 3, 0), tensor("b", 2, 8)},  // a value of both
      {tensor("a", 4, 0), tensor("b", 4, 0)},  // all of both
      {tensor("a", 4, 0), tensor("b", 0, 8)},  // nothing, in the middle of another
      {tensor("a", 2, 0), tensor("b", 3, 4)},  // both
      {},                                      // none at all
  };
  for (const std::vector<std::string>& tensors : cases) {
    std::string header = "{";
    for (const std::string& one : tensors) {
      header += (header.size() > 1 ? ", " : "") + one;
    }
    header += "}";
    write_raw(path, header, {1.0F, 2.0F, 3.0F, 4.0F});
    EXPECT_THROW(read_safetensors(path), InputError) << header;
    EXPECT_THROW(read_tensor_shapes(path), InputError) << header;
  }
  std::filesystem::remove(path);
}

// So that a reader can map the values.
TEST(Safetensors, ValuesBeginAtAMultipleOfEightBytes) {
  const std::string path = temporary_path("aligned");
  for (const char* name : {"a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"}) {
    write_safetensors(path, {{{name, {{1}, {1.0F}}}}, {}});
    EXPECT_EQ((read_file(path).size() - sizeof(float)) % 8, 0U) << name;
    EXPECT_EQ(read_safetensors(path).tensors.count(name), 1U);
  }
  std::filesystem::remove(path);
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
  write_safetensors(path, example_file());
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
