// Measures on a GPU what predictions assume and what the kernels do: bench/README.md.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string>

#include "bench/gpu_probe/probes.h"
#include "curate/error.h"
#include "data/movielens_shape.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "train/option_text.h"

namespace curate::probe {
namespace {

constexpr int kNothingMeasured = 1;
constexpr int kBadInput = 2;

struct Arguments {
  std::string device = kDeviceName;
  double seconds = 30.0;
  bool small = false;
  DataRequest data;
  std::string dims = "32,64,128";
  std::string precisions = "f32,f16,bf16";
  std::string ways = "default,ahead=1,ahead=4,lanes=8,hot=32,split=512,reductions=scalar,deterministic";
  EpochsRequest epochs;
  std::vector<std::string> sets;
  std::int32_t train_epochs = 4;
  ProductsRequest products;
  std::string widths = "256,256,128,64,1";
  std::string product_precisions = "bf16,tf32,f32";
};

void add_common(CLI::App& app, Arguments& arguments) {
  app.add_option("--device", arguments.device, fmt::format("the GPU: {}", kDeviceName))->capture_default_str();
  app.add_option("--seconds", arguments.seconds,
                 "time from the start of the program, after which nothing more is measured")
      ->capture_default_str();
}

void add_data(CLI::App& app, Arguments& arguments) {
  app.add_option("--data", arguments.data.folder, "MovieLens folder or file of ratings (default: they are made up)");
  app.add_option("--like", arguments.data.like.like, "made-up ratings: the release whose shape they have")
      ->capture_default_str();
  app.add_option("--scale", arguments.data.like.scale, "made-up ratings: part of its users and ratings, 0.01 to 1")
      ->capture_default_str();
}

/// The parts of a list, each by `parse`, which says whether it could.
template <typename T, typename Parse>
std::vector<T> parse_list(const char* option, const std::string& list, const char* remedy, Parse parse) {
  std::vector<T> values;
  for (const std::string& part : split_list(list)) {
    T value{};
    if (!parse(part, value)) {
      throw InputError(
          fmt::format("{} {}: '{}' will not do; write {}", option, printable(list), printable(part), remedy));
    }
    values.push_back(value);
  }
  if (values.empty()) {
    throw InputError(fmt::format("{}: the list is empty; write {}", option, remedy));
  }
  return values;
}

template <typename T>
bool parse_whole(const std::string& text, T& value) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value > 0;
}

void check(const CLI::App& app, Arguments& arguments) {
  const std::string name = kDeviceName;
  if (arguments.device != name && !(name == "cuda-emulated" && arguments.device.starts_with(name + ":"))) {
    throw InputError(fmt::format("--device {}: this program measures {}; give --device {}, or leave it out",
                                 printable(arguments.device), name, name));
  }
  if (!(arguments.seconds > 0.0 && arguments.seconds < 1e6)) {
    throw InputError(fmt::format("--seconds {}: must be above 0", arguments.seconds));
  }
  const auto made_up = [&](const char* option) {
    const CLI::Option* const found = app.get_option_no_throw(option);
    return found != nullptr && found->count() > 0;
  };
  if (!arguments.data.folder.empty() && (made_up("--like") || made_up("--scale"))) {
    throw InputError("--like and --scale are for made-up ratings; remove them, or --data");
  }
}

EpochsRequest epochs_request(const Arguments& arguments) {
  EpochsRequest request = arguments.epochs;
  request.device = arguments.device;
  request.dims = parse_list<std::int32_t>(
      "--dim", arguments.dims, "numbers from 1 to 1024, like 32,64,128",
      [](const std::string& text, std::int32_t& dim) { return parse_whole(text, dim) && dim <= 1024; });
  request.precisions = parse_list<std::string>("--precision", arguments.precisions, "some of f32,f16,bf16",
                                               [](const std::string& text, std::string& precision) {
                                                 precision = text;
                                                 return text == "f32" || text == "f16" || text == "bf16";
                                               });
  request.ways = parse_list<Way>("--kernel", arguments.ways, "default, deterministic or ways of --sgd-kernel",
                                 [](const std::string& text, Way& way) {
                                   way = parse_way(text);
                                   return true;
                                 });
  if (request.epochs < 1 || request.warmup < 0) {
    throw InputError("--epochs must be 1 or more, --warmup 0 or more");
  }
  return request;
}

std::vector<OptionSet> option_sets(const Arguments& arguments) {
  std::vector<OptionSet> sets;
  for (const std::string& text : arguments.sets) {
    OptionSet set{text, parse_options(text)};
    set.options.device = arguments.device;
    if (!set.options.epochs) {
      set.options.epochs = arguments.train_epochs;
    }
    sets.push_back(std::move(set));
  }
  if (arguments.train_epochs < 1) {
    throw InputError("--epochs must be 1 or more");
  }
  return sets;
}

ProductsRequest products_request(const Arguments& arguments) {
  ProductsRequest request = arguments.products;
  const auto whole = [](const std::string& text, std::int64_t& width) {
    return parse_whole(text, width) && width <= 65536;
  };
  constexpr const char* kWidths = "inputs of the first layer and outputs of all, like 256,256,128,64,1";
  request.widths = parse_list<std::int64_t>("--layers", arguments.widths, kWidths, whole);
  if (request.widths.size() < 2) {
    throw InputError(fmt::format("--layers {}: one number is no layer; write {}", arguments.widths, kWidths));
  }
  if (request.batch < 1 || request.batch > (std::int64_t{1} << 24U)) {
    throw InputError(fmt::format("--batch {}: must be 1 to 16777216", request.batch));
  }
  request.precisions = parse_list<ProductPrecision>(
      "--precision", arguments.product_precisions, "some of bf16,tf32,f32", [](const std::string& text, auto& value) {
        for (const ProductPrecision one : {ProductPrecision::f32, ProductPrecision::tf32, ProductPrecision::bf16}) {
          if (text == name_of(one)) {
            value = one;
            return true;
          }
        }
        return false;
      });
  return request;
}

void note_machine(const Report& report, const Gpu& gpu, const Arguments& arguments) {
  int driver = 0;
  int toolkit = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&toolkit);
  report.note({{"probe", "machine"},
               {"device", arguments.device},
               {"description", gpu.device().info().description},
               {"multiprocessors", gpu.properties().multiProcessorCount},
               {"l2_bytes", gpu.properties().l2CacheSize},
               {"driver", driver},
               {"toolkit", toolkit},
               {"seconds", arguments.seconds}});
}

