#!/usr/bin/env python3
"""A command opens one device, and puts what it computes with there once.

usage: one_device_test.py PROGRAM    curate with the device "counted" (tests/counted)
"""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import skips

PROGRAM = None
RATING = 12  # bytes: user, item, rating
SAMPLES = 5  # test ratings that train shows beside their predictions
SMALL = 1024  # bytes: states and sums


def parameters(run):
    """Bytes of the model's own tensors: those for cold ids stay on the host."""
    with open(run / "model.safetensors", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()
               if name != "__metadata__" and not name.startswith("fallback."))


def warm(metrics):
    return metrics["ratings"] - metrics["cold_ratings"]


class OneDeviceTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.data = self.folder / "made"
        self.curate("data", "generate", "--users", 300, "--items", 200, "--ratings", 12000, "--out", self.data)

    def curate(self, *arguments):
        log = self.folder / "counted"
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False,
                              env={**os.environ, "CURATE_COUNTED": str(log)})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.uploaded = [int(line) for line in log.read_text().split()]
        return done

    def check_uploads(self, expected):
        self.assertEqual(len(self.uploaded), 1, "devices opened")
        self.assertGreaterEqual(self.uploaded[0], expected)
        self.assertLess(self.uploaded[0], expected + SMALL)

    def test_train_uploads_parameters_and_ratings_once(self):
        # In units of spread the model's parameters go there once more in the end, as those of ratings. 3 epochs may be no
        # better than the start, which then goes there, too.
        once = ["--no-refit", "--units", "raw"]
        ways = [once, [*once, "--optimizer", "adam"], [*once, "--model", "mlp"],
                [*once, "--model", "neumf", "--patience", 1], ["--validation", 0], ["--no-refit"], []]
        for way in ways:
            with self.subTest(way=way):
                run = self.folder / "run"
                self.curate("train", self.data, "--device", "counted", "--epochs", 3, "--out", run, "--overwrite", *way)
                metrics = json.loads((run / "metrics.json").read_text())
                self.assertEqual(metrics["device"], "counted")
                ratings = metrics["train"]["ratings"] + warm(metrics["test"]) + SAMPLES
                if metrics["validation"] is not None:
                    ratings += warm(metrics["validation"])
                times = 1 if "raw" in way else 2
                if metrics["best_epoch"] == 0:
                    times += 1  # the start, which is kept
                if metrics["refit"] is not None:
                    times *= 2
                    ratings += metrics["train"]["ratings"] - metrics["validation"]["ratings"]
                self.check_uploads(times * parameters(run) + RATING * ratings)

    def test_evaluate_and_predict_upload_once(self):
        run = self.folder / "run"
        self.curate("train", self.data, "--device", "counted", "--epochs", 1, "--out", run)
        test = json.loads((run / "metrics.json").read_text())["test"]
        self.curate("evaluate", run, "--device", "counted")
        self.check_uploads(parameters(run) + RATING * warm(test))
        users, items = ((run / name).read_text().splitlines()[1].split("\t")[0] for name in ("users.tsv", "items.tsv"))
        self.curate("predict", run, "--user", users, "--item", items, "--device", "counted")
        self.check_uploads(parameters(run) + RATING)

    def test_folds_read_the_file_and_open_the_device_once(self):
        ratings = next(self.data.glob("ratings.*"))
        single = self.folder / "ratings.csv"
        single.write_bytes(ratings.read_bytes())
        out = self.folder / "folds"
        log = self.folder / "counted"
        running = subprocess.Popen([PROGRAM, "train", str(single), "--folds", "4", "--device", "counted", "--epochs", "150",
                                    "--out", str(out), "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env={**os.environ, "CURATE_COUNTED": str(log)})
        # As soon as a fold is trained the file goes: the others have to do without it.
        deadline = time.monotonic() + 120
        while not (out / "fold-1/config.toml").exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        single.unlink()
        _, errors = running.communicate(timeout=240)
        self.assertEqual(running.returncode, 0, errors)
        self.assertTrue((out / "fold-4/config.toml").exists())
        self.assertEqual(len(log.read_text().split()), 1, "devices opened")


if __name__ == "__main__":
    PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
    skips.main()
