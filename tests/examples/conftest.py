"""Builds the example clients, and starts the broker that they call. scripts/test runs these tests."""

import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

TESTS = Path(__file__).resolve().parents[1]
# What starts the broker, and what reads the blocks of a page.
sys.path += [str(TESTS / "e2e"), str(TESTS / "docs")]

from support import stubs  # noqa: E402

# Their assertions say what they compared.
pytest.register_assert_rewrite("login", "people")

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


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A sidecar, with all that is around it."""
    import sidecar
    from sidecar_world import World

    built = World(tmp_path_factory.mktemp("sidecar"), sidecar.built())
    with ExitStack() as stack:
        built.start(stack)
        yield built


@pytest.fixture
def path() -> str:
    """A path of the test's own at the service, with what no log may show."""
    from sidecar_world import SECRET

    return f"/{uuid4().hex}?code={SECRET}"


@pytest.fixture(scope="session")
def build():
    """Builds and checks examples/auth-server, as its page says."""
    import blocks
    from client import run
    from login import LOGIN

    (build,) = [block for block in blocks.read(LOGIN / "README.md") if block.tag in blocks.RUN]
    run(build.text + "go vet .\ngo test .\n", LOGIN, 280)
    assert not run("gofmt -l *.go", LOGIN, 20)


@pytest.fixture(scope="session")
def shared(build, tmp_path_factory):
    """A site for tests that don't restart anything. Each test has users of its own."""
    from login import site

    with site(tmp_path_factory.mktemp("site")) as started:
        yield started


@pytest.fixture(scope="session")
def chromium():
    """A real browser, in which each test has people of its own."""
    from chromium_browser import Chromium

    started = Chromium()
    yield started
    started.close()


@pytest.fixture(scope="session")
def flawed(build, tmp_path_factory):
    """The auth server with flaws to choose from."""
    from auth_server_flaws import FLAWS, IMPORTS
    from flaws import Flawed
    from login import LOGIN

    return Flawed(LOGIN, FLAWS, IMPORTS, tmp_path_factory.mktemp("flaws"))
