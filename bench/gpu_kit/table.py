"""Results as Markdown: what failed, what ran, and figures with what was predicted beside them."""

import json
import pathlib

import probes
import record

PREDICTED = pathlib.Path(__file__).resolve().parent.parent / "results/predicted.json"


def predictions():
    """{stage: {name: figure}}; empty where there is no such file."""
    try:
        found = json.loads(PREDICTED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {stage: values for stage, values in found.items() if isinstance(values, dict)}


def comparable(lines):
    """Whether figures are of the sizes, and of the kind of device, that predictions are for."""
    pack = next((line.get("figures", {}) for line in lines if (line["stage"], line["name"]) == ("run", "pack")), {})
    return (pack.get("device", "cuda").startswith("cuda") and pack.get("device") != "cuda-emulated"
            and (pack.get("like", "ml-20m"), pack.get("scale", 1.0)) == ("ml-20m", 1.0))


def _number(value):
    """A prediction's figure: a number, or the first of the usual ones in an object."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("ms", "epoch_ms", "us", "gbps", "predicted") if key in value), None)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _predicted(expected, stage, name):
    values = expected.get(stage, {})
    if name in values:
        return _number(values[name])
    plain = {key.replace(",", " ").replace("=", " "): value for key, value in values.items()}
    return _number(plain.get(name.replace(",", " ").replace("=", " ")))


def _round(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    # A bar would end the cell.
    for row in rows:
        lines.append("| " + " | ".join(_round(cell).replace("|", "/").replace("\n", " ") for cell in row) + " |")
    return lines


def _median(value):
    return value.get("median") if isinstance(value, dict) else value


def _beside(measured, expected):
    return measured / expected if measured is not None and expected else None


def _slower(stage, figures):
    """Of a product: how many times as long the algorithm takes that the rule chooses as the fastest one."""
    if stage != "products":
        return []
    right = [one for one in figures.get("algorithms", []) if not one.get("problem")]
    chosen = next((one["us"] for one in right if one.get("chosen")), None)
    return [_beside(chosen, min((one["us"] for one in right), default=None))]


def _facts(lines):
    return {line["name"]: line.get("figures", {}) for line in lines if line["stage"] in ("machine", "run")}


def _title(lines):
    facts = _facts(lines)
    gpu, doctor, pack = (facts.get(name, {}) for name in ("gpu", "doctor", "pack"))
    clean = {True: ", tree clean", False: ", tree not clean"}.get(pack.get("clean"), "")
    return [f"# GPU kit: {gpu.get('name') or doctor.get('gpu') or 'no GPU'}", "",
            f"{pack.get('date', '?')}, commit {pack.get('commit', 'unknown')}{clean}, device "
            f"`{pack.get('device', '?')}`, by `bench/gpu_kit.sh`."]


def _machine(lines):
    facts = _facts(lines)
    gpu, doctor, system, blas = (facts.get(name, {}) for name in ("gpu", "doctor", "system", "cublaslt"))
    rows = [["GPU", gpu.get("name", doctor.get("gpu"))],
            ["driver", f"{gpu.get('driver_version', '?')}, serves CUDA {doctor.get('cuda_driver') or '?'}"],
            ["toolkit of the programs", doctor.get("cuda_toolkit") or "?"],
            ["clocks now, at most", f"SM {gpu.get('clocks.sm', '?')}, {gpu.get('clocks.max.sm', '?')}; memory "
                                    f"{gpu.get('clocks.mem', '?')}, {gpu.get('clocks.max.mem', '?')}"],
            ["cuBLASLt", f"{blas.get('major', 'none')}, {doctor.get('cublaslt', '?')}"],
            ["system", f"{system.get('system', '?')}, {doctor.get('cpu', '?')}, {system.get('cores', '?')} cores"]]
    return ["", "## Machine and stages", "", *_table(["what", "here"], rows)]


def _stages(lines):
    rows = []
    for line in lines:
        if line.get("whole"):
            rows.append([line["stage"], line["status"], line.get("problem", ""), line.get("seconds")])
    return ["", *_table(["stage", "status", "what", "seconds"], rows)]


def _problems(lines):
    text = []
    for line in lines:
        if line["status"] == "failed" and not line.get("whole"):
            problem = line.get("problem", "").strip()[:1500]
            text += ["", f"**{line['stage']}: {line['name']}**", "", "```", problem, "```"]
        elif line["stage"] == "tests" and line["name"].endswith(" alone") and line.get("figures"):
            text += ["", f"**{line['name']}**", "", "```", json.dumps(line["figures"], indent=1)[:3000], "```"]
    return ["", "## Failed", *text] if text else []


def _measured(lines, expected):
    text = []
    of = {}
    for line in lines:
        if not line.get("whole") and line["status"] == "ok":
            of.setdefault(line["stage"], []).append(line)
    rows = [[line["name"], f["test_rmse"], f.get("cpu_test_rmse", f.get("eager_test_rmse")), f["difference"],
             f["allowed"]] for line in of.get("trainings", []) for f in [line.get("figures", {})] if "test_rmse" in f]
    if rows:
        text += ["", "## Trainings", "", *_table(["training", "test RMSE", "CPU's, or eager", "difference", "allowed"],
                                                 rows)]
    for stage, title in (("epochs", "Epochs of per-rating SGD"), ("train", "Trainings by mini-batches")):
        rows = []
        for line in of.get(stage, []):
            figures = line.get("figures", {})
            if "epoch_ms" in figures:
                own, predicted = _median(figures["epoch_ms"]), _predicted(expected, stage, line["name"])
                rate = figures.get("ratings_per_second")
                name = line["name"] + (" (fewer epochs than asked for)" if figures.get("shortened") else "")
                rows.append([name, predicted, own, _beside(own, predicted), rate / 1e6 if rate else None,
                             figures.get("train_rmse")])
        if rows:
            text += ["", f"## {title}", "", *_table(
                ["what", "*predicted* ms", "ms", "times the prediction", "M ratings/s", "train RMSE"], rows)]
    for stage, title in (("memory", "Memory"), ("products", "Products")):
        rows, seen = [], set()
        for line in of.get(stage, []):
            figures = line.get("figures", {})
            if "us" in figures or "gbps" in figures:
                own = _median(figures.get("us", figures.get("gbps")))
                key = probes.predicted_product(figures) if stage == "products" else line["name"]
                # The first of a name is the product as the stack has it; later ones lack its epilogue.
                predicted = None if key in seen else _predicted(expected, stage, key or "")
                seen.add(key)
                rows.append([line["name"], predicted, _median(figures.get("us")), _median(figures.get("gbps")),
                             _median(figures.get("tflops")), _beside(own, predicted), *_slower(stage, figures)])
        if rows:
            text += ["", f"## {title}", "", *_table(
                ["what", "*predicted*", "us", "GB/s", "TFLOP/s", "times the prediction",
                 *(["times the fastest algorithm"] if stage == "products" else [])], rows)]
    return text + _tools(of)


def _tools(of):
    text, rows = [], []
    for line in of.get("ncu", []):
        figures = line.get("figures", {})
        for kernel, values in figures.get("kernels", {}).items():
            rows.append([line["name"], kernel, figures.get("launches expected"), *(values.get(label) for label in (
                "profiled", "us", "HBM %", "L2 %", "SM %", "registers", "occupancy %"))])
    if rows:
        text += ["", "## Nsight Compute, medians", "", *_table(
            ["run", "kernel", "launches expected", "profiled", "us", "HBM %", "L2 %", "SM %", "registers",
             "occupancy %"], rows)]
    rows = [[line["name"], f["ratings_per_second"] / 1e6, f.get("version"), f.get("ratings")]
            for line in of.get("pytorch", []) for f in [line.get("figures", {})] if "ratings_per_second" in f]
    if rows:
        text += ["", "## PyTorch", "", *_table(["what", "M ratings/s", "version", "ratings"], rows)]
    rows = [[line["name"], *(f["ratio"][key] for key in ("median", "min", "max")), f["pairs"],
             json.dumps(f["epoch_ms"])]
            for line in of.get("ab", []) for f in [line.get("figures", {})] if "ratio" in f]
    if rows:
        text += ["", "## A : B, times of an epoch", "", *_table(["A : B", "ratio", "least", "most", "pairs", "ms"],
                                                                rows)]
    return text


def markdown(lines, expected=None):
    lines = record.latest(lines)
    expected = predictions() if expected is None else expected
    # What failed comes first: the tables of a whole run are pages long.
    text = _title(lines) + _problems(lines) + _machine(lines) + _stages(lines)
    if not comparable(lines):
        expected = {}
        text += ["", "No prediction stands beside these figures: predictions are for a GPU and for ratings like ml-20m, "
                     "all of them."]
    text += _measured(lines, expected)
    left_out = [line for line in lines
                if record.not_begun(line) or (line["status"] in ("cut", "skipped") and not line.get("whole"))]
    if left_out:
        text += ["", "## Cut and skipped", "", *_table(["stage", "what", "status", "why"], [
            [line["stage"], line["name"] or "all of it", line["status"], line.get("problem", "")[:300]]
            for line in left_out])]
    return "\n".join(text) + "\n"
