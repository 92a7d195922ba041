#include <curate/curate.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  try {
    const curate::Dataset dataset = curate::read_dataset(argc > 1 ? argv[1] : "ml-100k");
    const curate::Split split = curate::split_random(dataset.ratings, 0.1, /*seed=*/1);
    curate::TrainOptions options;
    options.dim = argc > 2 ? std::atoi(argv[2]) : 32;
    const curate::TrainResult result = curate::Trainer(options).train(dataset, split.train);
    std::printf("test RMSE %.4f\n", result.model.evaluate(split.test).rmse);
    return 0;
  } catch (const curate::InputError& error) {
    std::fprintf(stderr, "bad input: %s\n", error.what());
    return 2;
  } catch (const curate::Error& error) {
    std::fprintf(stderr, "failed: %s\n", error.what());
    return 1;
  }
}
