#!/usr/bin/env python3
"""What mf_peers.py starts, a process for each fit of a peer, in the virtual environment that has the peers.

usage: mf_peers_worker.py probe PEER...                       {peer: {"version": ..., "absent": reason or null}}
       mf_peers_worker.py prepare TRAIN.csv TEST.csv FOLDER   the parts as arrays in FOLDER, ids numbered from 0
       mf_peers_worker.py run TASK                            one fit; TASK: a JSON object, see run()

Results go to standard output, a JSON object a line; what libraries print goes to standard error.
"""
import importlib
import importlib.metadata
import itertools
import json
import os
import sys
import time
import traceback
from pathlib import Path

MODULES = {"libmf": "libmf", "cmfrec": "cmfrec", "implicit": "implicit", "pytorch": "torch", "pytorch-gpu": "torch",
           "surprise": "surprise"}
DISTRIBUTIONS = {"surprise": "scikit-surprise"}
CHUNK = 200_000  # test ratings predicted at a time


def probe(peers):
    found = {}
    for peer in peers:
        version, absent = None, None
        try:
            module = importlib.import_module(MODULES[peer])
            importlib.import_module("numpy")
            if peer in ("cmfrec", "implicit"):
                importlib.import_module("scipy.sparse")
            if peer == "libmf":
                importlib.import_module("libmf.mf")
            version = importlib.metadata.version(DISTRIBUTIONS.get(peer, MODULES[peer]))
            if peer == "pytorch-gpu" and not module.cuda.is_available():
                absent = "PyTorch sees no GPU here"
            elif peer == "pytorch-gpu":
                version += f", {module.cuda.get_device_name()}"
        except ModuleNotFoundError as problem:
            absent = f"not installed (no module named {problem.name})"
        except Exception as problem:  # Whatever its import raises, the others go on.
            absent = f"cannot be imported: {type(problem).__name__}: {problem}".splitlines()[0]
        found[peer] = {"version": version, "absent": absent}
    return found


