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

QUERIES = [["name", "driver_version", "memory.total", "compute_cap"],
           ["clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.draw", "power.limit"],
           ["temperature.gpu", "ecc.mode.current", "mig.mode.current", "persistence_mode", "utilization.gpu"]]
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
    figures = {}
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    for fields in QUERIES:
        ended = kit.command([smi, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"], 5)
        if ended.ok and ended.out.strip():
            figures.update(zip(fields, (cell.strip() for cell in ended.out.splitlines()[0].split(", "))))
    return figures


def stage_machine(kit):
    figures = gpu(kit)
    if figures:
        kit.results.add("machine", "gpu", "ok", figures=figures)
    else:
        kit.results.add("machine", "gpu", "skipped" if figures is None else "failed",
                        "no nvidia-smi here" if figures is None else "nvidia-smi says nothing")
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
    ended = kit.command([kit.curate, "doctor", "--json"], 15)
    try:
        doctor = json.loads(ended.out)
    except ValueError:
        doctor = None
    if not ended.ok or not isinstance(doctor, dict):
        kit.results.add("machine", "doctor", "failed", ended.problem() if not ended.ok else "doctor printed no JSON")
    elif kit.device == "cuda" and not doctor.get("cuda"):
        kit.results.add("machine", "doctor", "failed", f"--device cuda fails: {doctor.get('why_no_cuda')}",
                        figures=doctor)
    else:
        kit.results.add("machine", "doctor", "ok", figures=doctor)
