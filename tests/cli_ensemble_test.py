#!/usr/bin/env python3
"""Tests of ensembles on the command line: training, predictions and their spread, errors, comparisons, bad input.

usage: cli_ensemble_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import csv
import io
import itertools
import math
import statistics

import skips
from cli_case import (METRICS, RUN_FILES, CliCase, Reference, model_bytes, read_config, read_metrics, read_ratings,
                      read_safetensors, strict_json)


class Member(Reference):
    """A member of an ensemble as a model of its own."""

    def __init__(self, run, number):
        super().__init__(run)
        prefix = f"member.{number}."
        for part in (self.entries, self.values, self.metadata):
            part.update({key.removeprefix(prefix): value for key, value in part.items() if key.startswith(prefix)})


class EnsembleReference:
    """Predictions of a run's files, in double precision."""

    def __init__(self, run):
        self.metadata = read_safetensors(run)[0]
        self.members = [Member(run, number + 1) for number in range(int(self.metadata["members"]))]

    def predict(self, user, item):
        """Clipped mean, spread (None where members do not predict), basis."""
        raw = [member.raw(user, item) for member in self.members]
        basis = raw[0][1]
        values = [value for value, _ in raw]
        mean = min(max(statistics.fmean(values), float(self.metadata["rating_min"])), float(self.metadata["rating_max"]))
        return mean, statistics.stdev(values) if basis in ("model", "features") else None, basis


class EnsembleCase(CliCase):
    KINDS = ["--ensemble", "mf:2,neumf:2", "--epochs", 3, "--dim", 4, "--validation", 0.2]

    def predictions(self, run, pairs):
        self.write("pairs.csv", "".join(f"{user},{item}\n" for user, item in pairs))
        return self.curate("predict", run, "--pairs", "pairs.csv").stdout


