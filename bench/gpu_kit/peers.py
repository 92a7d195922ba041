"""Matrix factorization by PyTorch's plain Adam on the GPU, by peers/mf_peers_worker.py, at the batches of the stage
`train`. Only speed is compared: the ratings are random ones, as many as the release has, of as many users and items."""

import json
import os
import pathlib
import sys

SHAPES = {"ml-20m": (138493, 26744, 20000263), "ml-1m": (6040, 3706, 1000209)}
WORKER = pathlib.Path(__file__).resolve().parent.parent / "peers/mf_peers_worker.py"
BATCHES = [65536, 1048576, 4096]
DIM = 64
# Popularity falls as 1 / rank^0.8 from an offset, so that the hottest film has some 0.4 % of the ratings.
MAKE_ARRAYS = """
import json, pathlib, sys
import numpy
folder, users, items, ratings = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:5])
folder.mkdir(parents=True, exist_ok=True)
random = numpy.random.default_rng(1)
weight = (numpy.arange(items) + 20.0) ** -0.8
item = numpy.searchsorted(numpy.cumsum(weight) / weight.sum(), random.random(ratings)).clip(0, items - 1)
made = {"user": random.integers(0, users, ratings), "item": random.permutation(items)[item],
        "rating": random.integers(1, 11, ratings) * 0.5}
for name, values in made.items():
    kind = numpy.float32 if name == "rating" else numpy.int32
    numpy.save(folder / f"train.{name}.npy", values.astype(kind))
    numpy.save(folder / f"test.{name}.npy", values[:10].astype(kind))
(folder / "sizes.json").write_text(json.dumps({"users": users, "items": items, "train": ratings, "test": 10}))
"""


def stage_pytorch(kit):
    # Not the kit's own: PyTorch brings its libraries, and the toolkit's before them break it.
    environment = {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
    ended = kit.command([sys.executable, WORKER, "probe", "pytorch-gpu"], 20, environment=environment)
    try:
        peer = json.loads(ended.out)["pytorch-gpu"]
    except (ValueError, KeyError):
        kit.results.add("pytorch", "torch", "cut" if ended.cut else "skipped", f"cannot be asked: {ended.problem()}")
        return
    if peer["absent"]:
        kit.results.add("pytorch", "torch", "skipped", peer["absent"])
        return
    users, items, ratings = SHAPES.get(kit.like, SHAPES["ml-20m"])
    sizes = [max(1, int(users * kit.scale)), max(1, int(items * kit.scale)), max(1, int(ratings * kit.scale))]
    arrays = kit.work / "arrays"
    ended = kit.command([sys.executable, "-c", MAKE_ARRAYS, arrays, *sizes], 30, environment=environment)
    if not ended.ok:
        kit.results.add("pytorch", "ratings", "cut" if ended.cut else "failed", ended.problem())
        return
    for batch in BATCHES:
        name = f"adam dim {DIM} batch {batch}"
        if not (kit.selection.has("pytorch", name) or kit.selection.has("pytorch", "ratings")):
            continue
        if kit.left() < 4:
            kit.results.add("pytorch", name, "cut", "no time left")
            continue
        epochs = []

        def take(text):
            line = json.loads(text) if text.startswith("{") else {}
            if "seconds" in line:
                epochs.append(line["seconds"])

        task = {"peer": "pytorch-gpu", "data": str(arrays), "dim": DIM, "biases": True, "threads": 4, "epochs": 4,
                "max_seconds": max(1.0, kit.left() / 3), "evaluate": False,
                "recipe": {"lr": 0.005, "reg": 0.05, "batch": batch, "batch_of_many": batch, "many": 0}}
        ended = kit.command([sys.executable, WORKER, "run", json.dumps(task)], 40, environment=environment,
                            on_line=take)
        each = [end - begin for begin, end in zip([0.0, *epochs], epochs)]
        if not each:
            kit.results.add("pytorch", name, "cut" if ended.cut else "failed", ended.problem(),
                            figures={"said": ended.tail(1500)})
            continue
        best = min(each[1:] or each)  # the first one warms up
        problem = None if len(each) > 1 else "one epoch alone, which warms up"
        kit.results.add("pytorch", name, "ok", problem, ended.seconds,
                        {"version": peer["version"], "epoch_seconds": each, "ratings_per_second": sizes[2] / best,
                         "ratings": "random, of the shape of " + kit.like})
