"""Building from source, for a machine to which no archive came, or on which its programs do not start."""

import shutil

TARGETS = ["curate", "gpu_probe", "operation_tests", "train_tests", "library_tests"]  # what is most valuable first


def _dependencies(root, kit):
    """CMake's options for the packages of .deps/deps.tar.xz, by bench/pack_deps.sh; none where it is not there."""
    archive = root / ".deps/deps.tar.xz"
    if not archive.exists():
        return []
    unpacked = root / ".deps/root"
    if not unpacked.exists():
        unpacked.mkdir()
        kit.command(["tar", "-C", unpacked, "-xf", archive], 60)
    usr = unpacked / "usr"
    libraries = next((usr / "lib").glob("*-linux-gnu"), usr / "lib")
    return [f"-DCMAKE_PREFIX_PATH={usr}", f"-DCMAKE_BUILD_RPATH={libraries}", f"-DCMAKE_INCLUDE_PATH={usr / 'include'}",
            f"-DCMAKE_LIBRARY_PATH={libraries}", f"-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,{libraries}",
            f"-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-rpath-link,{libraries}", f"-DCMAKE_CXX_FLAGS=-isystem {usr / 'include'}"]


def stage_build(kit):
    """Targets one by one: what there was no time for is missing later, and the rest is measured."""
    root, folder = kit.root, kit.source_build
    cmake = shutil.which("cmake")
    if cmake is None:
        kit.results.add("build", "configure", "failed", "no cmake here, and no programs that start")
        return
    ended = kit.command([cmake, "-G", "Ninja", "-S", root, "-B", folder, "-DCMAKE_BUILD_TYPE=Release",
                         "-DCURATE_CUDA=ON", "-DCURATE_WERROR=OFF", *_dependencies(root, kit)], 60)
    if not ended.ok:
        kit.results.add("build", "configure", "cut" if ended.cut else "failed", ended.problem(), ended.seconds,
                        {"said": ended.tail(3000)})
        return
    kit.results.add("build", "configure", "ok", None, ended.seconds)
    for target in TARGETS:
        if kit.left() < 3:
            kit.results.add("build", target, "cut", "no time left")
            continue
        ended = kit.command([cmake, "--build", folder, "--target", target], 600)
        status = "ok" if ended.ok else "cut" if ended.cut else "failed"
        if not ended.ok and "unknown target" in ended.out + ended.err:
            status = "skipped"
        kit.results.add("build", target, status, None if ended.ok else ended.problem(), ended.seconds,
                        None if ended.ok else {"said": ended.tail(3000)})
