"""Results as lines of JSON, each written as soon as it is known.

A line: {"stage", "name", "status", "seconds", "problem", "figures"}. The last line of a stage and a name counts.
Status: ok, failed, cut (time was up), skipped (it cannot be done here: the problem says why) or note.
A line with "whole" is about the stage.
"""

import json
import math
import pathlib
import threading
import time

MOST_LOG = 12 << 20  # bytes: what comes back is limited


def plain(value):
    """Without NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class Results:
    def __init__(self, out, state):
        """Lines go to out/results.jsonl and to the file `state`, which stays for --only failed."""
        out.mkdir(parents=True, exist_ok=True)
        state.parent.mkdir(parents=True, exist_ok=True)
        self._files = [open(out / "results.jsonl", "a", encoding="utf-8"), open(state, "a", encoding="utf-8")]
        self._log = open(out / "log.txt", "a", encoding="utf-8")
        self._logged = 0
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self.lines = []

    def add(self, stage, name, status, problem=None, seconds=None, figures=None, whole=False):
        line = {"stage": stage, "name": name, "status": status, "at": round(time.monotonic() - self._start, 2)}
        if seconds is not None:
            line["seconds"] = round(seconds, 3)
        if problem:
            line["problem"] = str(problem)[:4000]
        if figures:
            line["figures"] = plain(figures)
        if whole:
            line["whole"] = True
        with self._lock:
            self.lines.append(line)
            text = json.dumps(line)
            for file in self._files:
                file.write(text + "\n")
                file.flush()
            said = f": {line['problem'].splitlines()[0][:200]}" if problem else ""
            print(f"{stage:10} {status:8} {name or '(all of it)'}{said}", flush=True)

    def log(self, ended):
        """A command and the end of what it printed; more of it where it failed."""
        most = 1000 if ended.ok else 6000
        told = "ok" if ended.ok else ended.problem()
        text = (f"+ {' '.join(ended.command)[:2000]}\n[{told}, {ended.seconds:.2f} s]\n"
                f"{ended.out[-most:]}\n{ended.err[-most:]}\n")
        with self._lock:
            if self._logged + len(text) * 4 < MOST_LOG:
                self._logged += len(text.encode("utf-8"))
                self._log.write(text)
                self._log.flush()

    def close(self):
        for file in [*self._files, self._log]:
            file.close()

    def of(self, stage):
        """The lines that count of a stage, without the one about the whole."""
        return [line for line in latest(self.lines) if line["stage"] == stage and not line.get("whole")]


def latest(lines):
    """Of lines with the same stage and name the last, in the order in which they first came."""
    kept = {}
    for line in lines:
        kept[(line["stage"], line["name"], line.get("whole", False))] = line
    return list(kept.values())


def not_begun(line):
    """Whether a line is about a stage that there was no time for: one that was begun counts what it did."""
    return bool(line.get("whole")) and line["status"] == "cut" and not line.get("figures")


def read(path):
    """Lines of a file of results; what is not whole, because its writer was killed, is left out."""
    lines = []
    for text in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"stage", "name", "status"} <= set(line):
            lines.append(line)
    return lines


class Selection:
    """What of a stage is to be run: all, or what failed (or was cut) before."""

    def __init__(self, stages, before=None, statuses=()):
        self.names = {}  # stage: names, or None for all
        for stage in stages:
            self.names[stage] = None
        found = [line for line in latest(before or []) if line["status"] in statuses]
        for line in found:
            if line["stage"] not in stages and not line.get("whole"):
                self.names.setdefault(line["stage"], {})[line["name"]] = line
        for line in found:
            # A stage that failed as a whole, of which nothing in particular did.
            if line.get("whole"):
                self.names.setdefault(line["stage"], None)

    def has_stage(self, stage):
        return stage in self.names

    def has(self, stage, name):
        names = self.names.get(stage)
        return names is None or name in names

    def lines(self, stage):
        """The lines before of what is chosen, or None for all."""
        names = self.names.get(stage)
        return None if names is None else list(names.values())
