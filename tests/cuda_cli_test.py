#!/usr/bin/env python3
"""The command line and the CUDA engine: curate-emulated, and what curate says where there is no GPU.

usage: cuda_cli_test.py BUILD
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import skips

BUILD = None
NO_GPU = not os.path.exists("/proc/driver/nvidia/version")


def run(program, *arguments, **environment):
    return subprocess.run([str(BUILD / "bin" / program), *map(str, arguments)], capture_output=True, text=True,
                          check=False, env={**os.environ, **environment})


class CudaCliTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.data = self.folder / "made"
        done = run("curate", "data", "generate", "--users", 50, "--items", 40, "--ratings", 900, "--out", self.data)
        self.assertEqual(done.returncode, 0, done.stderr)

    def train(self, program, device, *options, epochs=2, **environment):
        self.out = self.folder / "run"
        return run(program, "train", self.data, "--device", device, "--epochs", epochs, "--out", self.out, "--overwrite",
                   *options, **environment)

    def test_trains_evaluates_and_predicts(self):
        for options in (["--optimizer", "adam"], [], ["--model", "mlp"]):
            done = self.train("curate-emulated", "cuda-emulated", *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("device    emulated GPU", done.stderr)
            self.assertRegex(done.stderr, r"memory    about [0-9.]+ MB of 17.2 GB on the device")
            metrics = json.loads((self.out / "metrics.json").read_text())
            self.assertEqual(metrics["device"], "cuda-emulated")
            rmse = {}
            for program, device in (("curate-emulated", "cuda-emulated:reverse"), ("curate", "cpu")):
                done = run(program, "evaluate", self.out, "--device", device, "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                rmse[program] = json.loads(done.stdout)["test"]["rmse"]
            self.assertAlmostEqual(rmse["curate"], rmse["curate-emulated"], places=5)

    def test_features_and_neumf_come_to_what_the_cpu_does(self):
        table = self.folder / "table.csv"
        table.write_text("userId,group,length\n" + "".join(f"{u},{'ab'[u % 2]}|{u % 5},{u * u % 47}\n" for u in range(40)))
        features = ["--features", f"{table}:group,{table}:length:number,genres"]
        for options in (["--model", "mf", *features], ["--model", "mlp", "--dropout", "0", *features],
                        ["--model", "neumf", *features], ["--model", "neumf"]):
            with self.subTest(options):
                rmse = {}
                for program, device in (("curate-emulated", "cuda-emulated"), ("curate", "cpu")):
                    done = self.train(program, device, "--batch", 64, *options, epochs=3)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual("--features" in options, (self.out / "features.json").exists())
                    rmse[program] = json.loads((self.out / "metrics.json").read_text())["test"]["rmse"]
                self.assertAlmostEqual(rmse["curate"], rmse["curate-emulated"], delta=0.002)

    def test_precision_and_kernel_reach_the_run(self):
        for precision in ("f16", "bf16"):
            done = self.train("curate-emulated", "cuda-emulated", "--precision", precision, "--sgd-kernel",
                              "lanes=4,split=16", "--dim", 20, "--json", epochs=4)
            self.assertEqual(done.returncode, 0, done.stderr)
            config = (self.out / "config.toml").read_text()
            self.assertIn(f'precision = "{precision}"', config)
            self.assertIn('sgd_kernel = "lanes=4,split=16"', config)
            half = json.loads((self.out / "metrics.json").read_text())["test"]["rmse"]
            again = run("curate", "evaluate", self.out, "--json")
            self.assertAlmostEqual(json.loads(again.stdout)["test"]["rmse"], half, places=5)
            self.train("curate-emulated", "cuda-emulated", "--dim", 20, epochs=4)
            full = json.loads((self.out / "metrics.json").read_text())["test"]["rmse"]
            self.assertAlmostEqual(half, full, delta=0.01)

    def test_the_cpu_refuses_other_precisions(self):
        for program, device in (("curate", "cpu"), ("curate", "auto")):
            done = self.train(program, device, "--precision", "f16")
            self.assertEqual(done.returncode, 2)
            self.assertIn("--precision f16", done.stderr)
            self.assertIn("--device cuda", done.stderr)
            self.assertFalse(self.out.exists())

    def test_bench_measures_precisions_and_kernels(self):
        done = run("curate-emulated", "bench", self.data, "--device", "cuda-emulated", "--dim", 16, "--epochs", 2, "--rounds",
                   1, "--precision", "f16", "--sgd-kernel", "ahead=4", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual(result["gpu"], {"precision": "f16", "sgd_kernel": "ahead=4"})
        (row,) = result["configurations"]
        self.assertEqual(row["device"], "cuda-emulated")
        self.assertGreater(row["ratings_per_second"]["median"], 0)
        done = run("curate", "bench", self.data, "--device", "cpu", "--precision", "f16")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--precision", done.stderr)

    def test_what_does_not_fit_is_refused_with_numbers(self):
        done = self.train("curate-emulated", "cuda-emulated", "--optimizer", "adam", "--dim", 512,
                          CURATE_EMULATOR_MEMORY_MIB="18")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, r"needs about [0-9.]+ MB of the GPU's memory, which has 18.9 MB; give a smaller --dim")
        self.assertFalse(self.out.exists())

    @unittest.skipUnless(NO_GPU, "there is a GPU")
    def test_without_a_gpu_the_reason_is_one_line(self):
        done = self.train("curate", "cuda")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn("use --device cpu", done.stderr)
        done = run("curate", "doctor", "--json")
        doctor = json.loads(done.stdout)
        self.assertFalse(doctor["cuda"])
        self.assertIn(doctor["why_no_cuda"], done.stdout)
        self.assertEqual(doctor["auto_device"], "cpu")
        self.assertEqual(doctor["auto_reason"], doctor["why_no_cuda"])

    def test_a_fault_that_shows_late_is_named_when_the_device_is_debugged(self):
        fault = {"CURATE_EMULATOR_FAULT": "dot_rows_backward:1"}
        done = self.train("curate-emulated", "cuda-emulated", "--optimizer", "adam", **fault)
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("dot_rows_backward", done.stderr)
        self.assertIn("--debug-device", done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()[-1:]), 1)
        self.assertFalse(self.out.exists())
        done = self.train("curate-emulated", "cuda-emulated", "--optimizer", "adam", "--debug-device", **fault)
        self.assertEqual(done.returncode, 1)
        self.assertIn("curate: dot_rows_backward: ", done.stderr)
        self.assertNotIn("--debug-device", done.stderr)

    def test_a_debugged_device_comes_to_the_same(self):
        rmse = {}
        for options in ([], ["--debug-device"]):
            done = self.train("curate-emulated", "cuda-emulated", "--model", "mlp", "--deterministic", *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual("waits after every operation" in done.stderr, bool(options))
            rmse[len(options)] = (self.out / "model.safetensors").read_bytes()
            self.assertNotIn("debug", (self.out / "config.toml").read_text())
            evaluated = run("curate-emulated", "evaluate", self.out, "--device", "cuda-emulated", *options)
            self.assertEqual(evaluated.returncode, 0, evaluated.stderr)
        self.assertEqual(rmse[0], rmse[1])

    def test_a_test_that_breaks_the_context_ends_its_program(self):
        done = subprocess.run([str(BUILD / "tests/operation_tests"), "--gtest_filter=*GatherRows*/cuda_emulated"],
                              capture_output=True, text=True, check=False,
                              env={**os.environ, "CURATE_EMULATOR_FAULT": "gather_rows:2"})
        self.assertEqual(done.returncode, 3, done.stdout)
        (poisoned,) = [line for line in done.stdout.splitlines() if line.startswith("[ POISONED ]")]
        ran = [line for line in done.stdout.splitlines() if line.startswith("[ RUN      ]")]
        self.assertEqual(poisoned.split("] ")[1], ran[-1].split("] ")[1])

    def test_names_of_gpus(self):
        done = self.train("curate", "cuda:x")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cuda:N", done.stderr)

    def test_unknown_schedules_are_refused(self):
        done = self.train("curate-emulated", "cuda-emulated:sideways")
        self.assertEqual(done.returncode, 2)
        self.assertIn("sideways", done.stderr)
        # The program itself knows no emulated device.
        self.assertEqual(self.train("curate", "cuda-emulated").returncode, 2)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    skips.main()
