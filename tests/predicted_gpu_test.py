#!/usr/bin/env python3
"""bench/predicted_gpu.py: its predictions follow bench/gpu_model.toml, and what is committed was made from it.

usage: predicted_gpu_test.py

Compiles one kernel where nvcc and nvdisasm are; where they are not, that test is skipped, or with CI=true fails.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import skips

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
COMMITTED = BENCH / "results/predicted.json"
sys.path.insert(0, str(BENCH))

import gpu_model  # noqa: E402
import predicted_gpu  # noqa: E402


class PredictedGpuTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_script(self, model):
        out = self.folder / "predicted.json"
        command = [sys.executable, BENCH / "predicted_gpu.py", "--counted", COMMITTED, "--model", model, "--json", out]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        return done, json.loads(out.read_text()) if done.returncode == 0 else None

    def predict(self, **changes):
        """With values of the model changed: {name: factor}."""
        text = gpu_model.PATH.read_text()
        for name, factor in changes.items():
            entry = re.compile(rf"(\[{name}\]\nvalue = )(\S+)")
            self.assertRegex(text, entry)
            text = entry.sub(lambda match: f"{match[1]}{factor * float(match[2])!r}", text)
        model = self.folder / "model.toml"
        model.write_text(text)
        done, predicted = self.run_script(model)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("*predicted*", done.stdout)
        return predicted

    def test_committed_predictions_are_of_the_model(self):
        committed = json.loads(COMMITTED.read_text())
        self.assertEqual(committed["assumptions"], gpu_model.load().values(), "run bench/predicted_gpu.py anew")
        again = self.predict()
        for part in ("epochs", "train", "products"):
            self.assertEqual(set(again[part]), set(committed[part]))
            for name, figures in committed[part].items():
                for key, value in figures.items():
                    self.assertAlmostEqual(again[part][name][key], value, delta=1e-9 * abs(value), msg=f"{name} {key}")

    def test_committed_table_is_of_the_committed_predictions(self):
        done, _ = self.run_script(gpu_model.PATH)
        page = (BENCH / "results/predicted-h200.md").read_text()
        for line in done.stdout.splitlines():
            if line.startswith("|"):
                self.assertIn(line, page, "run bench/predicted_gpu.py anew")

    def test_bounds_of_an_epoch_follow_their_assumptions(self):
        before = self.predict()["epochs"]
        for change, bound in (({"issue_share": 0.5}, "issue_ms"), ({"l2_rate": 0.5}, "l2_ms"),
                              ({"schedulers": 0.5}, "issue_ms"), ({"multiprocessors": 0.5}, "latency_ms")):
            after = self.predict(**change)["epochs"]
            for name, figures in before.items():
                self.assertAlmostEqual(after[name][bound] / figures[bound], 2, places=6, msg=f"{change} {name}")
        after = self.predict(clock=2, l2_rate=2, launch=0.5)["epochs"]
        for name, figures in before.items():
            self.assertAlmostEqual(after[name]["ms"] / figures["ms"], 0.5, places=6, msg=name)

    def test_products_and_trainings_follow_their_assumptions(self):
        before = self.predict()
        after = self.predict(hbm_rate=0.5, tensor_share=0.5, launch=2)["products"]
        for name, figures in before["products"].items():
            self.assertAlmostEqual(after[name]["us"] / figures["us"], 2, places=6, msg=name)
        # All that a step waits for.
        after = self.predict(hbm_rate=0.5, l2_rate=0.5, launch=2, clock=0.5, tensor_share=0.5)["train"]
        for name, figures in before["train"].items():
            self.assertAlmostEqual(after[name]["ms"] / figures["ms"], 2, places=6, msg=name)

    def test_a_model_that_is_not_whole_is_refused(self):
        text = gpu_model.PATH.read_text()
        for broken, message in ((text.replace("[hbm_rate]", "[another_rate]"), "no hbm_rate"),
                                (text.replace('unit = "Hz"\n', ""), "clock needs value, unit and source"),
                                (text.replace("value = 2e-6", "value = -1"), "launch is no number above 0"),
                                (re.sub(r'source = "assumed: a kernel', 'source = "guessed: a kernel', text), "source of launch"),
                                ("[clock", "model.toml")):
            self.assertNotEqual(broken, text)
            model = self.folder / "model.toml"
            model.write_text(broken)
            done, _ = self.run_script(model)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_the_loop_is_found_in_the_machine_code(self):
        try:
            nvcc = predicted_gpu.tool("nvcc", None, "it comes with the CUDA toolkit")
            nvdisasm = predicted_gpu.tool("nvdisasm", None, "pip install nvidia-cuda-nvdisasm")
        except SystemExit as problem:
            skips.missing(self, str(problem))
        kernels, registers = predicted_gpu.disassemble(nvcc, nvdisasm)
        committed = json.loads(COMMITTED.read_text())["counted"]["ratings"]
        for precision in predicted_gpu.TYPES:
            names, _ = predicted_gpu.rating_loop(kernels[precision])
            # Another compiler makes other code, but no other loop.
            now, then = len(names), sum(committed[precision]["kinds"].values())
            self.assertLess(abs(now - then), 0.25 * then, f"{precision}: run bench/predicted_gpu.py anew")
            self.assertLess(abs(registers[precision] - committed[precision]["registers"]), 32)
            self.assertTrue(any(name.startswith("RED") for name in names))


if __name__ == "__main__":
    skips.main(verbosity=2)
