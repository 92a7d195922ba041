"""Stages of `gpu_probe`: memory, epochs of per-rating SGD, whole trainings, products; and an A/B of two kernels.

Its lines are passed on as they come. A configuration that ends the process costs itself alone: the rest is measured in
new processes.
"""

import json
import pathlib
import statistics

DIMS = ["32", "64", "128"]
PRECISIONS = ["f32", "f16", "bf16"]
KERNELS = ["default", "ahead=1", "ahead=4", "hot=32", "split=512", "reductions=scalar"]
EPOCHS = ["--epochs", "30", "--warmup", "3"]
# An epoch of it should take ten times as long: in f32 alone, after all others, and few of them.
SLOW_KERNEL = "deterministic"
SLOW_EPOCHS = ["--epochs", "5", "--warmup", "1"]
TRAINS = ["optimizer=adam,dim=64,batch=4096", "optimizer=adam,dim=64,batch=65536",
          "optimizer=adam,dim=64,batch=1048576", "model=mlp,batch=65536",
          "model=mlp,user_dim=128,item_dim=128,layers=256,128,64,optimizer=adam,batch=65536,products=bf16"]
WIDTHS = [256, 256, 128, 64, 1]
BATCH, EMULATED_BATCH = "65536", "256"
PRODUCTS = ["--batch", BATCH, "--layers", ",".join(map(str, WIDTHS)), "--precision", "bf16,tf32,f32"]
NOTES = ("machine", "data")  # lines about what is measured on, not figures
IDLE_SECONDS = 25  # without a line: a configuration takes a few
# Keys of a line that end what was asked for: figures come behind it.
FIGURES = {"cut", "error", "skipped", "gbps", "bytes", "us", "ms", "epoch_ms", "tflops", "seconds", "ratings"}


def name_of(stage, line):
    """What was measured, as predictions have it: "dim 128 f32 default"."""
    if stage == "epochs" and {"dim", "precision", "kernel"} <= set(line):
        return f"dim {line['dim']} {line['precision']} {line['kernel'] or 'default'}"
    if stage == "train" and "set" in line:
        return line["set"]
    parts = [str(line["probe"])]
    for key, value in line.items():
        if key in FIGURES or isinstance(value, (dict, float)):
            break
        if key != "probe":
            parts.append(value if isinstance(value, str) else f"{key} {json.dumps(value)}")
    return " ".join(parts)


def predicted_product(line):
    """What a prediction calls a product of the stack in bf16: "forward 1", "weight 1" or "input 1"; None for others."""
    layers = list(zip(WIDTHS, WIDTHS[1:]))
    layer = (line.get("inputs"), line.get("outputs"))
    if line.get("precision") != "bf16" or layer not in layers or "pass" not in line:
        return None
    return f"{line['pass'].split('_')[0]} {layers.index(layer)}"


def epochs_groups(names):
    """Configurations that one command line can ask for: all combinations, or those of one dim and precision."""
    columns = [set(column) for column in zip(*(name.split(" ", 3)[1:] for name in names))]
    if names and len(names) == len(columns[0]) * len(columns[1]) * len(columns[2]):
        return [names]
    groups = {}
    for name in names:
        groups.setdefault(tuple(name.split(" ", 3)[1:3]), []).append(name)
    return list(groups.values())


def epochs_arguments(names):
    columns = zip(*(name.split(" ", 3)[1:] for name in names))
    dims, precisions, kernels = (",".join(dict.fromkeys(column)) for column in columns)
    return ["--dim", dims, "--precision", precisions, "--kernel", kernels,
            *(SLOW_EPOCHS if kernels == SLOW_KERNEL else EPOCHS)]


def train_groups(names):
    return [names] if names else []


def train_arguments(names):
    return [part for name in names for part in ("--set", name)] + ["--epochs", "4"]


