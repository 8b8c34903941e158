"""Builds the example clients, and starts the broker that they call. scripts/test runs these tests."""

import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
# What starts the broker, and what reads the blocks of a page.
sys.path += [str(TESTS / "e2e"), str(TESTS / "docs")]

from support import stubs  # noqa: E402

_GENERATED = tempfile.TemporaryDirectory(prefix="stubs-")


def pytest_configure():
    stubs.generate(_GENERATED.name)


def pytest_unconfigure():
    _GENERATED.cleanup()


@pytest.fixture(scope="session")
def clients() -> dict[str, Future]:
    """All clients by language, while they are being built."""
    from client import LANGUAGES, built

    with ThreadPoolExecutor() as pool:
        yield {language: pool.submit(built, language) for language in LANGUAGES}


@pytest.fixture(scope="session")
def broker():
    """A broker that keeps tokens in memory."""
    from support.broker import running

    with running("--backend", "memory") as started:
        yield started
