#!/usr/bin/env python3
"""Tests of bench/peers/mf_peers.py with cuRate alone, and with peers that a script stands in for.

usage: mf_peers_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

import skips

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "peers" / "mf_peers.py"
sys.path.insert(0, str(SCRIPT.parent))
import mf_peers  # noqa: E402
from cli_case import CURATE  # noqa: E402

REPORT_FIELDS = {"program", "date", "commit", "machine", "versions", "data", "options", "absent", "tables"}
TABLE_FIELDS = {"dim", "biases", "target_rmse", "rows"}
ROW_FIELDS = {"peer", "title", "factors", "biases", "threads", "recipe", "seconds_per_epoch", "epochs", "rmse",
              "best_rmse", "seconds_to_target", "epochs_to_target", "ratio_seconds_per_epoch",
              "ratio_seconds_to_target", "cut", "busy", "failed", "curve_of", "curve"}

# Stands in for the Python of an environment with Surprise (an epoch a second, 0.01 better each), LIBMF (half a second
# of set-up) and a cmfrec that fails; the rest is absent.
STAND_IN = """#!{python}
import json, sys
mode, arguments = sys.argv[2], sys.argv[3:]
def report(result):
    print(json.dumps(result), flush=True)
if mode == "probe":
    report({{peer: {{"version": "9", "absent": None if peer in ("surprise", "libmf", "cmfrec") else "left out"}}
            for peer in arguments}})
elif mode == "prepare":
    report({{}})
else:
    task = json.loads(arguments[0])
    if task["peer"] == "cmfrec":
        print("Traceback ...\\nValueError: no such luck", file=sys.stderr)
        sys.exit(1)
    if task["peer"] == "libmf":
        report({{"epochs": task["epochs"], "fit_seconds": 0.5 + 0.25 * task["epochs"], "rmse": 0.9}})
    else:
        for epoch in range(1, task["epochs"] + 1):
            report({{"epochs": epoch, "seconds": 1.0 * epoch,
                    "rmse": (1 if task["biases"] else 2) - 0.01 * epoch if task["evaluate"] else None}})
            if epoch >= task["max_seconds"]:
                break
    report({{"done": True}})
