#!/usr/bin/env python3
"""Tests of `curate train --features` and of its models when all goes well.

usage: cli_features_test.py [CURATE] [unittest arguments]     CURATE: the binary (default: $CURATE_BINARY)
"""
import csv
import io
import subprocess

import skips
from cli_case import (CURATE, RUN_FILES, CliCase, Rating, Reference, model_bytes, read_config, read_history,
                      read_metrics, read_safetensors, strict_json)


class FeaturesTest(CliCase):
    """Twelve films, the last two without training ratings: 12 has genres, 11 nothing."""
    MODELS = (["--model", "mf"], ["--model", "mlp", "--layers", "8"], ["--model", "neumf", "--layers", "8"])
    OWN = "genres,year,age,sex,occupation"
    USERS, FILMS = range(1, 41), range(1, 13)

    def setUp(self):
        super().setUp()
        self.data = self.folder / "films"
        genres = {item: "|".join(sorted({"War" if item % 2 else "Comedy", "Drama" if item % 3 else "Musical"}))
                  for item in self.FILMS}
        genres[11] = ""
        self.write("films/movies.csv", "movieId,title,genres\n" + "".join(
            f"{item},Film {item}{f' ({1980 + item})' if item != 11 else ''},{genres[item]}\n" for item in self.FILMS))
        self.write("films/users.csv", "userId,age,gender,occupation\n" + "".join(
            f"{user},{15 + user},{'FM'[user % 2]},{('artist', 'doctor', '')[user % 3]}\n" for user in self.USERS[:-1]))
        # Comedies are liked.
        ratings = [Rating(user, item, 2 + 2 * (1 - item % 2) + (user // 2 + item) % 2, 1000 + user + item)
                   for user in self.USERS for item in self.FILMS[:10]]
        self.write("films/ratings.csv", "userId,movieId,rating,timestamp\n" +
                   "".join(f"{r.user},{r.item},{r.rating},{r.time}\n" for r in ratings))
        cold = [Rating(user, item, 4.5 if item == 12 else 3.5, 2000) for user in self.USERS for item in (11, 12)]
        self.test = self.write_ratings("test.csv", ratings[::7] + cold)
        self.table = self.write("tables/table.csv", 'itemId,"the studio",length\n' + "".join(
            f"{item},{'AB'[item % 2]},{60 + item}\n" for item in self.FILMS if item != 11))

    def train_with(self, features, *options, epochs=3, out="run"):
        return self.train(self.data, "--test", self.test, "--features", features, "--epochs", epochs, "--batch", 32,
                          "--dim", 4, *options, out=out)

    def evaluated(self, run, *options):
        return strict_json(self.curate("evaluate", run, "--json", *options).stdout)["test"]

    def predicted(self, run, user, item):
        (entry,) = strict_json(self.curate("predict", run, "--user", user, "--item", item, "--json").stdout)
        return entry["prediction"], entry["basis"]

    def test_saved_models_predict_by_the_formula(self):
        for options in (*self.MODELS, ["--no-biases"], ["--model", "mlp", "--feature-dim", "genres=3,age=2",
                                                        "--feature-dropout", 0.2]):
            with self.subTest(options):
                run = self.train_with(f"{self.OWN},{self.table}:the studio", *options, out="-".join(map(str, options)))
                self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES | {"features.json"})
                metrics = read_metrics(run)
                self.assertEqual(metrics["test"]["cold_ratings"], 80)
                for threads in (1, 2):
                    self.assertEqual(self.evaluated(run, "--threads", threads), metrics["test"])
                reference = Reference(run)
                pairs = self.write("pairs.csv", "".join(f"{u},{i}\n" for u in (1, 8, 40, 99)
                                                        for i in (1, 10, 11, 12, 99)))
                rows = list(csv.DictReader(io.StringIO(self.curate("predict", run, "--pairs", pairs).stdout)))
                self.assertEqual({row["basis"] for row in rows},
                                 {"model", "features", "user mean", "item mean", "global mean"})
                for row in rows:
                    expected, basis = reference.predict(int(row["userId"]), int(row["movieId"]))
                    self.assertEqual(row["basis"], basis, row)
                    self.assertAlmostEqual(float(row["prediction"]), expected, delta=2e-4)

    def test_what_has_no_training_rating_is_predicted_by_its_features(self):
        for options in self.MODELS:
            with self.subTest(options):
                run = self.train_with("genres,sex", *options, "--reg", 1, epochs=60, out=options[1])
                self.assertEqual(self.predicted(run, 2, 12)[1], "features")
                self.assertEqual(self.predicted(run, 2, 11)[1], "user mean")
                self.assertEqual(self.predicted(run, 2, 10)[1], "model")
                self.assertEqual(self.predicted(run, 99, 12)[1], "global mean")
                self.assertGreater(self.predicted(run, 2, 12)[0], self.predicted(run, 2, 11)[0] + 0.2, "a comedy")
                plain = self.train(self.data, "--test", self.test, *options, "--epochs", 3, out=f"plain-{options[1]}")
                self.assertEqual(self.predicted(plain, 2, 12)[1], "user mean")
                self.assertLess(read_metrics(run)["test"]["cold_rmse"], 0.9 * read_metrics(plain)["test"]["cold_rmse"])

    def test_features_json_says_what_is_known(self):
        run = self.train_with(f"{self.OWN},{self.table}:length:number")
        features = {feature["name"]: feature for feature in Reference(run).features}
        self.assertEqual(list(features), [*self.OWN.split(","), "length"])
        self.assertEqual([f["of"] for f in features.values()], ["item", "item", "user", "user", "user", "item"])
        self.assertEqual(features["genres"]["values"], ["(unknown)", "Comedy", "Drama", "Musical", "War"])
        self.assertEqual(len(features["length"]["values"]), 11)
        entries = read_safetensors(run)[1]
        for name, feature in features.items():
            count = len(feature["values"])
            self.assertEqual(entries[f"{feature['of']}.{name}.embedding"]["shape"], [count, 4])
            self.assertEqual(entries[f"{feature['of']}.{name}.bias"]["shape"], [count])
        network = self.train_with("genres,age", "--model", "mlp", "--layers", "5", "--feature-dim", "genres=3",
                                  out="mlp")
        entries = read_safetensors(network)[1]
        self.assertEqual(entries["item.genres.embedding"]["shape"], [5, 3])
        self.assertEqual(entries["dense.0.weight"]["shape"],
                         [5, 4 + 4 + 3 + entries["user.age.embedding"]["shape"][1]])

    def test_factors_of_neumf(self):
        entries = read_safetensors(self.train_with("genres", "--model", "neumf", "--factors", 3))[1]
        self.assertEqual((entries["user.factors"]["shape"], entries["item.factors"]["shape"],
                          entries["user.embedding"]["shape"]), ([40, 3], [12, 3], [40, 4]))
        plain = self.train(self.data, "--model", "neumf", "--epochs", 1, out="plain")
        self.assertEqual(read_config(plain)["factors"], 32)
        self.assertEqual({path.name for path in plain.iterdir()}, RUN_FILES)

    def test_a_run_without_features_takes_the_place_of_one_with(self):
        run = self.train_with("genres")
        self.assertTrue((run / "features.json").exists())
        self.train(self.data, "--test", self.test, "--epochs", 1, "--overwrite")
        self.assertEqual({path.name for path in run.iterdir()}, RUN_FILES)
        self.evaluated(run)
        self.train_with("year", "--overwrite")
        self.assertEqual(Reference(run).features[0]["name"], "year")

    def test_files_of_features_may_go_away_after_training(self):
        run = self.train_with(f"{self.table}:the studio,genres")
        expected = read_metrics(run)["test"]
        self.table.unlink()
        (self.data / "movies.csv").unlink()
        self.assertEqual(self.evaluated(run), expected)
        self.assertEqual(self.predicted(run, 1, 12)[1], "features")
        again = self.run_curate("train", "--config", run / "config.toml", "--out", "second")
        self.assertEqual(again.returncode, 2)
        self.assertIn(str(self.table), again.stderr)

    def test_config_of_a_run(self):
        elsewhere = self.folder / "else where"
        elsewhere.mkdir()
        odd = self.write('tables/a "b" \\ ü.csv', 'movieId,"x ""y"" \\ z",a/../b\n1,p,1\n2,q,2\n')
        for number, (features, options) in enumerate((
                ("tables/table.csv:the studio, genres", []), ("tables/../tables/table.csv:length:number", self.MODELS[1]),
                (f'tables/{odd.name}:x "y" \\ z', self.MODELS[2]), (f"tables/{odd.name}:a/../b:multi", []))):
            with self.subTest(features):
                first = self.train_with(features, *options, "--feature-reg", 0.02, out=f"first{number}")
                second = self.folder / f"second{number}"
                result = subprocess.run([CURATE, "train", "--config", first / "config.toml", "--quiet", "--out", second],
                                        cwd=elsewhere, capture_output=True, timeout=120, encoding="utf-8")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(model_bytes(first), model_bytes(second))
                self.assertEqual(read_config(first), read_config(second))
                self.assertEqual((first / "features.json").read_bytes(), (second / "features.json").read_bytes())
                self.assertEqual(read_config(first)["feature_reg"], 0.02)
        self.assertEqual(read_config(self.folder / "first0")["features"], f"{self.table}:the studio,genres")
        self.assertEqual(read_config(self.folder / "first1")["features"], f"{self.table}:length:number")

    def test_folds(self):
        self.curate("train", self.data, "--folds", 3, "--features", "genres,age", "--epochs", 2, "--quiet", "--out",
                    "cross")
        for fold in (1, 2, 3):
            run = self.folder / "cross" / f"fold-{fold}"
            self.assertTrue((run / "features.json").exists())
            self.assertEqual(self.evaluated(run), read_metrics(run)["test"])

    def test_number_of_threads(self):
        for number, options in enumerate((*self.MODELS, ["--optimizer", "sgd"],
                                          ["--model", "mlp", "--feature-dropout", 0.3])):
            with self.subTest(options):
                one, two = (self.train_with(self.OWN, *options, "--deterministic", "--threads", threads,
                                            out=f"run{number}-{threads}") for threads in (1, 2))
                self.assertEqual(model_bytes(one), model_bytes(two))
                self.assertEqual(read_metrics(one)["test"], read_metrics(two)["test"])

    def test_every_optimizer_takes_features(self):
        for optimizer in ("sgd", "adagrad", "adam"):
            for model in self.MODELS:
                with self.subTest(optimizer=optimizer, model=model[1]):
                    run = self.train_with("genres,age", *model, "--optimizer", optimizer, "--overwrite")
                    history = read_history(run)
                    self.assertLess(history[-1]["train_rmse"], history[0]["train_rmse"])

    def test_each_option_acts(self):
        def train(**changed):
            flat = [part for key, value in changed.items() for part in ("--" + key.replace("_", "-"), value)]
            return self.train_with("genres,age", "--model", "mlp", *flat, "--overwrite", out=f"run-{changed}")

        def size(run):
            return sum(v * v for v in read_safetensors(run)[2]["item.genres.embedding"])

        self.assertLess(size(train(feature_reg=5)), 0.8 * size(train(feature_reg=0)))
        models = {model_bytes(run) for run in (train(), train(feature_dropout=0.3), train(feature_dim=6),
                                               train(feature_dim="age=7"))}
        self.assertEqual(len(models), 4)

    def test_what_is_said(self):
        told = self.curate("train", self.data, "--features", "genres,age", "--epochs", 1, "--out", "told").stderr
        self.assertIn("features  item genres (4 values, 64 columns), user age (10 buckets, 64 columns)\n", told)
        told = self.curate("train", self.data, "--model", "neumf", "--factors", 7, "--epochs", 1, "--out",
                           "more").stderr
        self.assertIn("neumf, 7 factors, embeddings 32 + 32", told)
        self.assertNotIn("features  ", told)
        result = self.curate("train", self.data, "--test", self.test, "--features", "genres", "--epochs", 1, "--json",
                             "--quiet", "--out", "quiet")
        self.assertEqual(result.stderr, "")
        self.assertEqual(strict_json(result.stdout)["test"], read_metrics(self.folder / "quiet")["test"])


if __name__ == "__main__":
    skips.main()
