#!/usr/bin/env python3
"""bench/same_bits.sh: one build beside itself, and beside programs that differ from it in one thing each.

usage: same_bits_test.py BUILD
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import skips

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = None

# Stands for NEW's curate: runs the real one, then changes what it wrote or said.
FAKE = r"""#!{python} -SE
import json, os, pathlib, re, signal, struct, subprocess, sys

arguments = sys.argv[1:]
command = arguments[0]
run = pathlib.Path(arguments[arguments.index("--out") + 1] if "--out" in arguments else ".")
threads = arguments[arguments.index("--threads") + 1] if "--threads" in arguments else ""


def fault(name, of="train"):
    return name in {faults!r} and command == of


def rewrite(name, change):
    (run / name).write_text(change((run / name).read_text()))


def refuse(text):
    print(text, file=sys.stderr)
    sys.exit(2)


if fault("crash"):
    os.kill(os.getpid(), signal.SIGSEGV)
if fault("status"):
    sys.exit(7)
if fault("refuses"):
    refuse("no such option")
if fault("refuses to predict", "predict"):
    refuse("no such run")
grown = "config grows" in {faults!r} and command in ("evaluate", "predict")
if grown:  # the real one refuses what it does not know
    rewrite("config.toml", lambda text: text.replace("sweeps = 3\n", ""))
done = subprocess.run([{curate!r}, *arguments], stdout=subprocess.PIPE)
said = done.stdout.decode()
if fault("config grows") or grown:
    rewrite("config.toml", lambda text: text + "sweeps = 3\n")
if fault("float") or fault("float with 3 threads") and threads == "3":
    data = bytearray((run / "model.safetensors").read_bytes())
    size = struct.unpack_from("<Q", data)[0]
    begin = json.loads(data[8:8 + size])["item.embedding"]["data_offsets"][0] + 8 + size
    data[begin + 4 * (2 * 64 + 5)] ^= 1  # the last bit of row 2, column 5 of 64 columns
    (run / "model.safetensors").write_bytes(data)
if fault("metadata"):
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data.replace(b'"rating_step":"0.5"', b'"rating_step":"0.1"'))
if fault("history row"):
    rewrite("history.csv", lambda text: text.rsplit("\n", 2)[0] + "\n")
if fault("learning rate"):
    rewrite("history.csv", lambda text: text.replace(",0.0450000", ",0.0450001", 1))
if fault("times"):
    rewrite("history.csv", lambda text: re.sub(r"(?m)^(\d+),[^,]*,(.*),[^,]*$", r"\1,99,\2,1", text))
    rewrite("metrics.json", lambda text: re.sub(r'"seconds": [0-9.e+-]*', '"seconds": 99', text))
if fault("metric"):
    rewrite("metrics.json", lambda text: re.sub(r'("mae": [0-9.]*)', r"\g<1>1", text, count=1))
if fault("users"):
    rewrite("users.tsv", lambda text: text.replace("\t9\n", "\t8\n", 1))
if fault("config"):
    rewrite("config.toml", lambda text: text.replace("\nlr = 0.045\n", "\nlr = 0.04\n"))
if fault("file"):
    (run / "extra.txt").write_text("more")
if fault("words"):
    print("a warning", file=sys.stderr)
if fault("prediction", "predict"):
    lines = said.splitlines(True)
    lines[2] = lines[2].replace(",model", "1,model")
    said = "".join(lines)
if fault("evaluation", "evaluate"):
    said = re.sub(r'("warm_rmse": [0-9.]*)', r"\g<1>1", said)
if fault("data", "data"):
    rewrite("ratings.csv", lambda text: text.replace(",3.0,", ",bad,", 1))
