#!/usr/bin/env python3
"""Bad input gives exit code 2, one line that names file, line and remedy, and leaves nothing behind.

usage: cli_bad_input_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""

import json
import math
import os
import pathlib
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
import unittest

import skips

CURATE = os.path.abspath(os.environ.get("CURATE_BINARY", "curate"))

GOOD = "".join(f"{u},{i},{(u * 7 + i * 3) % 5 + 1}\n" for u in range(1, 21) for i in range(1, 11))

# What a message tells the reader to do, or what would be right.
REMEDY = re.compile(r"\b(give|write|use|name|check|correct|remove|complete|close|add|unpack|download|train|lower|must be"
                    r"|not one of|there is|lists them|takes|goes without|exclude)\b")


class BadInput(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def write(self, content, name="ratings.csv"):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def files(self):
        """Every file with its bytes, and every folder."""
        return {p: p.read_bytes() if p.is_file() else None for p in self.folder.rglob("*")}

    def curate(self, *arguments):
        return subprocess.run([CURATE, *map(str, arguments)], capture_output=True, text=True, cwd=self.folder,
                              timeout=120, errors="replace")

    def refused(self, *arguments, naming=(), code=2, lines=1):
        before = self.files()
        result = self.curate(*arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        errors = result.stderr.splitlines()
        self.assertGreaterEqual(len(errors), 1)
        self.assertLessEqual(len(errors), lines, result.stderr)
        if lines == 1:
            self.assertTrue(errors[0].startswith("curate: "), errors[0])
            self.assertRegex(errors[0], REMEDY)
        for name in naming:
            self.assertIn(str(name), result.stderr)
        self.assertEqual(self.files(), before, "something was left behind or changed")
        return result.stderr

    def train_refused(self, content, *naming):
        path = self.write(content)
        return self.refused("train", path, "--quiet", "--out", "new/run", naming=[f"{path}", *naming])

    def good_run(self, *options):
        data = self.write(GOOD, "good.csv")
        run = self.folder / "run"
        result = self.curate("train", data, "--dim", 2, "--epochs", 2, "--quiet", "--out", run, *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return run


class Ratings(BadInput):
    def test_missing_file(self):
        self.refused("train", "nowhere.csv", "--out", "run", naming=["nowhere.csv"])

    def test_empty_file(self):
        self.train_refused("")

    def test_header_only(self):
        self.train_refused("userId,movieId,rating,timestamp\n")

    def test_letter_in_a_rating(self):
        self.train_refused("1,1,4\n1,2,x\n", ":2:")

    def test_not_finite(self):
        for text in ("nan", "NaN", "inf", "-inf", "1e999"):
            with self.subTest(text):
                self.train_refused(f"1,1,4\n1,2,3\n1,3,{text}\n", ":3:")

    def test_rating_outside_the_stated_range(self):
        path = self.write("1,1,4\n1,2,6\n")
        self.refused("train", path, "--rating-range", "1:5", "--out", "run", naming=[f"{path}:2:", "6"])

    def test_id_over_64_bits(self):
        self.train_refused("1,1,4\n99999999999999999999,2,3\n", ":2:")

    def test_truncated_last_line(self):
        self.train_refused("1,1,4\n1,2,3\n1,3", ":3:")

    def test_mixed_separators(self):
        self.train_refused("1,1,4\n1\t2\t3\n", ":2:")

    def test_random_bytes(self):
        for seed in range(20):
            with self.subTest(seed):
                self.train_refused(random.Random(seed).randbytes(300))

    def test_fields_that_are_missing(self):
        self.train_refused("1,1,4\n1,2,\n", ":2:")
        self.train_refused("1,1,4\n,2,3\n", ":2:")
        self.train_refused("1,1,4\n1,2\n1,3,3\n", ":2:")
        self.train_refused("1,1\n1,2\n", ":1:")

    def test_header_without_a_rating_column(self):
        self.train_refused("userId,movieId,opinion\n1,2,3\n", ":1:", "rating")

    def test_archives(self):
        self.train_refused(b"PK\x03\x04" + bytes(100), "zip")
        self.train_refused(b"\x1f\x8b\x08" + bytes(100), "gzip")

    def test_line_number_far_down(self):
        before = "userId,movieId,rating\n" + 300 * GOOD + "\n"
        line = before.count("\n") + 1
        self.train_refused(before + "1,11,oops\n" + GOOD, f":{line}:")

    def test_rating_outside_the_scale_of_movielens(self):
        (self.folder / "ml").mkdir()
        ratings = self.write("userId,movieId,rating,timestamp\n1,1,4,1\n1,2,5.5,2\n", "ml/ratings.csv")
        self.refused("train", "ml", "--out", "run", naming=[f"{ratings}:3:", "5.5"])

    def test_damaged_movies_file(self):
        (self.folder / "ml").mkdir()
        self.write("userId,movieId,rating,timestamp\n" + GOOD.replace("\n", ",7\n"), "ml/ratings.csv")
        movies = self.write("movieId,title,genres\n1,Good,Drama\nx,Bad,Drama\n", "ml/movies.csv")
        self.refused("train", "ml", "--out", "run", naming=[f"{movies}:3:"])

    def test_bad_line_in_a_test_file(self):
        path, test = self.write(GOOD), self.write("1,1,4\n1,2,x\n", "test.csv")
        self.refused("train", path, "--test", test, "--out", "new/run", naming=[f"{test}:2:"])

    def test_inspect(self):
        path = self.write("1,1,4\n1,2,x\n")
        self.refused("data", "inspect", path, naming=[f"{path}:2:"])
        self.refused("data", "inspect", path, "--json", naming=[f"{path}:2:"])
        self.refused("data", "inspect", "nowhere", naming=["nowhere"])

    def test_inspect_of_damaged_side_files(self):
        for name, content, line in (("users.csv", "userId,age\n1,old\n", 2), ("tags.csv", "movieId,tag\nx,y\n", 2),
                                    ("genome-scores.csv", "movieId,tagId,relevance\n\n1,1,1\n1,1\n", 4),
                                    ("genome-tags.csv", "tagId,name\n", 1)):
            with self.subTest(name):
                folder = self.folder / name.split(".")[0]
                folder.mkdir()
                (folder / "ratings.csv").write_text(GOOD)
                if name == "genome-tags.csv":
                    (folder / "genome-scores.csv").write_text("movieId,tagId,relevance\n")
                (folder / name).write_text(content)
                self.refused("data", "inspect", folder, naming=[f"{folder / name}:{line}: "])

    def test_folder_without_ratings(self):
        (self.folder / "empty").mkdir()
        self.refused("train", "empty", "--out", "run", naming=["empty"])

    def test_missing_test_file(self):
        path = self.write(GOOD)
        self.refused("train", path, "--test", "none.csv", "--out", "run", naming=["none.csv"])

    def test_unseen_users_are_predicted_and_reported_apart(self):
        path = self.write(GOOD)
        test = self.write("1,1,4\n777,1,3\n1,888,2\n777,888,5\n", "test.csv")
        result = self.curate("train", path, "--test", test, "--quiet", "--json", "--out", "run")
        self.assertEqual(result.returncode, 0, result.stderr)
        metrics = json.loads(result.stdout)["test"]
        self.assertEqual((metrics["ratings"], metrics["cold_ratings"]), (4, 3))
        self.assertTrue(0.0 < metrics["cold_rmse"] < 4.0)

    def test_time_split_without_times(self):
        self.refused("train", self.write(GOOD), "--split", "time:0.1", "--out", "new/run", naming=["timestamps"])
        same = self.write(GOOD.replace("\n", ",5\n"), "same.csv")
        self.refused("train", same, "--split", "time:0.1", "--out", "new/run", naming=["timestamp"])

    def test_too_few_ratings(self):
        self.refused("train", self.write("1,1,4\n"), "--out", "new/run", naming=["two ratings"])
        self.refused("train", self.write("1,1,4\n1,2,3\n"), "--folds", 3, "--out", "new/run", naming=["folds"])


class Options(BadInput):
    def test_values(self):
        cases = [("--split", v) for v in ("half", "random", "random:0", "random:1", "random:x", "time:2", "user:0.1")]
        cases += [("--folds", 1), ("--folds", -2), ("--dim", 0), ("--dim", -3), ("--dim", 5000)]
        cases += [("--dim", "abc"), ("--dim", 99999999999), ("--epochs", 3000000000), ("--output", "tanh")]
        cases += [("--lr", 0), ("--lr", "nan"), ("--lr", -5), ("--reg", -2), ("--epochs", 0), ("--validation", 1.5)]
        cases += [("--optimizer", "als"), ("--device", "foo"), ("--precision", "f16"), ("--loss", "mae")]
        cases += [("--rating-range", v) for v in ("5", "5:1", "a:b", "1:nan")]
        cases += [("--preset", "foo"), ("--device", "cuda"), ("--model", "svd"), ("--init", "zeros")]
        cases += [("--schedule", "cosine"), ("--patience", -1), ("--threads", -1), ("--batch", -1), ("--reg", "inf")]
        cases += [("--lr", "inf"), ("--validation", -0.1), ("--validation", "nan"), ("--beta1", 1), ("--epsilon", 0)]
        # Of networks only: mf has none of them.
        cases += [("--layers", "8"), ("--user-dim", 4), ("--dropout", "0.1"), ("--dense-reg", 0.1), ("--batch", 0)]
        cases += [("--products", "tf32"), ("--sgd-kernel", "lanes=5"), ("--sgd-kernel", "lanes=8")]
        path = self.write(GOOD)
        for option, value in cases:
            with self.subTest(option=option, value=value):
                self.refused("train", path, option, value, "--out", "new/run", naming=[option])
        for option, value in (("--layers", "8,x"), ("--layers", "0"), ("--layers", ""), ("--activations", "swish"),
                              ("--activations", "relu,relu,relu"), ("--output", "softmax"), ("--dropout", "1"),
                              ("--dropout", "-0.1"), ("--dense-dropout", 2), ("--item-dim", 0), ("--lr", 0)):
            with self.subTest(option=option, value=value):
                self.refused("train", path, "--model", "mlp", option, value, "--out", "new/run", naming=[option])

    def test_usage(self):
        path = self.write(GOOD)
        for arguments in ([], ["train", path, "--no-such-flag"], ["data"],
                          ["nonsense"], ["train", path, "more"],
                          ["train", path, "--dim"], ["evaluate"], ["predict"], ["data", "generate"],
                          ["data", "inspect"], ["data", "nonsense"], ["doctor", "more"]):
            with self.subTest(arguments):
                self.assertIn("--help", self.refused(*arguments, lines=2))

    def test_numbers_mean_what_they_say(self):
        path = self.write(GOOD)
        self.refused("train", path, "--seed", -1, "--out", "run", lines=2)
        for option in ("--lr", "--reg"):
            with self.subTest(option):
                # -1 is the engine's own mark for "choose a value".
                self.refused("train", path, option, -1, "--out", "run", naming=[option])
        run = self.good_run()
        for user in (2**63, 2**64, -2**63 - 1):
            with self.subTest(user):
                self.refused("predict", run, "--user", user, "--item", 1, lines=2)
        self.refused("predict", run, "--user", "", "--item", 1, naming=["--user"])
        predicted = self.curate("predict", run, "--user", "010", "--item", 1).stdout
        self.assertIn("\n10,1,", predicted, "not the user of that number")
        for command in (["predict", run, "--user", 1, "--item", 1], ["evaluate", run]):
            with self.subTest(command):
                self.refused(*command, "--threads", -1, naming=["--threads"])

    def test_a_fold_that_is_not_there(self):
        path = self.write(GOOD)
        for fold in (7, -1):
            with self.subTest(fold):
                config = self.write(f"folds = 3\nfold = {fold}\n", "config.toml")
                self.refused("train", path, "--config", config, "--quiet", "--out", "run", naming=["fold"])

    def test_wrong_values_in_a_config_file_name_it(self):
        path = self.write(GOOD)
        for text in ("preset = 3\n", 'preset = "foo"\n', "dim = 0\n", 'split = "half"\n', 'device = "foo"\n'):
            with self.subTest(text):
                config = self.write(text, "config.toml")
                self.refused("train", path, "--config", config, "--out", "run", naming=[str(config)])

    def test_exclusive_options(self):
        path = self.write(GOOD)
        self.refused("train", path, "--test", path, "--split", "random:0.1", naming=["--test", "--split"])
        self.refused("train", path, "--test", path, "--folds", 3, naming=["--folds"])
        self.refused("train", naming=["DATA"])

    def test_config_file(self):
        path = self.write(GOOD)
        for text, line in (("dim = 8\nwidth = 2\n", 2), ("dim = = 3\n", 1), ('\ndim = "8"\n', 2),
                           ("biases = 3\n", 1)):
            with self.subTest(text):
                config = self.write(text, "config.toml")
                self.refused("train", path, "--config", config, "--out", "run", naming=[f"{config}:{line}:"])
        self.refused("train", path, "--config", "none.toml", naming=["none.toml"])

    def test_config_file_that_is_not_toml(self):
        path = self.write(GOOD)
        cases = {"dim = 3\ndim = 4\n": 2, "dim = 3.5\n": 1, "seed = -1\n": 1, "dim = 99999999999\n": 1,
                 "lr = true\n": 1, "\n\n[train]\ndim = 3\n": 3, "optimizer = sgd\n": 1, 'data = "half\n': 1}
        for text, line in cases.items():
            with self.subTest(text):
                config = self.write(text, "config.toml")
                self.refused("train", path, "--config", config, "--out", "run", naming=[f"{config}:{line}:"])
        for seed in range(5):
            config = self.write(random.Random(seed).randbytes(200), "config.toml")
            with self.subTest(seed):
                self.refused("train", path, "--config", config, "--out", "run", naming=[f"{config}:"])

    def test_a_device_that_is_not_there_says_why(self):
        message = self.refused("train", self.write(GOOD), "--device", "cuda", "--out", "new/run")
        reason = json.loads(self.curate("doctor", "--json").stdout)["why_no_cuda"]
        if not reason:
            self.skipTest("this machine has CUDA")
        self.assertIn(reason, message)

    def test_divergence_leaves_what_the_training_starts_from(self):
        path = self.write(GOOD)
        for out, options in (("new/run", []), ("new/folds", ["--folds", 2])):
            with self.subTest(options):
                done = self.curate("train", path, "--lr", 1000, "--quiet", "--out", out, *options)
                told = done.stderr.splitlines()
                self.assertEqual(len(told), 8 if options else 4, done.stderr)
                for line in told:
                    self.assertRegex(line, "^warning: training diverged in epoch 1 at learning rate ")
                for line, rate in zip(told, ("it starts over at 500", "it starts over at 250", "it starts over at 125",
                                             "it is given up. Try an --lr below 125, or a --reg above 0.04")):
                    self.assertTrue(line.endswith(rate), line)
        metrics = json.loads((self.folder / "new/folds/fold-1/metrics.json").read_text(encoding="utf-8"))
        self.assertEqual((metrics["best_epoch"], len(metrics["divergences"])), (0, 4))
        self.assertTrue(math.isfinite(metrics["test"]["rmse"]))
        self.curate("evaluate", "new/folds/fold-1")


class Output(BadInput):
    def test_unwritable_out(self):
        path = self.write(GOOD)
        self.write("x", "file")
        for out in ("file", "file/run", "/proc/curate-run"):
            with self.subTest(out):
                self.refused("train", path, "--quiet", "--out", out, naming=["--out", out])

    def test_an_old_run_is_kept(self):
        run = self.good_run()
        self.refused("train", self.folder / "good.csv", "--quiet", "--out", run, naming=["--overwrite"])

    def test_generate(self):
        for options in (["--users", 0], ["--items", -1], ["--ratings", 0], ["--rank", 0], ["--noise", -1],
                        ["--users", 3, "--items", 3, "--ratings", 10]):
            with self.subTest(options):
                self.refused("data", "generate", "--out", "made", *options)
        self.curate("data", "generate", "--out", "made", "--users", 20, "--items", 20, "--ratings", 100)
        self.refused("data", "generate", "--out", "made", naming=["made"])

    def test_generate_like(self):
        for options, naming in ((["--like", "ml-2m"], ["--like ml-2m", "ml-20m"]), (["--like", ""], ["ml-20m"]),
                                (["--like", "ml-1m", "--users", 5], ["--users", "--like", "--scale"]),
                                (["--like", "ml-1m", "--items", 5], ["--items", "--like"]),
                                (["--like", "ml-1m", "--ratings", 5], ["--ratings", "--like"]),
                                (["--like", "ml-1m", "--scale", 0], ["--scale 0", "0.01"]),
                                (["--like", "ml-1m", "--scale", 1.5], ["--scale 1.5"]),
                                (["--like", "ml-1m", "--scale", "nan"], ["--scale nan"]),
                                (["--like", "ml-1m", "--threads", -1], ["--threads -1"]),
                                (["--like", "ml-1m", "--rank", 0], ["rank 0"]),
                                (["--like", "ml-1m", "--noise", -1], ["noise -1"]),
                                (["--scale", 0.5], ["--scale", "--like"]), (["--threads", 2], ["--threads", "--like"]),
                                (["--overwrite"], ["--overwrite", "--like"])):
            with self.subTest(options):
                self.refused("data", "generate", "--out", "new/made", *options, naming=naming)

    def test_generate_like_keeps_what_was_there(self):
        self.curate("data", "generate", "--out", "made", "--like", "ml-1m", "--scale", 0.01)
        self.refused("data", "generate", "--out", "made", "--like", "ml-20m", naming=["--out made", "--overwrite"])
        (self.folder / "made" / "tags.csv").write_text("userId,movieId,tag\n")
        self.refused("data", "generate", "--out", "made", "--like", "ml-1m", "--scale", 0.01, "--overwrite",
                     naming=["tags.csv"])
        for out in ("made/users.dat", "made/users.dat/below", "/proc/curate-data"):
            with self.subTest(out):
                self.refused("data", "generate", "--out", out, "--like", "ml-1m", naming=[f"--out {out}"])

    def test_generate_into_what_is_no_folder(self):
        self.write("x", "file")
        for out in ("file", "file/made", "/proc/curate-data"):
            with self.subTest(out):
                self.refused("data", "generate", "--out", out, naming=[out])

    def test_convert(self):
        half = self.write("1,1,3.5\n1,2,4\n", "half.csv")
        good = self.write(GOOD, "good.csv")
        for layout in ("ml-1m", "ml-100k"):
            with self.subTest(layout):
                self.refused("data", "convert", half, "--out", "new/made", "--layout", layout,
                             naming=[half, "user 1 rated item 1 with 3.5", "no half stars", layout])
        ten = self.write("1,1,10\n", "ten.csv")
        self.refused("data", "convert", ten, "--out", "new/made", "--layout", "ml-csv", naming=[ten, "0.5 to 5"])
        self.refused("data", "convert", good, "--out", "new/made", "--layout", "ml-2m", naming=["--layout ml-2m", "tsv"])
        self.refused("data", "convert", "missing", "--out", "new/made", "--layout", "csv", naming=["missing"])
        self.refused("data", "convert", good, "--out", self.folder, "--layout", "tsv", "--overwrite",
                     naming=["the data to convert are there"])
        for out in ("good.csv", "good.csv/made", "/proc/curate-data"):
            with self.subTest(out):
                self.refused("data", "convert", half, "--out", out, "--layout", "csv", naming=[f"--out {out}"])

    def test_convert_keeps_what_was_there(self):
        good = self.write(GOOD, "good.csv")
        self.curate("data", "convert", good, "--out", "made", "--layout", "ml-100k")
        for layout in ("ml-100k", "csv"):
            self.refused("data", "convert", good, "--out", "made", "--layout", layout,
                         naming=["--out made", "u.data", "--overwrite"])
        self.write("1,1,3.5\n", "half.csv")
        self.refused("data", "convert", "half.csv", "--out", "made", "--layout", "ml-1m", "--overwrite",
                     naming=["half stars"])
        (self.folder / "made" / "tags.csv").write_text("userId,movieId,tag\n")
        self.refused("data", "convert", good, "--out", "made", "--layout", "csv", "--overwrite", naming=["tags.csv"])

    def test_split(self):
        good = self.write(GOOD, "good.csv")
        for split in ("random", "random:0", "random:1.5", "time:x", "folds:1", "folds:-2", "folds:x", "none", ""):
            with self.subTest(split):
                self.refused("data", "split", good, "--out", "new/parts", "--split", split, naming=["--split"])
        self.refused("data", "split", good, "--out", "new/parts", "--split", "folds:201", naming=["200 ratings"])
        self.refused("data", "split", good, "--out", "new/parts", "--split", "time:0.1", naming=["timestamps"])
        self.refused("data", "split", good, "--out", "good.csv", "--split", "random:0.1", naming=["--out good.csv"])
        self.curate("data", "split", good, "--out", "parts", "--split", "folds:2")
        self.refused("data", "split", good, "--out", "parts", "--split", "random:0.1", naming=["--overwrite"])
        self.refused("data", "split", "parts/fold1.train.csv", "--out", "parts", "--split", "random:0.1", "--overwrite",
                     naming=["fold1.train.csv"])

    def test_folds_keep_an_old_run(self):
        run = self.good_run()
        self.refused("train", self.folder / "good.csv", "--folds", 2, "--quiet", "--out", run, naming=["--overwrite"])

    def test_folds_keep_an_old_fold(self):
        (self.folder / "cross").mkdir()
        self.good_run().rename(self.folder / "cross" / "fold-2")
        self.refused("train", self.folder / "good.csv", "--folds", 2, "--quiet", "--out", "cross",
                     naming=["--overwrite"])

    def with_full_disk(self, *arguments):
        """No file may grow past 16 KiB; Python ignores the signal that would end the child."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
        return subprocess.run([CURATE, *map(str, arguments)], capture_output=True, text=True, cwd=self.folder,
                              timeout=120, preexec_fn=limit, restore_signals=False)

    def test_full_disk_leaves_nothing_half_written(self):
        path = self.write(GOOD)
        many = self.write("".join(f"{k // 100},{k % 100},{k % 5 + 1}\n" for k in range(5000)), "many.csv")
        for command in (["train", path, "--dim", 512, "--quiet"], ["data", "generate", "--ratings", 5000],
                        ["data", "generate", "--like", "ml-20m", "--scale", 0.05],
                        ["data", "convert", many, "--layout", "ml-1m"],
                        ["data", "split", many, "--split", "random:0.1"]):
            with self.subTest(command):
                before = self.files()
                result = self.with_full_disk(*command, "--out", "new/made")
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertRegex(result.stderr, r"^curate: \S+: cannot write: [^\n]*\n$")
                self.assertEqual(self.files(), before)

    def test_full_disk_never_mixes_two_runs(self):
        run = self.good_run()
        before = self.files()
        result = self.with_full_disk("train", self.folder / "good.csv", "--dim", 512, "--seed", 5, "--overwrite",
                                     "--quiet", "--out", run)
        self.assertEqual(result.returncode, 1, result.stderr)
        if (run / "config.toml").exists():
            self.assertEqual(self.files(), before)

    def test_results_that_cannot_be_printed(self):
        run = self.good_run()
        for command in (["predict", run, "--user", 1, "--item", 1], ["evaluate", run, "--json"],
                        ["data", "inspect", self.folder / "good.csv"], ["doctor"]):
            with self.subTest(command), open("/dev/full", "w") as full:
                result = subprocess.run([CURATE, *map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True,
                                        cwd=self.folder, timeout=120)
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, r"^curate: [^\n]+\n$")

    def test_names_that_are_no_text(self):
        """What the file system allows: bytes that are not UTF-8, and control characters."""
        for name in (b"b\xff", b"a\x7fb"):
            with self.subTest(name):
                data = os.path.join(os.fsencode(self.folder), name + b".csv")
                with open(data, "w") as file:
                    file.write(GOOD)
                inspect = ["data", "inspect", data, "--json"]
                train = ["train", data, "--quiet", "--json", "--out", name]
                commands = [inspect, train, ["evaluate", name, "--json"]]
                if name == b"b\xff":
                    # config.toml is UTF-8 and could not name the data.
                    refused = subprocess.run([CURATE, *train], capture_output=True, cwd=self.folder, timeout=120)
                    self.assertEqual(refused.returncode, 2, refused.stderr)
                    self.assertIn(b"rename", refused.stderr)
                    self.assertFalse(os.path.exists(os.path.join(os.fsencode(self.folder), name)))
                    commands = [inspect]
                for command in commands:
                    result = subprocess.run([CURATE, *command], capture_output=True, cwd=self.folder, timeout=120)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    json.loads(result.stdout)


