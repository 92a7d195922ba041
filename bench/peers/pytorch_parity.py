#!/usr/bin/env python3
"""Record what PyTorch computes for small models, for tests/parity_test.cpp to compare with.

usage: pytorch_parity.py [--check] [FILE]     FILE: default tests/fixtures/parity.json

Writes FILE: for every case below a model, its options, ratings and first parameters; for every step the loss and the
gradients; and the parameters after the last step, all in float64. With --check, computes the results recorded in FILE
again and fails where they differ. Needs PyTorch (2.6) and nothing else.
"""
import argparse
import json
import math
import random
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "parity.json"

USERS, ITEMS, BATCH = 6, 7, 8
FACTORS = 4  # of mf
USER_DIM, ITEM_DIM = 5, 8  # of mlp
DOT_FACTORS = 3  # of neumf
OUTPUT_MIN, OUTPUT_MAX = 0.5, 5.0

# A kink nearer than this could fall on its other side in float32.
KINK_MARGIN = 1e-3
# What parity_test.cpp allows, relative to 1, to the largest gradient and to max(1, the largest parameter).
TOLERANCE = 1e-5
# The share of it that PyTorch's own float32 may use up: the data must not be worse conditioned than that.
FLOAT32_SHARE = 0.25
# --check allows for another order of additions in float64 and for the 12 digits recorded.
CHECK_TOLERANCE = 1e-10


def single(value):
    """The nearest float32: all that cuRate takes from the fixtures."""
    return struct.unpack("f", struct.pack("f", value))[0]


@dataclass(frozen=True)
class Feature:
    """What is known of users or items: per row the values, 0 where nothing is known. Their embeddings are averaged."""
    name: str
    side: str
    kind: str
    values: int
    rows: tuple
    dim: int  # in networks

    @property
    def prefix(self):
        return f"{self.side}.{self.name}"

    def recorded(self):
        starts = [sum(map(len, self.rows[:row])) for row in range(len(self.rows) + 1)]
        return {"name": self.name, "side": self.side, "kind": self.kind, "values": self.values, "starts": starts,
                "ids": [value for row in self.rows for value in row]}


# Item 6 is in the first batch only and alone has the last genre and tag; of user 5's group there are no ratings at all.
# A feature of users stands between those of items, for the order of a network's inputs.
FEATURES = (
    Feature("genre", "item", "category", 4, ((1,), (2,), (0,), (1,), (0,), (2,), (3,)), 2),
    Feature("group", "user", "category", 4, ((1,), (0,), (2,), (1,), (2,), (3,)), 4),
    Feature("tags", "item", "multi", 5, ((1,), (0,), (1, 2, 3), (2,), (3, 1, 2), (3, 2), (4, 1)), 3),
)


