"""What training in mini-batches should take, for predicted_gpu.py: the kernels of a step one after the other, each the
longest of its launch, its bytes and its arithmetic, and what comes once an epoch.

Bytes are those of bench/results/cuda-kernels.md. Rows of a batch (gathered, and their gradients) and tables count as the
L2's where they fit into it, else as HBM's.
"""

import math
import statistics

import predicted_stacks

# MovieLens 20M, from its README; medians are of its ratings.csv.
USERS, USER_MEDIAN = 138_493, 68
ITEMS, ITEM_MEDIAN = 26_744, 18
BATCHES = [4096, 65536, 1 << 20]
SORT_PASS = 24  # bytes that a pass of a radix sort reads and writes for a pair of a key of 64 bits and a number of 32


def touched(rows, median, ratings, batch):
    """Rows of a table that have a rating in a batch, expected: their numbers of ratings as if log-normal."""
    sigma = math.sqrt(2 * math.log(ratings / rows / median))
    of_rows = [math.exp(sigma * statistics.NormalDist().inv_cdf((k + 0.5) / 1000)) for k in range(1000)]
    scale = batch / (sum(of_rows) * rows / 1000)
    return rows / 1000 * sum(1 - math.exp(-count * scale) for count in of_rows)


class Step:
    """Kernels of a step."""

    def __init__(self, model):
        self.model = model
        self.launches = 0
        self.seconds = 0.0
        self.bytes = 0.0

    def add(self, hbm=0.0, l2=0.0, flops_seconds=0.0, launches=1):
        """`launches` kernels that share bytes and arithmetic."""
        work = max(hbm / self.model.hbm_rate, (hbm + l2) / self.model.l2_rate, flops_seconds)
        self.seconds += max(launches * self.model.launch, work)
        self.launches += launches
        self.bytes += hbm + l2

    def add_rows(self, size, fits, **others):
        self.add(**{"l2" if fits else "hbm": size}, **others)