void note_data(const Report& report, const Dataset& dataset) {
  report.note({{"probe", "data"},
               {"source", dataset.source},
               {"ratings", dataset.ratings.size()},
               {"users", dataset.users.size()},
               {"items", dataset.items.size()}});
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Measures on a GPU: a line of JSON for each figure, the most valuable ones first.");
  app.name("gpu_probe");
  app.require_subcommand(1);
  CLI::App* const memory = app.add_subcommand("memory", "rates and latencies of memory, launches and shuffles");
  memory->add_flag("--small", arguments.small, "sizes for the emulator");
  CLI::App* const epochs = app.add_subcommand("epochs", "epochs of per-rating SGD");
  epochs->add_option("--dim", arguments.dims, "factors")->capture_default_str();
  epochs->add_option("--precision", arguments.precisions, "storage of the tables")->capture_default_str();
  epochs->add_option("--kernel", arguments.ways, "ways of the kernel, as --sgd-kernel of curate train; + joins two")
      ->capture_default_str();
  epochs->add_option("--epochs", arguments.epochs.epochs, "epochs that are timed")->capture_default_str();
  epochs->add_option("--warmup", arguments.epochs.warmup, "epochs before them")->capture_default_str();
  CLI::App* const train = app.add_subcommand("train", "trainings by the library's Trainer");
  train->add_option("--set", arguments.sets, "options as in config.toml: key=value,key=value; once for each training")
      ->required()
      ->allow_extra_args(false);
  train->add_option("--epochs", arguments.train_epochs, "where a set has none")->capture_default_str();
  CLI::App* const products = app.add_subcommand("products", "products of wide layers by cuBLASLt");
  products->add_option("--batch", arguments.products.batch, "rows")->capture_default_str();
  products->add_option("--layers", arguments.widths, "inputs of the first layer, outputs of all")
      ->capture_default_str();
  products->add_option("--precision", arguments.product_precisions, "rounding of operands")->capture_default_str();
  for (CLI::App* const one : {memory, epochs, train, products}) {
    add_common(*one, arguments);
  }
  for (CLI::App* const one : {epochs, train}) {
    add_data(*one, arguments);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadInput;
  }

  // All that can be wrong with the arguments, before anything is made for them.
  check(*app.get_subcommands().front(), arguments);
  const EpochsRequest of_epochs = epochs_request(arguments);
  const std::vector<OptionSet> sets = option_sets(arguments);
  const ProductsRequest of_products = products_request(arguments);
  if (arguments.data.folder.empty()) {
    movielens_shape(arguments.data.like.like, arguments.data.like.scale);
  }

  Report report(arguments.seconds, [](const Json& line) {
    fmt::print("{}\n", line.dump(-1, ' ', false, Json::error_handler_t::replace));
    std::fflush(stdout);
  });
  if (arguments.device == "cuda") {
    if (const std::string problem = why_no_cuda(); !problem.empty()) {
      throw Error(fmt::format("--device cuda: {}", problem));
    }
  }
  const Gpu gpu(arguments.device);
  note_machine(report, gpu, arguments);
  if (memory->parsed()) {
    probe_memory(report, gpu, arguments.small);
  } else if (products->parsed()) {
    probe_products(report, gpu, of_products);
  } else {
    const Dataset dataset = load(arguments.data);
    note_data(report, dataset);
    if (epochs->parsed()) {
      probe_epochs(report, gpu.device(), of_epochs, dataset);
    } else {
      probe_train(report, gpu, sets, dataset);
    }
  }
  return report.measured() > 0 ? 0 : kNothingMeasured;
}

}  // namespace
}  // namespace curate::probe

int main(int argc, char** argv) {
  try {
    return curate::probe::run(argc, argv);
  } catch (const curate::InputError& error) {
    fmt::print(stderr, "gpu_probe: {}\n", error.what());
    return curate::probe::kBadInput;
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu_probe: {}\n", error.what());
    return curate::probe::kNothingMeasured;
  }
}
