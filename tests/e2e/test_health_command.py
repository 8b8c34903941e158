"""Tests `token-broker health`, the probe for a container without a shell."""

from contextlib import closing

import pytest

from support.broker import TOKEN_BROKER, running
from support.redis import ReservedPort
from test_command_line import run


def health(*arguments: str, env: dict[str, str] | None = None):
    """Asks a broker that answers, and has longer for it than the command usually has."""
    return run("health", "--timeout", "20s", *arguments, env=env)


@pytest.fixture
def broker(redis):
    with running("--backend", "redis", "--redis-url", redis.url) as started:
        yield started


def test_its_exit_code_follows_the_service(broker, redis):
    def ask(*arguments: str) -> int:
        return health("--addr", broker.address, *arguments).returncode

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
    assert "NOT_SERVING" in health("--addr", broker.address).stderr


def test_a_broker_that_is_not_there_is_a_failure():
    with closing(ReservedPort()) as port:
        done = run("health", "--addr", f"127.0.0.1:{port.number}")
    assert done.returncode == 1
    assert done.stderr


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense", "has no port"),
        ("http://127.0.0.1:50051", "without a scheme"),
        ("::1:50051", "like [::1]:50051"),
        ("127.0.0.1:grpc", "port from 0"),
    ],
)
def test_a_bad_address_is_bad_usage(address, told):
    done = run("health", "--addr", address)
    assert done.returncode == 2
    assert done.stderr.startswith("token-broker: addr: ") and told in done.stderr


def test_it_asks_where_the_broker_is_told_to_listen(tmp_path):
    file = tmp_path / "broker.toml"
    with running() as broker:
        listen, port = broker.address, broker.address.split(":")[1]
        file.write_text(f'listen = "{listen}"\n')
        for arguments, env in [
            ([], {"TOKEN_BROKER_LISTEN": listen}),
            ([], {"TOKEN_BROKER_LISTEN": f"0.0.0.0:{port}", "TOKEN_BROKER_INSECURE_ALLOW_REMOTE": "true"}),
            ([], {"TOKEN_BROKER_CONFIG": str(file)}),
            (["--config", str(file)], {}),
            (["--addr", f":{port}"], {"TOKEN_BROKER_LISTEN": "127.0.0.1:1"}),
            (["--addr", f"localhost:{port}"], {}),
        ]:
            done = health(*arguments, env=env)
            assert done.returncode == 0, done.stderr
    free = run("health", env={"TOKEN_BROKER_LISTEN": "127.0.0.1:0"})
    assert free.returncode == 2 and "listen: names no port" in free.stderr


def test_another_server_is_not_taken_for_a_broker(redis):
    done = run("health", "--addr", f"127.0.0.1:{redis.port}")
    assert done.returncode == 1
    assert "it is another server" in done.stderr or "no answer" in done.stderr
    assert "operation was canceled" not in done.stderr
