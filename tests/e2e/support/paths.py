"""Finds the programs that the tests run."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def program(name: str, variable: str | None = None) -> str:
    """Returns the path of a program: the value of `variable`, or the one in `.tools/bin`, or the one in PATH."""
    if variable and os.environ.get(variable):
        return os.environ[variable]
    found = shutil.which(name, path=str(ROOT / ".tools/bin")) or shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is missing: run scripts/tools")
    return found


def broker_binary() -> str:
    """Returns the path of the broker: `BROKER_BINARY`, or else the debug build."""
    path = Path(os.environ.get("BROKER_BINARY", ROOT / "target/debug/token-broker"))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run cargo build")
    return str(path)
