"""Finds the code blocks of a Markdown file, and what the comments before them ask for."""

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

# These blocks run: in the file's shell, or with `python3 -` in it.
RUN = {"sh", "python"}
# These blocks are only shown and never run.
SHOWN = {"text", "json", "toml", "yaml", "proto", "mermaid", "lua", "rust", "go", "dockerfile", "ini", "sql"}

FENCE = re.compile(r"^(?P<indent>\s*)(?P<marks>`{3,}|~{3,})(?P<tag>[^`\s]*)")
COMMENT = re.compile(r"^\s*<!--\s*(?P<text>.*?)\s*-->\s*$")
DIRECTIVE = re.compile(r"^(?P<name>not run here|expect|wait until|in the background)(?::\s*(?P<value>.*))?$")
NEEDS_VALUE = {"not run here", "expect", "wait until"}


@dataclass
class Block:
    """One fenced block."""

    file: Path
    line: int
    tag: str
    text: str = ""
    not_run_because: str = ""
    wait_until: list[str] = field(default_factory=list)
    expect: list[str] = field(default_factory=list)
    background: bool = False

    @property
    def problem(self) -> str:
        """Says what is wrong with the block, if it can be neither run nor skipped. Empty if nothing is."""
        if self.tag in RUN | SHOWN:
            return ""
        return f"a block tagged '{self.tag}': shell is 'sh', what isn't to be run is one of {sorted(SHOWN)}"


def read(file: Path) -> list[Block]:
    """Returns all fenced blocks of a file, in order."""
    blocks, comments = [], []
    lines = iter(enumerate(file.read_text().splitlines(), start=1))
    for number, line in lines:
        if comment := COMMENT.match(line):
            comments.append((number, comment["text"]))
        elif fence := FENCE.match(line):
            block = Block(file, number, fence["tag"], _text_of(lines, fence["marks"], file, number))
            for where, text in comments:
                _apply(block, text, where)
            blocks.append(block)
            comments = []
        elif line.strip():
            _refuse_stray(file, comments)
            comments = []
    _refuse_stray(file, comments)
    return blocks


def _text_of(lines, marks: str, file: Path, start: int) -> str:
    content = []
    for _, line in lines:
        if line.strip().startswith(marks) and not line.strip().strip(marks[0]):
            return textwrap.dedent("\n".join(content)) + "\n"
        content.append(line)
    raise SystemExit(f"{file}:{start}: a block without an end")


def _apply(block: Block, comment: str, line: int) -> None:
    directive = DIRECTIVE.match(comment)
    if not directive:
        return
    name, value = directive["name"], directive["value"] or ""
    if name in NEEDS_VALUE and not value:
        raise SystemExit(f"{block.file}:{line}: '{name}' needs a ': ...'")
    if name == "not run here":
        block.not_run_because = value
    elif name == "expect":
        block.expect.append(value)
    elif name == "wait until":
        block.wait_until.append(value)
    else:
        block.background = True


def _refuse_stray(file: Path, comments: list[tuple[int, str]]) -> None:
    for line, text in comments:
        if DIRECTIVE.match(text):
            raise SystemExit(f"{file}:{line}: '{text}' has no block right below it")