class Features(BadInput):
    """--features and what belongs to it."""

    def setUp(self):
        super().setUp()
        self.write("userId,movieId,rating\n" + GOOD, "ratings.csv")
        self.write("movieId,title,genres\n1,A (1990),War\n2,B,Drama|War\n", "movies.csv")

    def train(self, *options, naming=(), **more):
        return self.refused("train", "ratings.csv", *options, "--quiet", "--out", "new/run", naming=naming, **more)

    def test_options(self):
        mlp = ("--model", "mlp")
        for options in (("--feature-dim", 8, *mlp), ("--feature-dropout", 0.1, *mlp), ("--feature-reg", 0.1),
                        ("--feature-reg", 0.1, *mlp), ("--factors", 4), ("--factors", 4, *mlp),
                        ("--factors", 0, "--model", "neumf"), ("--factors", 1025, "--model", "neumf"),
                        ("--output", "relu", "--model", "neumf"), ("--output", "sigmoid", "--model", "neumf"),
                        ("--features", ""), ("--layers", "0", "--model", "neumf"), ("--warmup", 1),
                        ("--warmup", -1, *mlp), ("--warmup", "nan", *mlp), ("--warmup", 26, *mlp), ("--damping", 0.1),
                        ("--damping", -1, *mlp), ("--damping", 0.1, "--optimizer", "adam"), ("--beta2", 1, *mlp)):
            with self.subTest(options):
                self.train(*options, naming=[options[0]])
        for options in (("--feature-dim", 8), ("--feature-dropout", 0.1), ("--batch", 1), ("--feature-reg", -1),
                        ("--feature-reg", "nan"), ("--rate-decay", 0.1), ("--rate-decay", 0.1, "--optimizer", "sgd"),
                        ("--batch", 1, "--optimizer", "sgd"), ("--feature-dim", 0, *mlp), ("--feature-dim", 1025, *mlp),
                        ("--feature-dim", "1.5", *mlp), ("--feature-dim", "genres", *mlp), ("--feature-dim", "=3", *mlp),
                        ("--feature-dim", "genres=", *mlp), ("--feature-dim", "genres=2,", *mlp),
                        ("--feature-dim", "year=4", *mlp), ("--feature-dropout", 1, *mlp),
                        ("--feature-dropout", -0.5, *mlp)):
            with self.subTest(options):
                self.train("--features", "genres", *options, naming=[options[0]])

    def test_names(self):
        message = self.train("--features", "gender", naming=["--features gender", "genres, year"])
        self.assertNotIn("tags", message)
        self.write("userId,movieId,tag,timestamp\n1,1,funny,1\n", "tags.csv")
        self.train("--features", "gender", naming=["genres, year, tags"])
        for features in ("genres,", ",genres", "genres,,year", " ", "genres,genres", "genres, genres", "sex", "title",
                         ":genres", "movies.csv:", "none.csv:x", "a\x1b[2Jb", "movies.csv:a\tb", ".:x"):
            with self.subTest(features):
                self.assertNotIn("\x1b", self.train("--features", features))

    def test_data_without_anything_else(self):
        (self.folder / "movies.csv").unlink()
        self.train("--features", "genres", naming=["--features genres", "FILE:COLUMN"])

    def test_files(self):
        for content, line, word in (("itemId,x\n1,a\n1,b\n", 3, "line 2"), ("itemId,x\n1,\"a\n", 2, "quoted"),
                                    ("itemId,x\n1,a,b\n", 2, "3 fields"), ("itemId,y\n1,a\n", 1, "no column x"),
                                    ("name,x\n1,a\n", 1, "userId"), ("", 1, "empty"), (b"\x00\x01", 1, "not text"),
                                    (b"\x1f\x8b\x08", 1, "gzip")):
            with self.subTest(content):
                table = self.write(content, "table.csv")
                self.train("--features", f"{table}:x", naming=[f"{table}:{line}: ", word])
        table = self.write("itemId,x\n1,3\n2,three\n", "table.csv")
        self.train("--features", f"{table}:x:number", naming=[f"{table}:3: ", "three"])
        table = self.write("itemId,x\n777,3\n", "table.csv")
        self.train("--features", f"{table}:x", naming=[table, "x has no value"])
        self.train("--features", f"{table}:itemId", naming=[table, "column of ids"])

    def test_paths_that_config_files_cannot_hold(self):
        (self.folder / "a,b").mkdir()
        self.write("itemId,x\n1,3\n", "a,b/table.csv")
        message = subprocess.run([CURATE, "train", "../ratings.csv", "--features", "table.csv:x"], capture_output=True,
                                 text=True, cwd=self.folder / "a,b", timeout=120)
        self.assertEqual(message.returncode, 2, message.stderr)
        self.assertRegex(message.stderr, "comma, which separates features; use")
        self.train("--features", b"\xff.csv:x".decode("utf-8", "surrogateescape"), naming=["UTF-8"])

    def test_damaged_features_json(self):
        data = self.write("userId,movieId,rating\n" + GOOD, "ratings.csv")
        result = self.curate("train", data, "--features", "genres", "--dim", 2, "--epochs", 1, "--quiet", "--out", "run")
        self.assertEqual(result.returncode, 0, result.stderr)
        path = self.folder / "run" / "features.json"
        sound = json.loads(path.read_text())

        def changed(**values):
            return json.dumps({"features": [{**sound["features"][0], **values}]})

        texts = ["", "{", "[]", "{}", "null", '{"features": null}', '{"features": []}', '{"features": [1]}',
                 json.dumps(sound)[:-9], json.dumps({"features": 2 * sound["features"]}), changed(name="year"),
                 changed(name=""), changed(name="a\x1b"), changed(of="user"), changed(of=3), changed(kind="vector"),
                 changed(values=["(unknown)"]), changed(values=[1, 2, 3]), changed(starts=[0, 1]), changed(starts=[]),
                 changed(ids=[]), changed(ids=[0.5] * 11), changed(ids=[7] * 11), changed(ids="1")]
        for text in texts:
            path.write_text(text)
            with self.subTest(text[:80]):
                message = self.refused("predict", "run", "--user", 1, "--item", 1)
                self.assertRegex(message, "features.json|model.safetensors")
                self.refused("evaluate", "run")
        path.unlink()
        self.refused("predict", "run", "--user", 1, "--item", 1, naming=["features.json"])


