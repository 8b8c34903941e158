"""Child processes that end with the test run, however it ends."""

import os
import shutil
import signal
import subprocess

# `setpriv` becomes the program, so the process id is the program's own. With it the kernel ends
# the child when the test run is killed.
_TIED = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Returns the environment without variables that would configure a broker."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TOKEN_BROKER_") and name not in ("RUST_LOG", "NO_COLOR")
    }
    return kept | (extra or {})


def spawn(command: list[str], **options) -> subprocess.Popen:
    """Starts a program without standard input."""
    return subprocess.Popen(_TIED + command, stdin=subprocess.DEVNULL, **options)


def kill(process: subprocess.Popen) -> None:
    """Kills a process, even if it is paused."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
