#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "bench/gpu_probe/probe_kernels.h"
#include "bench/gpu_probe/probes.h"
#include "curate/error.h"
#include "kernels/cublaslt.h"

namespace curate::probe {
namespace {

using cuda::CublasLt;
using cuda::Epilogue;
using cuda::Product;

constexpr int kWarmup = 3;
constexpr int kRepeats = 11;
constexpr double kDenseBf16Tflops = 989.0;  ///< of an H100 or H200 SXM, by its data sheet

const char* name_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::none:
      return "none";
    case Epilogue::add_bias:
      return "add_bias";
    case Epilogue::sum_of_first:
      return "sum_of_first";
    case Epilogue::add_bias_relu:
      return "add_bias_relu";
    case Epilogue::add_bias_relu_mask:
      return "add_bias_relu_mask";
    case Epilogue::apply_mask:
      return "apply_mask";
  }
  return "another";
}

bool has_mask(const Product& product) {
  return product.epilogue == Epilogue::add_bias_relu_mask || product.epilogue == Epilogue::apply_mask;
}

/// Elements of a product's bias, 0: it has none.
std::int64_t bias_length(const Product& product) {
  switch (product.epilogue) {
    case Epilogue::add_bias:
    case Epilogue::add_bias_relu:
    case Epilogue::add_bias_relu_mask:
      return product.cols;
    case Epilogue::sum_of_first:
      return product.rows;
    default:
      return 0;
  }
}

DType operand_type(const Product& product) {
  return product.precision == ProductPrecision::bf16 ? DType::bf16 : DType::f32;
}

std::int64_t size(DType type) {
  return static_cast<std::int64_t>(size_of(type));
}

/// Operands, bias and mask once, and what is written once.
std::int64_t bytes_of(const Product& product) {
  return size(operand_type(product)) * product.depth * (product.rows + product.cols) +
         size(product.out) * (product.rows * product.cols + bias_length(product)) +
         (has_mask(product) ? product.rows * cuda::mask_bytes(product.cols) : 0);
}

/// A dense layer's products, as kernels/wide_stack.cpp (bf16) and kernels/dense_products.cpp ask for them.
struct Layer {
  std::int64_t batch;
  std::int64_t inputs;
  std::int64_t outputs;
  ProductPrecision precision;
  bool first;  ///< its inputs' gradient goes to embeddings, and no relu lies before it

  bool bf16() const { return precision == ProductPrecision::bf16; }
  std::int64_t ld(std::int64_t cols) const { return bf16() ? cuda::bf16_ld(cols) : cols; }

  Product product(std::int64_t rows, std::int64_t cols, std::int64_t depth) const {
    Product product;
    product.rows = rows;
    product.cols = cols;
    product.depth = depth;
    product.precision = precision;
    return product;
  }

  Product forward() const {
    Product one = product(batch, outputs, inputs);
    one.second_transposed = true;
    one.first_ld = one.second_ld = ld(inputs);
    one.out_ld = ld(outputs);
    one.epilogue = bf16() ? Epilogue::add_bias_relu_mask : Epilogue::add_bias;
    one.out = operand_type(one);
    return one;
  }

  Product weight_gradient() const {
    Product one = product(outputs, inputs, batch);
    one.first_transposed = true;
    one.first_ld = ld(outputs);
    one.second_ld = ld(inputs);
    one.out_ld = inputs;
    one.epilogue = Epilogue::sum_of_first;
    return one;
  }

  Product input_gradient() const {
    Product one = product(batch, inputs, outputs);
    one.first_ld = ld(outputs);
    one.second_ld = ld(inputs);
    const bool masked = bf16() && !first;
    one.out_ld = masked ? ld(inputs) : inputs;
    one.epilogue = masked ? Epilogue::apply_mask : Epilogue::none;
    one.out = masked ? DType::bf16 : DType::f32;
    return one;
  }
};

