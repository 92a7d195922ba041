"""Differences between what two builds of cuRate wrote, as lines; for same_bits.py.

A function named compare_KIND takes a file's name and its bytes of OLD and NEW."""

import csv
import io
import json
import struct


def first_difference(what, old, new, keys):
    """Of two dictionaries of tokens: the first key at which they differ, and how many do."""
    different = [key for key in keys if old.get(key) != new.get(key)]
    if not different:
        return []
    key = different[0]
    both = f"{old.get(key, 'absent')} and {new.get(key, 'absent')}"
    return [f"{what}, {key}: {both}; {len(different)} of {len(keys)} differ"]


def is_time(name):
    return "seconds" in name or "per_second" in name


def compare_json(what, old, new):
    """Numbers as they are written, times left out."""
    def leaves(value, path, out):
        if isinstance(value, (dict, list)) and value:
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                if not is_time(str(key)):
                    leaves(part, f"{path}.{key}" if path else str(key), out)
        else:
            out[path] = json.dumps(value)
        return out

    sides = [leaves(json.loads(text, parse_float=str), "", {}) for text in (old, new)]
    return first_difference(what, *sides, list({**sides[0], **sides[1]}))


def compare_history(what, old, new):
    sides = []
    for text in (old, new):
        rows = list(csv.DictReader(io.StringIO(text.decode())))
        sides.append({f"row {at + 1}, {name}": value for at, row in enumerate(rows) for name, value in row.items()
                      if not is_time(str(name))})
        sides[-1]["rows"] = len(rows)
    return first_difference(what, *sides, list({**sides[0], **sides[1]}))


def compare_config(what, old, new):
    """Options that NEW alone has are no difference."""
    sides = [dict(line.split(" = ", 1) for line in text.decode().splitlines() if " = " in line and line[0] != "#")
             for text in (old, new)]
    return first_difference(what, *sides, list(sides[0]))


def compare_lines(what, old, new):
    sides = [{f"line {at + 1}": repr(line) for at, line in enumerate(text.decode(errors="replace").splitlines(True))}
             for text in (old, new)]
    found = first_difference(what, *sides, list({**sides[0], **sides[1]}))
    return found or ([] if old == new else [f"{what}: bytes differ"])


def tensors_of(data):
    """Of a safetensors file: what its header says besides offsets, and {name: bytes}."""
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    facts, tensors = {}, {}
    for name, about in header.items():
        if name == "__metadata__":
            facts.update({f"__metadata__ {key}": value for key, value in about.items()})
            continue
        begin, end = about["data_offsets"]
        tensors[name] = data[8 + size + begin:8 + size + end]
        facts[name] = f"{about['dtype']} {about['shape']}"
    return facts, tensors


def compare_tensors(what, old, new):
    (old_facts, old_tensors), (new_facts, new_tensors) = tensors_of(old), tensors_of(new)
    found = first_difference(f"{what}, header", old_facts, new_facts, list({**old_facts, **new_facts}))
    for name, before in old_tensors.items():
        after = new_tensors.get(name)
        if before == after or old_facts[name] != new_facts.get(name):
            continue
        kind, shape = old_facts[name].split(" ", 1)
        shape = json.loads(shape)
        width = {"F16": 2, "BF16": 2, "F32": 4, "I32": 4, "F64": 8, "I64": 8}.get(kind, 1)
        at = [k for k in range(0, len(before), width) if before[k:k + width] != after[k:k + width]]
        index, rest = [], at[0] // width
        for extent in reversed(shape):
            index.insert(0, rest % extent)
            rest //= extent
        bits = [f"0x{part[at[0]:at[0] + width][::-1].hex()}" for part in (before, after)]
        count = f"{len(at)} of {len(before) // width} elements differ"
        found.append(f"{what}, {name}{index}: {bits[0]} and {bits[1]}; {count}")
    return found


COMPARE = {"model.safetensors": compare_tensors, "history.csv": compare_history, "config.toml": compare_config,
           "metrics.json": compare_json, "train.stdout": compare_json, "evaluate.stdout": compare_json}


def compare_folders(old, new, only=None):
    """All files below two folders, or those of one name, each by its kind."""
    names = [{path.relative_to(folder).as_posix() for path in folder.rglob("*")
              if path.is_file() and only in (None, path.name)} for folder in (old, new)]
    alone = {"OLD": names[0] - names[1], "NEW": names[1] - names[0]}
    found = [f"{name}: only {side} writes it" for side, more in alone.items() for name in sorted(more)]
    for name in sorted(names[0] & names[1]):
        base = name.rsplit("/", 1)[-1]
        before, after = (old / name).read_bytes(), (new / name).read_bytes()
        if before == after:
            continue
        try:
            found += COMPARE.get(base, compare_lines)(name, before, after)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
            found.append(f"{name}: differs and is not of its format ({error})")
    return found
