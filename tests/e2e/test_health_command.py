"""Tests `token-broker health`, the probe for a container without a shell."""

import pytest

from support.broker import TOKEN_BROKER, running
from support.redis import free_port
from test_command_line import run


@pytest.fixture
def broker(redis):
    with running("--backend", "redis", "--redis-url", redis.url) as started:
        yield started


def test_its_exit_code_follows_the_service(broker, redis):
    def ask(*arguments: str) -> int:
        return run("health", "--addr", broker.address, *arguments).returncode

    assert ask() == 0
    assert ask("--service", TOKEN_BROKER) == 0
    assert ask("--service", "no.such.Service") == 1

    redis.kill()
    broker.await_health("NOT_SERVING")
    assert ask() == 1
    assert ask("--service", "liveness") == 0


def test_it_says_what_is_wrong(broker, redis):
    redis.kill()
    broker.await_health("NOT_SERVING")
    assert "NOT_SERVING" in run("health", "--addr", broker.address).stderr


def test_a_broker_that_is_not_there_is_a_failure():
    done = run("health", "--addr", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stderr


def test_a_bad_address_is_bad_usage():
    done = run("health", "--addr", "nonsense")
    assert done.returncode == 2
    assert "addr" in done.stderr
