#!/usr/bin/env python3
"""bench/gpu_kit.sh with programs that fail in every way, and with those of the build on the emulated GPU.

usage: gpu_kit_test.py BUILD
"""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import skips

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench/gpu_kit.sh"
FAKE = ROOT / "tests/gpu_kit_fake.py"
BUILD = None

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench/gpu_kit"))
import machine  # noqa: E402
import main  # noqa: E402
import pack  # noqa: E402
import peers  # noqa: E402
import probes  # noqa: E402
import process  # noqa: E402
import record  # noqa: E402
import run  # noqa: E402
import suites  # noqa: E402
import table  # noqa: E402
import tools  # noqa: E402
import trainings  # noqa: E402


class KitTest(unittest.TestCase):
    """A kit of fake programs."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.kit = self.folder / "kit"
        for path in ("bin/curate", "bin/gpu_probe", "tests/operation_tests", "tests/train_tests", "path/nvidia-smi",
                     "path/ncu", "path/compute-sanitizer", "path/worker.py"):
            (self.kit / path).parent.mkdir(parents=True, exist_ok=True)
            (self.kit / path).symlink_to(FAKE)
        self.runs = 0
        environment = {"FAKE_KIT": str(self.kit), "PATH": f"{self.kit / 'path'}:{os.environ['PATH']}"}
        for patch in (mock.patch.dict(os.environ, environment), mock.patch.object(suites, "IDLE_SECONDS", 1.5),
                      mock.patch.object(suites, "ALONE_SECONDS", 1.5),
                      mock.patch.object(probes, "IDLE_SECONDS", 1.5), mock.patch.object(process, "GRACE_SECONDS", 0.2),
                      mock.patch.object(peers, "WORKER", self.kit / "path/worker.py"),
                      mock.patch.object(peers, "MAKE_ARRAYS", ""),
                      mock.patch.object(machine, "cublaslt_folders", lambda: {"/fake/lib": 13, "/old/lib": 12})):
            patch.start()
            self.addCleanup(patch.stop)

    def faults(self, **faults):
        (self.kit / "faults.json").write_text(json.dumps(faults))

    def references(self, ratings="1,2,3\n"):
        """What pack found, on the ratings that the fake makes up."""
        data = self.folder / "reference"
        data.mkdir(exist_ok=True)
        (data / "ratings.csv").write_text(ratings)
        found = {"data": {**trainings.DATA, "sha256": trainings.checksum(data)},
                 "trainings": {json.dumps(options): 0.95 for _, options, _, _ in trainings.TRAININGS}}
        (self.kit / "references.json").write_text(json.dumps(found))

    def arguments(self, *options, seconds=100):
        self.runs += 1
        self.out = self.folder / f"out{self.runs}"
        arguments = main.parse(["run", str(self.out), "--kit", str(self.kit), "--state-dir", str(self.folder / "state"),
                                *options])
        arguments.seconds = seconds
        return arguments

    def run_kit(self, *options, seconds=100):
        """{(stage, name): line} of a run; self.code is its exit status."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self.code = run.run(self.arguments(*options, seconds=seconds))
        self.assertLessEqual(len(list(self.out.iterdir())), 8)
        lines = record.read(self.out / "results.jsonl")
        self.summary = (self.out / "summary.md").read_text()
        return {(line["stage"], line["name"]): line for line in lines}

    def status(self, lines, stage):
        return {name: line["status"] for (at, name), line in lines.items() if at == stage and name}

    def calls(self):
        path = self.kit / "calls.log"
        text = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return text