@dataclass(frozen=True)
class Case:
    net: str  # a key of NETS, or one of mf
    optimizer: str
    loss: str
    learning_rate: float
    epsilon: float = 1e-8
    reg: float = 0.0
    dense_reg: float = 0.0
    weight_decay: float = 0.0
    lazy: bool = False
    dot: bool = False  # neumf: a dot product of factors is added to what the net says
    features: tuple = ()
    feature_reg: float = 0.0

    @property
    def name(self):
        regularized = self.reg or self.dense_reg or self.feature_reg
        extras = [word for word, present in (("features", self.features), ("reg", regularized),
                                             ("decay", self.weight_decay), ("lazy", self.lazy)) if present]
        return "-".join(["neumf"] * self.dot + [self.net, self.optimizer, self.loss, *extras])

    def dense_updates(self):
        """The ways of cuRate for which the results hold: to step on every row, or on the rows of the batch alone."""
        if self.lazy:
            return [False]
        # PyTorch decays all rows, and its Adam goes on moving rows without a gradient. SGD and Adagrad do not.
        return [True] if self.optimizer == "adam" or self.weight_decay else [True, False]

    def model(self):
        model = {"kind": "mf"}
        if self.net in NETS:
            model = {"kind": "neumf" if self.dot else "mlp",
                     "activations": [activation for _, activation in NETS[self.net]],
                     "output_min": OUTPUT_MIN, "output_max": OUTPUT_MAX}
        return model | ({"features": [feature.recorded() for feature in self.features]} if self.features else {})

    def options(self):
        options = {"optimizer": self.optimizer, "loss": self.loss, "learning_rate": self.learning_rate, "beta1": 0.9,
                   "beta2": 0.999, "epsilon": self.epsilon, "reg": self.reg, "dense_reg": self.dense_reg,
                   "weight_decay": self.weight_decay, "batch": BATCH, "dense_updates": self.dense_updates()}
        return options | ({"feature_reg": self.feature_reg} if self.features else {})

    def shapes(self):
        if self.net in NETS:
            shapes = {"user.embedding": [USERS, USER_DIM], "item.embedding": [ITEMS, ITEM_DIM]}
            shapes |= {f"{feature.prefix}.embedding": [feature.values, feature.dim] for feature in self.features}
            if self.dot:
                shapes |= {"user.factors": [USERS, DOT_FACTORS], "item.factors": [ITEMS, DOT_FACTORS]}
            inputs = USER_DIM + ITEM_DIM + sum(feature.dim for feature in self.features)
            for layer, (outputs, _) in enumerate(NETS[self.net]):
                shapes[f"dense.{layer}.weight"] = [outputs, inputs]
                shapes[f"dense.{layer}.bias"] = [outputs]
                inputs = outputs
            return shapes
        shapes = {"user.embedding": [USERS, FACTORS], "item.embedding": [ITEMS, FACTORS]}
        if self.net == "mf":
            shapes |= {"user.bias": [USERS], "item.bias": [ITEMS]}
        for feature in self.features:
            shapes[f"{feature.prefix}.embedding"] = [feature.values, FACTORS]
            if self.net == "mf":
                shapes[f"{feature.prefix}.bias"] = [feature.values]
        return shapes | {"global_mean": [1]}


# Dense layers of the mlp models on the concatenation [user, item]: outputs and activation. A sigmoid at the end maps to
# OUTPUT_MIN .. OUTPUT_MAX, others to 0 .. 1.
NETS = {
    "mlp4": ((10, "linear"), (7, "linear"), (6, "relu"), (1, "relu")),
    "squashed": ((6, "tanh"), (4, "sigmoid"), (1, "sigmoid")),
    "relu": ((9, "relu"), (1, "linear")),
    "single": ((1, "linear"),),
}

# PyTorch's SparseAdam adds epsilon to sqrt(v), cuRate (and torch.optim.Adam) to sqrt(v / (1 - beta2^t)). Its bias
# correction counts all steps, as cuRate's does, so that the two agree where epsilon vanishes beside either root.
SPARSE_EPSILON = 1e-12

