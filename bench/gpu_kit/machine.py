"""What the machine is: GPU, driver, clocks, where cuBLASLt is. Changes no setting."""

import glob
import json
import os
import pathlib
import platform
import re
import shutil
import site
import sys

# One query: each start of nvidia-smi may take seconds.
FIELDS = ["name", "driver_version", "memory.total", "compute_cap", "clocks.sm", "clocks.mem", "clocks.max.sm",
          "clocks.max.mem", "power.draw", "power.limit", "temperature.gpu", "ecc.mode.current", "mig.mode.current",
          "persistence_mode", "utilization.gpu"]
WANTED_MAJOR = 13  # of cuBLASLt, as the toolkit that packs has it; an older one serves, too


def cublaslt_folders():
    """Folders that have libcublasLt.so.N, as {folder: N}, in the order in which they were looked for."""
    patterns = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    patterns += ["/usr/local/cuda/lib64", "/usr/local/cuda-*/lib64", "/usr/local/cuda-*/targets/*/lib",
                 "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/nvidia/*/lib*"]
    sites = [*sys.path, *site.getsitepackages(), site.getusersitepackages(),
             *glob.glob("/usr/lib/python3*/dist-packages"), *glob.glob("/usr/local/lib/python3*/*-packages"),
             *glob.glob("/opt/*/lib/python3*/site-packages")]
    for folder in filter(None, dict.fromkeys(sites)):
        patterns += [f"{folder}/nvidia/*/lib", f"{folder}/torch/lib"]
    found = {}
    for pattern in patterns:
        for folder in sorted(glob.glob(pattern), reverse=True):
            for library in glob.glob(f"{folder}/libcublasLt.so.*"):
                major = re.search(r"\.so\.(\d+)", library)
                if major:
                    found.setdefault(folder, int(major[1]))
    return found


def choose_cublaslt(found):
    """The toolkit's major version before older ones; newer ones are no use."""
    usable = [folder for folder in found if found[folder] <= WANTED_MAJOR]
    return max(usable, key=lambda folder: found[folder]) if usable else None


def gpu(kit):
    smi = shutil.which("nvidia-smi")
    if smi is None:
        kit.results.add("machine", "gpu", "skipped", "no nvidia-smi here")
        return
    ended = kit.command([smi, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"], 8)
    if ended.ok and ended.out.strip():
        cells = (cell.strip() for cell in ended.out.splitlines()[0].split(", "))
        kit.results.add("machine", "gpu", "ok", figures=dict(zip(FIELDS, cells)))
    else:
        kit.results.add("machine", "gpu", "cut" if ended.cut else "failed",
                        "nvidia-smi says nothing" if ended.ok else f"nvidia-smi: {ended.problem()}")


def doctor(kit):
    ended = kit.command([kit.curate, "doctor", "--json"], 15)
    try:
        told = json.loads(ended.out)
    except ValueError:
        told = None
    if not ended.ok:
        kit.results.add("machine", "doctor", "cut" if ended.cut else "failed", ended.problem())
    elif not isinstance(told, dict):
        kit.results.add("machine", "doctor", "failed", "doctor printed no JSON")
    elif kit.device == "cuda" and not told.get("cuda"):
        kit.results.add("machine", "doctor", "failed", f"--device cuda fails: {told.get('why_no_cuda')}", figures=told)
    else:
        kit.results.add("machine", "doctor", "ok", figures=told)


def stage_machine(kit):
    gpu(kit)
    release = pathlib.Path("/etc/os-release")
    name = re.search(r'PRETTY_NAME="(.*)"', release.read_text(encoding="utf-8")) if release.exists() else None
    kit.results.add("machine", "system", "ok",
                    figures={"system": name[1] if name else platform.platform(), "kernel": platform.release(),
                             "libc": " ".join(platform.libc_ver()), "python": platform.python_version(),
                             "cores": os.cpu_count()})
    found = cublaslt_folders()
    chosen = choose_cublaslt(found)
    if chosen is None:
        kit.results.add("machine", "cublaslt", "skipped", "no libcublasLt.so found: products are the tiled kernels'",
                        figures={"found": found})
    else:
        kit.results.add("machine", "cublaslt", "ok", figures={"folder": chosen, "major": found[chosen], "found": found})
        kit.environment["LD_LIBRARY_PATH"] = ":".join(
            [chosen, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    doctor(kit)
