#!/usr/bin/env python3
"""Tests of curate bench, on ratings few enough to take seconds.

usage: cli_bench_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import skips
from cli_bad_input_test import REMEDY

CURATE = os.path.abspath(os.environ.get("CURATE_BINARY", "curate"))
SMALL = ("--like", "ml-1m", "--scale", 0.02, "--rounds", 2, "--epochs", 3, "--dim", "4,8")
SVG = "{http://www.w3.org/2000/svg}"


class BenchCase(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="curate-bench-")
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name).resolve()

    def run_curate(self, *arguments):
        return subprocess.run([CURATE, *map(str, arguments)], cwd=self.folder, capture_output=True, timeout=300,
                              encoding="utf-8")

    def bench(self, *arguments):
        result = self.run_curate("bench", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def has_cuda(self):
        return json.loads(self.run_curate("doctor", "--json").stdout)["cuda"]


class Results(BenchCase):
    def check_configuration(self, row, epochs=3, rounds=2):
        self.assertEqual([len(one) for one in row["rounds"]], [epochs] * rounds)
        rates = [epoch["ratings_per_second"] for one in row["rounds"] for epoch in one[1:]]
        speed = row["ratings_per_second"]
        self.assertAlmostEqual(speed["median"], statistics.median(rates), delta=1e-6 * speed["median"])
        self.assertEqual((speed["least"], speed["most"]), (min(rates), max(rates)))
        self.assertAlmostEqual(row["first_epoch_seconds"],
                               statistics.median(one[0]["seconds"] for one in row["rounds"]))
        work = row["work"]
        self.assertAlmostEqual(work["per_second"], work["per_rating"] * speed["median"], delta=1e-6 * work["per_second"])
        self.assertAlmostEqual(row["of_roof"], speed["median"] / row["roof"]["ratings_per_second"], places=6)
        self.assertAlmostEqual(row["roof"]["work_per_second"], statistics.median(row["roof"]["samples"]),
                               delta=1e-6 * row["roof"]["work_per_second"])
        curve = row["curve"]
        self.assertEqual(len(curve), epochs)
        self.assertEqual(sorted(seconds for seconds, _ in curve), [seconds for seconds, _ in curve])
        self.assertEqual(row["best_rmse"], min(rmse for _, rmse in curve))
        reached = [seconds for seconds, rmse in curve if rmse <= row["target_rmse"]]
        self.assertEqual(row["seconds_to_target"], reached[0] if reached else None)
        self.assertGreater(row["device_bytes"], 0)
        self.assertGreater(row["peak_memory_bytes"], row["device_bytes"])

    def test_json(self):
        result = self.bench(*SMALL, "--model", "mf,mlp", "--device", "cpu", "--seed", 3, "--threads", 1, "--json")
        self.assertEqual(result.stderr, "")
        printed = json.loads(result.stdout)
        self.assertEqual(printed["machine"]["threads"], 1)
        for key in ("cpu", "cores", "vector_instructions"):
            self.assertIn(key, printed["machine"])
        data = printed["data"]
        self.assertEqual((data["source"], data["like"], data["scale"], data["seed"]), ("made up", "ml-1m", 0.02, 3))
        self.assertGreater(data["ratings"], 19000)
        self.assertEqual([(one["name"], one["kind"], one["present"]) for one in printed["devices"]],
                         [("cpu", "cpu", True)])
        rows = printed["configurations"]
        self.assertEqual([(row["device"], row["model"], row["dim"]) for row in rows],
                         [("cpu", model, dim) for model in ("mf", "mlp") for dim in (4, 8)])
        for row in rows:
            with self.subTest(model=row["model"], dim=row["dim"]):
                self.check_configuration(row)
                self.assertIsNone(row["over_cpu"])
                of_model = [other for other in rows if other["model"] == row["model"]]
                self.assertEqual(row["target_rmse"], max(other["best_rmse"] for other in of_model))
                self.assertEqual(row["options"]["validation"], 0.1)
                self.assertEqual(row["options"]["seed"], 3)
        self.assertEqual(rows[0]["work"], rows[0]["work"] | {"unit": "bytes", "per_rating": 8 * 4 + 8 + 4})
        self.assertEqual(rows[0]["roof"]["measure"], "item rows")
        # Embeddings of 4 and 4, layers of 64 and 32, one output.
        self.assertEqual(rows[2]["work"], rows[2]["work"] | {"unit": "flops",
                                                             "per_rating": 6 * (8 * 64 + 64 * 32 + 32)})
        self.assertEqual(rows[2]["roof"]["measure"], "gemm")

    def test_without_biases(self):
        row = json.loads(self.bench(*SMALL, "--no-biases", "--json").stdout)["configurations"][0]
        self.assertEqual(row["work"]["per_rating"], 8 * 4 + 4)
        self.assertFalse(row["options"]["biases"])

    def test_table(self):
        text = self.bench(*SMALL, "--model", "mf,mlp").stdout
        self.assertIn("made up in the shape of ml-1m at scale 0.02", text)
        for model in ("mf", "mlp"):
            for dim in (4, 8):
                self.assertEqual(len(re.findall(rf"^cpu +{model} +{dim} ", text, re.MULTILINE)), 2, text)
        self.assertEqual(len(re.findall(r"^  cpu +\d+  #", text, re.MULTILINE)), 4, text)
        self.assertEqual([line for line in text.splitlines() if line != line.rstrip()], [])
        tables = text[text.index("device"):]
        self.assertLessEqual(max(map(len, tables.splitlines())), 100)

    def test_target(self):
        rows = json.loads(self.bench(*SMALL, "--target-rmse", 0.01, "--json").stdout)["configurations"]
        self.assertEqual({(row["target_rmse"], row["seconds_to_target"]) for row in rows}, {(0.01, None)})
        self.assertIn("not reached", self.bench(*SMALL, "--target-rmse", 0.01).stdout)
        rows = json.loads(self.bench(*SMALL, "--target-rmse", 9, "--json").stdout)["configurations"]
        for row in rows:
            self.assertEqual(row["seconds_to_target"], row["curve"][0][0])

    def test_a_data_set(self):
        self.run_curate("data", "generate", "--out", "data", "--users", 80, "--items", 50, "--ratings", 2000)
        for path in ("data", "data/ratings.csv"):
            with self.subTest(path):
                printed = json.loads(self.bench(path, "--dim", 4, "--epochs", 2, "--rounds", 1, "--json").stdout)
                self.assertEqual(printed["data"] | {"ratings": 2000, "users": 80, "items": 50}, printed["data"])
                self.assertTrue(printed["data"]["source"].startswith(str(self.folder / "data")))
                self.assertNotIn("like", printed["data"])
                self.check_configuration(printed["configurations"][0], 2, 1)

    def test_a_device_that_is_not_there_stops_no_other(self):
        if self.has_cuda():
            self.skipTest("this machine has CUDA")
        reason = json.loads(self.run_curate("doctor", "--json").stdout)["why_no_cuda"]
        text = self.bench(*SMALL, "--device", "cuda,cpu").stdout
        self.assertIn(f"\ncuda   absent: {reason}\n", text)
        self.assertRegex(text, r"\ncpu +mf +8 ")
        printed = json.loads(self.bench(*SMALL, "--device", "cpu,cuda", "--json").stdout)
        self.assertEqual(printed["devices"][1], {"name": "cuda", "kind": "gpu", "present": False, "reason": reason})
        self.assertEqual(len(printed["configurations"]), 2)

    def test_plot(self):
        (self.folder / "a & b").mkdir()
        (self.folder / "plot.svg").write_text("something older")
        for path in ("plot.svg", "a & b/plot.svg"):
            with self.subTest(path):
                result = self.bench(*SMALL, "--model", "mf,mlp", "--plot", path)
                self.assertIn(f"plot written to {path}\n", result.stdout)
                root = xml.etree.ElementTree.parse(self.folder / path).getroot()
                self.assertEqual(root.tag, SVG + "svg")
                texts = [text.text for text in root.iter(SVG + "text")]
                for text in ("mf: ratings learnt a second", "mlp: error over training time", "cpu, dim 4", "roof"):
                    self.assertIn(text, texts)
                bars = [one for one in root.iter(SVG + "rect") if one.get("class") == "bar"]
                self.assertEqual(len(bars), 4)
                lines = [one for one in root.iter(SVG + "polyline") if one.get("class") == "line"]
                self.assertEqual([len(one.get("points").split()) for one in lines], [3] * 4)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"plot.svg", "a & b"})

    def test_plot_and_json_go_together(self):
        json.loads(self.bench(*SMALL, "--json", "--plot", "plot.svg").stdout)
        self.assertTrue((self.folder / "plot.svg").exists())

    def test_interrupted_leaves_nothing(self):
        command = [CURATE, "bench", "--scale", "0.05", "--rounds", "1000", "--plot", "plot.svg"]
        for older in (None, "something older"):
            with self.subTest(older=older):
                if older:
                    (self.folder / "plot.svg").write_text(older)
                with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL) as process:
                    # The head is printed when the measuring begins.
                    self.assertTrue(process.stdout.readline().startswith(b"machine "))
                    time.sleep(0.2)
                    self.assertIsNone(process.poll())
                    process.send_signal(signal.SIGINT)
                    self.assertEqual(process.wait(timeout=60), -signal.SIGINT)
                self.assertEqual({path.name: path.read_text() for path in self.folder.iterdir()},
                                 {"plot.svg": older} if older else {})

    def test_help(self):
        text = self.run_curate("bench", "--help").stdout
        for flag in ("--device", "--model", "--dim", "--epochs", "--rounds", "--threads", "--target-rmse", "--seed",
                     "--biases", "--like", "--scale", "--json", "--plot", "8 dim + 8"):
            self.assertIn(flag, text)


class BadInput(BenchCase):
    def refused(self, *arguments, naming=(), lines=1):
        result = self.run_curate("bench", *arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        errors = result.stderr.splitlines()
        self.assertLessEqual(len(errors), lines, result.stderr)
        if lines == 1:
            self.assertTrue(errors[0].startswith("curate: "), errors[0])
            self.assertRegex(errors[0], REMEDY)
        for name in naming:
            self.assertIn(str(name), result.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_lists(self):
        for option, values in (("--device", ("gpu", "cpu,gpu", "", "cpu,", "cpu,cpu", "auto")),
                               ("--model", ("svd", "mf,svd", "", "mf,mf")),
                               ("--dim", ("0", "x", "32,x", "32,", "", "1025", "32,32", "-4", "3.5", "99999999999"))):
            for value in values:
                with self.subTest(option=option, value=value):
                    self.refused(option, value, naming=[option])

    def test_values(self):
        for option, value in (("--epochs", 1), ("--epochs", 0), ("--epochs", -1), ("--rounds", 0), ("--rounds", -1),
                              ("--threads", -1), ("--target-rmse", 0), ("--target-rmse", -1), ("--target-rmse", "nan"),
                              ("--target-rmse", "inf"), ("--scale", 0), ("--scale", 2), ("--scale", "nan"),
                              ("--like", "ml-3m")):
            with self.subTest(option=option, value=value):
                self.refused(option, value, naming=[option])
        for option in ("--epochs", "--rounds", "--threads", "--seed", "--scale", "--target-rmse"):
            with self.subTest(option):
                self.refused(option, "x", lines=2)

    def test_places_for_the_plot(self):
        self.refused("--plot", "nowhere/plot.svg", naming=["nowhere"])
        self.refused("--plot", self.folder, naming=[self.folder])
        self.refused("--plot", "", naming=["--plot"])

    def test_no_device_is_there(self):
        if self.has_cuda():
            self.skipTest("this machine has CUDA")
        self.refused("--device", "cuda", naming=[json.loads(self.run_curate("doctor", "--json").stdout)["why_no_cuda"]])

    def test_data(self):
        self.refused("nowhere", naming=["nowhere"])
        self.refused("data", "--scale", 0.1, naming=["--scale"])
        self.refused("data", "--like", "ml-1m", naming=["--like"])
        self.refused("--text-ids", naming=["--text-ids"])

    def test_too_few_ratings(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "few.csv"
            path.write_text("1,1,4\n1,2,3\n2,1,5\n")
            self.refused(path, naming=["too few"])


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        CURATE = os.path.abspath(sys.argv.pop(1))
    skips.main()