/// A product's matrices on the GPU, with random elements.
class Matrices {
 public:
  Matrices(const Gpu& gpu, const Product& product)
      : gpu_(gpu),
        product_(product),
        first_(gpu, operand_type(product),
               (product.first_transposed ? product.depth : product.rows) * product.first_ld),
        second_(gpu, operand_type(product),
                (product.second_transposed ? product.cols : product.depth) * product.second_ld),
        out_(gpu, product.out, product.rows * product.out_ld),
        bias_(gpu, product.out, bias_length(product)),
        mask_(gpu.stream(), has_mask(product) ? product.rows * cuda::mask_bytes(product.cols) / 4 : 0) {
    if (has_mask(product)) {
      fill_words(gpu.stream(), mask_.data(), product.rows * cuda::mask_bytes(product.cols) / 4, 1);
    }
  }

  cuda::ProductMemory memory() const {
    return {out_.data(), first_.data(), second_.data(), bias_.data(), mask_.data()};
  }

  /// Whether the last element is what it has to be, for products without an epilogue.
  bool is_right() const {
    const std::vector<float> first = first_.values();
    const std::vector<float> second = second_.values();
    const std::int64_t r = product_.rows - 1;
    const std::int64_t c = product_.cols - 1;
    double sum = 0.0;
    for (std::int64_t k = 0; k < product_.depth; ++k) {
      const std::int64_t f = product_.first_transposed ? k * product_.first_ld + r : r * product_.first_ld + k;
      const std::int64_t s = product_.second_transposed ? c * product_.second_ld + k : k * product_.second_ld + c;
      sum += static_cast<double>(first[static_cast<std::size_t>(f)]) *
             static_cast<double>(second[static_cast<std::size_t>(s)]);
    }
    const float got = out_.values()[static_cast<std::size_t>(r * product_.out_ld + c)];
    // Operands are numbers of few bits, so that only sums and the result are rounded.
    const double tolerance = 1e-4 * std::sqrt(static_cast<double>(product_.depth)) + 0x1p-8 * std::abs(sum);
    return std::abs(static_cast<double>(got) - sum) <= tolerance;
  }

 private:
  class Matrix {
   public:
    Matrix(const Gpu& gpu, DType type, std::int64_t elements)
        : gpu_(gpu), type_(type), elements_(elements), memory_(gpu.stream(), elements * size(type)) {
      fill_random(gpu.stream(), memory_.data(), type, elements, static_cast<std::uint64_t>(elements));
    }

    std::byte* data() const { return memory_.data(); }

    std::vector<float> values() const {
      if (type_ == DType::f32) {
        return gpu_.download(reinterpret_cast<const float*>(data()), elements_);
      }
      std::vector<float> values;
      for (const std::uint16_t bits : gpu_.download(reinterpret_cast<const std::uint16_t*>(data()), elements_)) {
        values.push_back(std::bit_cast<float>(std::uint32_t{bits} << 16U));
      }
      return values;
    }

   private:
    const Gpu& gpu_;
    DType type_;
    std::int64_t elements_;
    Scratch<std::byte> memory_;
  };

  const Gpu& gpu_;
  Product product_;
  Matrix first_;
  Matrix second_;
  Matrix out_;
  Matrix bias_;
  Scratch<std::uint32_t> mask_;
};

class ProductsProbe {
 public:
  ProductsProbe(Report& report, const Gpu& gpu, const ProductsRequest& request)
      : report_(report), gpu_(gpu), request_(request) {}

  void run() {
    std::string problem;
    const std::optional<cuda::CublasLtFunctions> functions = cuda::find_cublaslt(problem);
    if (!functions) {
      report_.note({{"probe", "product"}, {"error", problem}});
      return;
    }
    CublasLt library(*functions, gpu_.stream(), {gpu_.properties().major, gpu_.properties().multiProcessorCount});
    // As the stack has them first, then without their epilogues: what these cost.
    for (const bool plain : {false, true}) {
      for (const ProductPrecision precision : request_.precisions) {
        for (std::size_t l = 0; l + 1 < request_.widths.size(); ++l) {
          measure_layer(library, {request_.batch, request_.widths[l], request_.widths[l + 1], precision, l == 0},
                        plain);
        }
      }
    }
  }