class RunTest(KitTest):
    def test_everything_that_works_is_told(self):
        self.references()
        expected = self.folder / "predicted.json"
        expected.write_text(json.dumps({"epochs": {"dim 128 f32 default": 4.0}, "memory": 7,
                                        "products": {"weight 1": {"us": 10.0}},
                                        "train": {"optimizer=adam,dim=64,batch=4096": {"ms": 20}}}))
        with mock.patch.object(table, "PREDICTED", expected):
            lines = self.run_kit()
        self.assertEqual(self.code, 0, [line for line in lines.values() if line["status"] == "failed"])
        for stage, _, _ in run.STAGES:
            self.assertEqual(lines[(stage, "")]["status"], "ok", stage)
        # The first epoch warms up.
        self.assertEqual(lines[("pytorch", "adam dim 64 batch 65536")]["figures"]["ratings_per_second"], 20000263)
        self.assertEqual(lines[("tests", "operation_tests All/FirstTest")]["figures"]["passed"], 3)
        self.assertEqual(lines[("tests", "library_tests")]["status"], "skipped")
        self.assertEqual(lines[("machine", "cublaslt")]["figures"]["folder"], "/fake/lib")
        self.assertEqual(lines[("trainings", "wide bf16")]["figures"]["reference"], "pack")
        self.assertEqual(len(self.status(lines, "epochs")), 3 * 3 * len(probes.KERNELS) + 3 + 2)
        self.assertEqual(lines[("memory", "hbm read buffer_bytes 4096")]["figures"]["gbps"], 4000.0)
        profile = lines[("ncu", "mf_sgd_epoch")]
        self.assertEqual((profile["figures"]["launches expected"], profile["figures"]["profiled"]), (4, 2))
        self.assertEqual(profile["figures"]["kernels"]["mf_sgd_epoch_kernel"]["us"], 8200.0)
        self.assertEqual(profile["figures"]["kernels"]["mf_sgd_epoch_kernel"]["HBM %"], 1234.5)
        self.assertIn("2 of 8 launches", lines[("ncu", "adam")]["problem"])
        self.assertIn("Fake H200", self.summary)
        # Predicted, measured, and how many times as long.
        self.assertIn("| dim 128 f32 default | 4 | 10 | 2.5 |", self.summary)
        self.assertIn("| optimizer=adam,dim=64,batch=4096 | 20 | 10 | 0.5 |", self.summary)
        self.assertIn("| products | ok |", self.summary)
        product = "product inputs 256 outputs 128 bf16 weight_gradient"
        self.assertIn(f"| {product} BGRADB | 10 | 12.5 | 4000 | 1.5 | 1.25 | 1.5 |", self.summary)
        self.assertIn(f"| {product} none |  | 12.5 |", self.summary)
        self.assertEqual(lines[("products", "product inputs 64 outputs 1 bf16")]["status"], "skipped")
        calls = self.calls()
        self.assertEqual(len([call for call in calls if call.startswith("nvidia-smi")]), 1)
        self.assertEqual(lines[("machine", "gpu")]["figures"]["utilization.gpu"], "[utilization.gpu]")
        # Found by later commands. What is slow comes last, in one precision.
        fast, slow = [call for call in calls if call.startswith("gpu_probe epochs")]
        self.assertIn("LD /fake/lib", fast)
        self.assertNotIn("deterministic", fast)
        self.assertIn("--precision f32 --kernel deterministic --epochs 5 --warmup 1", slow)

    def test_failing_tests_cost_themselves_alone(self):
        first = {"All/BadTest": ["fails/cuda", "hangs/cuda", "poisons/cuda", "crashes/cuda", "passes/cuda"],
                 "All/QuietTest": ["silent/cuda", "never/cuda"], "All/GatherRowsTest": ["gathers/cuda"],
                 "All/IdleTest": ["skips/cuda"]}
        names = {f"All/BadTest.{name}s/cuda": name for name in ("fail", "hang", "poison")}
        faults = {**names, "All/BadTest.crashes/cuda": "crash", "All/QuietTest.silent/cuda": "silent",
                  "All/IdleTest.skips/cuda": "skip", "train_tests": "crash"}
        self.faults(suites=first, tests=faults, sanitizer={"memcheck": "error"})
        lines = self.run_kit("--only", "tests")
        self.assertEqual(self.code, 1)
        status = self.status(lines, "tests")
        for name in ("fails", "hangs", "poisons", "crashes"):
            self.assertEqual(status[f"operation_tests All/BadTest.{name}/cuda"], "failed")
        problem = {name: lines[("tests", f"operation_tests All/BadTest.{name}/cuda")]["problem"]
                   for name in ("fails", "hangs", "poisons", "crashes")}
        self.assertIn("wrong numbers", problem["fails"])
        self.assertIn("hangs", problem["hangs"])
        self.assertIn("context unusable", problem["poisons"])
        self.assertIn("illegal memory access", problem["poisons"])
        self.assertIn("SIGSEGV", problem["crashes"])
        bad = lines[("tests", "operation_tests All/BadTest")]
        self.assertEqual((bad["figures"]["passed"], bad["figures"]["failed"]), (1, 4))
        quiet = lines[("tests", "operation_tests All/QuietTest")]
        self.assertEqual(quiet["status"], "failed")
        self.assertIn("2 tests not run", quiet["problem"])
        # That a test skips itself is no pass.
        self.assertEqual(status["operation_tests All/IdleTest"], "skipped")
        self.assertEqual(status["operation_tests All/GatherRowsTest"], "ok")
        self.assertIn("cannot be listed", lines[("tests", "train_tests")]["problem"])
        alone = lines[("tests", "operation_tests All/BadTest.fails/cuda alone")]["figures"]
        self.assertEqual(alone["alone"]["verdict"], "fails, too")
        self.assertIn("Invalid __global__ write", alone["memcheck"]["said"])
        calls = self.calls()
        self.assertIn("operation_tests All/BadTest.fails/cuda blocking", calls)
        self.assertEqual(calls.count("operation_tests All/BadTest.passes/cuda"), 1)
        self.gone(calls)
        self.assertIn("wrong numbers", self.summary)

        # Exactly what failed once more; what is mended passes.
        del faults["All/BadTest.fails/cuda"], faults["train_tests"]
        self.faults(suites=first, tests=faults)
        lines = self.run_kit("--only", "failed")
        ran = {call for call in self.calls() if call.startswith("operation_tests") and not call.endswith("blocking")
               and "gathers" not in call}
        self.assertEqual(ran, {"operation_tests All/QuietTest.silent/cuda",
                               *(f"operation_tests All/BadTest.{name}/cuda" for name in problem)})
        self.assertEqual(lines[("tests", "operation_tests All/BadTest")]["figures"]["passed"], 1)
        # All of the program whose tests could not be listed.
        self.assertEqual(lines[("tests", "train_tests All/GatherRowsTest")]["status"], "ok")
        self.assertNotIn(("tests", "operation_tests All/GatherRowsTest"), lines)
        self.assertNotIn(("epochs", ""), lines)

    def gone(self, calls):
        """No process that hung is there still, nor a child of it."""
        pids = [int(pid) for call in calls if call.startswith("pid ") for pid in call.split()[1:]]
        self.assertGreater(len(pids), 0)
        # They are killed, but on a busy machine it takes a moment until they know.
        end = time.monotonic() + 5
        while any(map(self.lives, pids)) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual([pid for pid in pids if self.lives(pid)], [])

    def lives(self, pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def test_trainings_beside_references(self):
        self.references()
        self.faults(train={"run-mf-adam": 0.01, "run-mlp": float("nan"), "run-neumf": "crash", "run-mf-sgd": 0.004,
                           "run-graph-mlp-eager": 0.001, "run-graph-mf-adam-eager": "refuse"})
        lines = self.run_kit("--only", "trainings")
        status = self.status(lines, "trainings")
        failed = {"mf adam", "mlp", "neumf", "graph mlp"}
        self.assertEqual({name for name in status if status[name] == "failed"}, failed)
        self.assertIn("differs by 0.01", lines[("trainings", "mf adam")]["problem"])
        self.assertIn("SIGSEGV", lines[("trainings", "neumf")]["problem"])
        self.assertEqual(status["graph mf adam"], "skipped")
        self.assertEqual(lines[("trainings", "mlp")]["figures"]["test_rmse"], "nan")  # JSON has none
        self.assertEqual((status["references"], status["wide tf32"], status["mf sgd"]), ("ok", "ok", "ok"))
        self.assertFalse([call for call in self.calls() if call.endswith("-cpu")])
        lines = self.run_kit("--only", "failed")
        self.assertEqual(set(self.status(lines, "trainings")), {*failed, "references"})

    def test_other_ratings_than_the_pack_had(self):
        self.references()
        self.faults(ratings="4,5,6\n", train={"run-mf-adam": 0.01})
        lines = self.run_kit("--only", "trainings")
        self.assertIn("not bit for bit", lines[("trainings", "references")]["problem"])
        self.assertEqual(lines[("trainings", "mf sgd")]["figures"]["reference"], "CPU engine here")
        self.assertEqual(lines[("trainings", "mf adam")]["status"], "failed")
        # Once for each kind of training: three wide ones share it.
        self.assertEqual(len([call for call in self.calls() if call.endswith("-cpu")]), 5)

    def test_probes_go_on_behind_what_fails(self):
        crash, hang, error = "dim 32 f16 hot=32", "dim 64 bf16 default", "dim 128 f32 ahead=1"
        self.faults(probe={crash: "crash", hang: "hang", error: "error", "optimizer=adam,dim=64,batch=65536": "error",
                           "memory": "only machine", "products": "refuse"})
        lines = self.run_kit("--only", "memory,epochs,train,products")
        status = self.status(lines, "epochs")
        self.assertEqual({name for name in status if status[name] not in ("ok", "note")}, {crash, hang, error})
        self.assertEqual(len(status), 3 * 3 * len(probes.KERNELS) + 3 + 2)
        self.assertIn("SIGSEGV", lines[("epochs", crash)]["problem"])
        self.assertIn("hangs", lines[("epochs", hang)]["problem"])
        self.assertIn("illegal", lines[("epochs", error)]["problem"])
        # Those behind one that lost the device come from a new process.
        self.assertEqual(self.status(lines, "train")["model=mlp,batch=65536"], "ok")
        self.assertIn("no line", lines[("memory", "gpu_probe memory")]["problem"])
        self.assertIn("ended with 2", lines[("products", "gpu_probe products")]["problem"])
        self.gone(self.calls())
        lines = self.run_kit("--only", "failed")
        self.assertEqual(set(self.status(lines, "epochs")), {crash, hang, error, "gpu_probe epochs",
                                                             "gpu_probe machine"})
        self.assertEqual(set(self.status(lines, "train")), {"optimizer=adam,dim=64,batch=65536", "gpu_probe train",
                                                            "gpu_probe machine"})
        # What passes now is not asked for again.
        self.faults()
        self.run_kit("--only", "failed")
        self.assertEqual(self.code, 0)
        self.assertEqual({stage for stage, _ in self.run_kit("--only", "failed")}, {"machine", "run"})

    def test_without_the_results_of_the_run_before_everything_is_run(self):
        lines = self.run_kit("--only", "failed", "--since", str(self.folder / "none.jsonl"))
        self.assertEqual(self.code, 0)
        self.assertIn("none.jsonl is not there", lines[("run", "only")]["problem"])
        for stage, _, _ in run.STAGES:
            self.assertEqual(lines[(stage, "")]["status"], "ok", stage)
        # On another machine, with what the first one told.
        self.faults(probe={"products": "refuse"})
        self.run_kit("--only", "memory,products")
        told = self.folder / "told.jsonl"
        (self.out / "results.jsonl").rename(told)
        shutil.rmtree(self.folder / "state")
        lines = self.run_kit("--only", "failed", "--since", str(told))
        self.assertEqual({stage for stage, _ in lines}, {"machine", "products", "run"})
        self.assertNotIn(("run", "only"), lines)

    def test_a_command_that_the_stage_stopped_is_cut(self):
        self.faults(curate={"doctor": "hang"})
        with mock.patch.object(run, "RESERVE", 3.0):
            lines = self.run_kit("--only", "machine", seconds=6)
        self.assertEqual(lines[("machine", "doctor")]["status"], "cut")
        self.assertEqual((self.code, lines[("machine", "")]["status"]), (0, "cut"))

    def test_the_limit_holds_and_what_is_cut_is_said(self):
        self.references()
        self.faults(probe={"memory": "hang", "epochs": "hang"}, curate={"train": "hang"})
        start = time.monotonic()
        with mock.patch.object(probes, "IDLE_SECONDS", 100.0), mock.patch.object(run, "RESERVE", 3.0):
            lines = self.run_kit(seconds=10)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(lines[("tests", "")]["status"], "ok")
        self.assertEqual(lines[("trainings", "mf sgd")]["status"], "cut")
        for stage in ("memory", "epochs", "train", "products", "ncu", "sanitize", "pytorch"):
            self.assertEqual(lines[(stage, "")]["status"], "cut", stage)
            self.assertIn(f"| {stage} | all of it | cut | no time left for this stage |", self.summary)
        self.assertIn("| pytorch | cut |", self.summary)
        self.assertEqual(lines[("run", "")]["problem"].split("; ")[1],
                         "no time for: memory, epochs, train, products, ncu, sanitize, pytorch")
        self.gone(self.calls())

    def test_the_limit_holds_for_the_kit_itself(self):
        arguments = self.arguments(seconds=20)
        script = ("import sys, time; sys.path.insert(0, sys.argv[1]); import main, run, machine\n"
                  "run.STAGES = [('machine', 1, machine.stage_machine), ('tests', 1, lambda kit: time.sleep(300))]\n"
                  "arguments = main.parse(sys.argv[2:]); arguments.seconds = 4.0; run.RESERVE = 1.0\n"
                  "sys.exit(run.run(arguments))")
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", script, ROOT / "bench/gpu_kit", "run", arguments.out, "--kit",
                               self.kit, "--state-dir", self.folder / "state"], capture_output=True, text=True,
                              check=False)
        self.assertLess(time.monotonic() - start, 4.0)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        lines = record.read(self.out / "results.jsonl")
        self.assertIn(("run", "watchdog"), {(line["stage"], line["name"]) for line in lines})
        self.assertIn("machine", (self.out / "summary.md").read_text())

    def test_a_fault_of_the_kit_does_not_stop_it(self):
        def broken(kit):
            raise KeyError("planted")

        stages = [(name, share, broken if name == "tests" else function) for name, share, function in run.STAGES]
        with mock.patch.object(run, "STAGES", stages):
            lines = self.run_kit("--only", "tests,memory")
        self.assertIn("planted", lines[("tests", "kit")]["problem"])
        self.assertEqual(lines[("memory", "")]["status"], "ok")
        self.assertEqual(self.code, 1)

    def test_a_fault_of_the_summary_loses_nothing(self):
        with mock.patch.object(table, "markdown", side_effect=KeyError("planted")):
            lines = self.run_kit("--only", "memory")
        self.assertEqual((self.code, lines[("memory", "")]["status"]), (0, "ok"))
        self.assertIn("planted", self.summary)

    def test_endless_output_is_stopped(self):
        self.faults(probe={"memory": "flood"})
        with mock.patch.object(process, "MOST_OUTPUT", 4 << 20):
            lines = self.run_kit("--only", "memory")
        self.assertIn("printed more than", lines[("memory", "gpu_probe memory")]["problem"])
        self.assertLess(sum(path.stat().st_size for path in self.out.iterdir()), 1 << 20)

    def test_tools_that_do_not_work_are_skipped(self):
        self.faults(ncu="permission", sanitizer={"memcheck": "hang"})
        start = time.monotonic()
        with mock.patch.object(tools, "TRY_AGAIN_SECONDS", 2):
            lines = self.run_kit("--only", "ncu,sanitize")
        self.assertLess(time.monotonic() - start, 15)
        self.assertIn("ERR_NVGPUCTRPERM", lines[("ncu", "ncu")]["problem"])
        self.assertIn("does not work", lines[("sanitize", "compute-sanitizer")]["problem"])
        self.assertEqual((lines[("ncu", "")]["status"], lines[("sanitize", "")]["status"]), ("skipped", "skipped"))
        self.gone(self.calls())

    def test_a_tool_that_is_only_slow_is_waited_for(self):
        class SlowKit:
            """Its tools take 15 s to start."""
            test_filter = "*/cuda"

            def test_program(self, name):
                return pathlib.Path(name)

            def command(self, command, seconds):
                listing = "--gtest_list_tests" in command
                out = "All/GatherRowsTest.\n  gathers/cuda\n" if listing else ""
                if not listing and seconds < 15:
                    return process.Ended(command, -9, seconds, "limit")
                return process.Ended(command, 0, 1.0, out=out)

        self.assertIsNone(tools.Tools(SlowKit()).why_not("ncu"))
        shares = {name: share for name, share, _ in run.STAGES}
        self.assertLess(tools.TRY_SECONDS + tools.TRY_AGAIN_SECONDS, min(shares["ncu"], shares["sanitize"]))

    def test_profiles(self):
        lines = self.run_kit("--only", "ncu")
        calls = [call for call in self.calls() if call.startswith("ncu ")]
        self.assertEqual(["train" in call.split("--device")[0] for call in calls], [False, True, True, True])
        self.assertIn("--products bf16", calls[1])
        self.assertEqual([call.split("--scale ")[1].split()[0] for call in calls if "--scale" in call],
                         ["1.0", "0.2", "0.2"])
        # 20 million, of which a fifth, of which 80 % are trained on, in batches of 65536: 48 steps.
        self.assertEqual(lines[("ncu", "adam")]["figures"]["launches expected"], 4 * 48)
        self.assertEqual(lines[("ncu", "dense_stack")]["figures"]["launches expected"], 2 * 48)
        # A program that ncu ends behind the last launch ends with a signal's status.
        self.assertTrue(all("--kill yes" in call for call in calls))
        self.assertEqual({line["status"] for line in lines.values() if line["stage"] == "ncu"}, {"ok"})
        # No time is better than one in another unit.
        self.faults(ncu="other units")
        kernels = self.run_kit("--only", "ncu")[("ncu", "adam")]["figures"]["kernels"]
        self.assertNotIn("us", kernels["mf_sgd_epoch_kernel"])

    def test_sanitizers_findings(self):
        (self.kit / "tests/library_tests").symlink_to(FAKE)
        suites_of_libraries = {"All/GatherRowsTest": ["gathers/cuda"], "All/LibraryDense": ["bf16_rounds/cuda"]}
        self.faults(sanitizer={"memcheck": "error"})
        lines = self.run_kit("--only", "sanitize")
        self.assertIn("Invalid __global__ write", lines[("sanitize", "memcheck operation_tests")]["problem"])
        self.assertEqual(lines[("sanitize", "racecheck operation_tests")]["status"], "ok")
        # Names of small cases that no test has any more.
        self.assertIn("no test has", lines[("sanitize", "memcheck library_tests LibraryDense.bf16_rounds")]["problem"])
        self.faults(suites=suites_of_libraries)
        lines = self.run_kit("--only", "failed")
        self.assertEqual(lines[("sanitize", "memcheck library_tests")]["figures"]["passed"], 1)
        self.assertEqual(lines[("sanitize", "memcheck operation_tests")]["figures"]["passed"], 1)
        self.assertEqual(lines[("sanitize", "memcheck operation_tests DotRows")]["status"], "failed")
        self.assertNotIn(("sanitize", "racecheck operation_tests"), lines)
        self.faults(suites=suites_of_libraries, tests={"All/GatherRowsTest.gathers/cuda": "skip"})
        lines = self.run_kit("--only", "sanitize")
        self.assertIn("no test ran", lines[("sanitize", "memcheck operation_tests")]["problem"])

    def test_pytorch(self):
        self.faults(peer={"65536": "crash"})
        with mock.patch.dict(os.environ, LD_LIBRARY_PATH="/mine"):
            lines = self.run_kit("--only", "pytorch")
        # Without the folder of cuBLASLt, which is the toolkit's and not PyTorch's own.
        workers = [call for call in self.calls() if call.startswith("worker")]
        self.assertEqual([call.split()[1] for call in workers], ["probe", "run", "run", "run"])
        self.assertEqual({call.split(" LD ")[1] for call in workers}, {"/mine"})
        self.assertIn("SIGSEGV", lines[("pytorch", "adam dim 64 batch 65536")]["problem"])
        self.assertEqual(lines[("pytorch", "adam dim 64 batch 4096")]["status"], "ok")
        self.faults(torch="not installed")
        lines = self.run_kit("--only", "pytorch")
        self.assertEqual(lines[("pytorch", "")]["status"], "skipped")
        self.assertIn("not installed", lines[("pytorch", "torch")]["problem"])

    def test_builds_from_source_where_nothing_starts(self):
        self.faults(curate={"--version": "crash"})
        (self.kit / "path/cmake").symlink_to(FAKE)
        arguments = self.arguments("--only", "memory")
        arguments.source_build = self.folder / "build"
        with contextlib.redirect_stdout(io.StringIO()):
            run.run(arguments)
        lines = {(line["stage"], line["name"]): line for line in record.read(self.out / "results.jsonl")}
        self.assertIn("SIGSEGV", lines[("run", "programs")]["problem"])
        built = [name for stage, name in lines if stage == "build" and name]
        self.assertEqual(built, ["configure", "curate", "gpu_probe", "operation_tests", "train_tests", "library_tests"])
        self.assertEqual(lines[("build", "library_tests")]["status"], "skipped")
        self.assertEqual(lines[("memory", "hbm copy buffer_bytes 4096")]["status"], "ok")

    def test_pairs(self):
        lines = self.run_kit("--ab", "default", "ahead=4", "--ab-pairs", "3")
        figures = lines[("ab", "default : ahead=4")]["figures"]
        self.assertEqual((figures["pairs"], figures["ratio"]["median"]), (3, 2.0))
        kernels = [call.split("--kernel ")[1].split()[0] for call in self.calls() if "--kernel" in call]
        self.assertEqual(kernels, ["default", "ahead=4", "ahead=4", "default", "default", "ahead=4"])
        self.assertNotIn(("epochs", ""), lines)
        lines = self.run_kit("--ab", str(self.kit), "ahead=4", "--ab-pairs", "2", "--only", "memory")
        self.assertEqual(lines[("ab", f"{self.kit} : ahead=4")]["figures"]["ratio"]["median"], 2.0)
        self.assertEqual(lines[("memory", "")]["status"], "ok")

    def test_shares(self):
        stages = [("a", 10, None), ("b", 30, None)]
        self.assertEqual(run.shares(stages, 80), [20, 80])
        self.assertEqual(run.shares(stages, 20), [10, 20])
        total = sum(share for _, share, _ in run.STAGES)
        self.assertLessEqual(total, run.SECONDS - run.RESERVE)


