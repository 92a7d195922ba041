#!/usr/bin/env python3
"""bench/gpu_acceptance.sh on the emulated GPU: its stages, what it keeps, and its table.

usage: gpu_acceptance_test.py BUILD
"""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench/gpu_acceptance.sh"
BUILD = None


class GpuAcceptanceTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        # The programs of the build, and a state of our own beside them.
        self.build = self.folder / "build"
        (self.build / "tests").mkdir(parents=True)
        (self.build / "bin").symlink_to(BUILD / "bin")
        for program in ("operation_tests", "train_tests"):
            (self.build / "tests" / program).symlink_to(BUILD / "tests" / program)

    def accept(self, *arguments, out=True):
        command = [SCRIPT, "--device", "cuda-emulated", "--program", "curate-emulated", "--build-dir", self.build,
                   "--test-filter", "*GatherRowsTest*/cuda_emulated:*MatrixFactorization*/cuda_emulated", "--like", "ml-1m",
                   "--scale", "0.01", *arguments]
        if out:
            command += ["--out", self.folder / "out"]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)

    def report(self):
        (path,) = (self.folder / "out").glob("*.json")
        return json.loads(path.read_text())

    def test_stages_are_kept_and_shown(self):
        done = self.accept("test")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        test = self.report()["stages"]["test"]
        self.assertEqual(test["status"], "passed")
        self.assertGreater(test["figures"]["tests"]["operation_tests"], 3)
        self.assertGreater(test["figures"]["tests"]["train_tests"], 2)
        self.assertLess(abs(test["figures"]["RMSE beside the CPU's"]["mf adam"]), 0.002)
        # Another call goes on from there: the first stage stands in its table without being run again.
        done = self.accept("bench")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("operation_tests", done.stdout.split("# GPU acceptance")[0])
        self.assertEqual(self.report()["stages"]["test"], test)
        rates = self.report()["stages"]["bench"]["figures"]["ratings/s"]
        self.assertGreater(rates["mf sgd, dim 64"]["cuda-emulated"]["ratings_per_second"], 0)
        self.assertIn("| mf sgd, dim 64 |", done.stdout)
        self.assertIn("| ncu | not run |", done.stdout)

    def test_variants_are_measured_and_the_fastest_named(self):
        done = self.accept("variants", "--dims", "16")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        kernels = self.report()["stages"]["variants"]["figures"]["kernels"]
        self.assertEqual(len(kernels), 3)
        for row in kernels.values():
            self.assertIn(row["fastest"], row)
            rmses = [figures["test RMSE"] for name, figures in row.items() if name not in ("fastest", "deterministic")]
            self.assertLess(max(rmses) - min(rmses), 0.02)

    def test_what_is_not_here_is_skipped_not_passed(self):
        if shutil.which("compute-sanitizer") or shutil.which("ncu"):
            self.skipTest("the tools are here")
        done = self.accept("sanitize", "ncu")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual({self.report()["stages"][stage]["status"] for stage in ("sanitize", "ncu")}, {"skipped"})
        self.assertIn("no compute-sanitizer here", done.stdout)
        if importlib.util.find_spec("torch") is None:
            done = self.accept("peers")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.report()["stages"]["peers"]["status"], "skipped")

    def test_a_failure_is_named_and_ends_with_1(self):
        done = self.accept("test", "--test-filter", "*NoSuchTest*")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no test was run", done.stdout)
        self.assertEqual(self.report()["stages"]["test"]["status"], "failed")

    def test_refusals(self):
        done = self.accept("tset")
        self.assertEqual(done.returncode, 2)
        self.assertIn("tset", done.stderr)
        done = self.accept("test", out=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--out", done.stderr)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