"""


class PeersCase(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="curate-peers-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        subprocess.run([CURATE, "data", "generate", "--out", self.folder / "data", "--users", "60", "--items", "40",
                        "--ratings", "1500", "--rank", "2"], check=True, capture_output=True)

    def environment(self, python):
        """A virtual environment as far as the script looks: python is what its bin/python does."""
        venv = self.folder / "venv"
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").write_text(python, encoding="utf-8")
        (venv / "bin" / "python").chmod(0o755)
        return venv

    def without_packages(self):
        return self.environment(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, timeout=240,
                              encoding="utf-8", cwd=self.folder)

    def measure(self, *arguments):
        result = self.run_script(CURATE, "data", "--dim", "4", "--epochs", "3", "--threads", "1", "--json",
                                 "report.json", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result, json.loads((self.folder / "report.json").read_text(encoding="utf-8"))


class AloneTest(PeersCase):
    def test_absent_peers_are_printed_with_the_reason(self):
        venv = self.without_packages()
        (venv / mf_peers.SETUP_RECORD).write_text('{"implicit": "pip could not install it"}', encoding="utf-8")
        result, report = self.measure("--rounds", "1", "--venv", venv)
        self.assertEqual(set(report["absent"]), set(mf_peers.PEERS))
        for peer in mf_peers.PEERS.values():
            lines = [line for line in result.stdout.splitlines() if line.startswith(peer.title)]
            self.assertEqual(len(lines), 1 if peer.name == "implicit" else 2, result.stdout)
            for line in lines:
                self.assertIn("absent: not installed (no module named", line)
        self.assertIn("; pip could not install it", result.stdout)

    def test_json_has_the_documented_fields(self):
        _, report = self.measure("--rounds", "2", "--peers", "none", "--plot", "curves.svg")
        self.assertEqual(set(report), REPORT_FIELDS)
        self.assertEqual(set(report["machine"]), {"cpu", "cores", "system"})
        self.assertEqual((report["data"]["train"], report["data"]["test"]), (1350, 150))
        self.assertEqual([(table["dim"], table["biases"]) for table in report["tables"]], [(4, False), (4, True)])
        for table in report["tables"]:
            self.assertEqual(set(table), TABLE_FIELDS)
            self.assertEqual([row["peer"] for row in table["rows"]], ["curate"])
            row = table["rows"][0]
            self.assertEqual(set(row), ROW_FIELDS)
            self.assertEqual(row["biases"], table["biases"])
            self.assertEqual(len(row["seconds_per_epoch"]["rounds"]), 2)
            self.assertEqual([point["epochs"] for point in row["curve"]], [1, 2, 3])
            self.assertEqual(row["rmse"], row["curve"][-1]["rmse"])
            self.assertAlmostEqual(table["target_rmse"], row["best_rmse"] + 0.0005)
            self.assertEqual((row["ratio_seconds_per_epoch"], row["ratio_seconds_to_target"]), (1, 1))
        drawing = xml.etree.ElementTree.parse(self.folder / "curves.svg").getroot()
        self.assertEqual(len(drawing.findall(".//{*}polyline")), 2)

    def test_a_target_out_of_reach_is_said(self):
        result, report = self.measure("--rounds", "1", "--peers", "none", "--target-rmse", "0.01")
        self.assertEqual(result.stdout.count("not reached"), 2)
        self.assertIsNone(report["tables"][0]["rows"][0]["seconds_to_target"])


class StandInTest(PeersCase):
    def test_peers_are_measured_cut_and_left_out_where_they_fail(self):
        venv = self.environment(STAND_IN.format(python=sys.executable))
        result, report = self.measure("--rounds", "2", "--venv", venv, "--max-seconds", "8", "--epochs", "12",
                                      "--target-rmse", "0.955")
        tables = [{row["peer"]: row for row in table["rows"]} for table in report["tables"]]
        self.assertEqual(tables[0]["implicit"]["absent"], "left out")
        self.assertEqual(tables[0]["cmfrec"]["failed"], "ValueError: no such luck")
        self.assertIn("failed: ValueError: no such luck", result.stdout)
        for table in tables:
            libmf = table["libmf"]
            self.assertFalse(libmf["biases"])
            self.assertEqual([point["epochs"] for point in libmf["curve"]], [1, 2, 3, 4, 6, 8, 12])
            self.assertEqual(libmf["seconds_per_epoch"]["rounds"], [0.25, 0.25])
            self.assertEqual((libmf["seconds_to_target"], libmf["epochs_to_target"]), (0.25, 1))
        surprise = tables[1]["surprise"]
        self.assertEqual(surprise["threads"], 1)
        self.assertEqual([point["epochs"] for point in surprise["curve"]], list(range(1, 9)))
        self.assertEqual((surprise["seconds_to_target"], surprise["epochs_to_target"]), (5, 5))
        self.assertEqual(surprise["seconds_per_epoch"]["rounds"], [1, 1])
        self.assertEqual(surprise["cut"], "stopped after 8 s at RMSE 0.9200")
        self.assertIn("Surprise SVD: stopped after 8 s at RMSE 0.9200", result.stdout)
        self.assertIsNone(tables[0]["surprise"]["seconds_to_target"])
        self.assertIn("not reached", result.stdout)


class BadInputTest(PeersCase):
    def refused(self, words, *arguments):
        result = self.run_script(*arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(words, result.stderr)
        self.assertNotIn("Traceback", result.stderr)

    def test_each_has_a_message_and_exit_code_2(self):
        self.refused("give the program and the data")
        self.refused("build it: cmake", self.folder / "nothing", "data")
        self.refused("curate data generate", CURATE, "nothing")
        self.refused("--setup", CURATE, "data", "--venv", "nothing")
        self.refused("like 32,64", CURATE, "data", "--dim", "many")
        self.refused("like 32,64", CURATE, "data", "--dim", "0")
        self.refused("there are libmf, cmfrec", CURATE, "data", "--peers", "libmf,nothing")
        self.refused("--epochs 1: give 2 or more", CURATE, "data", "--epochs", "1")
        self.refused("--rounds 0: give 1 or more", CURATE, "data", "--rounds", "0")
        self.refused("between 0 and 1", CURATE, "data", "--test-fraction", "1.5")
        self.refused("in a folder that exists", CURATE, "data", "--json", "nothing/report.json")
        (self.folder / "broken.csv").write_text("userId,movieId,rating\n1,2,oops\n", encoding="utf-8")
        self.refused("broken.csv", CURATE, "broken.csv", "--peers", "none")


class ArithmeticTest(unittest.TestCase):
    def test_sweep_ends_with_the_epochs_asked_for(self):
        self.assertEqual(mf_peers.sweep(10), [1, 2, 3, 4, 6, 8, 10])
        self.assertEqual(mf_peers.sweep(20, coarse=True), [1, 2, 4, 8, 16, 20])
        self.assertEqual(mf_peers.sweep(2), [1, 2])

    def test_times_that_differ_by_more_than_a_factor_of_two_are_told(self):
        row = mf_peers.Row(mf_peers.PEERS["pytorch"], 4, True, 1, {})
        row.add_epochs([{"seconds": seconds} for seconds in (9, 10, 11.5, 12.5)])
        self.assertIsNone(row.busy())
        self.assertEqual(row.rates, [1.25])
        row.add_epochs([{"seconds": seconds} for seconds in (1, 2, 12)])
        self.assertIn("from 1 to 10 s", row.busy())

    def test_rate_leaves_the_set_up_out(self):
        self.assertAlmostEqual(mf_peers.rate_of_fits({1: 5.5, 4: 7.0, 11: 10.5}), 0.5)
        self.assertIsNone(mf_peers.rate_of_fits({1: 5.5}))


if __name__ == "__main__":
    skips.main()
