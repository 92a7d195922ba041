"""Whole trainings on the GPU beside the CPU engine's test RMSE, which `pack` found out on the same made-up ratings."""

import concurrent.futures
import hashlib
import json
import shutil
import threading

DATA = {"like": "ml-1m", "scale": 0.1, "seed": 1}
EMULATED_SCALE = 0.01  # where no references say otherwise: an emulated GPU takes hours for what a GPU does in seconds
WIDE = ["--model", "mlp", "--user-dim", "128", "--item-dim", "128", "--layers", "256,128,64", "--optimizer", "adam",
        "--batch", "4096", "--epochs", "3"]
# Name, options of both engines, options of the GPU alone, allowed difference of test RMSEs.
TRAININGS = [
    ("mf sgd", ["--epochs", "5"], [], 0.005),
    ("mf adam", ["--epochs", "5", "--optimizer", "adam"], [], 0.002),
    ("mlp", ["--epochs", "4", "--model", "mlp"], [], 0.005),
    ("neumf", ["--epochs", "4", "--model", "neumf"], [], 0.005),
    ("wide f32", WIDE, [], 0.003),
    ("wide tf32", WIDE, ["--products", "tf32"], 0.004),
    ("wide bf16", WIDE, ["--products", "bf16"], 0.006),
]
# Name, options: captured graphs against every operation by itself, in the same order of additions.
GRAPHS = [
    ("graph mf adam", ["--epochs", "2", "--optimizer", "adam", "--deterministic"]),
    ("graph mlp", ["--epochs", "2", "--model", "mlp", "--deterministic"]),
    ("graph wide bf16", [*WIDE, "--products", "bf16", "--deterministic"]),
]
GRAPH_DIFFERENCE = 1e-4
SIDE_BY_SIDE = 3
TRAINING_SECONDS = 40


class NotTrained(Exception):
    """A training that gave no RMSE."""

    def __init__(self, ended):
        super().__init__(ended.problem())
        self.ended = ended


def checksum(folder):
    """Of the names and contents of all files of a folder but cuRate's cache."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".cache"):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def generate(command, curate, folder, data=None):
    """Made-up ratings, the same everywhere; their checksum. `command`: runs one, as Kit.command does."""
    data = data or DATA
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    ended = command([curate, "data", "generate", "--like", data["like"], "--scale", data["scale"], "--seed",
                     data["seed"], "--out", folder], TRAINING_SECONDS)
    if not ended.ok:
        raise NotTrained(ended)
    return checksum(folder)


def train(command, curate, data, device, out, options):
    """Test RMSE of a training."""
    ended = command([curate, "train", data, "--device", device, "--out", out, "--overwrite", "--quiet", *options],
                    TRAINING_SECONDS)
    if not ended.ok:
        raise NotTrained(ended)
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))["test"]["rmse"]


def references(command, curate, folder):
    """What travels: the CPU engine's RMSE of every training, and of which ratings."""
    digest = generate(command, curate, folder / "data")
    trainings = {}
    for name, options, _, _ in TRAININGS:
        key = json.dumps(options)
        if key not in trainings:
            print(f"gpu_kit: reference by the CPU engine: {name}", flush=True)
            trainings[key] = train(command, curate, folder / "data", "cpu", folder / "run", options)
    return {"data": {**DATA, "sha256": digest}, "trainings": trainings}


class Trainings:
    def __init__(self, kit):
        self.kit = kit
        self.data = kit.work / "data"
        self.known = {}  # test RMSE of the CPU engine by its options
        self.from_pack = False
        self.lock = threading.Lock()

    def prepare(self):
        packed = self.kit.references
        made = {**DATA, "scale": EMULATED_SCALE} if self.kit.emulated and not packed else DATA
        digest = generate(self.kit.command, self.kit.curate, self.data, made)
        if not packed:
            self.kit.results.add("trainings", "references", "note", "none in the kit: the CPU engine trains here")
        elif packed["data"] != {**DATA, "sha256": digest}:
            self.kit.results.add("trainings", "references", "note",
                                 "the ratings made up here are not bit for bit those of the pack: the CPU engine "
                                 "trains here", figures={"packed": packed["data"]["sha256"], "here": digest})
        else:
            self.known = dict(packed["trainings"])
            self.from_pack = True
            self.kit.results.add("trainings", "references", "ok", figures={"sha256": digest})

    def train(self, name, device, options):
        out = self.kit.work / ("run-" + name.replace(" ", "-") + "-" + device)
        return train(self.kit.command, self.kit.curate, self.data, device, out, options)

    def beside_the_cpu(self, name, options, own, allowed):
        rmse = self.train(name, self.kit.device, [*options, *own])
        key = json.dumps(options)
        source = "pack" if self.from_pack else "CPU engine here"
        with self.lock:
            if key not in self.known:
                self.known[key] = self.train(name, "cpu", options)
        difference = rmse - self.known[key]
        figures = {"test_rmse": rmse, "cpu_test_rmse": self.known[key], "difference": round(difference, 6),
                   "allowed": allowed, "reference": source}
        # "not <=": NaN is no agreement.
        problem = None if abs(difference) <= allowed else f"differs by {difference:.5f}, allowed are {allowed}"
        return problem, figures

    def graph_beside_eager(self, name, options):
        graph = self.train(name, self.kit.device, options)
        eager = self.train(name + " eager", self.kit.device, [*options, "--debug-device"])
        figures = {"test_rmse": graph, "eager_test_rmse": eager, "difference": round(graph - eager, 7),
                   "allowed": GRAPH_DIFFERENCE}
        problem = None if abs(graph - eager) <= GRAPH_DIFFERENCE else f"graph and eager differ by {graph - eager:.6f}"
        return problem, figures

    def one(self, name, measure, arguments):
        try:
            problem, figures = measure(name, *arguments)
        except NotTrained as failure:
            status = "cut" if failure.ended.cut else "failed"
            if failure.ended.returncode == 2 and "--debug-device" in failure.ended.err:
                status = "skipped"  # a program without that option
            self.kit.results.add("trainings", name, status, str(failure))
            return
        except (OSError, ValueError, KeyError, TypeError) as failure:
            self.kit.results.add("trainings", name, "failed", f"no metrics: {failure}")
            return
        self.kit.results.add("trainings", name, "failed" if problem else "ok", problem, figures=figures)


def stage_trainings(kit):
    trainings = Trainings(kit)
    try:
        trainings.prepare()
    except NotTrained as failure:
        kit.results.add("trainings", "data", "cut" if failure.ended.cut else "failed", f"no ratings: {failure}")
        return
    work = [(name, trainings.beside_the_cpu, arguments) for name, *arguments in TRAININGS]
    work += [(name, trainings.graph_beside_eager, arguments) for name, *arguments in GRAPHS]
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for future in [pool.submit(trainings.one, *each) for each in work
                       if kit.selection.has("trainings", each[0]) or kit.selection.has("trainings", "data")]:
            future.result()