class Probe:
    """Runs gpu_probe until every configuration has a line, or the time is up."""

    def __init__(self, kit, stage, own):
        self.kit, self.stage, self.own = kit, stage, own
        self.seen = {}
        self.told = 0  # lines of this process
        self.problem = None
        self.seconds, self.processes = 0.0, 0

    def line(self, text):
        try:
            line = json.loads(text)
        except ValueError:
            return
        if not isinstance(line, dict) or "probe" not in line:
            return
        name = name_of(self.stage, line)
        if line["probe"] in NOTES:
            self.kit.results.add(self.stage, f"gpu_probe {line['probe']}", "note", figures=line)
            return
        if line.get("skipped"):
            self.told += 1
            self.kit.results.add(self.stage, name, "skipped", line["skipped"], figures=line)
            return
        status = "cut" if line.get("cut") else "failed" if line.get("error") else "ok"
        self.seen[name] = status
        self.told += 1
        problem = line.get("error") or ("not reached in its time" if status == "cut" else None)
        self.kit.results.add(self.stage, name, status, problem, figures=line)

    def process(self, arguments):
        """One process."""
        seconds = max(1, int(self.kit.left() - 3))
        self.told = 0
        ended = self.kit.command([self.kit.gpu_probe, self.stage, "--device", self.kit.device, *self.own, *arguments,
                                  "--seconds", seconds], seconds + 2, idle=self.kit.patience * IDLE_SECONDS,
                                 on_line=self.line)
        self.seconds += ended.seconds
        self.processes += 1
        return ended

    def well(self, ended):
        """Whether a process told all that it had to tell; one that found errors may end with 1."""
        if ended.cut or (ended.ok and self.told):
            return True
        return ended.returncode == 1 and not ended.stopped and "failed" in self.seen.values()

    def once(self, arguments):
        """A stage of one process, of which nobody knows the configurations."""
        ended = self.process(arguments)
        if not self.well(ended):
            self.problem = ended.problem() if not ended.ok else "it printed no line"
        self.close(ended.cut)

    def all(self, parts, groups_of, arguments_of):
        """Every configuration, part by part."""
        for names in parts:
            self.part(names, groups_of, arguments_of)
        for name in [name for names in parts for name in names]:
            if name not in self.seen:
                why = f"not reached: {self.problem}" if self.problem else "not reached"
                self.kit.results.add(self.stage, name, "cut", why)
        self.close(False)

    def part(self, names, groups_of, arguments_of):
        """Its configurations; those behind one that ends the process, or fails, in new processes."""
        groups, retried = groups_of(names), set()
        while groups and self.kit.left() > 4 and not self.problem:
            group = groups.pop(0)
            ended = self.process(arguments_of(group))
            missing = [name for name in group if name not in self.seen]
            well = self.well(ended)
            if not well and not self.told and ended.returncode > 0 and not ended.stopped:
                self.problem = ended.problem()  # it refuses, whatever is asked for
                break
            failed = [name for name in group if self.seen.get(name) == "failed"]
            again = []
            if not well and missing:
                suspect, *again = missing
                # The limit is the time that was left for all of them: no fault of the one that it met.
                self.seen[suspect] = "cut" if ended.stopped == "limit" else "failed"
                self.kit.results.add(self.stage, suspect, self.seen[suspect],
                                     f"its process ended before its figures came: {ended.problem()}")
            elif failed:
                # One failure may have broken the GPU's context for those behind it, which then fail or are cut.
                again = [name for name in group if name not in retried and (
                    name in failed[1:] or self.seen.get(name) == "cut")]
                retried.update(again)
            groups += groups_of(again)

    def close(self, cut):
        status = "failed" if self.problem else "cut" if cut else "ok"
        self.kit.results.add(self.stage, f"gpu_probe {self.stage}", status, self.problem, self.seconds,
                             figures={"processes": self.processes})


def _data(kit):
    return ["--like", kit.like, "--scale", str(kit.scale)]


def _absent(kit, stage):
    if kit.gpu_probe.exists():
        return False
    kit.results.add(stage, f"gpu_probe {stage}", "skipped", "this program is not in the kit")
    return True