class Runs(BadInput):
    def test_no_run(self):
        (self.folder / "empty").mkdir()
        self.refused("evaluate", "empty", naming=["empty"])
        self.refused("predict", "empty", "--user", 1, "--item", 1, naming=["empty"])

    def test_predict_usage(self):
        run = self.good_run()
        self.refused("predict", run, naming=["--user", "--pairs"])
        self.refused("predict", run, "--user", 1, naming=["--item"])
        self.refused("predict", run, "--user", "x", "--item", 1, lines=2)
        self.refused("predict", run, "--user", 1, "--item", 1, "--device", "foo", naming=["--device"])
        pairs = self.write("1,1\n1,x\n", "pairs.csv")
        self.refused("predict", run, "--pairs", pairs, naming=[f"{pairs}:2:"])
        self.refused("predict", run, "--pairs", pairs, "--user", 1, "--item", 1, naming=["--pairs"])
        self.refused("predict", run, "--pairs", "none.csv", naming=["none.csv"])
        self.refused("predict", run, "--pairs", self.write("", "empty.csv"), naming=["empty.csv"])

    def test_evaluate_usage(self):
        run = self.good_run()
        self.refused("evaluate", run, "--data", "none.csv", naming=["none.csv"])
        self.refused("evaluate", run, "--device", "cuda", naming=["--device"])
        data = self.write("1,1,4\n1,2,9\n", "more.csv")
        self.refused("evaluate", run, "--data", data, "--rating-range", "1:5", naming=[f"{data}:2:"])

    def test_training_data_that_went_away(self):
        run = self.good_run()
        (self.folder / "good.csv").unlink()
        self.refused("evaluate", run, naming=["good.csv"])

    def test_no_test_part(self):
        run = self.good_run("--split", "none")
        self.refused("evaluate", run, naming=["--data"])

    def test_damaged_model(self):
        run = self.good_run()
        model = run / "model.safetensors"
        whole = model.read_bytes()
        length = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + length])

        def with_header(changed):
            text = json.dumps(changed).encode()
            return struct.pack("<Q", len(text)) + text + whole[8 + length:]

        wrong_shape = {**header, "user.bias": {**header["user.bias"], "shape": [2**60, 2**60]}}
        no_metadata = {k: v for k, v in header.items() if k != "__metadata__"}
        no_tensor = {k: v for k, v in header.items() if k != "item.bias"}
        for damaged in (b"", whole[:5], whole[:-4], struct.pack("<Q", 2**63) + whole[8:],
                        whole[:8] + random.Random(1).randbytes(length) + whole[8 + length:], with_header(wrong_shape),
                        with_header(no_metadata), with_header(no_tensor)):
            model.write_bytes(damaged)
            with self.subTest(damaged[:80]):
                self.refused("predict", run, "--user", 1, "--item", 1)

    def damage(self, run, change):
        """Applies `change` to the header of the model file, a dictionary, and to its values, bytes."""
        model = run / "model.safetensors"
        whole = model.read_bytes()
        (length,) = struct.unpack("<Q", whole[:8])
        header = json.loads(whole[8:8 + length])
        values = change(header) or whole[8 + length:]
        text = json.dumps(header).encode()
        model.write_bytes(struct.pack("<Q", len(text)) + text + values)

    def test_models_that_do_not_add_up(self):
        def without(name):
            return lambda header: header.pop(name) and None

        def metadata(key, value):
            return lambda header: header["__metadata__"].update({key: value})

        def shape(name, value):
            return lambda header: header[name].update(shape=value)

        def no_factors(header):
            for name, rows in (("user.embedding", 20), ("item.embedding", 10)):
                header[name].update(shape=[rows, 0], data_offsets=[0, 0])

        changes = {f"without {name}": without(name)
                   for name in ("user.bias", "item.bias", "global_mean", "user.embedding", "fallback.mean",
                                "fallback.item")}
        changes |= {f"{key} is {value!r}": metadata(key, value)
                    for key, value in (("clip", ""), ("model", ""), ("model", "a\nb"), ("format", "a\nb"),
                                       ("rating_min", "9"), ("rating_min", "1x"))}
        changes |= {"three dimensions": shape("user.embedding", [20, 2, 1]),
                    "other rows": shape("user.embedding", [10, 4]), "fractional": shape("user.bias", [20.5]),
                    "no factors": no_factors,
                    "not finite": lambda header: struct.pack("<f", float("nan")) * (20 * 2 + 10 * 2 + 200)}
        run = self.good_run()
        sound = (run / "model.safetensors").read_bytes()
        for name, change in changes.items():
            with self.subTest(name):
                (run / "model.safetensors").write_bytes(sound)
                self.damage(run, change)
                self.refused("predict", run, "--user", 1, "--item", 1, naming=["model.safetensors"])
                self.refused("evaluate", run, naming=["model.safetensors"])

    def test_damaged_tables(self):
        run = self.good_run()
        for name in ("users.tsv", "items.tsv"):
            sound = (run / name).read_text()
            lines = sound.splitlines(keepends=True)
            count = lines[1].rstrip("\n").rpartition("\t")
            negative = [lines[0], f"{count[0]}\t-3\n", *lines[2:]]
            cases = {"empty": "", "header only": lines[0], "cut": "".join(lines[:-2]),
                     "cut within a number": sound[:-2], "no header": "".join(lines[1:]),
                     "negative": "".join(negative)}
            for case, text in cases.items():
                with self.subTest(f"{name} {case}"):
                    (run / name).write_text(text)
                    self.refused("evaluate", run, naming=[name])
            with self.subTest(f"{name} gone"):
                (run / name).unlink()
                self.refused("evaluate", run, naming=[name])
            (run / name).write_text(sound)

    def test_damaged_config(self):
        run = self.good_run()
        config = run / "config.toml"
        sound = config.read_text()
        cases = ("", sound.replace("random:0.1", "half"), sound.replace("fold = 0", "fold = 7"),
                 sound.replace("folds = 0", "folds = 3").replace("\nfold = 0", "\nfold = 7"))
        for text in cases:
            self.assertNotEqual(text, sound)
            with self.subTest(text[-80:]):
                config.write_text(text)
                self.refused("evaluate", run, naming=[str(config)])
        # By their keys: `evaluate` has no such flags.
        for key, was, broken in (("split", "random:0.1", "half"), ("rating_range", 'rating_range = ""',
                                                                   'rating_range = "9:3"')):
            config.write_text(sound.replace(was, broken))
            said = self.refused("evaluate", run, naming=[f"{config}: {key} "])
            self.assertNotIn("--", said)
        config.unlink()
        self.refused("evaluate", run, naming=["config.toml"])

    def test_seeds_past_63_bits_are_readable_again(self):
        run = self.good_run("--seed", 2**64 - 1)
        self.assertEqual(self.curate("evaluate", run).returncode, 0)

    def test_damaged_items(self):
        run = self.good_run()
        items = run / "items.tsv"
        lines = items.read_text().splitlines()
        lines[3] = lines[3].replace("\t", " ")
        items.write_text("\n".join(lines) + "\n")
        self.refused("evaluate", run, naming=[f"{items}:4:"])


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        CURATE = os.path.abspath(sys.argv.pop(1))
    skips.main()
