#!/usr/bin/env python3
"""Tests of `curate train` when all goes well: options, optimizers, networks, test parts.

usage: cli_train_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import collections
import csv
import io
import math
import re
import statistics

import skips
from cli_case import (RUN_FILES, CliCase, Reference, counts_by, model_bytes, read_config, read_history, read_metrics,
                      read_ratings, read_safetensors, strict_json, trained_counts)


class ReproducibilityTest(CliCase):
    OPTIMIZERS = (["--optimizer", "sgd"], ["--optimizer", "sgd", "--batch", 256], ["--optimizer", "adagrad"],
                  ["--optimizer", "adam", "--batch", 128],
                  ["--model", "mlp", "--batch", 512, "--dropout", "0.2", "--dense-dropout", 0.1])

    def test_seed(self):
        data = self.generate()
        for number, options in enumerate(self.OPTIMIZERS):
            with self.subTest(options):
                models = [model_bytes(self.train(data, "--epochs", 2, *options, "--seed", seed, out=f"run{number}-{k}"))
                          for k, seed in enumerate((5, 5, 6))]
                self.assertEqual(models[0], models[1])
                self.assertNotEqual(models[0], models[2])

    def test_seeds_of_64_bits(self):
        data = self.generate()
        seeds = (2**64 - 1, 2**32 - 1)
        models = [model_bytes(self.train(data, "--epochs", 1, "--seed", seed, out=f"run-{seed}")) for seed in seeds]
        self.assertNotEqual(models[0], models[1])

    def test_number_of_threads(self):
        data = self.generate(users=200, items=100, ratings=8000)
        for number, options in enumerate(self.OPTIMIZERS):
            with self.subTest(options):
                one, two = (self.train(data, "--epochs", 2, *options, "--deterministic", "--threads", threads,
                                       out=f"run{number}-{threads}") for threads in (1, 2))
                self.assertEqual(model_bytes(one), model_bytes(two))
                self.assertEqual(read_metrics(one)["test"], read_metrics(two)["test"])

    def test_config_of_a_run(self):
        data = self.generate()
        variants = (["--split", "time:0.1", "--rating-range", "0.5:5"], ["--optimizer", "adam", "--loss", "mae"],
                    ["--preset", "notebook-mf", "--lr", 1e-5], ["--no-biases", "--no-clip", "--reg", 0],
                    ["--preset", "notebook-mlp", "--layers", "8", "--activations", "tanh"], ["--model", "mlp", "--optimizer", "sgd"])
        for number, options in enumerate(variants):
            with self.subTest(options):
                first = self.train(data, "--epochs", 3, "--seed", 3, *options, out=f"first{number}")
                self.curate("train", "--config", first / "config.toml", "--quiet", "--out", f"second{number}")
                second = self.folder / f"second{number}"
                self.assertEqual(model_bytes(first), model_bytes(second))
                self.assertEqual(read_config(first), read_config(second))
                self.assertEqual(read_metrics(first)["test"], read_metrics(second)["test"])

    def test_config_of_a_run_with_a_test_file(self):
        ratings = read_ratings(self.generate())
        train, test = self.write_ratings("train.csv", ratings[99:]), self.write_ratings("test.csv", ratings[:99])
        first = self.train(train, "--test", test, "--epochs", 2)
        self.curate("train", "--config", first / "config.toml", "--quiet", "--out", "second")
        self.assertEqual(model_bytes(first), model_bytes(self.folder / "second"))
        self.assertEqual(read_metrics(self.folder / "second")["test"]["ratings"], 99)


class HeavyTailsTest(CliCase):
    def counts(self):
        lines = [f"{user},{item},{1 + round(math.exp(((user * 7 + item * 3) % 23) * 0.4))}"
                 for user in range(60) for item in range(40) if (user + item) % 3]
        return self.write("plays.csv", "\n".join(lines) + "\n40,2,90000\n")

    def test_warning_names_the_line(self):
        data = self.counts()
        line = len(data.read_text(encoding="utf-8").splitlines())
        for name, options in (("one", []), ("folds", ["--folds", 2]), ("json", ["--json"])):
            said = self.curate("train", data, "--epochs", 1, "--out", name, *options).stderr
            self.assertEqual(len(re.findall(rf"(?m)^warning: {data}:{line}: the rating 90000 lies ", said)), 1, said)
        for name, options in (("quiet", ["--quiet"]), ("log", ["--transform", "log"])):
            said = self.curate("train", data, "--epochs", 1, "--out", name, *options).stderr
            self.assertNotIn(" lies ", said)

    def test_errors_are_of_ratings_and_of_logarithms(self):
        data = self.counts()
        for model in ("mf", "mlp"):
            run = self.train(data, "--transform", "log", "--epochs", 5, "--model", model, "--json", out=model)
            test = read_metrics(run)["test"]
            self.assertEqual(read_config(run)["transform"], "log")
            evaluated = self.curate("evaluate", run, "--json").stdout
            for key in ("rmse", "mae", "log_rmse"):
                self.assertAlmostEqual(strict_json(evaluated)["test"][key] / test[key], 1, places=5)
            self.assertGreater(test["rmse"], 5 * test["log_rmse"])
            shown = self.curate("evaluate", run).stdout
            self.assertIn(f"RMSE of log(1 + rating - lowest rating), which is what was learnt, {test['log_rmse']:.5f}",
                          shown)
            plain = self.train(data, "--epochs", 5, "--model", model, out=model + "-plain")
            self.assertNotIn("log_rmse", read_metrics(plain)["test"])
            self.curate("compare", run, plain, "--json")
        self.write("pairs.csv", "1,1\n2,2\n")
        text = self.curate("predict", "mf", "--pairs", self.folder / "pairs.csv").stdout
        for row in csv.DictReader(io.StringIO(text)):
            self.assertGreaterEqual(float(row["prediction"]), 1)


class PrecedenceTest(CliCase):
    def options_of(self, *arguments, config=None):
        if config is not None:
            arguments += ("--config", self.write("given.toml", config))
        data = self.folder / "data"
        if not data.exists():
            self.generate()
        return read_config(self.train(data, *arguments, "--overwrite"))

    def test_command_line_over_config(self):
        options = self.options_of("--dim", 7, "--biases", config='dim = 5\nepochs = 2\nbiases = false\nreg = 0.25\n')
        self.assertEqual((options["dim"], options["epochs"], options["biases"], options["reg"]), (7, 2, True, 0.25))

    def test_config_over_preset(self):
        options = self.options_of("--preset", "notebook-mf", config="dim = 5\nepochs = 2\n")
        self.assertEqual((options["preset"], options["dim"], options["epochs"], options["batch"]),
                         ("notebook-mf", 5, 2, 32))

    def test_preset_in_the_config(self):
        options = self.options_of("--epochs", 1, config='epochs = 2\npreset = "notebook-mf"\ndim = 4\n')
        self.assertEqual((options["epochs"], options["dim"], options["optimizer"], options["batch"]),
                         (1, 4, "adam", 32))

    def test_command_line_over_preset(self):
        options = self.options_of("--preset", "notebook-mf", "--epochs", 1, "--dim", 6, "--no-non-negative")
        self.assertEqual((options["epochs"], options["dim"], options["non_negative"], options["optimizer"]),
                         (1, 6, False, "adam"))

    def test_an_option_at_its_default_still_counts(self):
        # dim 64 is the default: that it was given must not be told by its value.
        self.assertEqual(self.options_of("--dim", 64, "--epochs", 1, config="dim = 5\n")["dim"], 64)

    def test_split_on_the_command_line_replaces_the_test_file_of_the_config(self):
        ratings = read_ratings(self.generate())
        train, test = self.write_ratings("train.csv", ratings[99:]), self.write_ratings("test.csv", ratings[:99])
        first = self.train(train, "--test", test, "--epochs", 1)
        self.curate("train", "--config", first / "config.toml", "--split", "none", "--quiet", "--out", "second")
        options = read_config(self.folder / "second")
        self.assertEqual((options["test"], options["split"], options["data"]), ("", "none", str(train)))

    def test_folds_on_the_command_line_replace_the_split_of_the_config(self):
        first = self.train(self.generate(), "--epochs", 1)
        self.curate("train", "--config", first / "config.toml", "--folds", 2, "--quiet", "--out", "second")
        self.assertTrue((self.folder / "second" / "fold-2" / "config.toml").exists())

    def test_split_on_the_command_line_replaces_the_folds_of_the_config(self):
        self.train(self.generate(), "--epochs", 1, "--folds", 2)
        config = self.folder / "run" / "fold-1" / "config.toml"
        self.curate("train", "--config", config, "--split", "random:0.2", "--quiet", "--out", "second")
        self.assertEqual(read_metrics(self.folder / "second")["test"]["ratings"], 300)

    def test_data_on_the_command_line_replaces_the_data_of_the_config(self):
        first = self.train(self.generate(), "--epochs", 1)
        other = self.generate("other", ratings=1000)
        self.curate("train", other, "--config", first / "config.toml", "--quiet", "--out", "second")
        self.assertEqual(read_config(self.folder / "second")["data"], str(other))


class OptimizerTest(CliCase):
    VARIANTS = (["--optimizer", "sgd"], ["--optimizer", "sgd", "--batch", 256],
                ["--optimizer", "sgd", "--batch", 256, "--loss", "mae"], ["--optimizer", "adagrad"],
                ["--optimizer", "adagrad", "--loss", "mae"], ["--optimizer", "adam", "--batch", 64],
                ["--optimizer", "adam", "--batch", 64, "--loss", "mae"])

    def test_every_optimizer_and_loss_learns(self):
        data = self.generate(users=150, items=80, ratings=5000)
        deviation = statistics.pstdev(r.rating for r in read_ratings(data))
        for number, options in enumerate(self.VARIANTS):
            with self.subTest(options):
                run = self.train(data, "--dim", 8, "--epochs", 12, "--validation", 0.1, "--split", "none", *options,
                                 out=f"run{number}")
                validation = [row["validation_rmse"] for row in read_history(run)]
                self.assertLess(min(validation), 0.96 * deviation)
                self.assertLess(min(validation), validation[0] - 0.0005)
                self.assertLess(read_metrics(run)["train"]["rmse"], 0.93 * deviation)

    def test_large_batches(self):
        """Defaults by batch, warm-up, and runs of before these options."""
        data = self.generate()
        options = read_config(self.train(data, "--optimizer", "sgd", "--batch", 8192, "--epochs", 2))
        self.assertEqual((options["lr"], options["damping"], options["warmup"]), (0.02 * 8192, 0.1, 0.0))
        options = read_config(self.train(data, "--optimizer", "adam", "--batch", 16384, "--epochs", 2, out="adam"))
        self.assertEqual((options["lr"], options["beta1"], options["beta2"]), (0.01, 0.5, 0.9))
        self.assertNotIn("damping", options)

        warm = self.train(data, "--optimizer", "sgd", "--batch", 64, "--epochs", 4, "--warmup", 1.5, "--damping", 0.2,
                          "--no-biases", out="warm")
        options = read_config(warm)
        self.assertEqual((options["warmup"], options["damping"]), (1.5, 0.2))
        rates = [float(row["learning_rate"]) for row in read_history(warm)]
        self.assertLess(rates[0], 0.1 * rates[1])
        self.curate("train", "--config", warm / "config.toml", "--quiet", "--out", "again")
        self.assertEqual(model_bytes(self.folder / "again"), model_bytes(warm))
        for option in ("--warmup", "--damping"):
            self.curate("train", "--config", warm / "config.toml", option, 0, "--quiet", "--out", "without" + option)
            self.assertNotEqual(model_bytes(self.folder / ("without" + option)), model_bytes(warm), option)

        plain = self.train(data, "--optimizer", "sgd", "--batch", 64, "--epochs", 2, out="plain")
        text = (plain / "config.toml").read_text(encoding="utf-8")
        before = self.write("before.toml", "".join(line for line in text.splitlines(keepends=True)
                                                   if not line.startswith(("warmup", "damping"))))
        self.assertNotEqual(before.read_text(encoding="utf-8"), text)
        self.curate("train", "--config", before, "--quiet", "--out", "as-before")
        self.assertEqual(model_bytes(self.folder / "as-before"), model_bytes(plain))
        said = self.run_curate("train", data, "--optimizer", "sgd", "--batch", 8192, "--epochs", 1, "--warmup", 0.5,
                               "--out", "said").stderr
        self.assertIn("learning rate 164 linear, warm-up 0.5 epochs, damping 0.1, L2", said)

    def test_losses_differ(self):
        """MAE wins by the mean error and loses by the squared one."""
        data = self.generate(users=150, items=80, ratings=5000)
        options = ["--optimizer", "adam", "--batch", 64, "--dim", 8, "--reg", 0, "--epochs", 20, "--split", "none",
                   "--validation", 0]
        mse = read_metrics(self.train(data, *options))["train"]
        mae = read_metrics(self.train(data, *options, "--loss", "mae", out="mae"))["train"]
        self.assertLess(mae["mae"], mse["mae"])
        self.assertLess(mse["rmse"], mae["rmse"])

    def test_a_good_fit_comes_near_the_planted_model(self):
        output = self.curate("data", "generate", "--out", "data", "--users", 300, "--items", 150, "--ratings", 20000,
                             "--rank", 2).stdout
        best = float(re.search(r"best reachable RMSE[^\n]*: ([0-9.]+)\n", output)[1])
        run = self.train("data", "--dim", 8, "--reg", 0.05, "--epochs", 20)
        rmse = read_metrics(run)["test"]["rmse"]
        self.assertLess(rmse, 1.15 * best)
        self.assertGreater(rmse, 0.9 * best, "better than the planted model: test ratings leak into training")

    def test_regularization_shrinks_the_factors(self):
        data = self.generate()
        sizes = []
        for reg in (0.01, 1.0):
            values = read_safetensors(self.train(data, "--epochs", 10, "--reg", reg, "--validation", 0,
                                                out=f"run{reg}"))[2]
            sizes.append(sum(v * v for v in values["item.embedding"]))
        self.assertLess(sizes[1], 0.5 * sizes[0])

    def test_notebook_preset(self):
        data = self.generate(users=30, items=20, ratings=300)
        options = read_config(self.train(data, "--preset", "notebook-mf"))
        documented = {"preset": "notebook-mf", "model": "mf", "optimizer": "adam", "loss": "mse", "lr": 0.001,
                      "schedule": "constant", "epsilon": 1e-7, "beta1": 0.9, "beta2": 0.999, "dense_updates": True,
                      "batch": 32, "epochs": 50, "dim": 3, "reg": 0.0, "biases": False, "global_mean": False,
                      "non_negative": True, "init": "uniform", "init_scale": 0.05}
        self.assertEqual({key: options[key] for key in documented}, documented)
        values = read_safetensors(self.folder / "run")[2]
        self.assertGreaterEqual(min(values["user.embedding"] + values["item.embedding"]), 0.0)
        self.assertEqual(values["global_mean"][0], 0.0)
        self.assertNotIn("user.bias", values)


class MlpTest(CliCase):
    NETWORKS = (["--user-dim", 3, "--item-dim", 5, "--layers", "12,6", "--activations", "tanh,relu", "--output",
                 "sigmoid"],
                ["--layers", "none", "--output", "linear"],
                ["--dim", 4, "--layers", "9", "--activations", "sigmoid", "--output", "relu", "--loss", "mae",
                 "--dropout", "0.1,0.2", "--dense-dropout", 0.1, "--optimizer", "adagrad", "--lr", 0.05])

    def test_predictions_are_the_formula_and_evaluate_repeats_the_digits(self):
        data = self.generate()
        for number, options in enumerate(self.NETWORKS):
            with self.subTest(options):
                run = self.train(data, "--model", "mlp", "--split", "random:0.2", "--epochs", 3, "--batch", 64, *options,
                                 out=f"run{number}")
                reference = Reference(run)
                ratings = read_ratings(data)[:200]
                pairs = self.write_ratings(f"pairs{number}.csv", ratings)
                output = self.curate("predict", run, "--pairs", pairs).stdout
                rows = list(csv.DictReader(io.StringIO(output)))
                self.assertEqual(len(rows), 200)
                for row, rating in zip(rows, ratings, strict=True):
                    expected, basis = reference.predict(rating.user, rating.item)
                    self.assertEqual(row["basis"], basis)
                    self.assertAlmostEqual(float(row["prediction"]), expected, delta=2e-4)
                evaluated = strict_json(self.curate("evaluate", run, "--json").stdout)
                self.assertEqual(evaluated["test"], read_metrics(run)["test"])

    def test_shapes_are_those_asked_for(self):
        run = self.train(self.generate(users=30, items=20, ratings=400), "--model", "mlp", "--user-dim", 3,
                         "--item-dim", 5, "--layers", "7,4", "--epochs", 1)
        entries = read_safetensors(run)[1]
        shapes = {name: entry["shape"] for name, entry in entries.items() if not name.startswith("fallback")}
        self.assertEqual(shapes, {"user.embedding": [30, 3], "item.embedding": [20, 5], "dense.0.weight": [7, 8],
                                  "dense.0.bias": [7], "dense.1.weight": [4, 7], "dense.1.bias": [4],
                                  "dense.2.weight": [1, 4], "dense.2.bias": [1]})

    def test_defaults_learn(self):
        data = self.generate(users=300, items=150, ratings=20000, rank=2)
        deviation = statistics.pstdev(r.rating for r in read_ratings(data))
        run = self.train(data, "--model", "mlp")
        self.assertLess(read_metrics(run)["test"]["rmse"], 0.92 * deviation)

    def test_regularization_weight_decay_and_dropout_each_act(self):
        data = self.generate()
        none = {"--reg": 0, "--dense-reg": 0, "--weight-decay": 0, "--dropout": "0", "--dense-dropout": 0}

        def train(**changed):
            options = none | {"--" + key.replace("_", "-"): value for key, value in changed.items()}
            flat = [part for option in options.items() for part in option]
            return self.train(data, "--model", "mlp", "--optimizer", "adam", "--epochs", 5, "--lr", 0.01, "--validation", 0,
                              *flat, "--overwrite", out=f"run-{changed}")

        def size(run, name):
            return sum(v * v for v in read_safetensors(run)[2][name])

        plain = train()
        for name, changed in (("item.embedding", {"reg": 1}), ("dense.0.weight", {"dense_reg": 0.1}),
                              ("dense.0.weight", {"weight_decay": 3}), ("item.embedding", {"weight_decay": 3})):
            with self.subTest(changed):
                self.assertLess(size(train(**changed), name), 0.8 * size(plain, name))
        models = {model_bytes(run) for run in (plain, train(dropout="0.3"), train(dense_dropout=0.3),
                                               train(dropout="0.3,0"))}
        self.assertEqual(len(models), 4)

    def test_notebook_preset(self):
        data = self.generate(users=30, items=20, ratings=300)
        options = read_config(self.train(data, "--preset", "notebook-mlp", "--epochs", 2))
        documented = {"preset": "notebook-mlp", "model": "mlp", "optimizer": "adam", "loss": "mae", "lr": 0.005,
                      "schedule": "constant", "dense_updates": True, "batch": 32, "user_dim": 5, "item_dim": 8,
                      "layers": "100,50,20", "activations": "linear,linear,relu", "output": "relu", "dropout": "0.2",
                      "reg": 0.0, "init": "uniform", "init_scale": 0.05}
        self.assertEqual({key: options[key] for key in documented}, documented)

    def test_model_files_that_do_not_fit_are_refused(self):
        run = self.train(self.generate(), "--model", "mlp", "--layers", "4", "--epochs", 1)
        path = run / "model.safetensors"
        for spoil in ((b'"activations":"relu,linear"', b'"activations":"relu,swishy"'),
                      (b'"activations":"relu,linear"', b'"activations":"relu       "'),
                      (b'"model":"mlp"', b'"model":"mfx"')):
            with self.subTest(spoil):
                original = path.read_bytes()
                self.assertEqual(original.count(spoil[0]), 1)
                path.write_bytes(original.replace(*spoil))
                result = self.run_curate("predict", run, "--user", 1, "--item", 1)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn("model.safetensors", result.stderr)
                path.write_bytes(original)


class SplitTest(CliCase):
    def test_random_parts_add_up(self):
        data = self.generate()
        ratings = read_ratings(data)
        test_parts = []
        for seed in (1, 2):
            run = self.train(data, "--split", "random:0.2", "--validation", 0, "--epochs", 1, "--seed", seed,
                             out=f"run{seed}")
            metrics = read_metrics(run)
            self.assertEqual((metrics["train"]["ratings"], metrics["test"]["ratings"]), (1200, 300))
            by_user, by_item = trained_counts(run, "users.tsv"), trained_counts(run, "items.tsv")
            for trained, all_of_them in ((by_user, counts_by(ratings, "user")), (by_item, counts_by(ratings, "item"))):
                self.assertEqual(trained.total(), 1200)
                self.assertFalse(trained - all_of_them, "more training ratings than there are ratings")
            test_parts.append(counts_by(ratings, "user") - by_user)
        self.assertNotEqual(test_parts[0], test_parts[1], "another seed gives the same test part")

    def test_validation_part_is_not_trained_on(self):
        data = self.generate()
        options = ["--split", "random:0.2", "--validation", 0.1, "--epochs", 1]
        for refit, trained in (([], 1200), (["--no-refit"], 1080)):
            run = self.train(data, *options, *refit, "--overwrite")
            metrics = read_metrics(run)
            self.assertEqual([metrics[part]["ratings"] for part in ("train", "validation", "test")],
                             [trained, 120, 300])
            self.assertEqual(trained_counts(run, "users.tsv").total(), trained)

    def test_time_split_tests_on_the_latest(self):
        data = self.generate()
        # Stable: of equal times, those later in the file are the later ones.
        ordered = sorted(read_ratings(data), key=lambda r: r.time)
        earlier, latest = ordered[:1200], ordered[1200:]
        run = self.train(data, "--split", "time:0.2", "--validation", 0, "--epochs", 2)
        self.assertEqual(+trained_counts(run, "users.tsv"), counts_by(earlier, "user"))
        self.assertEqual(+trained_counts(run, "items.tsv"), counts_by(earlier, "item"))
        metrics = read_metrics(run)["test"]
        self.assertEqual(metrics["ratings"], 300)
        self.assertAlmostEqual(metrics["rmse"], Reference(run).rmse(latest), delta=1e-4)

    def test_no_split(self):
        run = self.train(self.generate(), "--split", "none", "--epochs", 1)
        self.assertIsNone(read_metrics(run)["test"])
        self.assertEqual(read_metrics(run)["train"]["ratings"], 1500)

    def test_default_split(self):
        run = self.train(self.generate(), "--epochs", 1)
        self.assertEqual(read_config(run)["split"], "random:0.1")
        self.assertEqual(read_metrics(run)["test"]["ratings"], 150)

    def test_rating_range_widens_the_scale(self):
        train = self.write_ratings("train.csv", read_ratings(self.generate()))
        metadata = read_safetensors(self.train(train, "--epochs", 1, "--rating-range", "0:10"))[0]
        self.assertEqual((float(metadata["rating_min"]), float(metadata["rating_max"])), (0.0, 10.0))


class FoldsTest(CliCase):
    def setUp(self):
        super().setUp()
        self.data = self.generate()

    def train_folds(self, *options):
        return self.curate("train", self.data, "--folds", 3, "--epochs", 2, "--validation", 0, "--quiet", "--out",
                           "cross", *options)

    def test_a_run_per_fold(self):
        self.train_folds()
        cross = self.folder / "cross"
        self.assertEqual({path.name for path in cross.iterdir()}, {"fold-1", "fold-2", "fold-3", "metrics.json"})
        for fold in range(1, 4):
            self.assertEqual({path.name for path in (cross / f"fold-{fold}").iterdir()}, RUN_FILES)

    def test_every_rating_is_tested_on_once(self):
        self.train_folds()
        everything = counts_by(read_ratings(self.data), "user")
        tested = collections.Counter()
        for fold in range(1, 4):
            run = self.folder / "cross" / f"fold-{fold}"
            self.assertEqual(read_metrics(run)["test"]["ratings"], 500)
            tested += everything - trained_counts(run, "users.tsv")
        self.assertEqual(tested, everything)

    def test_summary_is_the_mean_of_the_folds(self):
        printed = strict_json(self.train_folds("--json").stdout)
        folds = [read_metrics(self.folder / "cross" / f"fold-{fold}") for fold in range(1, 4)]
        self.assertEqual(printed["folds"], folds)
        self.assertEqual(len({fold["test"]["rmse"] for fold in folds}), 3)
        for key in ("rmse", "mae"):
            values = [fold["test"][key] for fold in folds]
            self.assertAlmostEqual(printed["test"][key], statistics.fmean(values), places=12)
            self.assertAlmostEqual(printed["test"][f"{key}_standard_deviation"], statistics.stdev(values), places=12)
        self.assertEqual(read_metrics(self.folder / "cross"), printed)

    def test_summary_is_printed(self):
        output = self.train_folds().stdout
        mean = read_metrics(self.folder / "cross")["test"]["rmse"]
        self.assertIn(f"3 folds: test RMSE {mean:.5f}", output)

    def test_a_fold_is_a_run_like_any_other(self):
        self.train_folds()
        run = self.folder / "cross" / "fold-2"
        test = strict_json(self.curate("evaluate", run, "--json").stdout)["test"]
        self.assertEqual(test, read_metrics(run)["test"])
        self.curate("train", "--config", run / "config.toml", "--quiet", "--out", "again")
        self.assertEqual(model_bytes(run), model_bytes(self.folder / "again"))


class EpochTest(CliCase):
    # Overfits within a few epochs.
    OPTIONS = ["--dim", 16, "--reg", 0, "--lr", 0.05, "--schedule", "constant"]

    def test_patience(self):
        run = self.train(self.generate(), *self.OPTIONS, "--epochs", 60, "--patience", 3)
        metrics, history = read_metrics(run), read_history(run)
        self.assertLess(len(history), 60)
        self.assertEqual(metrics["epochs"], len(history))
        self.assertEqual(metrics["best_epoch"], len(history) - 3)

    def test_the_epoch_of_the_lowest_validation_rmse_is_kept(self):
        data = self.generate()
        run = self.train(data, *self.OPTIONS, "--epochs", 20)
        metrics, validation = read_metrics(run), [row["validation_rmse"] for row in read_history(run)]
        best = metrics["best_epoch"]
        self.assertLess(best, 20, "this test needs a run that overfits")
        self.assertEqual(min(validation), validation[best - 1])
        self.assertEqual(metrics["validation"]["rmse"], min(validation))
        shorter = self.train(data, *self.OPTIONS, "--epochs", best, out="shorter")
        self.assertEqual(model_bytes(run), model_bytes(shorter), f"not the parameters of epoch {best}")

    def test_without_validation_the_last_epoch_is_kept(self):
        data = self.generate()
        run = self.train(data, *self.OPTIONS, "--epochs", 20, "--validation", 0)
        metrics = read_metrics(run)
        self.assertIsNone(metrics["validation"])
        self.assertEqual(metrics["best_epoch"], 20)
        self.assertEqual({row["validation_rmse"] for row in read_history(run)}, {None})
        shorter = self.train(data, *self.OPTIONS, "--epochs", 19, "--validation", 0, out="shorter")
        self.assertLess(metrics["train"]["rmse"], read_metrics(shorter)["train"]["rmse"])


if __name__ == "__main__":
    skips.main()
