"""Commands with a time limit that holds: whatever a command does, it and its children are gone soon after."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

GRACE_SECONDS = 1.0  # between SIGTERM and SIGKILL
MOST_OUTPUT = 32 << 20  # bytes of a command; one that prints more is stopped

# Process groups that live now, for the watchdog.
_groups = set()
_lock = threading.Lock()


class Ended:
    """How a command ended. `stopped`: why it was stopped, or ""."""

    def __init__(self, command, returncode, seconds, stopped="", out="", err=""):
        self.command, self.returncode, self.seconds = command, returncode, seconds
        self.stopped, self.out, self.err = stopped, out, err

    @property
    def ok(self):
        return self.returncode == 0 and not self.stopped

    @property
    def cut(self):
        """Stopped because the stage's time was up, which says nothing about the command."""
        return self.stopped == "stage"

    def tail(self, characters=300):
        text = (self.err.strip() or self.out.strip() or "no output")
        return text[-characters:]

    def problem(self):
        """What went wrong, in one line."""
        if self.stopped == "stage":
            return f"stopped after {self.seconds:.1f} s: the stage's time is up"
        if self.stopped == "limit":
            return f"stopped after {self.seconds:.1f} s, its limit"
        if self.stopped == "idle":
            return f"hangs: stopped after {self.seconds:.1f} s, the last of them without output"
        if self.stopped == "output":
            return f"stopped: it printed more than {MOST_OUTPUT >> 20} MiB"
        last = self.tail().splitlines()[-1].strip()[-300:]
        if self.returncode < 0:
            try:
                name = signal.Signals(-self.returncode).name
            except ValueError:
                name = str(-self.returncode)
            return f"ended by signal {name}: {last}"
        return f"ended with {self.returncode}: {last}"


def _signal_group(group, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _stop(process):
    """Ends a process group, at first politely. Gives up on a process that the kernel does not let go."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2.0)


def kill_all():
    """Ends every command that runs now, at once."""
    with _lock:
        for group in _groups:
            _signal_group(group, signal.SIGKILL)


class _Lines:
    """Passes whole lines of a growing file on."""

    def __init__(self, file, on_line):
        self.file, self.on_line, self.offset, self.rest = file, on_line, 0, b""

    def read(self, last=False):
        """What came since the last call, up to a limit: a program may print faster than this reads."""
        size = min(os.fstat(self.file.fileno()).st_size, MOST_OUTPUT)
        while self.offset < size:
            data = os.pread(self.file.fileno(), min(1 << 20, size - self.offset), self.offset)
            self.offset += len(data)
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self.on_line(line.decode("utf-8", "replace"))
        if last and self.rest:
            self.on_line(self.rest.decode("utf-8", "replace"))


def run(command, seconds, *, idle=None, environment=None, on_line=None, folder=None, stage_limit=False):
    """Runs a command for at most `seconds`, and `idle` seconds without output. Its output goes through files: children
    that outlive it hold nothing up. `stage_limit`: the limit is that of the stage, not the command's own."""
    command = [str(part) for part in command]
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
                                       start_new_session=True, env={**os.environ, **(environment or {})})
        except OSError as problem:
            return Ended(command, 127, 0.0, err=f"{pathlib.Path(command[0]).name} does not start: {problem.strerror}")
        with _lock:
            _groups.add(process.pid)
        lines = _Lines(out, on_line) if on_line else None
        stopped, printed, last_output, pause = "", 0, start, 0.005
        try:
            while process.poll() is None:
                time.sleep(pause)
                pause = min(0.05, pause * 1.5)
                now = time.monotonic()
                if lines:
                    lines.read()
                size = os.fstat(out.fileno()).st_size + os.fstat(err.fileno()).st_size
                if size != printed:
                    printed, last_output = size, now
                if now - start >= seconds:
                    stopped = "stage" if stage_limit else "limit"
                elif idle is not None and now - last_output >= idle:
                    stopped = "idle"
                elif printed > MOST_OUTPUT:
                    stopped = "output"
                if stopped:
                    _stop(process)
                    break
        finally:
            # Children that are still there go as well.
            _signal_group(process.pid, signal.SIGKILL)
            with _lock:
                _groups.discard(process.pid)
        if lines:
            lines.read(last=True)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(MOST_OUTPUT).decode("utf-8", "replace"))
        code = process.returncode if process.returncode is not None else -int(signal.SIGKILL)
        return Ended(command, code, time.monotonic() - start, stopped, *texts)