 private:
  static Json describe(const Layer& layer) {
    return {{"probe", "product"},
            {"batch", layer.batch},
            {"inputs", layer.inputs},
            {"outputs", layer.outputs},
            {"precision", curate::name_of(layer.precision)}};
  }

  void measure_layer(CublasLt& library, const Layer& layer, bool plain) {
    constexpr std::int64_t kNarrowest = 64;
    constexpr std::int64_t kUnit = 4;
    Json config = describe(layer);
    if (layer.inputs < kNarrowest || layer.outputs < kNarrowest || layer.inputs % kUnit != 0 ||
        layer.outputs % kUnit != 0) {
      if (!plain) {
        config["skipped"] =
            "kernels/README.md: the library gets layers of 64 and more inputs and outputs, multiples of 4";
        report_.note(config);
      }
      return;
    }
    const std::vector<std::pair<const char*, Product>> passes = {{"forward", layer.forward()},
                                                                 {"weight_gradient", layer.weight_gradient()},
                                                                 {"input_gradient", layer.input_gradient()}};
    for (const auto& [pass, product] : passes) {
      config["pass"] = pass;
      if (!plain) {
        measure(library, config, product);
      } else if (product.epilogue != Epilogue::none) {
        Product without = product;
        without.epilogue = Epilogue::none;
        measure(library, config, without);
      }
    }
  }

  void measure(CublasLt& library, Json config, const Product& product) {
    config["epilogue"] = name_of(product.epilogue);
    report_.measure(
        config,
        [&] {
          constexpr const char* kOperation = "gpu_probe";
          if (!library.prepare(kOperation, product)) {
            throw DeviceError(library.why(product));
          }
          const Matrices matrices(gpu_, product);
          const auto seconds =
              gpu_.times_of([&] { library.multiply(kOperation, product, matrices.memory()); }, kWarmup, kRepeats);
          Json figures = figures_of(product, seconds);
          figures["algorithms"] = algorithms_of(library.time_algorithms(kOperation, product));
          if (product.epilogue == Epilogue::none && !matrices.is_right()) {
            throw WrongFigures{figures, "the product is not that of its operands"};
          }
          return figures;
        },
        [this] { return gpu_.works(); });
  }

  static Json figures_of(const Product& product, const std::vector<double>& seconds) {
    const double took = median(seconds);
    const Json times = spread(seconds);
    const double flops = 2.0 * static_cast<double>(product.rows) * static_cast<double>(product.cols) *
                         static_cast<double>(product.depth);
    const std::int64_t bytes = bytes_of(product);
    return {{"bytes", bytes},
            {"us", 1e6 * took},
            {"us_min", 1e6 * times["min"].get<double>()},
            {"us_max", 1e6 * times["max"].get<double>()},
            {"gbps", 1e-9 * static_cast<double>(bytes) / took},
            {"tflops", 1e-12 * flops / took},
            {"share_of_989_tflops", 1e-12 * flops / took / kDenseBf16Tflops}};
  }

  /// All that the engine chooses from.
  static Json algorithms_of(const std::vector<cuda::AlgorithmTime>& times) {
    Json algorithms = Json::array();
    for (const cuda::AlgorithmTime& time : times) {
      Json one = {{"id", time.id},       {"tile", time.tile},       {"split_k", time.split_k},
                  {"waves", time.waves}, {"us", time.microseconds}, {"chosen", time.chosen}};
      if (!time.problem.empty()) {
        one["problem"] = time.problem;
      }
      algorithms.push_back(one);
    }
    return algorithms;
  }

  Report& report_;
  const Gpu& gpu_;
  const ProductsRequest& request_;
};

}  // namespace

void probe_products(Report& report, const Gpu& gpu, const ProductsRequest& request) {
  ProductsProbe(report, gpu, request).run();
}

}  // namespace curate::probe
