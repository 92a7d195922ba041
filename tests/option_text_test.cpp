// Options as text: what is written is read back, and what is no value changes nothing.

#include "train/option_text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"

namespace curate {
namespace {

template <typename T>
T read(const char* key, const std::string& text) {
  T value{};
  read_text(find_option(key), text, value);
  return value;
}

/// The message; that the value stays as it was is checked here.
template <typename T>
std::string refused(const char* key, const std::string& text, const T& before = {}) {
  T value = before;
  try {
    read_text(find_option(key), text, value);
    ADD_FAILURE() << key << " took '" << text << "'";
    return "";
  } catch (const InputError& error) {
    EXPECT_EQ(error.key(), key);
    EXPECT_EQ(value, before) << text;
    return error.problem() + ": " + error.remedy();
  }
}

template <typename T>
void comes_back(const char* key, const T& value, const std::string& text) {
  EXPECT_EQ(text_of(value), text);
  EXPECT_EQ(read<T>(key, text), value);
}

TEST(OptionText, ComesBack) {
  comes_back("biases", true, "on");
  comes_back("biases", false, "off");
  comes_back<std::int32_t>("dim", 64, "64");
  comes_back<std::int64_t>("batch", std::int64_t{1} << 30, "1073741824");
  comes_back("seed", std::numeric_limits<std::uint64_t>::max(), "18446744073709551615");
  comes_back("lr", 0.1, "0.1");
  comes_back("epsilon", 1e-8, "1e-08");
  comes_back("reg", 1.0 / 3.0, "0.3333333333333333");
  comes_back("optimizer", OptimizerChoice::sgd_and_adam, "sgd+adam");
  comes_back<std::vector<std::int32_t>>("layers", {100, 50, 20}, "100,50,20");
  comes_back<std::vector<std::int32_t>>("layers", {}, "none");
  comes_back<std::vector<ActivationKind>>("activations", {ActivationKind::linear, ActivationKind::relu}, "linear,relu");
  comes_back<DropoutRates>("dropout", {0.2, 0.5}, "0.2,0.5");
  comes_back<DropoutRates>("dropout", {0.2, 0.2}, "0.2");
  comes_back<std::vector<FeatureDim>>("feature_dim", {{"", 8}}, "8");
  comes_back<std::vector<FeatureDim>>("feature_dim", {{"genres", 8}, {"a=b", 4}}, "genres=8,a=b=4");
  comes_back<MfKernelOptions>("sgd_kernel", {8, 4, 16, 64, true}, "lanes=8,ahead=4,split=16,hot=64,reductions=scalar");
  comes_back<MfKernelOptions>("sgd_kernel", {}, "hot=0");
}

TEST(OptionText, OptionalsAreEmptyOrAValue) {
  EXPECT_EQ(text_of(std::optional<std::int32_t>()), "");
  EXPECT_EQ(text_of(std::optional(8)), "8");
  EXPECT_EQ(read<std::optional<std::int32_t>>("dim", "8"), 8);
  EXPECT_EQ((read<std::optional<std::vector<std::int32_t>>>("layers", "none")), std::vector<std::int32_t>());
}

TEST(OptionText, MoreThanOneWayToSayIt) {
  EXPECT_EQ(read<DropoutRates>("dropout", "0.2,0.2"), (DropoutRates{0.2, 0.2}));
  EXPECT_EQ(read<double>("lr", "1e-2"), 0.01);
  EXPECT_EQ(read<MfKernelOptions>("sgd_kernel", "reductions=vector"), MfKernelOptions());
}

// Catches: a list that is half replaced, an optional that holds a value after a failure.
TEST(OptionText, WhatIsNoValueChangesNothing) {
  EXPECT_EQ(refused<std::int32_t>("dim", "abc", 7), "abc: write a whole number, 1 to 1024");
  EXPECT_EQ(refused<std::int32_t>("epochs", "3000000000", 7), "3000000000: write a whole number, 1 to 2147483647");
  EXPECT_EQ(refused<double>("lr", "fast"), "fast: write a number, 1e-12 to 1000000");
  EXPECT_EQ(refused<bool>("biases", "yes"), "yes: write on or off");
  EXPECT_EQ(refused<OptimizerChoice>("optimizer", "als"), "als: not one of sgd, adagrad, adam, sgd+adam");
  EXPECT_EQ(refused<OptimizerChoice>("optimizer", "\x1b[2J").substr(0, 8), "\\x1b[2J:");
  EXPECT_EQ(refused<std::vector<ActivationKind>>("activations", "relu,swish", {ActivationKind::tanh}),
            "relu,swish: not one of linear, relu, tanh, sigmoid");
  for (const char* const text : {"", "8,", "8,x", "0", "8193", "99999999999", "1e2"}) {
    EXPECT_EQ(refused<std::vector<std::int32_t>>("layers", text, {5, 6}),
              std::string(text) + ": write widths from 1 to 8192 with commas between them, like 100,50,20, or none");
  }
  EXPECT_EQ((refused<std::optional<std::vector<std::int32_t>>>("layers", "8,x")).substr(0, 4), "8,x:");
  for (const char* const text : {"", "0.96", "-0.1", "0.1,1", "0.1,0.2,0.3", "nan"}) {
    EXPECT_EQ(refused<DropoutRates>("dropout", text, {0.1, 0.2}),
              std::string(text) + ": write one rate from 0 to 0.95, or two: USER,ITEM");
  }
  for (const char* const text : {"", "0", "=8", "genres=", "genres=8,", "1025", "genres=1025"}) {
    refused<std::vector<FeatureDim>>("feature_dim", text, {{"year", 2}});
  }
  for (const char* const text : {"", "8", "lanes=3", "lanes=0", "lanes=64", "ahead=8", "split=15", "split=0",
                                 "hot=1025", "hot=-1", "reductions=fast", "width=8", "lanes=8.0"}) {
    refused<MfKernelOptions>("sgd_kernel", text, {8});
  }
  for (const char* const text : {"", "18446744073709551616", "-1", "1.0"}) {
    refused<std::uint64_t>("seed", text, 3);
  }
  for (const char* const text : {"", "1e400", "0x1p3", "1,5", " 1"}) {
    refused<double>("reg", text, 0.5);
  }
}

// What no text says, an enumeration of C++ may.
TEST(OptionText, ValuesOfNoNameAreRefused) {
  TrainOptions options;
  options.loss = static_cast<LossKind>(7);
  try {
    resolve(options);
    ADD_FAILURE() << "taken";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()), "`loss` number 7: not one of mse, mae");
  }
  options.loss = LossKind::mse;
  options.model = ModelKind::mlp;
  options.output = ActivationKind::tanh;
  try {
    resolve(options);
    ADD_FAILURE() << "taken";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()), "`output` tanh: not one of linear, relu, sigmoid");
  }
}

TEST(OptionText, SetsByKey) {
  TrainOptions options;
  set_option(options, "lr", "0.5");
  set_option(options, "optimizer", "sgd+adam");
  EXPECT_EQ(options.learning_rate, 0.5);
  EXPECT_EQ(options.optimizer, OptimizerChoice::sgd_and_adam);
  EXPECT_THROW(set_option(options, "learning_rate", "0.5"), InputError);
}

}  // namespace
}  // namespace curate
