#!/usr/bin/env python3
"""What accuracy_peers.py starts, a process for each training of a peer, in the environment that has the peers.

usage: accuracy_peers_worker.py PEER TRAIN.tsv TEST.tsv SEED
  PEER: svd, svdpp, baseline, knn, cmfrec or libmf. The files: user, item, rating, parted by tabs.

Prints a JSON object: {"rmse", "version", "clipped": [low, high], "unpredicted": test ratings that the peer has no
prediction of}, or {"absent": why} where the peer is not installed. What libraries print goes to standard error.
"""
import importlib.metadata
import json
import math
import os
import sys


def read(path):
    """[(user, item, rating), ...]"""
    with open(path, encoding="utf-8") as rows:
        return [(user, item, float(rating)) for user, item, rating in (row.split("\t") for row in rows)]


def of_surprise(make):
    def predictions(train, test, seed):
        import surprise
        ratings = [rating for _, _, rating in train]
        reader = surprise.Reader(rating_scale=(min(ratings), max(ratings)))

        class Given(surprise.Dataset):
            """The training ratings as they are: load_from_df would need pandas."""

            def __init__(self):
                super().__init__(reader)
        rows = [(user, item, rating, None) for user, item, rating in train]
        model = make(surprise, seed)
        model.fit(Given().construct_trainset(rows))
        return [float("nan") if one.details["was_impossible"] else one.est
                for one in (model.predict(user, item) for user, item, _ in test)]
    return predictions


def of_cmfrec(train, test, seed):
    import pandas
    from cmfrec import CMF
    users, items, ratings = zip(*train)
    model = CMF(nthreads=1, random_state=seed, verbose=False)
    model.fit(pandas.DataFrame({"UserId": users, "ItemId": items, "Rating": ratings}))
    return model.predict([user for user, _, _ in test], [item for _, item, _ in test])


def of_libmf(train, test, seed):
    """mf-train's defaults, which are not those of the package. LIBMF has a fixed seed of its own."""
    import numpy
    from libmf import mf
    numbers = [{}, {}]
    for user, item, _ in train + test:
        numbers[0].setdefault(user, len(numbers[0]))
        numbers[1].setdefault(item, len(numbers[1]))

    def numbered(rows):
        return numpy.array([(numbers[0][user], numbers[1][item], rating) for user, item, rating in rows], numpy.float32)
    model = mf.MF(k=8, nr_threads=1, nr_bins=20, nr_iters=20, lambda_p1=0.0, lambda_q1=0.0, lambda_p2=0.1,
                  lambda_q2=0.1, eta=0.1, quiet=True)
    model.fit(numbered(train))
    # Its predict takes an array of rows that its C++ side reads column by column (fit does not).
    pairs = numpy.ascontiguousarray(numbered(test)[:, :2].T).reshape(-1, 2)
    return model.predict(pairs)


PEERS = {
    "svd": ("scikit-surprise", of_surprise(lambda surprise, seed: surprise.SVD(random_state=seed))),
    "svdpp": ("scikit-surprise", of_surprise(lambda surprise, seed: surprise.SVDpp(random_state=seed))),
    "baseline": ("scikit-surprise",
                 of_surprise(lambda surprise, _: surprise.BaselineOnly(bsl_options={}, verbose=False))),
    "knn": ("scikit-surprise", of_surprise(lambda surprise, _: surprise.KNNBaseline(verbose=False))),
    "cmfrec": ("cmfrec", of_cmfrec),
    "libmf": ("libmf", of_libmf),
}


def run(peer, train, test, seed):
    distribution, predict = PEERS[peer]
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return {"absent": f"{distribution} is not installed"}
    train, test = read(train), read(test)
    try:
        predictions = [float(one) for one in predict(train, test, int(seed))]
    except ModuleNotFoundError as problem:
        return {"absent": f"{distribution} needs {problem.name}, which is not installed"}
    ratings = [rating for _, _, rating in train]
    low, high, mean = min(ratings), max(ratings), math.fsum(ratings) / len(ratings)
    unpredicted = sum(math.isnan(one) for one in predictions)
    clipped = (min(max(mean if math.isnan(one) else one, low), high) for one in predictions)
    squares = math.fsum((one - rating) ** 2 for one, (_, _, rating) in zip(clipped, test))
    return {"rmse": math.sqrt(squares / len(test)), "version": f"{distribution} {version}", "clipped": [low, high],
            "unpredicted": unpredicted}


def main():
    # Some libraries print to standard output, LIBMF from C++.
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps(run(*sys.argv[1:])), file=result, flush=True)


if __name__ == "__main__":
    main()