CASES = (
    Case("mf", "sgd", "mse", 0.1),
    Case("mf", "sgd", "mae", 0.1),
    Case("mf", "sgd", "mse", 0.1, reg=0.07),
    Case("mf-plain", "sgd", "mse", 0.1),
    Case("mf", "adagrad", "mse", 0.1, epsilon=1e-10),
    Case("mf-plain", "adagrad", "mae", 0.05, epsilon=1e-3),
    Case("mf", "adagrad", "mae", 0.05, reg=0.02),
    Case("mf", "adam", "mse", 0.02),
    Case("mf-plain", "adam", "mae", 0.02, epsilon=1e-3),
    Case("mf", "adam", "mse", 0.02, reg=0.05),
    Case("mf", "adam", "mse", 0.02, weight_decay=0.3),
    Case("mf-plain", "sgd", "mse", 0.1, weight_decay=0.3),
    Case("mf", "adam", "mse", 0.02, epsilon=SPARSE_EPSILON, reg=0.05, lazy=True),
    Case("mlp4", "sgd", "mse", 0.02),
    Case("mlp4", "adagrad", "mse", 0.02, epsilon=1e-10),
    Case("mlp4", "adam", "mse", 0.01, reg=0.03, dense_reg=0.01),
    Case("squashed", "sgd", "mae", 0.1),
    Case("squashed", "adagrad", "mse", 0.05, epsilon=1e-3, reg=0.02, dense_reg=0.02),
    Case("squashed", "adam", "mae", 0.02, epsilon=1e-3),
    Case("relu", "sgd", "mae", 0.05, reg=0.05, dense_reg=0.01),
    Case("relu", "adagrad", "mse", 0.02),
    Case("relu", "adam", "mse", 0.01),
    Case("relu", "adam", "mse", 0.01, weight_decay=0.3),
    Case("relu", "adam", "mse", 0.01, epsilon=SPARSE_EPSILON, lazy=True),
    Case("single", "sgd", "mse", 0.05, reg=0.04, dense_reg=0.02),
    Case("single", "adagrad", "mae", 0.02),
    Case("single", "adam", "mse", 0.01, reg=0.04),
    Case("mf", "sgd", "mse", 0.1, reg=0.07, features=FEATURES, feature_reg=0.03),
    Case("mf", "sgd", "mae", 0.1, features=FEATURES),
    Case("mf-plain", "sgd", "mse", 0.1, features=FEATURES, feature_reg=0.03),
    Case("mf-plain", "adagrad", "mse", 0.05, epsilon=1e-3, reg=0.05, features=FEATURES, feature_reg=0.02),
    Case("mf", "adagrad", "mae", 0.05, features=FEATURES),
    Case("mf", "adam", "mse", 0.02, features=FEATURES),
    Case("mf", "adam", "mse", 0.02, reg=0.05, features=FEATURES, feature_reg=0.02),
    Case("mf-plain", "adam", "mae", 0.02, epsilon=1e-3, reg=0.05, features=FEATURES),
    Case("mf", "adam", "mse", 0.02, weight_decay=0.3, features=FEATURES),
    Case("mf", "adam", "mse", 0.02, epsilon=SPARSE_EPSILON, reg=0.05, lazy=True, features=FEATURES, feature_reg=0.02),
    Case("mlp4", "sgd", "mse", 0.02, reg=0.03, dense_reg=0.01, features=FEATURES, feature_reg=0.02),
    Case("squashed", "adagrad", "mae", 0.05, epsilon=1e-3, features=FEATURES),
    Case("relu", "adam", "mse", 0.01, reg=0.03, dense_reg=0.01, features=FEATURES, feature_reg=0.02),
    Case("relu", "adam", "mse", 0.01, epsilon=SPARSE_EPSILON, lazy=True, features=FEATURES),
    Case("single", "sgd", "mae", 0.05, features=FEATURES, feature_reg=0.05),
    Case("squashed", "sgd", "mse", 0.1, dot=True),
    Case("mlp4", "adam", "mse", 0.01, reg=0.03, dot=True),
    Case("relu", "adagrad", "mae", 0.02, reg=0.02, dense_reg=0.01, dot=True),
    Case("relu", "adam", "mse", 0.01, weight_decay=0.3, dot=True),
    Case("single", "adam", "mse", 0.01, epsilon=SPARSE_EPSILON, reg=0.04, lazy=True, dot=True),
    Case("squashed", "sgd", "mse", 0.1, reg=0.05, dense_reg=0.02, dot=True, features=FEATURES, feature_reg=0.03),
    Case("relu", "adagrad", "mse", 0.02, dot=True, features=FEATURES),
    Case("relu", "adam", "mae", 0.01, epsilon=1e-3, reg=0.04, dot=True, features=FEATURES, feature_reg=0.02),
)


class BadData(Exception):
    """Data on which float32 and float64 may differ although both are right."""