def row_bytes(count):
    return 16 * -(-4 * count // 16)


def add_embedding_steps(step, ratings, batch, dims, *, biases, gathered_bf16=False):
    """What users' and items' tables cost: gather, scatter, and an update by Adam, or by SGD with damping, which has as
    many moments. Whether the rows of the batch fit the L2."""
    model = step.model
    sizes = [row_bytes(dim + (1 if biases else 0)) for dim in dims]
    values = 2 * batch * sum(sizes)  # gathered rows and gradients
    batch_fits = values <= model.l2_bytes
    for size, rows, median in zip(sizes, (USERS, ITEMS), (USER_MEDIAN, ITEM_MEDIAN)):
        table_fits = rows * size <= model.l2_bytes / 2
        for written in (size / 2 if gathered_bf16 else size, size):  # gather, then scatter: a row read, one written
            own, others = batch * (4 + written), batch * size
            step.add(hbm=(0 if batch_fits else own) + (0 if table_fits else others),
                     l2=(own if batch_fits else 0) + (others if table_fits else 0))
        # Weights, gradient and moments are read; weights and moments written.
        step.add(hbm=7 * size * touched(rows, median, ratings, batch))
    return batch_fits


def epoch(model, ratings, batch, step):
    """{"ms", ...} of an epoch: ratings shuffled, segments of users and items found, then the steps."""
    shuffle = ratings * (12 + 8 * SORT_PASS + 28)
    segments = 2 * ratings * (16 + 4 * SORT_PASS + 12 + 8 + 20)
    once = (shuffle + segments) / model.hbm_rate
    steps = -(-ratings // batch)
    seconds = once + steps * step.seconds
    return {"ms": 1e3 * seconds, "once_ms": 1e3 * once, "steps": steps, "step_us": 1e6 * step.seconds,
            "launches_of_a_step": step.launches, "launches_of_a_step_us": 1e6 * step.launches * model.launch,
            "bytes_a_rating": step.bytes / batch}


def mf_adam(model, ratings, batch, dim):
    """host/models/matrix_factorization.cpp: 10 kernels."""
    step = Step(model)
    fits = add_embedding_steps(step, ratings, batch, [dim, dim], biases=True)
    step.add_rows(batch * (8 * dim + 12), fits)  # dot_rows
    step.add_rows(batch * 12, True)  # rating_loss
    step.add_rows(batch * (16 * dim + 20), fits)  # dot_rows_backward
    step.add()  # advance_step
    return epoch(model, ratings, batch, step)


def add_network_steps(step, batch, dims, layers, fits):
    """What host/models/neural_network.cpp launches besides tables and layers."""
    for dim in dims:
        step.add_rows(2 * batch * 8 * dim, fits, launches=2)  # dropout, forward and backward
        step.add_rows(batch * 12 * dim, fits)  # add_l2_rows
    step.add_rows(batch * 12, True)  # rating_loss
    step.add(launches=2 * layers)  # update_dense: weights, biases
    step.add()  # advance_step


def mlp_default(model, counted, ratings, batch):
    widths = predicted_stacks.DEFAULT
    step = Step(model)
    dims = [widths[0] // 2] * 2
    fits = add_embedding_steps(step, ratings, batch, dims, biases=False)
    add_network_steps(step, batch, dims, len(widths) - 1, fits)
    code = counted[predicted_stacks.name_of(widths)]["f32"]
    for which in ("forward", "backward"):
        got = predicted_stacks.predict(model, code[which], which == "backward", "f32", widths, batch)
        step.add(flops_seconds=got["largest"])
    step.add()  # dense_stack_add_slices
    return epoch(model, ratings, batch, step)


def products_of(model, widths, batch):
    """{name: (bytes, flops)} of the kernels of a stack that goes by cuBLASLt as a whole, in bf16, and its last layer's."""
    found = {}
    hidden, (last, _) = list(zip(widths, widths[1:]))[:-1], (widths[-2], widths[-1])
    for layer, (inputs, outputs) in enumerate(hidden):
        mask = batch * outputs / 8 if layer + 1 < len(hidden) else 0
        below = batch * inputs / 8 if layer > 0 else 0
        flops = 2 * batch * inputs * outputs
        weights = 2 * inputs * outputs
        found[f"forward {layer}"] = (2 * batch * (inputs + outputs) + weights + mask, flops)
        found[f"weight {layer}"] = (2 * batch * (inputs + outputs) + 2 * weights, flops)
        found[f"input {layer}"] = (batch * (2 * outputs + (4 if layer == 0 else 2) * inputs) + weights + below, flops)
    found[f"forward {len(hidden)}"] = (batch * (2 * last + 4), 2 * batch * last)
    found[f"backward {len(hidden)}"] = (batch * (4 * last + 4), 4 * batch * last)
    return found


def products(model, widths, batch):
    peak = model.tensor_share * model.tensor_flops_bf16
    return {name: {"us": 1e6 * max(size / model.hbm_rate, flops / peak, model.launch), "bytes": size, "flops": flops}
            for name, (size, flops) in products_of(model, widths, batch).items()}


def mlp_wide(model, ratings, batch):
    widths = predicted_stacks.WIDE
    step = Step(model)
    dims = [widths[0] // 2] * 2
    fits = add_embedding_steps(step, ratings, batch, dims, biases=False, gathered_bf16=True)
    add_network_steps(step, batch, dims, len(widths) - 1, fits)
    step.add(launches=len(widths) - 2)  # round_layer
    for size, flops in products_of(model, widths, batch).values():
        step.add(hbm=size, flops_seconds=flops / (model.tensor_share * model.tensor_flops_bf16))
    return epoch(model, ratings, batch, step)


def trainings(model, counted, ratings):
    """{settings: epoch()}, named as gpu_probe's are."""
    found = {f"optimizer=adam,dim=64,batch={batch}": mf_adam(model, ratings, batch, 64) for batch in BATCHES}
    found["model=mlp,batch=65536"] = mlp_default(model, counted, ratings, 65536)
    layers = ",".join(map(str, predicted_stacks.WIDE[1:-1]))
    half = predicted_stacks.WIDE[0] // 2
    found[f"model=mlp,user_dim={half},item_dim={half},layers={layers},optimizer=adam,batch=65536,products=bf16"] = (
        mlp_wide(model, ratings, 65536))
    return found


def report(model, trainings_, products_):
    print("## Trainings in mini-batches\n\nAn epoch, named by the options; every time is *predicted*. Adam's tables are f32 "
          "with biases.\n")
    print("| training | kernels of a step | their launches | bytes a rating | a step | steps | once an epoch | **epoch** |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in trainings_.items():
        print(f"| {name.replace(',', ', ')} | {row['launches_of_a_step']} | {row['launches_of_a_step_us']:.0f} us "
              f"| {row['bytes_a_rating']:,.0f} | {row['step_us']:.0f} us | {row['steps']:,} | {row['once_ms']:.1f} ms "
              f"| **{row['ms']:.1f} ms** |")
    print(f"\n## Products of {predicted_stacks.name_of(predicted_stacks.WIDE)}, bf16, at batch 65,536\n\nThe longest of "
          f"bytes over HBM's rate, arithmetic over {model.tensor_share:.0%} of the tensor cores' peak, and a launch. `weight` "
          "and `input` are the gradients.\n")
    print("| product | MB | GFLOP | **time** |\n|---|---|---|---|")
    for name, row in products_.items():
        print(f"| {name} | {row['bytes'] / 1e6:.1f} | {row['flops'] / 1e9:.2f} | **{row['us']:.1f} us** |")
