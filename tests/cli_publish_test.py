#!/usr/bin/env python3
"""Tests of commands that write the same folders at the same time, and of commands that are killed.

usage: cli_publish_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import fcntl
import random
import shutil
import signal
import subprocess
import time

import cli_case
import skips
from cli_case import CURATE, RUN_FILES, model_bytes, read_config, read_metrics, strict_json

HIDDEN = ".publishing"
REMEDY = r"\b(wait until|give another|run its command|or --overwrite)\b"
LONG = ("--epochs", 1000000, "--validation", 0)  # until it is killed


class PublishCase(cli_case.CliCase):
    def setUp(self):
        super().setUp()
        self.data = self.generate()

    def begin(self, *arguments):
        process = subprocess.Popen([CURATE, *map(str, arguments)], cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, encoding="utf-8")
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)

    def begin_training(self, *options, out):
        """A training that does not end, once it has claimed its folder."""
        process = self.begin("train", self.data, "--quiet", *LONG, *options)
        self.wait_for_claim(process, out)
        return process

    def wait_for_claim(self, process, out):
        lock = self.folder / out / HIDDEN / "lock"
        limit = time.monotonic() + 60
        while not (lock.exists() and lock.read_text(encoding="utf-8").startswith(f"process {process.pid} ")):
            self.assertIsNone(process.poll(), process.stderr)
            self.assertLess(time.monotonic(), limit, f"{lock} does not come")
            time.sleep(0.01)

    def refused(self, *arguments, naming):
        result = self.run_curate(*arguments)
        self.check_refusal(result.returncode, result.stdout, result.stderr, naming)

    def check_refusal(self, code, output, errors, naming):
        self.assertEqual(code, 2, errors)
        self.assertEqual(output, "")
        self.assertRegex(errors, r"\Acurate: [^\n]+\n\Z")
        self.assertRegex(errors, REMEDY)
        for text in naming:
            self.assertIn(text, errors)

    def check_run(self, run):
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)
        self.assertEqual(strict_json(self.curate("evaluate", run, "--json").stdout)["test"], read_metrics(run)["test"])


class Parallel(PublishCase):
    def test_default_names(self):
        """Catches: two trainings that take the same name, of which one is lost."""
        count = 5
        runs = set()
        for _ in range(4):
            trainings = [self.begin("train", self.data, "--epochs", 1, "--quiet", "--json", "--seed", seed)
                         for seed in range(count)]
            for seed, training in enumerate(trainings):
                output, errors = training.communicate(timeout=120)
                self.assertEqual(training.returncode, 0, errors)
                run = strict_json(output)["run"]
                self.assertNotIn(run, runs)
                runs.add(run)
                self.check_run(self.folder / run)
                self.assertEqual(read_config(self.folder / run)["seed"], seed)
        names = [f"data-mf{f'-{k}' if k > 1 else ''}" for k in range(1, 4 * count + 1)]
        self.assertEqual({path.name for path in (self.folder / "runs").iterdir()}, set(names))
        self.assertEqual(len(strict_json(self.curate("compare", "runs", "--json").stdout)["runs"]), 4 * count)

    def test_default_names_of_folds(self):
        trainings = [self.begin("train", self.data, "--epochs", 1, "--folds", 2, "--quiet") for _ in range(3)]
        for training in trainings:
            _, errors = training.communicate(timeout=120)
            self.assertEqual(training.returncode, 0, errors)
        for name in ("data-mf", "data-mf-2", "data-mf-3"):
            folder = self.folder / "runs" / name
            self.assertEqual({path.name for path in folder.iterdir()}, {"fold-1", "fold-2", "metrics.json"})
            for fold in (1, 2):
                self.check_run(folder / f"fold-{fold}")

    def test_one_folder(self):
        """Catches: two trainings that write the same folder, of which one is lost and both end with 0."""
        for options in ([], ["--overwrite"]):
            first = self.begin_training("--out", "run", *options, out="run")
            names = ["--out run", f"process {first.pid} on ", "wait until it has ended, or give another directory"]
            ways = ([], ["--overwrite"], ["--folds", 2], ["--folds", 2, "--overwrite"]) if not options else (options,)
            for more in ways:
                self.refused("train", self.data, "--epochs", 1, "--quiet", "--out", "run", *more, naming=names)
            self.end(first)
            run = self.train(self.data, "--epochs", 1, *options)
            self.check_run(run)

    def test_started_at_the_same_time(self):
        for _ in range(4):
            trainings = [self.begin("train", self.data, "--epochs", 3000, "--quiet", "--out", "run", "--overwrite")
                         for _ in range(4)]
            results = [(*training.communicate(timeout=120), training.returncode) for training in trainings]
            self.assertEqual(sorted(code for *_, code in results), [0, 2, 2, 2], results)
            for output, errors, code in results:
                if code != 0:
                    self.check_refusal(code, output, errors, ["--out run", "process "])
            self.check_run(self.folder / "run")

    def test_data_sets(self):
        lock = self.write(f"made/{HIDDEN}/lock", "process 1 on this machine, since today\n")
        with open(lock) as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.check_that_nobody_writes()
        self.curate("data", "convert", self.data, "--layout", "ml-csv", "--out", "made")
        self.assertEqual({path.name for path in (self.folder / "made").iterdir()}, {"movies.csv", "ratings.csv"})

    def check_that_nobody_writes(self):
        for command in (["convert", self.data, "--layout", "ml-csv"], ["split", self.data, "--split", "random:0.1"],
                        ["generate", "--like", "ml-1m", "--scale", 0.01], ["generate", "--ratings", 100]):
            with self.subTest(command):
                self.refused("data", *command, "--out", "made",
                             naming=["made: process 1 on this machine", "wait until it has"])

    def test_readers(self):
        """Catches: a run that is not there for a moment, or that is two in one, while another one replaces it."""
        run = self.train(self.data, "--epochs", 1, "--seed", 0, "--threads", 1)
        models = {0: model_bytes(run)}
        for seed in (1, 2):
            models[seed] = model_bytes(self.train(self.data, "--epochs", 1, "--seed", seed, "--threads", 1,
                                                  out=f"run{seed}"))
        ends = time.monotonic() + 3
        writing = None
        seeds = set()
        while time.monotonic() < ends:
            if writing is None or writing.poll() is not None:
                if writing is not None:
                    self.assertEqual(writing.returncode, 0, writing.communicate())
                seed = random.choice((1, 2))
                writing = self.begin("train", self.data, "--epochs", 1, "--seed", seed, "--threads", 1, "--quiet",
                                     "--out", "run", "--overwrite")
            (read,) = strict_json(self.curate("compare", run, "--json").stdout)["runs"]
            seeds.add(read["options"]["seed"])
            self.assertIn("test", strict_json(self.curate("evaluate", run, "--json").stdout))
        self.end(writing)
        self.assertGreaterEqual(len(seeds), 2)
        self.check_whole(run, models)

    def check_whole(self, run, models):
        self.curate("compare", run)  # goes on where a killed one stopped
        self.assertEqual(model_bytes(run), models[read_config(run)["seed"]])


class Killed(PublishCase):
    def test_a_run_is_replaced_or_stays(self):
        """Catches: a killed training that leaves neither the run that was there nor its own, or parts of both."""
        models = {}
        for seed in (1, 2):
            started = time.monotonic()
            run = self.train(self.data, "--epochs", 1, "--seed", seed, "--threads", 1, "--overwrite")
            seconds = time.monotonic() - started
            models[seed] = model_bytes(run)
        (run / "notes.txt").write_text("stays")
        chance = random.Random(5)
        kills = 0
        for round_ in range(60):
            training = self.begin("train", self.data, "--epochs", 1, "--seed", 1 + round_ % 2, "--threads", 1,
                                  "--quiet", "--out", "run", "--overwrite")
            time.sleep(chance.uniform(0.3, 1.1) * seconds)
            training.send_signal(signal.SIGKILL)
            training.communicate()
            kills += training.returncode != 0
            (read,) = strict_json(self.curate("compare", run, "--json").stdout)["runs"]
            self.assertEqual(model_bytes(run), models[read["options"]["seed"]])
            self.assertTrue(RUN_FILES | {"notes.txt"} <= {path.name for path in run.iterdir()})
        self.assertGreater(kills, 5)
        self.train(self.data, "--epochs", 1, "--overwrite")
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES | {"notes.txt"})
        self.assertEqual((run / "notes.txt").read_text(), "stays")

    def test_a_default_name_is_used_again(self):
        """Catches: folders of killed trainings that add up, that pass for runs, or that commands stumble over."""
        whole = self.train(self.data, "--epochs", 1, out="runs/whole")
        training = self.begin_training(out="runs/data-mf")
        at_work = ["runs/data-mf: process ", "is still at work there; wait until it has ended"]
        for command in (["evaluate"], ["compare"], ["predict", "--user", 1, "--item", 1]):
            self.refused(command[0], "runs/data-mf", *command[1:], naming=at_work)
        training.send_signal(signal.SIGKILL)
        training.communicate()
        ended = [f"runs/data-mf: process {training.pid} on ",
                 "ended before the files there were whole; run its command"]
        for command in (["evaluate"], ["compare"], ["predict", "--user", 1, "--item", 1]):
            self.refused(command[0], "runs/data-mf", *command[1:], naming=ended)
        (read,) = strict_json(self.curate("compare", "runs", "--json").stdout)["runs"]
        self.assertEqual(read["run"], "runs/whole")
        self.curate("train", self.data, "--epochs", 1, "--quiet")
        self.assertEqual({path.name for path in (self.folder / "runs").iterdir()}, {"whole", "data-mf"})
        for run in (whole, self.folder / "runs" / "data-mf"):
            self.check_run(run)

    def test_an_interrupted_training_leaves_a_run_alone(self):
        run = self.train(self.data, "--epochs", 1)
        before = model_bytes(run)
        training = self.begin_training("--out", "run", "--overwrite", out="run")
        training.send_signal(signal.SIGINT)
        training.communicate(timeout=60)
        self.assertEqual(model_bytes(run), before)
        self.curate("evaluate", run)
        self.refused("train", self.data, "--quiet", "--out", "run",
                     naming=["--out run: holds a run already", "--overwrite"])
        self.train(self.data, "--epochs", 1, "--overwrite")
        self.check_run(run)

    def test_a_set_that_was_half_in_place(self):
        """The state of a replacement that was killed between two files, as any command that reads finds it."""
        new = self.train(self.data, "--epochs", 1, "--seed", 2, out="new")
        expected = model_bytes(new)
        config = read_config(new)
        commands = (["evaluate", "run"], ["compare", "run"], ["compare", "."],
                    ["predict", "run", "--user", 1, "--item", 1])
        for command in commands:
            with self.subTest(command):
                run = self.train(self.data, "--epochs", 1, "--seed", 1, "--overwrite")
                hidden = run / HIDDEN
                (hidden / "old").mkdir(parents=True)
                shutil.copytree(new, hidden / "new")
                names = sorted(path.name for path in run.iterdir() if path.is_file())
                (hidden / "set").write_text("".join(f"{which} {name}\n" for which in ("old", "new") for name in names))
                for name in names:
                    (run / name).rename(hidden / "old" / name)
                for name in names[:3]:
                    (hidden / "new" / name).rename(run / name)
                self.curate(*command)
                self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)
                self.assertEqual(model_bytes(run), expected)
                self.assertEqual(read_config(run), config)

    def test_data_that_were_half_in_place(self):
        data = self.generate("other", seed=2)
        hidden = data / HIDDEN
        (hidden / "old").mkdir(parents=True)
        (hidden / "new").mkdir()
        (hidden / "set").write_text("old movies.csv\nold ratings.csv\nnew movies.csv\nnew ratings.csv\n")
        (data / "ratings.csv").rename(hidden / "old" / "ratings.csv")
        (data / "movies.csv").rename(hidden / "new" / "movies.csv")
        shutil.copy(self.data / "ratings.csv", hidden / "new" / "ratings.csv")
        shutil.copy(data / HIDDEN / "new" / "movies.csv", data / "movies.csv")
        read = strict_json(self.curate("data", "inspect", "other", "--json").stdout)
        self.assertEqual(read["ratings"], 1500)
        self.assertEqual((data / "ratings.csv").read_bytes(), (self.data / "ratings.csv").read_bytes())
        self.assertEqual({path.name for path in data.iterdir()}, {"ratings.csv", "movies.csv"})


if __name__ == "__main__":
    skips.main()