class TrainTest(EnsembleCase):
    def test_files_and_metrics(self):
        run = self.train(self.generate(), *self.KINDS)
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)
        metrics = read_metrics(run)
        members = metrics["ensemble"]["members"]
        self.assertEqual([member["model"] for member in members], ["mf", "mf", "neumf", "neumf"])
        self.assertEqual(members[0]["seed"], 1)
        self.assertEqual(len({member["seed"] for member in members}), 4)
        for member in members:
            self.assertEqual(list(member["validation"]), METRICS)
            self.assertEqual(member["epochs"], 3)
            self.assertIn(member["best_epoch"], (0, 1, 2, 3))  # 0: what the training starts from
            self.assertGreaterEqual(member["refit_epochs"], member["best_epoch"])
            self.assertEqual(member["train"]["ratings"], metrics["train"]["ratings"])
            self.assertEqual(member["validation"]["ratings"], metrics["validation"]["ratings"])
        self.assertLess(metrics["validation"]["rmse"],
                        statistics.fmean(member["validation"]["rmse"] for member in members))
        self.assertEqual(metrics["epochs"], 12)
        self.assertIsNone(metrics["best_epoch"])
        self.assertEqual(metrics["refit"]["epochs"], sum(member["refit_epochs"] for member in members))
        self.assertGreater(metrics["train"]["ratings"], 3 * metrics["validation"]["ratings"])  # both parts
        self.assertEqual(metrics["baseline"]["validation"]["ratings"], metrics["validation"]["ratings"])
        self.assertEqual(metrics["baseline"]["test"]["ratings"], metrics["test"]["ratings"])
        with open(run / "history.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([(row["member"], row["epoch"]) for row in rows],
                         [(str(m), str(e)) for m, e in itertools.product((1, 2, 3, 4), (1, 2, 3))])
        config = read_config(run)
        self.assertEqual((config["ensemble"], config["model"], config["dim"]), ("mf:2,neumf:2", "mf", 4))

    def test_without_refit(self):
        metrics = read_metrics(self.train(self.generate(), *self.KINDS, "--no-refit"))
        self.assertIsNone(metrics["refit"])
        self.assertEqual({member["refit_epochs"] for member in metrics["ensemble"]["members"]}, {None})
        self.assertEqual(metrics["train"]["ratings"], 4 * metrics["validation"]["ratings"])

    def test_json_is_metrics_json(self):
        data = self.generate()
        printed = strict_json(self.curate("train", data, *self.KINDS, "--json", "--quiet", "--out", "run").stdout)
        run = printed.pop("run")
        self.assertEqual(printed, read_metrics(self.folder / run))
        self.assertEqual(len(printed["ensemble"]["members"]), 4)

    def test_members_are_models_of_their_seeds(self):
        data = self.generate()
        run = self.train(data, "--ensemble", 3, "--epochs", 2, "--seed", 7, "--split", "none")
        _, _, ensemble = read_safetensors(run)
        for number, member in enumerate(read_metrics(run)["ensemble"]["members"], 1):
            alone = self.train(data, "--epochs", 2, "--seed", member["seed"], "--validation-seed", 7, "--split", "none",
                               out=f"alone{number}")
            _, _, values = read_safetensors(alone)
            for name in ("user.embedding", "item.embedding", "user.bias", "item.bias"):
                self.assertEqual(values[name], ensemble[f"member.{number}.{name}"], (number, name))
            self.assertEqual(read_metrics(alone)["validation"], member["validation"])

    def test_one_member_is_no_ensemble(self):
        data = self.generate()
        alone, one = self.train(data, "--epochs", 2, out="alone"), self.train(data, "--epochs", 2, "--ensemble", 1, out="one")
        for name in RUN_FILES - {"metrics.json", "history.csv"}:  # which have times
            self.assertEqual((alone / name).read_bytes(), (one / name).read_bytes(), name)
        self.assertEqual(list(read_metrics(alone)), list(read_metrics(one)))
        self.assertNotIn("ensemble", read_metrics(one))

    def test_same_again_and_from_its_config(self):
        data = self.generate()
        runs = [self.train(data, *self.KINDS, "--deterministic", "--threads", threads, out=f"run{threads}")
                for threads in (1, 2)]
        self.assertEqual(model_bytes(runs[0]), model_bytes(runs[1]))
        self.curate("train", "--config", runs[0] / "config.toml", "--quiet", "--out", "again")
        self.assertEqual(model_bytes(runs[0]), model_bytes(self.folder / "again"))
        self.assertEqual(read_config(runs[0]), read_config(self.folder / "again"))

    def test_preset(self):
        run = self.train(self.generate(), "--preset", "notebook-mf", "--ensemble", 2, "--epochs", 2)
        config = read_config(run)
        self.assertEqual((config["preset"], config["ensemble"], config["dim"]), ("notebook-mf", "2", 3))
        self.assertEqual(read_safetensors(run)[1]["member.2.user.embedding"]["shape"][1], 3)

    def test_folds(self):
        self.curate("train", self.generate(), "--ensemble", 2, "--epochs", 2, "--folds", 2, "--quiet", "--out", "folds")
        folds = strict_json((self.folder / "folds/metrics.json").read_text())["folds"]
        self.assertEqual([len(fold["ensemble"]["members"]) for fold in folds], [2, 2])
        run = self.folder / "folds/fold-2"
        evaluated = strict_json(self.curate("evaluate", run, "--json").stdout)["test"]
        self.assertAlmostEqual(evaluated["rmse"], folds[1]["test"]["rmse"], places=9)

    def test_what_is_told(self):
        told = self.curate("train", self.generate(), *self.KINDS, "--out", "run")
        for text in ("ensemble  mf:2,neumf:2", "member 1 of 4: mf, seed 1", "member 4 of 4: neumf, seed ",
                     "Validation RMSE of the 4 members: ", "Kept their second trainings, on all training ratings."):
            self.assertIn(text, told.stderr)
        # A table for each member and one for its refit; one that is left at its start has none.
        refits = [m for m in read_metrics(self.folder / "run")["ensemble"]["members"] if m["refit_epochs"] > 0]
        self.assertEqual(told.stderr.count("train RMSE"), 4 + len(refits))
        for part in ("train", "validation", "test"):
            self.assertIn(f"\n{part} ", "\n" + told.stdout)

    def test_name_of_the_run(self):
        self.curate("train", self.generate(), "--ensemble", 2, "--epochs", 1, "--quiet")
        self.assertTrue((self.folder / "runs/data-ensemble/model.safetensors").exists())


class PredictTest(EnsembleCase):
    def test_mean_and_spread(self):
        data = self.generate(users=40, items=30, ratings=300)
        run = self.train(data, *self.KINDS, "--split", "none")
        reference = EnsembleReference(run)
        ratings = read_ratings(data)
        pairs = list(itertools.product([*sorted({r.user for r in ratings})[:12], 999999],
                                       [*sorted({r.item for r in ratings})[:12], 999999]))
        text = self.predictions(run, pairs)
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual(list(rows[0]), ["userId", "movieId", "prediction", "spread", "basis", "title"])
        printed = strict_json(self.curate("predict", run, "--pairs", "pairs.csv", "--json").stdout)
        self.assertEqual(list(printed[0]), ["user", "item", "prediction", "spread", "basis", "title"])
        spreads = 0
        for (user, item), row, one in zip(pairs, rows, printed, strict=True):
            mean, spread, basis = reference.predict(user, item)
            self.assertEqual((row["basis"], one["basis"]), (basis, basis))
            self.assertAlmostEqual(one["prediction"], mean, places=5)
            self.assertAlmostEqual(float(row["prediction"]), mean, delta=6e-5)
            if spread is None:
                self.assertEqual((row["spread"], one["spread"]), ("", None))
            else:
                spreads += 1
                self.assertAlmostEqual(one["spread"], spread, places=5)
                self.assertAlmostEqual(float(row["spread"]), spread, delta=6e-5)
        self.assertGreater(spreads, 100)
        self.assertLess(spreads, len(pairs))

    def test_no_spread_of_one_model(self):
        data = self.generate()
        run = self.train(data, "--epochs", 1)
        rating = read_ratings(data)[0]
        text = self.predictions(run, [(rating.user, rating.item)])
        self.assertTrue(text.startswith("userId,movieId,prediction,basis,title\n"), text)
        printed = strict_json(self.curate("predict", run, "--pairs", "pairs.csv", "--json").stdout)
        self.assertNotIn("spread", printed[0])


