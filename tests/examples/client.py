"""An example client, built and run as its page says."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import blocks
from support.paths import ROOT
from support.processes import clean_environment

EXAMPLES = ROOT / "examples"
AUTH_SERVER = EXAMPLES / "go-auth-server"
LANGUAGES = ["go", "java", "python", "typescript"]
# The address on the pages.
ADDRESS = "127.0.0.1:50051"


@dataclass
class Client:
    """A client that has been built. `command` runs it in `folder`."""

    folder: Path
    command: str

    def run(self, address: str) -> list[str]:
        """Runs the client against a broker, and returns the lines that it prints."""
        assert ADDRESS in self.command
        return run(self.command.replace(ADDRESS, address), self.folder, 60).splitlines()


def built(language: str) -> Client:
    """Builds a client by the first block of its page. The second block runs it."""
    folder = EXAMPLES / language
    found = [block for block in blocks.read(folder / "README.md") if block.tag in blocks.RUN]
    build, command = (block.text.strip() for block in found)
    run(build, folder, 280)
    return Client(folder, command)


def run(script: str, folder: Path, timeout: float) -> str:
    """Runs a script of bash in a folder, and returns what it prints."""
    environment = clean_environment()
    environment["PATH"] = f"{ROOT}/.tools/bin:{os.environ['PATH']}"
    # Maven runs for so short a time that optimizing its code takes longer than it saves.
    environment["MAVEN_OPTS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout
