#!/usr/bin/env python3
"""Tests of curate compare.

usage: cli_compare_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import json
import math
import os
import pty
import shutil
import subprocess
import unittest
import xml.etree.ElementTree

import cli_case
import skips
from cli_bad_input_test import REMEDY
from cli_case import CURATE, read_history, read_metrics, read_safetensors, strict_json

SVG = "{http://www.w3.org/2000/svg}"


class CompareCase(cli_case.CliCase):
    def setUp(self):
        super().setUp()
        self.data = self.generate()

    def compare(self, *arguments, width=None):
        environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
        if width:
            environment["COLUMNS"] = str(width)
        result = self.run_curate("compare", *arguments, env=environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "")
        return result.stdout

    def three_runs(self):
        for name, epochs, *options in (("small", 3, "--dim", 2), ("large", 6, "--dim", 16),
                                       ("network", 3, "--model", "mlp", "--dim", 4, "--layers", 8)):
            self.train(self.data, "--epochs", epochs, *options, out=f"runs/{name}")
        return [self.folder / "runs" / name for name in ("small", "large", "network")]


class Results(CompareCase):
    def test_json(self):
        runs = self.three_runs()
        printed = strict_json(self.compare("runs", "--json"))
        by_name = {run["name"]: run for run in printed["runs"]}
        self.assertEqual(set(by_name), {"small", "large", "network"})
        errors = [run["test"]["rmse"] for run in printed["runs"]]
        self.assertEqual(errors, sorted(errors))
        self.assertEqual(printed["best"]["test_rmse"], printed["runs"][0]["run"])
        for option in ("model", "dim", "epochs", "layers", "lr"):
            self.assertIn(option, printed["differing_options"])
        for option in ("seed", "data", "split", "validation"):
            self.assertNotIn(option, printed["differing_options"])
        for path in runs:
            with self.subTest(path.name):
                run, metrics = by_name[path.name], read_metrics(path)
                for key in ("train", "validation", "test", "epochs", "best_epoch", "seconds", "device"):
                    self.assertEqual(run[key], metrics[key], key)
                self.assertEqual(run["history"], read_history(path))
                _, entries, _ = read_safetensors(path)
                self.assertEqual(run["parameters"], sum(math.prod(entry["shape"]) for name, entry in entries.items()
                                                        if not name.startswith("fallback.")))
                config = cli_case.read_config(path)
                options = {key: value for key, value in run["options"].items() if value is not None}
                for key, value in options.items():
                    self.assertEqual(value, config[key], key)
                self.assertEqual(printed["warnings"], [])

    def test_table(self):
        self.three_runs()
        text = self.compare("runs")
        lines = text.splitlines()
        self.assertTrue(lines[0].startswith(f"in all runs: data {self.data}, "), lines[0])
        self.assertIn("seed 1", lines[0])
        rows = [line for line in lines if line.split()[:1] in (["small"], ["large"], ["network"])]
        self.assertEqual(len(rows), 3)
        runs = strict_json(self.compare("runs", "--json"))["runs"]
        for row, run in zip(rows, runs):
            self.assertEqual(row.split()[0], run["name"])
            self.assertIn(f"{run['test']['rmse']:.4f}", row)
            self.assertIn(f" {run['parameters']:,} ", row)
        self.assertIn(f"{runs[0]['test']['rmse']:.4f}*", rows[0])
        self.assertEqual([line for line in lines if line != line.rstrip()], [])
        self.assertNotIn("\x1b", text)

    def test_width(self):
        self.three_runs()
        wide = self.compare("runs")
        self.assertNotIn("no room", wide)
        for width in (100, 110):
            text = self.compare("runs", width=width)
            table = text.split("\n\n")[1].splitlines()
            self.assertEqual(len(table), 5)
            self.assertLessEqual(max(map(len, table)), width)
            self.assertIn("the table has no room for them: ", text)
            self.assertIn(" model ", table[1])

    def test_one_run(self):
        run, *_ = self.three_runs()
        for path in (run, f"{run}/", "runs/small", "runs/../runs/small/."):
            text = self.compare(path)
            self.assertTrue(text.startswith("options: "), text)
            self.assertRegex(text, r"\nsmall +3 ")
            self.assertNotIn("*", text)

    def test_folder_of_runs_and_runs_of_folds(self):
        self.three_runs()
        self.curate("train", self.data, "--folds", 2, "--epochs", 1, "--quiet", "--out", "runs/cross")
        (self.folder / "runs" / "notes").mkdir()
        self.write("runs/notes.txt", "not a run")
        printed = strict_json(self.compare("runs", "--json"))
        self.assertEqual({run["run"] for run in printed["runs"]},
                         {f"runs/{name}" for name in ("small", "large", "network", "cross/fold-1", "cross/fold-2")})
        self.assertFalse(printed["same_test_ratings"])

    def test_sort(self):
        self.three_runs()
        for sort, key in (("seconds", "seconds"), ("parameters", "parameters"), ("name", "name"),
                          ("epochs", "epochs")):
            printed = strict_json(self.compare("runs", "--sort", sort, "--json"))
            values = [run[key] for run in printed["runs"]]
            self.assertEqual(values, sorted(values))
            self.assertEqual(printed["sorted_by"], sort)

    def test_without_a_test_part(self):
        for dim in (2, 8):
            self.train(self.data, "--epochs", 3, "--dim", dim, "--split", "none", out=f"runs/{dim}")
        text = self.compare("runs")
        self.assertNotIn("whole", text)
        self.assertIn("validation", text)
        errors = [run["validation"]["rmse"] for run in strict_json(self.compare("runs", "--json"))["runs"]]
        self.assertEqual(errors, sorted(errors))

    def test_warning(self):
        self.three_runs()
        self.train(self.data, "--epochs", 1, "--split", "random:0.3", out="runs/other")
        text = self.compare("runs")
        self.assertEqual(text.count("\nwarning: test errors cannot be compared, because"), 1)
        self.assertIn("random:0.3 of ", text)
        self.assertNotIn("warning", self.compare("runs/small", "runs/large"))
        self.train(self.data, "--epochs", 1, "--seed", 2, out="runs/seed")
        self.assertIn("warning: test errors", self.compare("runs/small", "runs/seed"))

    def test_bold_on_a_terminal(self):
        self.three_runs()
        parent, child = pty.openpty()
        with subprocess.Popen([CURATE, "compare", "runs"], cwd=self.folder, stdout=child) as process:
            os.close(child)
            output = b""
            while True:
                try:
                    piece = os.read(parent, 65536)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                output += piece
        os.close(parent)
        self.assertEqual(process.returncode, 0)
        self.assertRegex(output.decode(), "\x1b\\[1m0\\.\\d{4}\\*\x1b\\[0m")

    def test_names_with_odd_characters(self):
        run = self.train(self.data, "--epochs", 1, out="runs/für <me> & \x1b[2J\n")
        other = os.fsencode(self.folder) + b"/runs/no\xfftext"
        shutil.copytree(os.fsencode(run), other)
        result = subprocess.run([CURATE, "compare", "runs", "--plot", "plot.svg"], cwd=self.folder, capture_output=True,
                                timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        text = result.stdout.decode()
        self.assertIn("für <me> & \\x1b[2J\\x0a", text)
        self.assertIn("no\\xfftext", text)
        self.assertNotIn("\x1b", text)
        texts = [one.text for one in xml.etree.ElementTree.parse(self.folder / "plot.svg").getroot().iter(SVG + "text")]
        self.assertIn("für <me> & \\x1b[2J\\x0a", texts)
        strict_json(self.compare("runs", "--json"))

    def test_data_that_went_away_do_not_matter(self):
        self.three_runs()
        shutil.rmtree(self.data)
        self.compare("runs")

    def test_runs_stay_as_they_are(self):
        self.three_runs()
        before = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        self.compare("runs", "--json")
        self.assertEqual({path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}, before)

    def test_help(self):
        self.assertRegex(self.curate("--help").stdout, r"\n +compare +")
        text = self.curate("compare", "--help").stdout
        for flag in ("--sort", "--plot", "--json", "test-mae-whole-stars"):
            self.assertIn(flag, text)


class Plot(CompareCase):
    def lines(self, path):
        root = xml.etree.ElementTree.parse(path).getroot()
        self.assertEqual(root.tag, SVG + "svg")
        texts = [text.text for text in root.iter(SVG + "text")]
        return texts, [one for one in root.iter(SVG + "polyline") if one.get("class") == "line"]

    def test_curves_of_all_runs(self):
        self.three_runs()
        self.write("plot.svg", "something older")
        text = self.compare("runs", "--plot", "plot.svg")
        self.assertTrue(text.endswith("plot written to plot.svg\n"))
        texts, lines = self.lines(self.folder / "plot.svg")
        for name in ("small", "large", "network"):
            self.assertEqual(texts.count(name), 1)
        for label in ("epoch", "RMSE on ratings held out", "Error by epoch", "Error over training time"):
            self.assertIn(label, texts)
        self.assertEqual(sorted(len(one.get("points").split()) for one in lines), [3, 3, 3, 3, 6, 6])

    def test_without_validation(self):
        self.train(self.data, "--epochs", 2, "--validation", 0, out="runs/a")
        self.compare("runs", "--plot", "plot.svg")
        texts, lines = self.lines(self.folder / "plot.svg")
        self.assertIn("RMSE on ratings learnt", texts)
        self.assertEqual(len(lines), 2)

    def test_plot_and_json_go_together(self):
        self.three_runs()
        strict_json(self.compare("runs", "--json", "--plot", "plot.svg"))
        self.lines(self.folder / "plot.svg")


class BadInput(CompareCase):
    def refused(self, *arguments, naming=()):
        before = set(self.folder.rglob("*"))
        result = self.run_curate("compare", *arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"^curate: [^\n]+\n$")
        self.assertRegex(result.stderr, REMEDY)
        for name in naming:
            self.assertIn(str(name), result.stderr)
        self.assertEqual(set(self.folder.rglob("*")), before)

    def test_what_is_no_run(self):
        run = self.train(self.data, "--epochs", 1, out="runs/a")
        (self.folder / "empty").mkdir()
        self.refused("nowhere", naming=["nowhere"])
        self.refused("empty", naming=["empty", "config.toml"])
        self.refused("runs/a/config.toml", naming=["runs/a/config.toml"])
        self.refused("data", naming=["data"])
        self.refused("", naming=['""'])
        self.refused(run, "nowhere", naming=["nowhere"])
        self.refused(run, "--plot", "nowhere/plot.svg", naming=["--plot nowhere/plot.svg"])
        self.refused(run, "--plot", "empty", naming=["--plot empty"])
        self.refused(run, "--sort", "speed", naming=["--sort speed"])

    def test_no_runs_given(self):
        result = self.run_curate("compare")
        self.assertEqual(result.returncode, 2)
        self.assertIn("runs", result.stderr)

    def test_the_same_run_twice(self):
        self.train(self.data, "--epochs", 1, out="runs/a")
        for twice in (("runs/a", "runs/a"), ("runs/a", "runs/a/"), ("runs", "runs/a"),
                      ("runs/a", self.folder / "runs" / "a")):
            self.refused(*twice, naming=["runs/a", "once"])

    def test_damaged_files(self):
        run = self.train(self.data, "--epochs", 2, out="runs/a")
        metrics, history = (run / "metrics.json").read_text(), (run / "history.csv").read_text()
        model = (run / "model.safetensors").read_bytes()
        no_rmse = json.loads(metrics)
        del no_rmse["test"]["rmse"]
        many = json.loads(metrics)
        many["epochs"] = 3
        cases = {"metrics.json": ["", "{", "[]", metrics[:-20], json.dumps(no_rmse), json.dumps(many),
                                  metrics.replace('"epochs": 2', '"epochs": "2"')],
                 "history.csv": ["", history.splitlines()[0] + "\n", history[:-4], history.replace("\n2,", "\nx,"),
                                 history.replace("train_rmse", "error"), history + history],
                 "config.toml": ["dim = \n", "no_option = 1\n"],
                 "model.safetensors": [b"", model[:5], model[:-4], b"\xff" * 100]}
        for name, damages in cases.items():
            path = run / name
            sound = path.read_bytes()
            for damaged in damages:
                with self.subTest(f"{name} {damaged[:40]}"):
                    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
                    self.refused("runs", naming=[f"runs/a/{name}"])
            with self.subTest(f"{name} gone"):
                path.unlink()
                self.refused("runs/a", naming=[f"runs/a/{name}"])
            path.write_bytes(sound)
        self.compare("runs")

    def test_results_that_cannot_be_printed(self):
        run = self.train(self.data, "--epochs", 1)
        with open("/dev/full", "w") as full:
            result = subprocess.run([CURATE, "compare", str(run)], stdout=full, stderr=subprocess.PIPE, text=True,
                                    timeout=120)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^curate: [^\n]+\n$")


if __name__ == "__main__":
    skips.main()
