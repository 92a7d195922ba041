#!/usr/bin/env python3
"""Tests of how the command line prints when all goes well, and of `curate options`.

usage: cli_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import re
from pathlib import Path

import skips
from cli_case import METRICS, CliCase, read_config, read_metrics, read_titles, strict_json


class OutputTest(CliCase):
    def test_results_and_talk_are_kept_apart(self):
        result = self.curate("train", self.generate(), "--epochs", 3, "--out", "run")
        self.assertRegex(result.stdout, r"(?m)^test +\d\.\d+")
        self.assertIn("run written to run", result.stdout)
        for talk in ("1,500 ratings", "epoch", "learning rate", "Trained in"):
            self.assertIn(talk, result.stderr)
            self.assertNotIn(talk, result.stdout)
        self.assertNotIn("\x1b", result.stderr, "control sequences where no terminal is")
        self.assertNotIn("\r", result.stderr, "a live line where no terminal is")

    def test_the_table_and_the_metrics_agree(self):
        result = self.curate("train", self.generate(), "--epochs", 3, "--out", "run")
        metrics = read_metrics(self.folder / "run")
        for part in ("train", "validation", "test"):
            shown = re.search(rf"(?m)^{part} +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d,]+) +(\d+)$", result.stdout)
            self.assertIsNotNone(shown, result.stdout)
            for text, key in zip(shown.groups(), METRICS):
                self.assertAlmostEqual(float(text.replace(",", "")), metrics[part][key], delta=6e-6)

    def test_quiet(self):
        self.assertEqual(self.curate("train", self.generate(), "--epochs", 1, "--quiet", "--out", "run").stderr, "")

    def test_train_json(self):
        result = self.curate("train", self.generate(), "--epochs", 2, "--json", "--out", "run")
        printed = strict_json(result.stdout)
        self.assertEqual(printed.pop("run"), "run")
        self.assertEqual(printed, read_metrics(self.folder / "run"))

    def test_evaluate(self):
        run = self.train(self.generate(), "--epochs", 2)
        result = self.curate("evaluate", run)
        self.assertEqual(result.stderr, "")
        self.assertIn(f"{read_metrics(run)['test']['rmse']:.5f}", result.stdout)
        printed = strict_json(self.curate("evaluate", run, "--json").stdout)
        self.assertEqual(set(printed), {"run", "data", "test"})

    def test_samples_have_titles(self):
        data = self.generate()
        talk = self.curate("train", data, "--epochs", 1, "--out", "run").stderr
        titles = set(read_titles(data).values())
        shown = re.findall(r"user \S+ +rated \d\.\d, predicted \d\.\d\d +(\S.*)", talk)
        self.assertEqual(len(shown), 5)
        self.assertTrue(set(shown) <= titles, shown)

    def test_doctor(self):
        result = self.curate("doctor")
        for line in ("curate", "CPU", "memory", "cuBLASLt ", "--device cpu    works", "--device cuda", "--device auto"):
            self.assertIn(line, result.stdout)
        printed = strict_json(self.curate("doctor", "--json").stdout)
        self.assertGreaterEqual(printed["cores"], 1)
        self.assertGreater(printed["memory_bytes"], 0)
        self.assertIn(f"cuBLASLt        {printed['cublaslt']}\n", result.stdout)
        self.assertEqual(printed["cuda"], printed["why_no_cuda"] == "")

    def test_version(self):
        self.assertRegex(self.curate("--version").stdout, r"^(curate )?\d+\.\d+\.\d+\n$")

    def test_help(self):
        flags = {("train",): "--optimizer", ("evaluate",): "--data", ("predict",): "--pairs", ("data",): "generate",
                 ("data", "inspect"): "--json", ("data", "generate"): "--ratings", ("doctor",): "--json", (): "train"}
        for command, flag in flags.items():
            with self.subTest(command):
                self.assertIn(flag, self.curate(*command, "--help").stdout)

    def test_help_of_train_names_every_option_of_the_config(self):
        text = self.curate("train", "--help").stdout
        config = read_config(self.train(self.generate(), "--epochs", 1))
        missing = [key for key in config if key not in ("data", "fold") and f"--{key.replace('_', '-')}" not in text]
        self.assertEqual(missing, [])


class OptionsTest(CliCase):
    """`curate options` is the table that the command line, config.toml and host/cli/README.md are made of."""

    def test_json_has_every_option_of_the_config(self):
        table = strict_json(self.curate("options", "--json").stdout)
        config = read_config(self.train(self.generate(), "--epochs", 1))
        known = [option["key"] for option in table]
        self.assertEqual([key for key in config if key in known], [key for key in known if key in config])
        self.assertEqual(set(config) - set(known),
                         {"data", "test", "split", "folds", "fold", "rating_range", "text_ids"} & set(config))
        lr = next(option for option in table if option["key"] == "lr")
        self.assertEqual(lr, {"key": "lr", "flag": "--lr", "type": "number", "choices": [],
                              "takes": "1e-12 to 1000000", "least": 1e-12, "most": 1e6, "unit": "",
                              "default": "by optimizer and batch", "sentence": "learning rate", "examples": ["0.02"]})

    def test_text_is_for_reading(self):
        text = self.curate("options").stdout
        self.assertIn("--user-dim\n  networks: columns of the embedding of users\n  takes    1 to 1024 (whole number, "
                      "columns)\n  default  --dim\n  example  --user-dim 16\n", text)
        self.assertIn("  example  --no-biases\n", text)
        self.assertNotIn("`", text)

    def test_one_alone(self):
        for name in ("rate-decay", "rate_decay"):
            text = self.curate("options", name).stdout
            self.assertTrue(text.startswith("--rate-decay\n"), text)
            self.assertEqual(text.count("takes"), 1)
        self.assertEqual([option["key"] for option in strict_json(self.curate("options", "lr", "--json").stdout)], ["lr"])
        refused = self.run_curate("options", "learning-rate")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("no option is called learning_rate; `curate options` lists them", refused.stderr)

    def test_help_of_train_says_the_same(self):
        text = " ".join(self.curate("train", "--help").stdout.split())
        for option in strict_json(self.curate("options", "--json").stdout):
            with self.subTest(option["key"]):
                self.assertIn(" ".join(option["sentence"].split()), text)
                self.assertIn(f"default: {option['default']})", text)

    def test_the_document_is_as_the_program_makes_it(self):
        document = Path(__file__).resolve().parent.parent / "host" / "cli" / "README.md"
        self.assertEqual(document.read_text(encoding="utf-8"), self.curate("options", "--markdown").stdout,
                         "make it anew: curate options --markdown > host/cli/README.md")

    def test_one_form_at_a_time(self):
        self.assertEqual(self.run_curate("options", "--json", "--markdown").returncode, 2)


if __name__ == "__main__":
    skips.main()