sys.stdout.write(said)
sys.exit(done.returncode)
"""
NUMBER = r'"(0\.\d+)" and "(?:\1)1"; 1 of \d+ differ'
DIFFERENCES = {
    "float": r"run/model\.safetensors, item\.embedding\[2, 5\]: 0x[0-9a-f]{8} and 0x[0-9a-f]{8}; 1 of 12800 elements "
             r"differ",
    "metadata": r"run/model\.safetensors, header, __metadata__ rating_step: 0\.5 and 0\.1; 1 of \d+ differ",
    "learning rate": r"run/history\.csv, row 1, learning_rate: 0\.0450000\d* and 0\.0450001\d*; 1 of \d+ differ",
    "history row": r"run/history\.csv, row 3, epoch: 3 and absent; 5 of \d+ differ",
    "metric": r"run/metrics\.json, train\.mae: " + NUMBER,
    "users": r"run/users\.tsv, line \d+: .*\\t9\\n' and '.*\\t8\\n'; 1 of 301 differ",
    "config": r"run/config\.toml, lr: 0\.045 and 0\.04; 1 of \d+ differ",
    "file": r"run/extra\.txt: only NEW writes it",
    "prediction": r"run/predict\.stdout, line 3: '2,.*,model,.*' and '.*1,model,.*'; 1 of 10 differ",
    "evaluation": r"run/evaluate\.stdout, test\.warm_rmse: " + NUMBER,
    "words": r"train\.stderr, line 1: absent and 'a warning\\n'; 1 of 1 differ",
}


class SameBitsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        # Without curate-emulated, which takes long.
        self.old = self.folder / "old"
        (self.old / "bin").mkdir(parents=True)
        (self.old / "bin/curate").symlink_to(BUILD / "bin/curate")

    def judge(self, *arguments, root=ROOT):
        done = subprocess.run([str(root / "bench/same_bits.sh"), *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        self.said = done.stdout + done.stderr
        return done.returncode

    def fake(self, *faults):
        bin_folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "bin"
        bin_folder.mkdir(parents=True)
        program = bin_folder / "curate"
        program.write_text(FAKE.format(python=sys.executable, faults=faults, curate=str(BUILD / "bin/curate")))
        program.chmod(0o755)
        return bin_folder.parent

    def judge_faults(self, *faults, more=(), only="mf per-rating sgd, cpu 1 thread"):
        """The exit status, and {variant: case} of the run."""
        out = self.folder / "out.json"
        code = self.judge(self.old, self.fake(*faults), "--only", only, "--json", out, *more)
        return code, {case["variant"]: case for case in json.loads(out.read_text())}

    def test_a_build_is_the_same_as_itself(self):
        out = self.folder / "out.json"
        keep = self.folder / "keep"
        code = self.judge(BUILD, BUILD, "--only", "adagrad, mae", "--json", out, "--keep", keep)
        self.assertEqual(code, 0, self.said)
        cases = json.loads(out.read_text())
        self.assertEqual([case["variant"] for case in cases], [
            "generate", "cpu 1 thread", "cpu 2 threads", "cpu 3 threads", "emulated", "emulated deterministic",
            "any number of threads"])
        self.assertEqual({case["status"] for case in cases}, {"same"})
        self.assertRegex(self.said, r"(?m)^all +7 +7 +0 +0 +0 +0$")
        self.assertFalse(keep.exists())

    def test_every_fault_is_found_and_named(self):
        in_turn = [("metric",), ("float", "metadata", "learning rate"),
                   ("history row", "metric", "users", "config", "file", "prediction", "evaluation", "words")]
        self.assertEqual(set(DIFFERENCES), {fault for faults in in_turn for fault in faults})
        for faults in in_turn:
            with self.subTest(faults):
                code, cases = self.judge_faults(*faults)
                self.assertEqual(code, 1, self.said)
                case = cases["cpu 1 thread"]
                self.assertEqual((case["status"], case["failed"]), ("different", []))
                for fault in faults:
                    lines = [line for line in case["found"] if re.fullmatch(DIFFERENCES[fault], line)]
                    self.assertEqual(len(lines), 1, (fault, case["found"]))
                    self.assertIn(f"mf per-rating sgd, cpu 1 thread: {lines[0]}\n", self.said)
                # Another model makes other errors and predictions; what else is changed shows nowhere else.
                self.assertTrue("float" in faults or len(case["found"]) == len(faults), case["found"])
                self.assertRegex(self.said, r"(?m)^cpu 1 thread +1 +0 +0 +1 +0 +0$")

    def test_what_may_differ_does_not_count(self):
        self.assertEqual(self.judge_faults("times", "config grows")[0], 0, self.said)

    def test_a_side_that_fails_is_named(self):
        faults = {"crash": "NEW failed: train ends by signal 11", "status": "NEW failed: train ends with status 7",
                  "refuses": "NEW failed: train ends with status 2: no such option",
                  "refuses to predict": "NEW failed: predict: no such run"}
        for fault, said in faults.items():
            with self.subTest(fault):
                code, cases = self.judge_faults(fault)
                self.assertEqual((code, cases["cpu 1 thread"]["found"]), (1, [said]), self.said)
                self.assertEqual(cases["cpu 1 thread"]["status"], "failed")
                self.assertEqual(cases["cpu 1 thread"]["failed"], ["NEW"])
                self.assertRegex(self.said, r"(?m)^cpu 1 thread +1 +0 +0 +0 +0 +1$")

    def test_other_made_up_data_is_a_difference(self):
        code, cases = self.judge_faults("data")
        self.assertEqual(code, 1)
        self.assertRegex(cases["generate"]["found"][0], r"^made/ratings\.csv, line \d+: .* 1 of 6001 differ$")
        # Both train on OLD's: they would refuse NEW's.
        self.assertEqual(cases["cpu 1 thread"]["status"], "same")

    def test_thread_counts_are_compared_where_that_is_promised(self):
        code, cases = self.judge_faults("float with 3 threads", only="mf adam, no validation")
        self.assertEqual(code, 1)
        found = cases["any number of threads"]["found"]
        self.assertEqual([line.split(": ")[0] for line in found], ["NEW, cpu 1 thread and cpu 3 threads"])
        # Not promised for per-rating SGD.
        self.assertEqual(self.judge(self.old, self.old, "--only", "per-rating sgd, rate"), 0, self.said)
        self.assertNotIn("any number of threads", self.said)

    def test_a_refusal_by_both_is_the_same_and_is_told(self):
        self.assertEqual(self.judge(self.old, self.old, "--only", "adam, f16, cpu 1"), 0, self.said)
        self.assertRegex(self.said, r"(?m)^cpu 1 thread +1 +1 +1 +0 +0 +0$")
        self.assertIn("mf adam, f16: both refuse it wherever they were asked", self.said)

    def test_runs_that_differ_are_kept(self):
        keep = self.folder / "keep"
        self.assertEqual(self.judge_faults("metric", more=("--keep", keep))[0], 1)
        for side in ("OLD", "NEW"):
            self.assertTrue((keep / "mf-per-rating-sgd/cpu-1-thread" / side / "run/metrics.json").is_file())
        self.assertEqual(self.judge(self.old, self.old, "--keep", keep), 2)
        self.assertIn("is not an empty folder; give another", self.said)

    def test_bad_usage(self):
        empty = self.folder / "empty"
        empty.mkdir()
        for arguments, said in (([self.old], "required: new"), ([self.old, "no-such-revision"], "neither a folder nor"),
                                ([self.old, empty], "no bin/curate in it; build it"),
                                ([self.old, self.old, "--only", "svd"], "in no case's name"),
                                ([self.old, self.old, "--jobs", "0"], "must be 1 or more"),
                                ([self.old, self.old, "--json", empty / "a/b"], "make it first"),
                                ([BUILD, self.old, "--only", "adam, f16, cpu 1"],
                                 "NEW has no bin/curate-emulated and the other has one")):
            with self.subTest(said):
                self.assertEqual(self.judge(*arguments), 2, self.said)
                self.assertRegex(self.said, said)
                self.assertNotIn("Traceback", self.said)

    def test_a_revision_is_built_once(self):
        copy = self.folder / "repository"
        for path in ("bench/same_bits.sh", "bench/same_bits.py", "bench/same_bits_compare.py"):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy / path)
        build = copy / "cmake/build.sh"
        build.parent.mkdir()
        build.write_text(f'#!/bin/sh -e\necho "$@" >>{self.folder}/builds\ncd "$(dirname "$0")/.."\n'
                         f"mkdir -p build/ci/bin\nln -sf {BUILD}/bin/curate build/ci/bin/\n")
        build.chmod(0o755)
        git = ["git", "-C", str(copy), "-c", "user.name=a", "-c", "user.email=a@b"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
            subprocess.run([*git, *command], check=True)
        for _ in range(2):
            self.assertEqual(self.judge("HEAD", self.old, "--only", "adam, f16, cpu 1", root=copy), 0, self.said)
        self.assertEqual((self.folder / "builds").read_text(), "ci curate curate-emulated\n")
        build.write_text("#!/bin/sh\nexit 1\n")
        subprocess.run([*git, "commit", "-qam", "two"], check=True)
        self.assertEqual(self.judge("HEAD", self.old, root=copy), 2)
        self.assertIn("HEAD does not build", self.said)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    os.environ.pop("GIT_DIR", None)
    skips.main()
