"""An example in Go with flaws, one of which is chosen while it runs: the control of the tests of that example.

So one build has them all. `flaw(NAME)` says whether that flaw is the chosen one.
"""

import json
from pathlib import Path

from client import run

_CHOICE = """package main

import "os"

func flaw(name string) bool {
	chosen, _ := os.ReadFile(%s)
	return string(chosen) == name
}

func either[T any](name string, wrong, right T) T {
	if flaw(name) {
		return wrong
	}
	return right
}

func without[T any](name string, right T) (wrong T) { return either(name, wrong, right) }
"""


class Flawed:
    """A program with all flaws of a table, of which none or one is chosen."""

    def __init__(self, example: Path, flaws: dict[str, tuple], imports: dict[str, list[str]], folder: Path):
        self.program, self._choice = folder / "flawed", folder / "choice"
        self._flaws = flaws
        self._choice.write_text("")
        files = {"flaws.go": _CHOICE % json.dumps(str(self._choice))}
        for name, (file, *changes) in flaws.items():
            text = files.get(file) or (example / file).read_text()
            for right, wrong in zip(changes[::2], changes[1::2], strict=True):
                assert text.count(right) == 1, f"{name}: {right}"
                text = text.replace(right, wrong.replace("NAME", json.dumps(name)))
            files[file] = text
        for file, packages in imports.items():
            added = "".join(f'\n\t"{package}"' for package in packages)
            files[file] = files[file].replace("import (", f"import ({added}")
        for file, text in files.items():
            (folder / file).write_text(text)
        overlay = folder / "overlay.json"
        overlay.write_text(json.dumps({"Replace": {str(example / file): str(folder / file) for file in files}}))
        run(f"go build -overlay {overlay} -o {self.program} .", example, 100)

    def choose(self, flaw: str) -> None:
        """Has it have this flaw from now on, or none."""
        assert not flaw or flaw in self._flaws
        self._choice.write_text(flaw)
