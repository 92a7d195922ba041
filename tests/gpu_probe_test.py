#!/usr/bin/env python3
"""gpu_probe on the emulated GPU: every subcommand's lines, with bytes counted here once more, and what it says of what it
cannot measure.

usage: gpu_probe_test.py PROGRAM      PROGRAM: gpu_probe-emulated
"""

import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

import skips

PROGRAM = None
COLUMNS = 128
SIZES = {"f32": 4, "f16": 2, "bf16": 2, "tf32": 4}


def probe(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)


def numbers(value):
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


class GpuProbeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = pathlib.Path(folder.name) / "ratings.csv"
        draw = random.Random(3)
        taste = {(side, n): draw.gauss(0, 0.8) for side in "ui" for n in range(40)}
        pairs = sorted(draw.sample([(u, i) for u in range(30) for i in range(25)], 400))
        self.ratings = len(pairs)
        self.data.write_text("userId,movieId,rating\n" + "".join(
            f"{u},{i},{min(10, max(1, round(2 * (3.5 + taste['u', u] + taste['i', i])))) / 2}\n" for u, i in pairs))

    def lines(self, name, *arguments, code=0):
        """The lines after those that say what is measured on, each with figures that can be."""
        done = probe(name, *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(lines[0]["probe"], "machine")
        self.assertEqual(lines[0]["description"].split(",")[0], "emulated GPU")
        for line in lines:
            self.assertIn("probe", line)
            for number in numbers(line):
                self.assertTrue(math.isfinite(number) and number > 0, line)
        lines = [line for line in lines if line["probe"] not in ("machine", "data")]
        for line in lines:
            if "us" in line and "us_min" in line:
                self.assertTrue(line["us_min"] <= line["us"] <= line["us_max"], line)
            if "gbps" in line and "us" in line:
                self.assertAlmostEqual(line["gbps"], line["bytes"] / line["us"] / 1e3, delta=1e-6 * line["gbps"])
        return lines

    def assert_measured(self, lines):
        for line in lines:
            self.assertNotIn("error", line, line)
            self.assertNotIn("cut", line, line)

    # Catches: bytes that are not those of the accesses, a configuration that is not there or twice, figures of nothing.
    def test_memory(self):
        lines = self.lines("memory", "--small", "--device", "cuda-emulated:reverse")
        self.assert_measured(lines)
        rows = [line for line in lines if line["probe"] == "rows"]
        for line in rows:
            times = int(line["read"]) + int(line["reduction"] != "none")
            self.assertEqual(line["columns"], COLUMNS)
            self.assertEqual(line["bytes"], line["visits"] * (4 + times * COLUMNS * SIZES[line["element"]]), line)
        ways = [(line["element"], line["read"], line["reduction"], line["popularity"], line["in_flight"], line["warps"])
                for line in rows]
        self.assertEqual(len(ways), len(set(ways)))
        for popularity in ("ml-20m", "uniform"):
            for in_flight in (1, 2, 4):
                for warps in (32, 40):
                    self.assertIn(("f32", True, "none", popularity, in_flight, warps), ways)
                    self.assertIn(("f32", True, "vector", popularity, in_flight, warps), ways)
            for element in ("f32", "f16"):
                for reduction in ("vector", "scalar"):
                    for read in (True, False):
                        self.assertIn((element, read, reduction, popularity, 2, 40), ways)
        self.assertEqual(ways[0][:4], ("f32", True, "vector", "ml-20m"), "the most valuable one comes first")
        hbm = {line["how"]: line for line in lines if line["probe"] == "hbm"}
        for how, times in (("copy", 2), ("read", 1), ("memcpy", 2)):
            self.assertEqual(hbm[how]["bytes"], times * hbm[how]["buffer_bytes"])
        (gather,) = [line for line in lines if line["probe"] == "gather_rows"]
        self.assertEqual(gather["bytes"], gather["batch"] * (4 + 2 * 4 * COLUMNS))
        self.assertEqual([(line["how"], line.get("nodes")) for line in lines if line["probe"] == "launch"],
                         [("stream", None), ("graph", 1), ("graph", 1)])
        self.assertEqual([line["of"] for line in lines if line["probe"] == "latency"], ["l2", "hbm", "butterfly"])

    # Catches: epochs that do not train, warm-up that counts, the wrong order, bytes of another precision.
    def test_epochs(self):
        lines = self.lines("epochs", "--data", self.data, "--dim", "8,16", "--precision", "f32,bf16", "--kernel",
                           "default,ahead=1+lanes=2,deterministic", "--epochs", 5, "--warmup", 2)
        self.assert_measured(lines)
        self.assertEqual([(line["kernel"], line["precision"], line["dim"]) for line in lines][:6],
                         [("default", "f32", 16), ("default", "f32", 8), ("default", "bf16", 16), ("default", "bf16", 8),
                          ("ahead=1+lanes=2", "f32", 16), ("deterministic", "f32", 16)])
        self.assertEqual(len(lines), 2 * 2 * 3)
        for line in lines:
            self.assertEqual((line["ratings"], line["epochs"]), (self.ratings, 5))
            self.assertEqual(line["bytes"], self.ratings * (2 * SIZES[line["precision"]] * line["dim"] + 8 + 4))
            times = line["epoch_ms"]
            self.assertTrue(times["min"] <= times["median"] <= times["max"])
            self.assertAlmostEqual(line["ratings_per_second"], 1e3 * self.ratings / times["median"],
                                   delta=1e-6 * line["ratings_per_second"])
            self.assertLess(line["train_rmse"], 0.97 * line["first_train_rmse"], line)
            self.assertNotIn("shortened", line)
            self.assertLess(line["back_to_back_ms"], 5 * times["max"])

    def test_made_up_ratings(self):
        lines = self.lines("epochs", "--like", "ml-1m", "--scale", 0.01, "--dim", 8, "--precision", "f16", "--kernel",
                           "default", "--epochs", 2, "--warmup", 0)
        self.assert_measured(lines)
        self.assertGreater(lines[0]["ratings"], 9000)

    # Catches: a set that ends the program, options that do not reach the training, figures of the first epoch.
    def test_train(self):
        lines = self.lines("train", "--data", self.data, "--epochs", 3,
                           "--set", "optimizer=adam,batch=64,dim=8,validation=0.1,units=raw",
                           "--set", "lr=1000,dim=8",
                           "--set", "model=mf,output=relu",
                           "--set", "model=mlp,dim=8,layers=16,8,batch=64,epochs=2,units=raw,dropout=0.1,0.2",
                           "--set", "sgd_kernel=lanes=2,ahead=1,dim=8,validation=0,units=raw")
        self.assertEqual(len(lines), 5)
        self.assert_measured([lines[0], *lines[3:]])
        for line, word in ((lines[1], "diverged"), (lines[2], "output")):
            self.assertIn(word, line["error"])
            self.assertNotIn("epoch_ms", line)
        self.assertEqual([line["epochs"] for line in (lines[0], lines[3], lines[4])], [2, 1, 2])
        for line in (lines[0], lines[3], lines[4]):
            self.assertLess(line["train_rmse"], line["first_train_rmse"])
            # At the least the ratings in another order, and the tables.
            self.assertGreater(line["device_bytes"], 12 * 360 + 4 * 55 * 8)
            self.assertAlmostEqual(line["ratings_per_second"] * line["epoch_ms"]["median"], 1e3 * line["ratings"],
                                   delta=1e-3 * line["ratings"])
        self.assertEqual([line["ratings"] for line in (lines[0], lines[3], lines[4])], [360, 380, 400])
        self.assertEqual(["validation_rmse" in line for line in (lines[0], lines[3], lines[4])], [True, True, False])

    # Catches: another product than the one that is named, flops or bytes that are not its own.
    def test_products(self):
        widths = [72, 64, 68, 1]
        batch = 96
        lines = self.lines("products", "--batch", batch, "--layers", ",".join(map(str, widths)), "--precision",
                           "bf16,tf32,f32")
        skipped = [line for line in lines if "skipped" in line]
        self.assertEqual([(line["inputs"], line["outputs"]) for line in skipped], [(68, 1)] * 3)
        lines = [line for line in lines if "skipped" not in line]
        self.assert_measured(lines)
        ways = [(line["precision"], line["inputs"], line["pass"], line["epilogue"]) for line in lines]
        self.assertEqual(len(ways), len(set(ways)))
        expected = []
        for precision in ("bf16", "tf32", "f32"):
            for first, inputs in ((True, 72), (False, 64)):
                half = precision == "bf16"
                expected += [(precision, inputs, "forward", "add_bias_relu_mask" if half else "add_bias"),
                             (precision, inputs, "weight_gradient", "sum_of_first"),
                             (precision, inputs, "input_gradient", "apply_mask" if half and not first else "none")]
        self.assertEqual(ways[:len(expected)], expected)
        self.assertEqual(set(ways) - set(expected),
                         {(precision, inputs, which, "none") for precision in ("bf16", "tf32", "f32")
                          for inputs, which in ((72, "forward"), (72, "weight_gradient"), (64, "forward"),
                                                (64, "weight_gradient"))} | {("bf16", 64, "input_gradient", "none")})
        for line in lines:
            inputs, outputs, size = line["inputs"], line["outputs"], SIZES[line["precision"]]
            half = line["precision"] == "bf16"
            values = batch * (inputs + outputs)
            weights = inputs * outputs
            mask = batch * 16 * math.ceil((outputs if line["pass"] == "forward" else inputs) / 128)
            counted = {
                "forward": size * (values + weights),
                "weight_gradient": size * values + 4 * weights,
                # Of the first layer it is f32, as embeddings take it.
                "input_gradient": size * (batch * outputs + weights) + (4 if inputs == 72 else size) * batch * inputs,
            }[line["pass"]]
            counted += {"none": 0, "add_bias": 4 * outputs, "sum_of_first": 4 * outputs, "apply_mask": mask,
                        "add_bias_relu_mask": (2 if half else 4) * outputs + mask}[line["epilogue"]]
            self.assertEqual(line["bytes"], counted, line)
            self.assertAlmostEqual(line["tflops"], 2e-6 * batch * weights / line["us"], delta=1e-6 * line["tflops"])
            self.assertAlmostEqual(line["share_of_989_tflops"], line["tflops"] / 989, delta=1e-6 * line["tflops"] / 989)

    # Catches: a limit that nobody keeps, and configurations that are silent about not having been measured.
    def test_what_is_not_reached_in_time_is_cut(self):
        for arguments in (("memory", "--small"),
                          ("epochs", "--data", self.data, "--dim", "8,16,32,64", "--epochs", 100, "--precision", "f32"),
                          ("train", "--data", self.data, *4 * ("--set", "dim=64,epochs=400"))):
            with self.subTest(arguments[0]):
                done = probe(*arguments, "--seconds", 0.1)
                lines = [json.loads(line) for line in done.stdout.splitlines()]
                lines = [line for line in lines if line["probe"] not in ("machine", "data")]
                cut = [line.get("cut", False) for line in lines]
                self.assertTrue(cut[-1])
                self.assertEqual(cut, sorted(cut), "what comes after a cut is cut")
                self.assertEqual(done.returncode, 1 if all(cut) else 0)
                for line in lines:
                    self.assertEqual("cut" in line, not {"us", "ns", "epoch_ms"} & set(line), line)
        self.assertEqual(probe("memory", "--small", "--seconds", 1e-6).returncode, 1)

    def test_bad_arguments_have_a_remedy(self):
        for arguments, remedy in (
                ([], "subcommand"),
                (["memory", "--device", "cpu"], "give --device cuda-emulated"),
                (["memory", "--seconds", "0"], "above 0"),
                (["memory", "--device", "cuda-emulated:nonsense"], "forward, reverse"),
                (["epochs", "--dim", "8,none"], "1 to 1024"),
                (["epochs", "--dim", ""], "1 to 1024"),
                (["epochs", "--precision", "f64"], "f32,f16,bf16"),
                (["epochs", "--kernel", "fast"], "lanes="),
                (["epochs", "--epochs", "0"], "1 or more"),
                (["epochs", "--like", "ml-3m"], "ml-20m"),
                (["epochs", "--data", self.data, "--scale", "0.5"], "remove"),
                (["epochs", "--data", "/nowhere"], "nowhere"),
                (["train"], "--set"),
                (["train", "--set", "bach=4"], "key=value"),
                (["train", "--set", "batch=many"], "`batch` many: write a whole number"),
                (["train", "--set", "precision=f64"], "not one of f32, f16, bf16"),
                (["train", "--set", "size=4"], "key=value"),
                (["products", "--layers", "64"], "inputs of the first layer"),
                (["products", "--batch", "0"], "1 to"),
                (["products", "--precision", "f16"], "bf16,tf32,f32")):
            with self.subTest(arguments):
                done = probe(*arguments)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
                self.assertNotIn('"us"', done.stdout)
                self.assertIn(remedy, done.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROGRAM = sys.argv.pop(1)
    skips.main()