def prepare(train, test, folder):
    import numpy
    folder = Path(folder)

    def read(path, kind):
        return numpy.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2), ndmin=1,
                             dtype=[("user", kind), ("item", kind), ("rating", "f4")])
    try:
        parts = [read(path, "i8") for path in (train, test)]
    except ValueError:  # ids that are text
        parts = [read(path, "U64") for path in (train, test)]
    sizes = {}
    for side in ("user", "item"):
        raw, numbers = numpy.unique(numpy.concatenate([part[side] for part in parts]), return_inverse=True)
        sizes[side + "s"] = len(raw)
        numpy.save(folder / f"train.{side}.npy", numbers[:len(parts[0])].astype(numpy.int32))
        numpy.save(folder / f"test.{side}.npy", numbers[len(parts[0]):].astype(numpy.int32))
    for name, part in zip(("train", "test"), parts):
        numpy.save(folder / f"{name}.rating.npy", part["rating"])
        sizes[name] = len(part)
    (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")
    return sizes


class Data:
    """users, items, ratings: of the training part; test_users ...: of the test part."""

    def __init__(self, folder):
        import numpy
        folder = Path(folder)
        self.users, self.items, self.ratings = (numpy.load(folder / f"train.{name}.npy")
                                                for name in ("user", "item", "rating"))
        self.test_users, self.test_items, self.test_ratings = (numpy.load(folder / f"test.{name}.npy")
                                                               for name in ("user", "item", "rating"))
        sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
        self.num_users, self.num_items = sizes["users"], sizes["items"]
        self.mean = float(self.ratings.mean(dtype=float))
        self.low, self.high = float(self.ratings.min()), float(self.ratings.max())

    def rmse(self, predictions):
        """Clipped to the ratings' range, as cuRate does; what a peer cannot predict counts as the mean."""
        import numpy
        predictions = numpy.clip(numpy.nan_to_num(predictions.astype(float), nan=self.mean), self.low, self.high)
        return float(numpy.sqrt(numpy.mean((predictions - self.test_ratings) ** 2)))

    def rmse_of_factors(self, p, q, user_bias=None, item_bias=None):
        """mean + biases + p q; of users and items without a training rating neither factors nor bias count."""
        import numpy
        known_user = numpy.bincount(self.users, minlength=self.num_users) > 0
        known_item = numpy.bincount(self.items, minlength=self.num_items) > 0
        parts = []
        for start in range(0, len(self.test_ratings), CHUNK):
            users, items = self.test_users[start:start + CHUNK], self.test_items[start:start + CHUNK]
            dots = numpy.einsum("nk,nk->n", p[users], q[items]) * (known_user[users] & known_item[items])
            if user_bias is not None:
                dots = dots + user_bias[users] * known_user[users] + item_bias[items] * known_item[items]
            parts.append(self.mean + dots)
        return self.rmse(numpy.concatenate(parts))


class Steps:
    """Reports epoch by epoch, and says when the time is up. Evaluation is outside of the seconds."""

    def __init__(self, task, report):
        self.epochs, self.max_seconds, self.report = task["epochs"], task["max_seconds"], report
        self.done, self.seconds = 0, 0.0

    def add(self, seconds, rmse):
        """rmse: a function, or None. False: enough."""
        self.done += 1
        self.seconds += seconds
        self.report({"epochs": self.done, "seconds": self.seconds, "rmse": rmse() if rmse else None})
        return self.done < self.epochs and self.seconds < self.max_seconds


class EnoughTrained(Exception):
    """Leaves a fit that its library would go on with."""


def run_libmf(task, data, report):
    import numpy
    from libmf import mf
    recipe = task["recipe"]
    train = numpy.stack([data.users, data.items, data.ratings], axis=1).astype(numpy.float32)
    # Enough bins for the threads, as LIBMF's own program chooses them.
    model = mf.MF(k=task["dim"], nr_threads=task["threads"], nr_bins=max(20, 2 * task["threads"] + 1),
                  nr_iters=task["epochs"], lambda_p2=recipe["reg"], lambda_q2=recipe["reg"], lambda_p1=0.0,
                  lambda_q1=0.0, eta=recipe["eta"], quiet=True)
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    # Its predict takes an array of rows that its C++ side reads column by column (fit does not).
    pairs = numpy.stack([data.test_users, data.test_items]).astype(numpy.float32).reshape(-1, 2)
    report({"epochs": task["epochs"], "fit_seconds": seconds, "rmse": data.rmse(model.predict(pairs))})


def run_cmfrec(task, data, report):
    from cmfrec import CMF
    from scipy.sparse import coo_matrix
    recipe = task["recipe"]
    train = coo_matrix((data.ratings, (data.users, data.items)), shape=(data.num_users, data.num_items))
    model = CMF(k=task["dim"], lambda_=recipe["reg"], scale_lam=True, method="als", use_cg=True,
                finalize_chol=False, niter=task["epochs"], user_bias=task["biases"], item_bias=task["biases"],
                center=True, use_float=True, precompute_for_predictions=False, nthreads=task["threads"],
                random_state=1, verbose=False)
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    predictions = model.predict(data.test_users, data.test_items)
    report({"epochs": task["epochs"], "fit_seconds": seconds, "rmse": data.rmse(predictions)})


def run_implicit(task, data, report):
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    train = csr_matrix((data.ratings, (data.users, data.items)), shape=(data.num_users, data.num_items))
    model = AlternatingLeastSquares(factors=task["dim"], regularization=task["recipe"]["reg"],
                                    iterations=task["epochs"], num_threads=task["threads"], random_state=1)
    steps = Steps(task, report)

    def iteration_done(_iteration, seconds, _loss):
        if not steps.add(seconds, None):
            raise EnoughTrained
    model.fit(train, show_progress=False, callback=iteration_done)


def run_surprise(task, data, report):
    import numpy
    import surprise
    recipe, made = task["recipe"], {"zeros": [], "normal": []}
    # Without biases it leaves the mean out too; deviations from the mean put that right.
    ratings = data.ratings if task["biases"] else data.ratings - data.mean
    by_user = {}
    order = numpy.argsort(data.users, kind="stable")
    starts = numpy.flatnonzero(numpy.diff(data.users[order], prepend=-1))
    values = {value: float(value) for value in numpy.unique(ratings)}  # one object for each rating that occurs
    item_numbers = list(range(data.num_items))
    for rows in numpy.split(order, starts[1:]):
        by_user[int(data.users[rows[0]])] = [(item_numbers[item], values[rating])
                                             for item, rating in zip(data.items[rows], ratings[rows])]

    class Watched(surprise.Trainset):
        """Its ratings are asked for once an epoch: when they run out, the epoch is over."""

        def all_ratings(self):
            return itertools.chain(super().all_ratings(), self.epoch_over(time.perf_counter()))

        def epoch_over(self, start):
            seconds = time.perf_counter() - start
            if not steps.add(seconds, rmse if task["evaluate"] else None) and steps.done < task["epochs"]:
                raise EnoughTrained
            yield from ()

    class Random(numpy.random.RandomState):
        def normal(self, *arguments, **options):
            made["normal"].append(super().normal(*arguments, **options))
            return made["normal"][-1]

    def zeros(*arguments, **options):
        made["zeros"].append(plain_zeros(*arguments, **options))
        return made["zeros"][-1]

    def rmse():
        # fit works in these arrays until it is done: two vectors of biases, two tables of factors.
        biases = made["zeros"][:2] if task["biases"] else (None, None)
        return data.rmse_of_factors(*made["normal"], *biases)

    train = Watched(by_user, {}, data.num_users, data.num_items, len(ratings), (data.low, data.high), {}, {})
    train._global_mean = float(ratings.mean(dtype=float))
    steps = Steps(task, report)
    model = surprise.SVD(n_factors=task["dim"], n_epochs=task["epochs"], biased=task["biases"], lr_all=recipe["lr"],
                         reg_all=recipe["reg"], random_state=Random(1))
    plain_zeros, numpy.zeros = numpy.zeros, zeros
    try:
        model.fit(train)
        # What was looked at while it trained has to be what it trained.
        if not (numpy.shares_memory(model.pu, made["normal"][0]) and numpy.shares_memory(model.bu, made["zeros"][0])):
            raise RuntimeError("this version of scikit-surprise keeps its factors elsewhere: its RMSE is not known")
    finally:
        numpy.zeros = plain_zeros


def run_pytorch(task, data, report):
    import torch
    recipe = task["recipe"]
    device = torch.device("cuda" if task["peer"] == "pytorch-gpu" else "cpu")
    torch.set_num_threads(task["threads"])
    torch.manual_seed(1)
    users, items = (torch.from_numpy(ids).to(device) for ids in (data.users, data.items))
    deviations = torch.from_numpy(data.ratings).to(device) - data.mean
    reg = recipe["reg"]
    batch = recipe["batch"] if len(data.ratings) < recipe["many"] else recipe["batch_of_many"]
    # On a CPU a step on all rows is dear where a batch has few of them; on a GPU a step on some is.
    sparse = device.type == "cpu" and data.num_users + data.num_items > 2 * batch

    def table(rows, columns, scale):
        embedding = torch.nn.Embedding(rows, columns, sparse=sparse, device=device)
        torch.nn.init.normal_(embedding.weight, std=scale)
        return embedding

    factors = [table(rows, task["dim"], 0.05) for rows in (data.num_users, data.num_items)]
    biases = [table(rows, 1, 0.0) for rows in (data.num_users, data.num_items)] if task["biases"] else []
    parameters = [embedding.weight for embedding in factors + biases]
    optimizer = (torch.optim.SparseAdam if sparse else torch.optim.Adam)(parameters, lr=recipe["lr"])
    steps = Steps(task, report)

    def rmse():
        weights = [embedding.weight.detach().cpu().numpy() for embedding in factors + biases]
        return data.rmse_of_factors(*weights[:2], *(weight[:, 0] for weight in weights[2:]))

    def epoch():
        order = torch.randperm(len(deviations), device=device)
        for start in range(0, len(order), batch):
            rows = order[start:start + batch]
            user, item = users[rows], items[rows]
            p, q = factors[0](user), factors[1](item)
            prediction, penalty = (p * q).sum(1), (p * p).sum() + (q * q).sum()
            if biases:
                user_bias, item_bias = biases[0](user).squeeze(1), biases[1](item).squeeze(1)
                prediction = prediction + user_bias + item_bias
                penalty = penalty + (user_bias * user_bias).sum() + (item_bias * item_bias).sum()
            loss = (((deviations[rows] - prediction) ** 2).sum() + reg * penalty) / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    while True:
        start = time.perf_counter()
        epoch()
        if not steps.add(time.perf_counter() - start, rmse if task["evaluate"] else None):
            return


RUN = {"libmf": run_libmf, "cmfrec": run_cmfrec, "implicit": run_implicit, "pytorch": run_pytorch,
       "pytorch-gpu": run_pytorch, "surprise": run_surprise}


def run(task, report):
    """task: peer, data (folder of prepare), dim, biases, threads, epochs, max_seconds, evaluate, recipe.

    Reports {"epochs", "fit_seconds", "rmse"} of a whole fit, set-up included (libmf, cmfrec), or for every epoch
    {"epochs", "seconds": of training so far, "rmse"}; at last {"done": true}.
    """
    try:
        RUN[task["peer"]](task, Data(task["data"]), report)
    except EnoughTrained:
        pass
    report({"done": True})


def main():
    # Some libraries print to standard output, LIBMF from C++.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(result):
        print(json.dumps(result), file=results, flush=True)
    try:
        if sys.argv[1] == "probe":
            report(probe(sys.argv[2:]))
        elif sys.argv[1] == "prepare":
            report(prepare(*sys.argv[2:]))
        else:
            run(json.loads(sys.argv[2]), report)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
