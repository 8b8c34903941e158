"""Tests what the process leaves behind and shows of its memory: no core dump, and no page that may be swapped out."""

import os
import resource
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from support.broker import running
from support.paths import broker_binary
from support.processes import clean_environment, kill, spawn


@contextmanager
def dumping(folder: Path):
    """Child processes may dump cores of any size, into this folder if the system puts them where they run."""
    before, here = resource.getrlimit(resource.RLIMIT_CORE), os.getcwd()
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
        resource.setrlimit(resource.RLIMIT_CORE, before)


def crashed(process: subprocess.Popen) -> bool:
    """Crashes a process. Returns whether it dumped a core."""
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = status
    return os.WCOREDUMP(status)


def field(process: subprocess.Popen, name: str) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def test_a_broker_that_crashes_dumps_no_core(tmp_path):
    with dumping(tmp_path):
        other = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
        assert crashed(other), "this system dumps no cores, so that the test shows nothing"
        with running() as broker:
            assert not crashed(broker.process)


def test_memory_is_locked_without_taking_more_of_it():
    with running("--memory-lock", "off") as plain, running() as locked:
        assert field(plain.process, "VmLck") == 0
        assert field(locked.process, "VmRSS") < field(plain.process, "VmRSS") * 1.25 + 1024
        is_locked = field(locked.process, "VmLck") > 0
    told = [line for line in locked.log if "memory is locked" in line or "memory isn't locked" in line]
    assert len(told) == 1
    assert ("memory is locked" in told[0]) == is_locked


def test_a_broker_that_must_lock_its_memory_and_may_not_does_not_start():
    limit = ["prlimit", "--memlock=65536:65536", "--"]
    without = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "--"]
    command = [*limit, *without, broker_binary(), "--listen", "127.0.0.1:0"]
    process = spawn([*command, "--memory-lock", "required"], env=clean_environment(), stderr=subprocess.PIPE, text=True)
    try:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 2, told
        assert "memory-lock" in told and "IPC_LOCK" in told
    finally:
        kill(process)