class CommandTest(KitTest):
    def test_usage(self):
        for arguments, word in ((["run"], "out"), (["run", "o", "--only", "tset"], "tset"), (["pakc"], "pakc"),
                                (["run", "o", "--seconds", "5"], "--seconds"), (["table", "none.jsonl"], "none.jsonl")):
            done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False, cwd=self.folder)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(word, done.stderr)
            self.assertFalse((self.folder / "o").exists())
        done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertLessEqual(len(done.stdout.splitlines()), 25)

    def test_table_of_a_run_that_was_killed(self):
        path = self.folder / "results.jsonl"
        path.write_text(json.dumps({"stage": "epochs", "name": "dim 32 f32 hot=32", "status": "ok",
                                    "figures": {"epoch_ms": {"median": 2.0}}}) + '\n{"stage": "epo')
        done = subprocess.run([SCRIPT, "table", path], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| dim 32 f32 hot=32 |  | 2 |", done.stdout)

    def test_predictions_stand_beside_figures_of_their_sizes_alone(self):
        figure = {"stage": "epochs", "name": "dim 32 f32 hot=32", "status": "ok",
                  "figures": {"epoch_ms": {"median": 2.0}}}
        expected = {"epochs": {"dim 32 f32 hot=32": 4.0}}
        for told, beside in (({"device": "cuda", "like": "ml-20m", "scale": 1.0}, True),
                             ({"device": "cuda:1", "like": "ml-20m", "scale": 1.0}, True),
                             ({"device": "cuda-emulated", "like": "ml-20m", "scale": 1.0}, False),
                             ({"device": "cuda", "like": "ml-20m", "scale": 0.1}, False),
                             ({"device": "cuda", "like": "ml-100k", "scale": 1.0}, False)):
            pack_line = {"stage": "run", "name": "pack", "status": "note", "figures": told}
            text = table.markdown([pack_line, figure], expected)
            self.assertEqual("| dim 32 f32 hot=32 | 4 | 2 | 0.5 |" in text, beside, told)
            self.assertEqual("No prediction stands beside" in text, not beside, told)

    def test_what_failed_stands_first(self):
        lines = [{"stage": "memory", "name": "hbm copy", "status": "ok", "figures": {"gbps": 4000.0}},
                 {"stage": "epochs", "name": "dim 32 f32", "status": "ok", "figures": {"epoch_ms": {"median": 2.0}}},
                 {"stage": "tests", "name": "", "status": "ok", "whole": True, "seconds": 3.0},
                 {"stage": "train", "name": "mlp", "status": "failed", "problem": "planted"}]
        text = table.markdown(lines, {})
        headings = [line for line in text.splitlines() if line.startswith("#")]
        self.assertEqual(headings, ["# GPU kit: no GPU", "## Failed", "## Machine and stages",
                                    "## Epochs of per-rating SGD", "## Memory"])
        self.assertLess(text.index("**train: mlp**"), text.index("|"))
        self.assertNotIn("## Failed", table.markdown(lines[:-1], {}))

    def test_a_configuration_that_meets_the_limit_is_cut(self):
        for stopped, status in (("limit", "cut"), ("idle", "failed")):
            kit = mock.Mock(patience=1, device="cuda")
            kit.left.side_effect = [60, 60, 3, 3]
            kit.command.return_value = process.Ended(["gpu_probe"], -9, 42.0, stopped)
            probes.Probe(kit, "train", []).all([["a", "b"]], probes.train_groups, probes.train_arguments)
            told = {call.args[1]: call.args[2] for call in kit.results.add.call_args_list}
            self.assertEqual((told["a"], told["b"]), (status, "cut"), stopped)

    def test_shortened_measurements_are_marked(self):
        figure = {"stage": "epochs", "name": "dim 32 f32 hot=32", "status": "ok",
                  "figures": {"epoch_ms": {"median": 2.0}, "shortened": True}}
        self.assertIn("| dim 32 f32 hot=32 (fewer epochs than asked for) |", table.markdown([figure], {}))

    def test_too_large_an_archive_is_none(self):
        archive = self.folder / "kit.tar.xz"
        archive.write_text("an older one")
        with mock.patch.object(pack, "MOST_BYTES", 100), self.assertRaisesRegex(pack.Failed, "more than the 100"):
            pack.write_archive(self.kit, archive)
        self.assertEqual(list(self.folder.glob("kit.tar*")), [])

    def test_programs_look_for_libraries_in_the_kit_alone(self):
        """An empty entry of the run path is the folder that one stands in."""
        def program(name, run_path):
            built = self.folder / name
            subprocess.run(["cc", "-x", "c", "-", "-o", built, "-Wl,--disable-new-dtags", f"-Wl,-rpath,{run_path}"],
                           input="int main(void) { return 0; }", text=True, check=True)
            return built

        pack.check_run_paths([program("right", "$ORIGIN/../lib")])
        for wrong in ("$ORIGIN/../lib:", "/usr/local/lib", "$ORIGIN/../lib:/usr/local/lib"):
            with self.subTest(wrong), self.assertRaisesRegex(pack.Failed, "looks for libraries"):
                pack.check_run_paths([program("right", "$ORIGIN/../lib"), program("wrong", wrong)])
        with self.assertRaisesRegex(pack.Failed, "looks for libraries"):
            pack.check_run_paths([pathlib.Path("/bin/true")])

    def test_names_of_probes(self):
        line = {"probe": "rows", "element": "f16", "read": True, "rows": 4, "bytes": 8, "us": 1.5}
        self.assertEqual(probes.name_of("memory", line), "rows f16 read true rows 4")
        cut = {"probe": "rows", "element": "f16", "read": True, "rows": 4, "cut": True}
        self.assertEqual(probes.name_of("memory", cut), probes.name_of("memory", line))


class BuildTest(KitTest):
    """The programs of the build, packed, on the emulated GPU."""

    def test_packed_programs_start_and_run(self):
        kit = self.folder / "packed"
        names = {"bin": ["curate"], "tests": []}
        # Without the largest library, which would take most of the time.
        few = re.compile(pack.FROM_SYSTEM.pattern + r"|^lib(openblas|gfortran|crypto)\.so")
        with mock.patch.object(pack, "PROGRAMS", names), mock.patch.object(pack, "FROM_SYSTEM", few), \
                mock.patch.object(pack, "DICTIONARY_BYTES", 1 << 20), contextlib.redirect_stdout(io.StringIO()):
            pack.gather(BUILD, kit)
            pack.write_archive(kit, self.folder / "kit.tar.xz", preset=0)
        self.assertTrue(list((kit / "lib").glob("libfmt.so*")))
        self.assertFalse(list((kit / "lib").glob("libc.so*")))
        unpacked = run.unpack(self.folder / "kit.tar.xz", self.folder / "unpacked")
        done = subprocess.run([unpacked / "bin/curate", "--version"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((unpacked / "fixtures/parity.json").exists())

    def test_every_small_case_is_a_test(self):
        for tool, program, parts in tools.SANITIZED:
            done = subprocess.run([BUILD / "tests" / program, "--gtest_list_tests",
                                   "--gtest_filter=*/cuda_emulated"], capture_output=True, text=True, check=True)
            found = tools.matches(parts, suites.parse_list(done.stdout))
            self.assertEqual([part for part in parts if not found[part]], [], f"{tool} {program}")

    def test_on_the_emulated_gpu(self):
        few = [training for training in trainings.TRAININGS if training[0] in ("mf sgd", "mf adam")]
        with mock.patch.object(trainings, "TRAININGS", [(name, ["--epochs", "2", *options[2:]], own, 0.02)
                                                        for name, options, own, _ in few]), \
                mock.patch.object(trainings, "GRAPHS", [("graph mf adam", ["--epochs", "1", "--optimizer", "adam",
                                                                          "--deterministic"])]), \
                mock.patch.object(trainings, "DATA", {"like": "ml-1m", "scale": 0.01, "seed": 1}):
            self.kit = BUILD
            lines = self.run_kit("--device", "cuda-emulated", "--test-filter", "*GatherRowsTest*/cuda_emulated",
                                 "--only", "tests,trainings")
        status = self.status(lines, "trainings")
        self.assertEqual((status["mf sgd"], status["mf adam"]), ("ok", "ok"), lines)
        self.assertIn(status["graph mf adam"], ("ok", "skipped"))
        self.assertEqual(lines[("trainings", "mf adam")]["figures"]["reference"], "CPU engine here")
        suite = [line for (stage, name), line in lines.items() if "GatherRowsTest" in name]
        self.assertTrue(suite)
        self.assertEqual({line["status"] for line in suite}, {"ok"})
        self.assertGreater(sum(line["figures"]["passed"] for line in suite), 3)
        self.assertEqual(lines[("machine", "doctor")]["status"], "ok")


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    skips.main()
