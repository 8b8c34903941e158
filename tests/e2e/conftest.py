"""End-to-end tests of the real binary with foreign clients. scripts/test runs them."""

import tempfile
from dataclasses import dataclass
from uuid import uuid4

import pytest

from support import stubs
from support.redis import Redis

_GENERATED = tempfile.TemporaryDirectory(prefix="stubs-")


def pytest_configure():
    # This comes before the test modules are loaded, because they import the generated code.
    stubs.generate(_GENERATED.name)


def pytest_unconfigure():
    _GENERATED.cleanup()


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{report.head_line}: {name}: {value}")
    counts = {outcome: len(terminalreporter.getreports(outcome)) for outcome in ("passed", "failed", "error")}
    terminalreporter.write_line(
        f"e2e: {counts['passed']} passed, {counts['failed'] + counts['error']} failed"
    )


@dataclass
class Names:
    """Returns ids that no other test uses, so that tests can share a broker."""

    session: str
    user: str


@pytest.fixture
def names() -> Names:
    unique = uuid4().hex
    return Names(session=f"session-{unique}", user=f"user-{unique}")


@pytest.fixture
def redis():
    """A Redis for one test, which may stop or break it."""
    server = Redis()
    yield server
    server.close()


@pytest.fixture(scope="module", params=["memory", "redis"])
def broker(request):
    """A broker for the tests of one file, on each backend."""
    # This import isn't at the top, because the module imports generated code.
    from support.broker import running

    if request.param == "memory":
        with running("--backend", "memory") as started:
            yield started
        return
    server = Redis()
    try:
        with running(*server.options) as started:
            yield started
    finally:
        server.close()


@pytest.fixture
def client(broker):
    """The generated client of `broker`."""
    return broker.client
