"""Compares counts with the baseline."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

from support.paths import program

BASELINE = Path(__file__).with_name("baseline.json")
# By which part a count may differ from its baseline.
LIMIT = 0.05


def conditions(binary: Path) -> dict[str, str]:
    """Returns what the counts depend on besides the code."""
    compiler = re.search(rb"rustc version ([^\0]+)", binary.read_bytes())
    valgrind = subprocess.run([program("valgrind"), "--version"], capture_output=True, text=True, check=True)
    return {
        "machine": machine(),
        "rustc": compiler[1].decode() if compiler else "not known",
        "libc": " ".join(platform.libc_ver()),
        "valgrind": valgrind.stdout.strip(),
    }


def machine() -> str:
    """Returns the architecture, and what programs see of the processor. Valgrind shows them the same one on every x86
    that has AVX2, so that they choose the same way to copy memory.
    """
    flags = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return platform.machine() + (" with AVX2" if re.search(r"^flags.*\bavx2\b", flags, re.MULTILINE) else "")


def read() -> dict:
    """Returns the baseline."""
    return json.loads(BASELINE.read_text())


def write(found: dict[str, int], where: dict[str, str]) -> None:
    """Makes these counts the baseline."""
    BASELINE.write_text(json.dumps({"counted_with": where, "instructions": found}, indent=2) + "\n")


def differs(count: float, baseline: float) -> str:
    """Returns `more` or `fewer` if the count is beyond the limit. Otherwise returns nothing."""
    if count > baseline * (1 + LIMIT):
        return "more"
    if count < baseline * (1 - LIMIT):
        return "fewer"
    return ""
