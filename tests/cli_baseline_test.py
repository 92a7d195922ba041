#!/usr/bin/env python3
"""Tests of `curate train --model bias`, and of the bias model as the baseline of every training.

usage: cli_baseline_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import csv
import io
import json
import re

import skips
from cli_case import (METRICS, RUN_FILES, CliCase, Rating, Reference, read_config, read_history, read_metrics,
                      read_ratings, read_safetensors, strict_json)


def rows_of(table):
    """(name, RMSE) of every row of a table of metrics, in its order."""
    rows = [re.match(r"(train|validation|test|bias model) +(\d\.\d{5}) ", line) for line in table.split("\n")]
    return [(row[1], row[2]) for row in rows if row]


class BiasModelTest(CliCase):
    def test_a_run_predicts_by_the_formula_and_evaluate_repeats_the_digits(self):
        data = self.generate()
        run = self.train(data, "--model", "bias", "--split", "random:0.2")
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)
        metadata, entries, _ = read_safetensors(run)
        self.assertEqual(metadata["model"], "bias")
        shapes = {name: entry["shape"] for name, entry in entries.items() if not name.startswith("fallback")}
        self.assertEqual(shapes, {"user.bias": [60], "item.bias": [40], "global_mean": [1]})
        reference = Reference(run)
        ratings = read_ratings(data)[:200] + [Rating(1, 100000, 3.0, 0), Rating(100000, 1, 3.0, 0)]
        pairs = self.write_ratings("pairs.csv", ratings)
        rows = list(csv.DictReader(io.StringIO(self.curate("predict", run, "--pairs", pairs).stdout)))
        self.assertEqual(len(rows), len(ratings))
        for row, rating in zip(rows, ratings, strict=True):
            expected, basis = reference.predict(rating.user, rating.item)
            self.assertEqual(row["basis"], basis)
            self.assertAlmostEqual(float(row["prediction"]), expected, delta=1e-4)
        metrics = read_metrics(run)
        self.assertIsNone(metrics["baseline"])
        self.assertEqual(strict_json(self.curate("evaluate", run, "--json").stdout)["test"], metrics["test"])
        self.assertEqual((metrics["epochs"], metrics["best_epoch"], len(read_history(run))), (1, 1, 1))

    def test_the_saved_model_is_fitted_on_all_training_ratings(self):
        data = self.generate()
        metrics = read_metrics(self.train(data, "--model", "bias", "--split", "none", "--validation", 0.2))
        self.assertEqual(metrics["train"]["ratings"], 1500)
        self.assertEqual(metrics["validation"]["ratings"], 300)
        self.assertGreater(metrics["validation"]["rmse"], metrics["train"]["rmse"],
                           "its ratings helped to predict themselves")

    def test_config_trains_again_to_the_same_model(self):
        data = self.generate()
        run = self.train(data, "--model", "bias", "--threads", 1)
        self.assertNotIn("epochs", read_config(run))
        self.curate("train", "--config", run / "config.toml", "--threads", 2, "--quiet", "--out", "again")
        self.assertEqual((run / "model.safetensors").read_bytes(),
                         (self.folder / "again" / "model.safetensors").read_bytes())

    def test_options_of_training_are_refused(self):
        data = self.generate()
        for options in (["--dim", 8], ["--lr", 0.1], ["--optimizer", "sgd"], ["--batch", 1], ["--epochs", 5],
                        ["--layers", "8"], ["--reg", 0.1], ["--features", "genres"], ["--no-biases"],
                        ["--loss", "mae"], ["--patience", 3], ["--precision", "f16"], ["--schedule", "constant"],
                        ["--preset", "notebook-mf"]):
            with self.subTest(options):
                result = self.run_curate("train", data, "--model", "bias", *options, "--out", "run")
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertRegex(result.stderr, r"bias model is solved exactly.*--model mf")
                self.assertFalse((self.folder / "run").exists())

    def test_same_model_on_any_scale(self):
        ratings = read_ratings(self.generate())
        rmse = {}
        for factor, shift in ((1, 0), (0.01, 0), (20, 0), (1, 100), (4, -10)):
            path = self.write_ratings(f"x{factor}+{shift}.csv",
                                      [r._replace(rating=round(factor * r.rating + shift, 6)) for r in ratings])
            metrics = read_metrics(self.train(path, "--model", "bias", out=f"run{factor}+{shift}"))
            rmse[factor, shift] = metrics["test"]["rmse"] / factor
        for scale, value in rmse.items():
            self.assertAlmostEqual(value, rmse[1, 0], delta=2e-5, msg=scale)

    def test_what_is_said(self):
        result = self.curate("train", self.generate(), "--model", "bias")
        self.assertIn("model     bias", result.stderr)
        self.assertNotIn("Kept epoch", result.stderr)
        self.assertEqual([name for name, _ in rows_of(result.stdout)], ["train", "validation", "test"])


class BaselineTest(CliCase):
    # Learns next to nothing, and is no better than the mean.
    IDLE = ["--no-biases", "--lr", 1e-4, "--epochs", 2]

    def test_every_table_has_its_rows(self):
        data = self.generate()
        bias = read_metrics(self.train(data, "--model", "bias", out="bias"))
        for number, options in enumerate((["--epochs", 2], ["--model", "mlp", "--epochs", 1],
                                          ["--model", "neumf", "--epochs", 1],
                                          ["--preset", "notebook-mf", "--epochs", 1])):
            with self.subTest(options):
                result = self.curate("train", data, *options, "--out", f"run{number}")
                rows = rows_of(result.stdout)
                self.assertEqual([name for name, _ in rows], ["train", "validation", "bias model", "test",
                                                              "bias model"])
                self.assertEqual([rows[2][1], rows[4][1]],
                                 [f"{bias[part]['rmse']:.5f}" for part in ("validation", "test")])
                self.assertLessEqual(max(map(len, result.stdout.split("\n")[:6])), 80)
                baseline = read_metrics(self.folder / f"run{number}")["baseline"]
                self.assertEqual(list(baseline), ["validation", "test", "user_ridge", "item_ridge"])
                for part in ("validation", "test"):
                    self.assertEqual(list(baseline[part]), METRICS)
                    self.assertEqual(baseline[part]["ratings"], bias[part]["ratings"])
                    self.assertAlmostEqual(baseline[part]["rmse"], bias[part]["rmse"], delta=1e-6)

    def test_parts_that_are_not_there_have_no_row(self):
        data = self.generate()
        for options, names in ((["--validation", 0], ["train", "test", "bias model"]),
                               (["--split", "none"], ["train", "validation", "bias model"]),
                               (["--split", "none", "--validation", 0], ["train"])):
            with self.subTest(options):
                result = self.curate("train", data, "--epochs", 1, *options, "--out", "run", "--overwrite")
                self.assertEqual([name for name, _ in rows_of(result.stdout)], names)
                baseline = read_metrics(self.folder / "run")["baseline"]
                self.assertEqual([part for part in ("validation", "test") if baseline[part]],
                                 [name for name in names if name in ("validation", "test")])

    def test_json_has_it(self):
        printed = strict_json(self.curate("train", self.generate(), "--epochs", 1, "--json", "--out", "run").stdout)
        metrics = read_metrics(self.folder / "run")
        self.assertEqual(printed["baseline"], metrics["baseline"])
        self.assertGreater(metrics["baseline"]["user_ridge"], 0.0)

    def test_ratings_without_offsets_have_no_ridge(self):
        flat = self.write_ratings("flat.csv", [r._replace(rating=4.0) for r in read_ratings(self.generate())])
        baseline = read_metrics(self.train(flat, "--epochs", 1, "--rating-range", "1:5"))["baseline"]
        self.assertEqual((baseline["user_ridge"], baseline["item_ridge"]), (None, None))
        self.assertEqual(baseline["test"]["rmse"], 0.0)

    def test_a_model_that_is_worse_says_so_in_one_line(self):
        data = self.generate()
        said = r"^The model is worse than the bias model: (\w+) RMSE (\d\.\d{5}) against (\d\.\d{5}); (.*)$"
        for options, part in (([], "validation"), (["--validation", 0], "test")):
            with self.subTest(options):
                result = self.curate("train", data, *self.IDLE, *options, "--out", "run", "--overwrite")
                lines = re.findall(said, result.stderr, re.MULTILINE)
                self.assertEqual(len(lines), 1, result.stderr)
                metrics = read_metrics(self.folder / "run")
                self.assertEqual(lines[0][:3], (part, f"{metrics[part]['rmse']:.5f}",
                                                f"{metrics['baseline'][part]['rmse']:.5f}"))
                self.assertGreater(lines[0][1], lines[0][2])
                self.assertIn("--model bias", lines[0][3])
                self.assertRegex(lines[0][3], r"try --(reg|epochs) [0-9.]+")
        quiet = self.curate("train", data, *self.IDLE, "--quiet", "--out", "quiet")
        self.assertEqual(quiet.stderr, "")

    def test_a_model_that_is_better_does_not(self):
        data = self.generate(users=300, items=150, ratings=20000, rank=4)
        result = self.curate("train", data, "--out", "run")
        metrics = read_metrics(self.folder / "run")
        self.assertLess(metrics["validation"]["rmse"], metrics["baseline"]["validation"]["rmse"],
                        "this test needs a model that learns")
        self.assertNotIn("worse", result.stderr)

    def test_folds(self):
        data = self.generate()
        options = ["train", data, "--folds", 3, "--epochs", 1, "--quiet", "--out", "cross"]
        printed = self.curate(*options).stdout
        summary = read_metrics(self.folder / "cross")
        folds = [fold["baseline"]["test"]["rmse"] for fold in summary["folds"]]
        self.assertEqual(len(set(folds)), 3)
        self.assertAlmostEqual(summary["baseline"]["test"]["rmse"], sum(folds) / 3, places=12)
        self.assertIn(f"bias model: test RMSE {sum(folds) / 3:.5f}", printed)
        self.curate("train", data, "--folds", 3, "--model", "bias", "--quiet", "--out", "cross-bias")
        bias = read_metrics(self.folder / "cross-bias")
        self.assertIsNone(bias["baseline"])
        self.assertAlmostEqual(bias["test"]["rmse"], sum(folds) / 3, delta=1e-6)

    def test_runs_without_it_stay_readable(self):
        data = self.generate()
        old = self.train(data, "--epochs", 1, out="runs/old")
        metrics = read_metrics(old)
        del metrics["baseline"]
        (old / "metrics.json").write_text(json.dumps(metrics))
        self.train(data, "--model", "bias", out="runs/bias")
        self.train(data, "--epochs", 1, out="runs/new")
        runs = strict_json(self.curate("compare", "runs", "--json").stdout)["runs"]
        self.assertEqual({run["name"] for run in runs}, {"old", "bias", "new"})
        self.assertIn("bias", self.curate("compare", "runs").stdout)
        self.assertEqual(strict_json(self.curate("evaluate", old, "--json").stdout)["test"], metrics["test"])


if __name__ == "__main__":
    skips.main()
