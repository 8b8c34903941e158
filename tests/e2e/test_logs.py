"""Tests that the log says what happened, and contains no secret."""

import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from hashlib import sha256

import grpc
import pytest

from support.broker import running
from support.client import Client, refusal
from support.paths import broker_binary
from support.processes import clean_environment, kill, spawn
from tokenbroker.v1 import access_tokens_pb2 as access_api
from tokenbroker.v1 import access_tokens_pb2_grpc as access_api_grpc
from tokenbroker.v1 import token_broker_pb2 as api
from tokenbroker.v1 import token_broker_pb2_grpc as api_grpc

SECRETS = {"session-secret", "at-secret", "rt-secret", "id-secret"}


def test_no_line_has_a_token_or_a_session_id(redis):
    # Once Redis is down, a call waits for a connection as long as it usually does.
    patient = ("--redis-timeout", "5s")
    with running("--backend", "redis", "--redis-url", redis.url, *patient) as broker:
        client = broker.client
        row = {"session_id": "session-secret", "provider": "github"}
        tokens = {
            "access_token": "at-secret",
            "refresh_token": "rt-secret",
            "id_token": "id-secret",
            "user_id": "u",
        }
        client.Store(**row, tokens=tokens)
        client.Get(**row)
        client.GetAll(session_id=row["session_id"])
        client.ListUserSessions(user_id="u")
        refusal(client.Store, **row, tokens=tokens, precondition={"must_not_exist": True})
        # A row that can't be decoded gets a log line, which doesn't contain the row.
        redis.command(
            "SET", "thv:auth:{default:default}:upstream:session-secret:github", '{"access_token":"at-secret'
        )
        refusal(client.Get, **row)
        redis.kill()
        refusal(client.Get, **row)
        broker.process.send_signal(signal.SIGTERM)
        assert broker.process.wait(timeout=60) == 0
        stdout = broker.process.stdout.read()

    lines = [json.loads(line) for line in broker.log]
    assert {"timestamp", "level", "fields", "target"} <= set(lines[0])
    calls = [line for line in lines if line["level"] == "DEBUG" and "Get" in json.dumps(line["fields"])]
    assert calls, "at debug, every call has a line"
    assert not [line for line in broker.log for secret in SECRETS if secret in line]
    assert stdout == ""


POLICY = """
[callers.{name}]
tenant = "{tenant}"
roles = ["auth-server", "sidecar"]
providers = "*"
bearer-sha256 = ["{digest}"]
"""


@pytest.mark.parametrize("tenants", [["acme:prod"], ["acme:prod", "acme:test"]])
def test_lines_name_the_tenant_if_there_are_several(tmp_path, tenants):
    # Nobody listens there: a refresh fails, in a task of its own.
    provider = 'token-endpoint = "https://127.0.0.1:1/token"\nclient-id = "c"\nclient-authentication = "none"\n'
    (tmp_path / "policy.toml").write_text(
        "".join(
            POLICY.format(name=tenant.replace(":", "-"), tenant=tenant, digest=sha256(tenant.encode()).hexdigest())
            for tenant in tenants
        )
    )
    (tmp_path / "broker.toml").write_text(
        f'policy = "{tmp_path}/policy.toml"\n'
        + "".join(f'[tenants."{tenant}"]\n[tenants."{tenant}".providers.hub]\n{provider}' for tenant in tenants)
    )
    with running("--backend", "memory", "--config", str(tmp_path / "broker.toml")) as broker:
        for tenant in tenants:
            known = {"metadata": [("authorization", f"Bearer {tenant}")], "timeout": 10}
            row = {"session_id": "session-secret", "provider": "hub"}
            tokens = api.UpstreamTokens(access_token="at-secret", refresh_token="rt-secret")
            tokens.expires_at.FromSeconds(int(time.time()) - 60)
            store = api_grpc.TokenBrokerStub(broker.client.channel).Store
            store(api.StoreRequest(**row, tokens=tokens), **known)
            get = access_api_grpc.AccessTokensStub(broker.client.channel).GetAccessToken
            with pytest.raises(grpc.RpcError):
                get(access_api.GetAccessTokenRequest(**row), **known)
        broker.process.send_signal(signal.SIGTERM)
        assert broker.process.wait(timeout=60) == 0
    lines = [json.loads(line) for line in broker.log]
    for of_a_call in (
        lambda line: line["fields"].get("rpc") == "Store",
        lambda line: line["fields"].get("rpc") == "GetAccessToken",
        lambda line: line["level"] == "WARN" and line["fields"].get("provider") == "hub",
    ):
        found = [line.get("span", {}).get("tenant") for line in lines if of_a_call(line)]
        assert set(found) == (set(tenants) if len(tenants) > 1 else {None}), lines


@contextmanager
def unread():
    """A broker whose log nobody reads once it serves. The pipe is as small as a pipe can be."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    command = [broker_binary(), "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug"]
    process = spawn(command, env=clean_environment(), stderr=write)
    os.close(write)
    log = os.fdopen(read)
    try:
        lines = (json.loads(line)["fields"] for line in log)
        address = next(line["address"] for line in lines if line["message"] == "serving")
        # Before that, calls are refused.
        next(line for line in lines if "SERVING" in line["message"])
        yield process, address, log
    finally:
        kill(process)
        log.close()


@pytest.mark.parametrize("end", ["stuck", "gone"])
def test_a_reader_of_the_log_that_is_stuck_or_gone_holds_up_nothing(end):
    with unread() as (process, address, log):
        if end == "gone":
            log.close()
        client = Client(address)
        for _ in range(300):
            client.GetAll(session_id="s", timeout=30)
        client.channel.close()
        command = [broker_binary(), "health", "--addr", address, "--service", "liveness", "--timeout", "20s"]
        assert subprocess.run(command, timeout=60).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_a_reader_of_the_log_that_was_slow_gets_every_line_in_order():
    with unread() as (process, address, log):
        client = Client(address)
        for _ in range(100):
            client.GetAll(session_id="s", timeout=30)
        client.channel.close()
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in log]
        assert process.wait(timeout=60) == 0
    calls = [line for line in lines if line["level"] == "DEBUG" and "GetAll" in json.dumps(line)]
    assert len(calls) == 100
    # Lines of threads that log at the same time may change places. These are of one call after the other.
    assert calls == sorted(calls, key=lambda line: line["timestamp"])
    assert not [line for line in lines if "lost" in line["fields"]["message"]]
