#include "kernels/product.h"

#include <fmt/format.h>

namespace curate::cuda {
namespace {

const char* text_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::none:
      return "";
    case Epilogue::add_bias:
      return ", bias";
    case Epilogue::sum_of_first:
      return ", gradient of the bias";
    case Epilogue::add_bias_relu:
      return ", bias and relu";
    case Epilogue::add_bias_relu_mask:
      return ", bias, relu and its mask";
    case Epilogue::apply_mask:
      return ", mask of a relu";
  }
  return ", unknown epilogue";
}

}  // namespace

std::string label_of(const Product& product) {
  return fmt::format("{}x{}x{} {}{}{}", product.rows, product.cols, product.depth, name_of(product.precision),
                     product.out == DType::bf16 ? " to bf16" : "", text_of(product.epilogue));
}

}  // namespace curate::cuda
