"""One bash that runs a file's blocks one after the other, as a reader's terminal would."""

import ctypes
import os
import select
import signal
import subprocess
import time
from pathlib import Path

# How long `wait until` waits, and how long a block may take. Everything has been built before.
PATIENCE = 60
LONGEST_BLOCK = 300

PREAMBLE = f"""
set -eo pipefail
wait_until() {{
  local end=$((SECONDS + {PATIENCE})) output
  until output=$(eval "$1" 2>&1); do
    if ((SECONDS >= end)); then
      echo "$output"
      echo "after {PATIENCE} s still not: $1"
      return 1
    fi
    sleep 0.1
  done
}}
"""


class Session:
    """A bash session. It ends with the first command that fails, or with `close`, and so do all processes that it started."""

    def __init__(self, folder: Path, scratch: Path, environment: dict[str, str]):
        _adopt_orphans()
        self._scratch = scratch
        self._count = 0
        self._done, done = os.pipe()
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            pass_fds=[done],
            text=True,
        )
        os.close(done)
        self._report = f"printf '%s\\n' $? >&{done}"
        self._send(PREAMBLE)

    def _send(self, text: str) -> None:
        self._bash.stdin.write(text)
        self._bash.stdin.flush()

    def run(self, script: str, background: bool = False) -> tuple[bool, str]:
        """Runs a script. Returns whether all of its commands succeeded, and what it printed."""
        self._count += 1
        file = self._scratch / f"block-{self._count}.sh"
        output = self._scratch / f"block-{self._count}.out"
        file.write_text(script)
        # Output goes to a file, because processes that stay in the background would keep a pipe open.
        command = f"source {file} >{output} 2>&1 </dev/null"
        self._send(f"{command} {'& true' if background else ''}\n{self._report}\n")
        succeeded = self._wait()
        return succeeded, output.read_text() if output.exists() else ""

    def _wait(self) -> bool:
        end = time.monotonic() + LONGEST_BLOCK
        while time.monotonic() < end:
            readable, _, _ = select.select([self._done], [], [], 0.1)
            if readable:
                return os.read(self._done, 16).strip() == b"0"
            if self._bash.poll() is not None:
                return False
        return False

    def output_so_far(self) -> str:
        """Returns what all blocks have printed so far, for the report of a block that failed."""
        files = sorted(self._scratch.glob("block-*.out"), key=lambda file: file.stat().st_mtime)
        return "".join(f"-- {file.stem}\n{file.read_text()}" for file in files)

    def close(self) -> None:
        """Ends bash and all processes that its blocks left running."""
        for sent, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            end = time.monotonic() + patience
            for process in _descendants():
                _signal(process, sent)
            while _descendants() and time.monotonic() < end:
                _reap()
                time.sleep(0.02)
        self._bash.poll()
        self._bash.stdin.close()
        os.close(self._done)


def _adopt_orphans() -> None:
    """Makes this process the parent of orphans of its descendants, including daemons."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _descendants() -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # The process ended during the search.
            parents[int(entry.name)] = int(after_name[1])
    found, unseen = [], [os.getpid()]
    while unseen:
        parent = unseen.pop()
        children = [process for process, its_parent in parents.items() if its_parent == parent]
        found += children
        unseen += children
    return found


def _signal(process: int, sent: signal.Signals) -> None:
    try:
        os.kill(process, sent)
    except ProcessLookupError:
        pass


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