def _chosen(kit, stage, names):
    """Those of names that are to be run; all where the process itself failed, and nothing in particular."""
    kept = [name for name in names if kit.selection.has(stage, name)]
    return kept or names


def stage_memory(kit):
    if not _absent(kit, "memory"):
        Probe(kit, "memory", []).once(["--small"] if kit.emulated else [])


def stage_epochs(kit):
    if not _absent(kit, "epochs"):
        names = [f"dim {dim} {precision} {kernel}" for dim in kit.dims for precision in PRECISIONS
                 for kernel in KERNELS]
        slow = [f"dim {dim} {PRECISIONS[0]} {SLOW_KERNEL}" for dim in kit.dims]
        chosen = _chosen(kit, "epochs", names + slow)
        parts = [[name for name in chosen if name not in slow], [name for name in chosen if name in slow]]
        Probe(kit, "epochs", _data(kit)).all(parts, epochs_groups, epochs_arguments)


def stage_train(kit):
    if not _absent(kit, "train"):
        Probe(kit, "train", _data(kit)).all([_chosen(kit, "train", kit.trains)], train_groups, train_arguments)


def stage_products(kit):
    if not _absent(kit, "products"):
        small = {BATCH: EMULATED_BATCH} if kit.emulated else {}
        Probe(kit, "products", []).once([small.get(part, part) for part in PRODUCTS])


class Side:
    """One side of an A/B: a kernel of this kit, or another kit's default."""

    def __init__(self, kit, text):
        folder = pathlib.Path(text)
        self.name = text
        self.gpu_probe, self.kernel = kit.gpu_probe, text
        if folder.is_dir():
            self.gpu_probe, self.kernel = folder.resolve() / "bin" / kit.gpu_probe.name, "default"

    def epoch_ms(self, kit):
        """Median milliseconds of an epoch, in a process of its own; else how the process ended."""
        lines = []

        def take(text):
            try:
                lines.append(json.loads(text))
            except ValueError:
                pass

        ended = kit.command([self.gpu_probe, "epochs", "--device", kit.device, *_data(kit), "--dim", kit.ab_dim,
                             "--precision", kit.ab_precision, "--kernel", self.kernel, "--epochs", "10",
                             "--warmup", "2", "--seconds", max(1, int(kit.left()))], 60,
                            idle=kit.patience * IDLE_SECONDS, on_line=take)
        figures = [line["epoch_ms"]["median"] for line in lines if isinstance(line.get("epoch_ms"), dict)]
        errors = [line["error"] for line in lines if line.get("error")]
        return (figures[0], ended) if figures else (None, errors[0] if errors else ended.problem())


def stage_ab(kit):
    """Pairs A B, B A, ...: what drifts, drifts for both."""
    sides = [Side(kit, text) for text in kit.ab]
    name = f"{sides[0].name} : {sides[1].name}"
    ratios, times, longest = [], [[], []], 0.0
    while kit.left() > max(3.0, 1.2 * longest):
        begun = kit.left()
        pair = [None, None]
        for side in ((0, 1) if len(ratios) % 2 == 0 else (1, 0)):
            pair[side], told = sides[side].epoch_ms(kit)
            if pair[side] is None:
                if kit.left() > 1:
                    kit.results.add("ab", name, "failed", f"{sides[side].name}: {told}")
                    return
                break
        if None in pair:
            break
        longest = max(longest, begun - kit.left())
        for side in (0, 1):
            times[side].append(pair[side])
        ratios.append(pair[0] / pair[1])
        if len(ratios) >= kit.ab_pairs:
            break
    if not ratios:
        kit.results.add("ab", name, "cut", "not one pair was measured")
        return
    figures = {"pairs": len(ratios),
               "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
               "epoch_ms": {side.name: statistics.median(own) for side, own in zip(sides, times)},
               "dim": kit.ab_dim, "precision": kit.ab_precision}
    kit.results.add("ab", name, "ok", figures=figures)
