"""bench/gpu_model.toml: what every prediction of a time on a GPU assumes."""

import pathlib
import sys
import types

PATH = pathlib.Path(__file__).resolve().parent / "gpu_model.toml"
SOURCES = ("published", "measured on ", "assumed")


def load(path=PATH):
    """{name: value} with the values as attributes as well. Ends the program with a message where the file is not as it
    should be."""
    try:
        import tomllib
    except ImportError:
        python = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"gpu_model.py: Python {python} has no tomllib; use Python 3.11 or newer")
    try:
        entries = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        sys.exit(f"gpu_model.py: {path}: {problem}")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"value", "unit", "source"}:
            sys.exit(f"gpu_model.py: {path}: {name} needs value, unit and source, and nothing else")
        if not isinstance(entry["value"], (int, float)) or isinstance(entry["value"], bool) or entry["value"] <= 0:
            sys.exit(f"gpu_model.py: {path}: the value of {name} is no number above 0")
        if not entry["source"].startswith(SOURCES):
            sys.exit(f"gpu_model.py: {path}: the source of {name} is none of published, measured on ..., assumed")
    return Model(**{name: entry["value"] for name, entry in entries.items()})


class Model(types.SimpleNamespace):
    def __getattr__(self, name):  # only what is not there gets here
        sys.exit(f"gpu_model.py: the model has no {name}")

    def values(self):
        return dict(vars(self))