def draw(case, seed):
    """A case's inputs as they are recorded."""
    rng = random.Random(f"{case.name} {seed}")

    def values(count, scale, offset=0.0):
        return [round(offset + scale * (2.0 * rng.random() - 1.0), 3) for _ in range(count)]

    # User 5 is never seen and item 6 only in the first batch: optimizers must leave such rows alone, or go on moving
    # them. Eight ratings by five users of seven items always repeat some.
    steps = 4 if case.model()["kind"] == "mf" else 3
    count = (steps - 1) * BATCH + 5
    users = [int(5 * rng.random()) for _ in range(count)]
    items = [6] + [int(6 * rng.random()) for _ in range(count - 1)]
    ratings = [(1 + int(10 * rng.random())) / 2 for _ in range(count)]
    parameters = {}
    for name, shape in case.shapes().items():
        if name == "global_mean":
            tensor = [3.25 if case.net == "mf" else 0.0]
        elif name.startswith("dense") and name.endswith("weight"):
            tensor = values(math.prod(shape), 1.5 * math.sqrt(6.0 / sum(shape)))
        elif name.endswith("bias"):
            # Predictions start near the ratings: a relu there must be alive.
            offset = 2.5 if shape == [1] and case.net != "squashed" else 0.0
            tensor = values(math.prod(shape), 0.3, offset)
        else:
            tensor = values(math.prod(shape), 0.8)
        parameters[name] = {"shape": shape, "values": tensor}
    return {"name": case.name, "model": case.model(), "options": case.options(),
            "ratings": {"users": users, "items": items, "ratings": ratings}, "parameters": parameters}


def load_parameters(recorded, dtype):
    """Tensors by name; vectors as columns, because embeddings need matrices."""
    tensors = {}
    for name, tensor in recorded.items():
        values = torch.tensor([single(value) for value in tensor["values"]], dtype=dtype)
        tensors[name] = values.reshape(tensor["shape"][0], -1).requires_grad_(name != "global_mean")
    return tensors


def activate(z, name, low, high):
    if name == "sigmoid":
        return low + (high - low) * torch.sigmoid(z)
    return {"linear": lambda z: z, "relu": torch.relu, "tanh": torch.tanh}[name](z)


def keep_off(kink, what):
    nearest = kink.abs().min().item()
    if nearest < KINK_MARGIN:
        raise BadData(f"{what} of {nearest:.1e} is too near to a kink")


def is_own(name):
    """Whether a tensor has a row for every user or item, which no other table has."""
    side, _, rest = name.partition(".")
    return side in ("user", "item") and "." not in rest


def is_of_feature(name):
    return name.startswith(("user.", "item.")) and not is_own(name)


def mean_of_values(feature, table, index):
    """For every user or item of `index` the mean of the table's rows of its values."""
    bags = [feature["ids"][feature["starts"][row]:feature["starts"][row + 1]] for row in index.tolist()]
    offsets = [sum(map(len, bags[:bag])) for bag in range(len(bags))]
    return functional.embedding_bag(torch.tensor(sum(bags, [])), table, torch.tensor(offsets), mode="mean")


def forward_mf(parameters, own, pooled):
    """Every side's vector and bias are the sums of its own and its features'."""
    vectors, biases = [], []
    for side in ("user", "item"):
        vectors.append(own[f"{side}.embedding"] + sum(table["embedding"] for table in pooled[side]))
        if f"{side}.bias" in own:
            biases += [own[f"{side}.bias"]] + [table["bias"] for table in pooled[side]]
    prediction = parameters["global_mean"].squeeze(1) + (vectors[0] * vectors[1]).sum(1)
    return prediction + torch.cat(biases, 1).sum(1) if biases else prediction


def forward(model, parameters, users, items, sparse):
    """Predictions, and the looked-up rows that `reg` applies to."""
    index = {"user": users, "item": items}
    own = {name: functional.embedding(index[name.partition(".")[0]], table, sparse=sparse)
           for name, table in parameters.items() if is_own(name)}
    pooled = {"user": [], "item": []}
    in_order = [own["user.embedding"], own["item.embedding"]]
    for feature in model.get("features", []):
        prefix = f"{feature['side']}.{feature['name']}."
        tables = {name.removeprefix(prefix): mean_of_values(feature, table, index[feature["side"]])
                  for name, table in parameters.items() if name.startswith(prefix)}
        pooled[feature["side"]].append(tables)
        in_order.append(tables["embedding"])
    if model["kind"] == "mf":
        return forward_mf(parameters, own, pooled), own.values()
    activations = model["activations"]
    layer = torch.cat(in_order, 1)
    for number, activation in enumerate(activations):
        last = number + 1 == len(activations)
        bias = parameters[f"dense.{number}.bias"].squeeze(1)
        z = functional.linear(layer, parameters[f"dense.{number}.weight"], bias)
        if activation == "relu":
            keep_off(z.detach(), f"relu's input in layer {number}")
        layer = activate(z, activation, single(model["output_min"]) if last else 0.0,
                         single(model["output_max"]) if last else 1.0)
    prediction = layer.squeeze(1)
    if model["kind"] == "neumf":
        prediction = prediction + torch.einsum("bf,bf->b", own["user.factors"], own["item.factors"])
    return prediction, own.values()


