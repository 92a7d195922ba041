#include "report/benchmark_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "report/progress.h"
#include "support/machine.h"
#include "support/printable.h"
#include "support/thread_pool.h"
#include "train/option_json.h"

namespace curate {
namespace {

int threads_of(const BenchmarkOptions& options) {
  return options.threads > 0 ? options.threads : hardware_threads();
}

std::string short_bytes(std::int64_t bytes) {
  return short_count(static_cast<double>(bytes)) + "B";
}

std::string work_text(double per_second, const std::string& unit) {
  return short_count(per_second) + (unit == "flops" ? "flop/s" : "B/s");
}

/// Three digits, but two of fractions of a millisecond.
std::string precise_time(double seconds) {
  if (seconds < 0.9995) {
    return fmt::format("{:.{}g} ms", 1000.0 * seconds, seconds < 1e-3 ? 2 : 3);
  }
  return seconds < 9.995 ? fmt::format("{:.2f} s", seconds) : short_seconds(seconds);
}

std::vector<std::string> models_of(const BenchmarkResult& result) {
  std::vector<std::string> models;
  for (const BenchmarkRow& row : result.rows) {
    if (std::find(models.begin(), models.end(), row.model()) == models.end()) {
      models.push_back(row.model());
    }
  }
  return models;
}

std::string absent_rows(const BenchmarkResult& result) {
  std::string text;
  for (const BenchmarkDevice& device : result.devices) {
    if (!device.absent.empty()) {
      text += fmt::format("{:<6} absent: {}\n", device.name, device.absent);
    }
  }
  return text;
}

std::string speed_table(const BenchmarkResult& result) {
  const bool ratio = std::any_of(result.rows.begin(), result.rows.end(),
                                 [](const BenchmarkRow& row) { return row.over_cpu.has_value(); });
  std::string text =
      fmt::format("{:<6} {:<5} {:>4} {:>9} {:>15} {:>7} {:>7} {:>12} {:>12} {:>7}{}\n", "device", "model", "dim",
                  "ratings/s", "from ... to", "epoch", "first", "work done", "roof", "of roof", ratio ? " x CPU" : "");
  for (const BenchmarkRow& row : result.rows) {
    const Spread& rate = row.ratings_per_second;
    text += fmt::format("{:<6} {:<5} {:>4} {:>9} {:>7}{:>8} {:>7} {:>7} {:>12} {:>12} {:>5.0f} %", row.device,
                        row.model(), row.dim(), short_count(rate.median), short_count(rate.least),
                        short_count(rate.most), precise_time(row.epoch_seconds), precise_time(row.first_epoch_seconds),
                        work_text(row.work_per_second(), row.unit), work_text(row.roof.work_per_second, row.unit),
                        100.0 * row.of_roof());
    text += ratio ? fmt::format("{:>6}\n", row.over_cpu ? fmt::format("{:.1f}", *row.over_cpu) : "-") : "\n";
  }
  return text + absent_rows(result);
}

std::string learning_table(const BenchmarkResult& result) {
  std::string text = fmt::format("{:<6} {:<5} {:>4}  {:>9} {:>8}  {:>11} {:>14}  {:>10} {:>12}\n", "device", "model",
                                 "dim", "best RMSE", "in epoch", "target RMSE", "reached after", "arrays", "process");
  for (const BenchmarkRow& row : result.rows) {
    text += fmt::format("{:<6} {:<5} {:>4}  {:>9.4f} {:>8}  {:>11.4f} {:>14}  {:>10} {:>12}\n", row.device, row.model(),
                        row.dim(), row.best_rmse, row.best_epoch, row.target_rmse,
                        row.seconds_to_target ? precise_time(*row.seconds_to_target) : "not reached",
                        short_bytes(row.device_bytes), short_bytes(row.peak_memory));
  }
  return text;
}

/// A bar for every row, of each model by itself; | is the roof.
std::string bars(const BenchmarkResult& result) {
  constexpr double kCells = 60.0;
  std::string text;
  for (const std::string& model : models_of(result)) {
    double most = 0.0;
    for (const BenchmarkRow& row : result.rows) {
      if (row.model() == model) {
        most = std::max({most, row.ratings_per_second.median, row.roof.ratings_per_second});
      }
    }
    text += fmt::format("\n{}: ratings/s by device and dim (|: the roof)\n", model);
    for (const BenchmarkRow& row : result.rows) {
      if (row.model() != model) {
        continue;
      }
      const auto cells = [&](double rate) { return static_cast<std::size_t>(std::lround(kCells * rate / most)); };
      std::string bar(std::max<std::size_t>(1, cells(row.ratings_per_second.median)), '#');
      const std::size_t roof = cells(row.roof.ratings_per_second);
      bar.resize(std::max(bar.size(), roof + 1), ' ');
      bar[roof] = '|';
      text += fmt::format("  {:<7} {:>4}  {:<{}}  {:>7}\n", row.device, row.dim(), bar,
                          static_cast<std::size_t>(kCells) + 1, short_count(row.ratings_per_second.median));
    }
  }
  return text;
}

std::string explanation(const BenchmarkResult& result) {
  const auto any = [&](const auto& is) { return std::any_of(result.rows.begin(), result.rows.end(), is); };
  const auto measured = [&](const char* measure) {
    return any([&](const BenchmarkRow& row) { return row.roof.measure == measure; });
  };
  std::string text = "ratings/s, epoch   medians of all epochs but the first of each round (column first)\n";
  if (any([](const BenchmarkRow& row) { return row.unit == "bytes"; })) {
    const bool biases = any([](const BenchmarkRow& row) { return row.unit == "bytes" && row.options.biases; });
    const bool halves = any([](const BenchmarkRow& row) { return row.options.precision != EmbeddingPrecision::f32; });
    text += fmt::format("work done, mf      8 dim{} + 4 bytes a rating: item's row{} read and written, rating read{}\n",
                        biases ? " + 8" : "", biases ? " and bias" : "",
                        halves ? "\n                   (rows in 16 bits: 4 dim)" : "");
  }
  if (any([](const BenchmarkRow& row) { return row.unit == "flops"; })) {
    text += "work done, mlp     6 x inputs x outputs of every dense layer a rating, forward and backward\n";
  }
  if (measured("item rows")) {
    text +=
        "roof, mf           all threads read and write the rows of items of the ratings, shuffled, and do\n"
        "                   nothing else; on the data's first 8.4 million ratings at most\n";
  }
  if (measured("copy")) {
    text += "roof, mf on a GPU  a copy on the device, bytes read and bytes written\n";
  }
  if (measured("gemm")) {
    text += "roof, mlp          products of large matrices, one on every thread\n";
  }
  if (measured("dense layer")) {
    text += "roof, mlp on a GPU a large dense layer, forward\n";
  }
  text +=
      "of roof            time that an epoch would take at the roof, over the time that it took\n"
      "target RMSE        unless given, the highest of the best RMSEs of the model's rows. The learning\n"
      "                   rate falls to zero over the epochs planned: the time is that within such a run,\n"
      "                   of training alone\n";
  text += fmt::format("arrays, process    most memory in arrays of the device; of the process, data set included{}\n",
                      result.peak_by_row ? "" : ", so far");
  return text;
}

nlohmann::ordered_json json_of(const Roof& roof) {
  nlohmann::ordered_json json;
  json["measure"] = roof.measure;
  if (roof.groups > 0) {
    json["groups"] = roof.groups;
  }
  json["work_per_second"] = roof.work_per_second;
  json["ratings_per_second"] = roof.ratings_per_second;
  json["samples"] = roof.samples;
  return json;
}

nlohmann::ordered_json json_of(const BenchmarkRow& row) {
  nlohmann::ordered_json json;
  json["device"] = row.device;
  json["model"] = row.model();
  json["dim"] = row.dim();
  json["ratings_per_second"] = {{"median", row.ratings_per_second.median},
                                {"least", row.ratings_per_second.least},
                                {"most", row.ratings_per_second.most}};
  json["epoch_seconds"] = row.epoch_seconds;
  json["first_epoch_seconds"] = row.first_epoch_seconds;
  json["work"] = {{"unit", row.unit}, {"per_rating", row.work_per_rating}, {"per_second", row.work_per_second()}};
  json["roof"] = json_of(row.roof);
  json["of_roof"] = row.of_roof();
  json["over_cpu"] = row.over_cpu ? nlohmann::ordered_json(*row.over_cpu) : nlohmann::ordered_json();
  json["best_rmse"] = row.best_rmse;
  json["best_epoch"] = row.best_epoch;
  json["target_rmse"] = row.target_rmse;
  json["seconds_to_target"] =
      row.seconds_to_target ? nlohmann::ordered_json(*row.seconds_to_target) : nlohmann::ordered_json();
  json["device_bytes"] = row.device_bytes;
  json["peak_memory_bytes"] = row.peak_memory;
  nlohmann::ordered_json curve = nlohmann::ordered_json::array();
  for (const CurvePoint& point : row.curve) {
    curve.push_back({point.seconds, point.rmse});
  }
  json["curve"] = std::move(curve);
  nlohmann::ordered_json rounds = nlohmann::ordered_json::array();
  for (const std::vector<EpochRecord>& round : row.rounds) {
    nlohmann::ordered_json epochs = nlohmann::ordered_json::array();
    for (const EpochRecord& record : round) {
      epochs.push_back({{"seconds", record.seconds},
                        {"ratings_per_second", record.ratings_per_second},
                        {"train_rmse", record.train_rmse},
                        {"validation_rmse", record.validation_rmse.value()}});
    }
    rounds.push_back(std::move(epochs));
  }
  json["rounds"] = std::move(rounds);
  nlohmann::ordered_json options;
  visit_options(row.options, [&](const auto& value, const OptionInfo& info) {
    if (is_given(value)) {
      options[std::string(info.key)] = option_json(value);
    }
  });
  json["options"] = std::move(options);
  return json;
}

std::string source_text(const BenchmarkData& data) {
  return data.like.empty()
             ? data.source
             : fmt::format("made up in the shape of {} at scale {}, seed {}", data.like, data.scale, data.seed);
}

std::string sizes_text(const BenchmarkData& data) {
  return fmt::format("{} ratings, {} users, {} items", grouped(data.ratings), grouped(data.users), grouped(data.items));
}

std::string machine_text(const BenchmarkOptions& options) {
  const int threads = threads_of(options);
  return fmt::format("{}, {}, {} thread{}", cpu_model(), vector_instructions(), threads, threads == 1 ? "" : "s");
}

}  // namespace

std::string benchmark_head(const BenchmarkOptions& options, const BenchmarkData& data) {
  std::string text = fmt::format(
      "machine   {}\ndata      {}\n          {}{}\n", machine_text(options), source_text(data), sizes_text(data),
      data.best_rmse ? fmt::format("; best reachable RMSE {:.4f}, of the planted model", *data.best_rmse) : "");
  std::vector<std::string> epochs;
  for (const ModelKind model : options.models) {
    TrainOptions train;
    train.model = model;
    train.epochs = options.epochs;
    epochs.push_back(fmt::format("{} {} epochs", name_of(model), resolve(train).epochs.value()));
  }
  text += fmt::format("training  on 90 % of the ratings, RMSE on the other 10 %; {}; {} round{}; seed {}\n",
                      fmt::join(epochs, ", "), options.rounds, options.rounds == 1 ? "" : "s", options.seed);
  if (options.precision != EmbeddingPrecision::f32 || is_given(options.sgd_kernel)) {
    text += fmt::format("GPU       embeddings in {}{}{}\n", name_of(options.precision),
                        is_given(options.sgd_kernel) ? "; kernel of mf " : "", text_of(options.sgd_kernel));
  }
  return text;
}

std::string benchmark_tables(const BenchmarkResult& result) {
  return speed_table(result) + "\n" + learning_table(result) + bars(result) + "\n" + explanation(result);
}

nlohmann::ordered_json benchmark_json(const BenchmarkOptions& options, const BenchmarkData& data,
                                      const BenchmarkResult& result) {
  nlohmann::ordered_json json;
  json["version"] = CURATE_VERSION;
  json["machine"] = {{"cpu", cpu_model()},
                     {"cores", hardware_threads()},
                     {"threads", threads_of(options)},
                     {"vector_instructions", vector_instructions()}};
  json["data"] = {{"source", data.source}};
  if (!data.like.empty()) {
    json["data"]["like"] = data.like;
    json["data"]["scale"] = data.scale;
    json["data"]["seed"] = data.seed;
    json["data"]["best_rmse"] = data.best_rmse.value_or(0.0);
  }
  json["data"]["ratings"] = data.ratings;
  json["data"]["users"] = data.users;
  json["data"]["items"] = data.items;
  json["held_out"] = kBenchmarkHeldOut;
  json["rounds"] = options.rounds;
  json["seed"] = options.seed;
  json["gpu"] = {{"precision", name_of(options.precision)}, {"sgd_kernel", text_of(options.sgd_kernel)}};
  json["target_rmse_given"] = options.target_rmse.has_value();
  json["peak_memory_by_configuration"] = result.peak_by_row;
  json["devices"] = nlohmann::ordered_json::array();
  for (const BenchmarkDevice& device : result.devices) {
    json["devices"].push_back({{"name", device.name},
                               {"kind", device.kind},
                               {"present", device.absent.empty()},
                               {device.absent.empty() ? "description" : "reason",
                                device.absent.empty() ? device.description : device.absent}});
  }
  json["configurations"] = nlohmann::ordered_json::array();
  for (const BenchmarkRow& row : result.rows) {
    json["configurations"].push_back(json_of(row));
  }
  return json;
}

PlotPage benchmark_plot(const BenchmarkOptions& options, const BenchmarkData& data, const BenchmarkResult& result) {
  PlotPage page;
  page.title = "curate bench";
  page.note =
      fmt::format("{}. Data {}: {}. RMSE on a tenth of the ratings, medians of {} round{}.", machine_text(options),
                  source_text(data), sizes_text(data), options.rounds, options.rounds == 1 ? "" : "s");
  for (const std::string& model : models_of(result)) {
    BarPanel speed;
    speed.title = model + ": ratings learnt a second";
    speed.x_label = "dim";
    speed.y_label = "ratings/s";
    speed.mark_name = "roof";
    LinePanel learning;
    learning.title = model + ": error over training time";
    learning.x_label = "seconds of training";
    learning.y_label = "RMSE on ratings held out";
    for (const std::int32_t dim : options.dims) {
      speed.groups.push_back(fmt::format("{}", dim));
    }
    for (const BenchmarkDevice& device : result.devices) {
      if (!device.absent.empty()) {
        continue;
      }
      BarSeries& bars_of_device = speed.series.emplace_back();
      bars_of_device.name = device.name;
      for (const BenchmarkRow& row : result.rows) {
        if (row.model() != model || row.device != device.name) {
          continue;
        }
        bars_of_device.values.emplace_back(row.ratings_per_second.median);
        bars_of_device.marks.emplace_back(row.roof.ratings_per_second);
        LineSeries& line = learning.series.emplace_back();
        line.name = fmt::format("{}, dim {}", row.device, row.dim());
        for (const CurvePoint& point : row.curve) {
          line.points.emplace_back(point.seconds, point.rmse);
        }
        learning.rule = row.target_rmse;
      }
    }
    learning.rule_name = fmt::format("target {:.4f}", learning.rule.value_or(0.0));
    page.panels.emplace_back(std::move(speed));
    page.panels.emplace_back(std::move(learning));
  }
  return page;
}

}  // namespace curate