class EvaluateTest(EnsembleCase):
    def test_errors_are_those_of_the_mean(self):
        data = self.generate()
        run = self.train(data, *self.KINDS)
        metrics = read_metrics(run)["test"]
        evaluated = strict_json(self.curate("evaluate", run, "--json").stdout)["test"]
        for key in METRICS:
            self.assertAlmostEqual(evaluated[key], metrics[key], places=9, msg=key)
        ratings = read_ratings(data)
        reference = EnsembleReference(run)
        on_all = strict_json(self.curate("evaluate", run, "--data", data, "--json").stdout)["test"]
        squares = [(reference.predict(r.user, r.item)[0] - r.rating) ** 2 for r in ratings]
        self.assertAlmostEqual(on_all["rmse"], math.sqrt(statistics.fmean(squares)), places=5)


class CompareTest(EnsembleCase):
    def test_beside_one_model(self):
        data = self.generate()
        self.train(data, *self.KINDS, out="runs/ensemble")
        self.train(data, "--epochs", 3, "--dim", 4, "--validation", 0.2, out="runs/mf")
        self.assertIn("mf:2,neumf:2", self.curate("compare", "runs").stdout)
        printed = strict_json(self.curate("compare", "runs", "--json", "--plot", "curves.svg").stdout)
        by_name = {run["name"]: run for run in printed["runs"]}
        self.assertIn("ensemble", printed["differing_options"])
        self.assertTrue(printed["same_validation_ratings"])
        self.assertIsNone(by_name["ensemble"]["best_epoch"])
        self.assertEqual(by_name["ensemble"]["epochs"], 12)
        self.assertEqual([row["member"] for row in by_name["ensemble"]["history"]], sorted([1, 2, 3, 4] * 3))
        self.assertNotIn("member", by_name["mf"]["history"][0])
        _, _, values = read_safetensors(self.folder / "runs/ensemble")
        self.assertEqual(by_name["ensemble"]["parameters"],
                         sum(len(tensor) for name, tensor in values.items() if not name.startswith("fallback.")))
        plot = (self.folder / "curves.svg").read_text(encoding="utf-8")
        self.assertIn("ensemble (mean of 4)", plot)

    def test_other_validation_parts_are_told(self):
        data = self.generate()
        for seed in (1, 2):
            self.train(data, "--ensemble", 2, "--epochs", 1, "--validation-seed", seed, out=f"runs/{seed}")
        self.assertFalse(strict_json(self.curate("compare", "runs", "--json").stdout)["same_validation_ratings"])


class BadInputTest(EnsembleCase):
    def refused(self, *arguments):
        result = self.run_curate(*arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr

    def test_options(self):
        data = self.generate()
        for value in ("0", "65", "mf:2,mf:2", "svd:3", "mf:40,mlp:40", "8,9"):
            self.assertIn(f"--ensemble {value}: ", self.refused("train", data, "--ensemble", value, "--out", "run"))
        told = self.refused("train", data, "--ensemble", "mf:2,mlp:2", "--layers", "8", "--out", "run")
        self.assertIn("--layers 8: mf members of --ensemble do not take it", told)
        for arguments in (("--model", "bias", "--ensemble", "2"), ("--ensemble", "mf:1,bias:1")):
            self.assertIn("members are of the kinds mf, mlp and neumf, not bias",
                          self.refused("train", data, *arguments, "--out", "run"))
        self.assertIn("--model mlp: --ensemble has no members of that kind",
                      self.refused("train", data, "--model", "mlp", "--ensemble", "mf:2", "--out", "run"))
        self.assertFalse((self.folder / "run").exists())

    def test_damaged_files(self):
        run = self.train(self.generate(), "--ensemble", 2, "--epochs", 1)
        content = model_bytes(run)
        damaged = content.replace(b'"member.2.item.bias"', b'"member.2.item.bios"')
        self.assertNotEqual(content, damaged)
        (run / "model.safetensors").write_bytes(damaged)
        told = self.refused("predict", run, "--user", 1, "--item", 1)
        self.assertIn("member 2 of the ensemble", told)
        self.assertIn("train the model again", told)


if __name__ == "__main__":
    skips.main()