def objective_of(case, parameters, batch):
    """The data loss of a batch, and the whole objective that is differentiated."""
    options = case["options"]
    users, items, ratings = batch
    prediction, looked_up = forward(case["model"], parameters, users, items, sparse=is_lazy(options))
    error = prediction - ratings
    if options["loss"] == "mae":
        keep_off(error.detach(), "an error")
        loss = error.abs().mean()
    else:
        loss = error.square().mean()
    objective = loss + single(options["reg"]) * sum(rows.square().sum(1) for rows in looked_up).mean()
    weights = [tensor for name, tensor in parameters.items() if name.startswith("dense") and name.endswith("weight")]
    if weights:
        objective = objective + single(options["dense_reg"]) * sum(weight.square().sum() for weight in weights)
    of_features = [tensor for name, tensor in parameters.items() if is_of_feature(name)]
    if of_features:
        objective = objective + single(options["feature_reg"]) * sum(table.square().sum() for table in of_features)
    return loss.item(), objective


def is_lazy(options):
    return options["optimizer"] == "adam" and options["dense_updates"] == [False]


def make_optimizers(options, parameters):
    trained = {name: tensor for name, tensor in parameters.items() if tensor.requires_grad}
    decayed = [tensor for name, tensor in trained.items() if not name.endswith("bias")]
    others = [tensor for name, tensor in trained.items() if name.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": single(options["weight_decay"])}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    rate, epsilon = single(options["learning_rate"]), single(options["epsilon"])
    betas = single(options["beta1"]), single(options["beta2"])
    if options["optimizer"] == "sgd":
        # Without momentum its weight decay is the decoupled one: w -= lr * (g + decay * w).
        return [torch.optim.SGD(groups, lr=rate)]
    if options["optimizer"] == "adagrad":
        assert options["weight_decay"] == 0.0, "PyTorch's Adagrad has no decoupled weight decay"
        return [torch.optim.Adagrad(trained.values(), lr=rate, eps=epsilon)]
    if is_lazy(options):
        assert options["weight_decay"] == 0.0, "PyTorch's SparseAdam has no weight decay"
        dense = [tensor for name, tensor in trained.items() if not is_own(name)]
        looked_up = [tensor for name, tensor in trained.items() if is_own(name)]
        optimizers = [torch.optim.SparseAdam(looked_up, lr=rate, betas=betas, eps=epsilon)]
        return optimizers + ([torch.optim.Adam(dense, lr=rate, betas=betas, eps=epsilon)] if dense else [])
    adam = torch.optim.AdamW if options["weight_decay"] else torch.optim.Adam
    return [adam(groups, lr=rate, betas=betas, eps=epsilon)]


def flat(tensor):
    return (tensor.to_dense() if tensor.is_sparse else tensor).detach().reshape(-1).tolist()


def run(case, dtype=torch.float64, backwards=False):
    """Trains one epoch: the results as they are recorded. `backwards` turns the order within every batch around."""
    options, ratings = case["options"], case["ratings"]
    parameters = load_parameters(case["parameters"], dtype)
    optimizers = make_optimizers(options, parameters)
    steps = []
    for begin in range(0, len(ratings["users"]), options["batch"]):
        here = slice(begin, begin + options["batch"])
        batch = [torch.tensor(ratings[key][here], dtype=kind)
                 for key, kind in (("users", torch.int64), ("items", torch.int64), ("ratings", dtype))]
        if backwards:
            batch = [column.flip(0) for column in batch]
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss, objective = objective_of(case, parameters, batch)
        objective.backward()
        steps.append({"loss": loss, "gradients": {name: flat(tensor.grad) for name, tensor in parameters.items()
                                                  if tensor.requires_grad}})
        for optimizer in optimizers:
            optimizer.step()
    return {"steps": steps, "after": {name: flat(tensor) for name, tensor in parameters.items()}}


def largest(values):
    return max(map(abs, values))


def excess(got, reference):
    """The largest difference between two results in units of what parity_test.cpp measures them by."""
    def distance(a, b, unit):
        return largest(x - y for x, y in zip(a, b, strict=True)) / unit

    assert len(got["steps"]) == len(reference["steps"]) and got["after"].keys() == reference["after"].keys()
    worst = 0.0
    for step, expected in zip(got["steps"], reference["steps"]):
        worst = max(worst, distance([step["loss"]], [expected["loss"]], expected["loss"]))
        assert step["gradients"].keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            worst = max(worst, distance(step["gradients"][name], gradient, largest(gradient)))
    for name, values in reference["after"].items():
        worst = max(worst, distance(got["after"][name], values, max(1.0, largest(values))))
    return worst


def require_fit(case, results):
    """Raises BadData where the case's data could make right results differ by more than a part of the tolerance."""
    for step in results["steps"]:
        for name, gradient in step["gradients"].items():
            if largest(gradient) == 0.0:
                raise BadData(f"the gradient of {name} vanishes, so that only zeros would do")
    for backwards in (False, True):
        distance = excess(run(case, torch.float32, backwards), results)
        if distance > FLOAT32_SHARE * TOLERANCE:
            raise BadData(f"float32 is off by {distance:.1e}")


def record(case):
    """The inputs of the first seed whose data are fit, and their results."""
    for seed in range(10000):
        inputs = draw(case, seed)
        try:
            results = run(inputs)
            require_fit(inputs, results)
        except BadData:
            continue
        print(f"{case.name}: seed {seed}, loss {results['steps'][0]['loss']:.4f}", file=sys.stderr)
        return inputs | results
    raise BadData(f"{case.name}: no seed gives data that are fit")


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def to_text(value, indent=""):
    """JSON with a line for every list of numbers."""
    if isinstance(value, dict):
        brackets, items = "{}", [f"{json.dumps(key)}: {to_text(item, indent + ' ')}" for key, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        brackets, items = "[]", [to_text(item, indent + " ") for item in value]
    else:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return brackets[0] + ",".join(f"\n{indent} {item}" for item in items) + f"\n{indent}" + brackets[1]


def write(path):
    fixtures = {"made_by": "bench/peers/pytorch_parity.py", "cases": [rounded(record(case)) for case in CASES]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(fixtures) + "\n", encoding="utf-8")
    print(f"{len(CASES)} cases written to {path}", file=sys.stderr)


def check(path):
    """The number of cases of a file that differ from what PyTorch computes now."""
    recorded = json.loads(path.read_text(encoding="utf-8"))["cases"]
    if [case["name"] for case in recorded] != [case.name for case in CASES]:
        print(f"{path}: its cases are not those of this script", file=sys.stderr)
        return 1
    failures = 0
    for expected, case in zip(recorded, CASES):
        shapes = {name: tensor["shape"] for name, tensor in expected["parameters"].items()}
        said = expected["model"], expected["options"], shapes
        if said != (case.model(), case.options(), case.shapes()):
            failures += 1
            print(f"{case.name}: model or options are not those of this script", file=sys.stderr)
            continue
        distance = excess(run(expected), expected)
        failures += distance > CHECK_TOLERANCE
        print(f"{case.name}: {'ok' if distance <= CHECK_TOLERANCE else 'DIFFERS'}, {distance:.1e}", file=sys.stderr)
    print(f"{len(recorded) - failures} of {len(recorded)} cases agree", file=sys.stderr)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="compute FILE's results again instead of writing it")
    parser.add_argument("file", nargs="?", type=Path, default=FIXTURES, metavar="FILE", help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if arguments.check:
            return 1 if check(arguments.file) else 0
        write(arguments.file)
    except (OSError, ValueError, KeyError, BadData) as problem:
        print(f"pytorch_parity.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
