"""Tests the policy of callers on the real binary: credentials, a file that changes under load, `policy check`."""

import hashlib
import os
import signal
import threading

import grpc
import pytest

from support.broker import running
from support.client import Client, refusal
from support.waiting import eventually
from test_command_line import run

ROW = {"session_id": "s", "provider": "github"}
TOKENS = {"auth": "S3cr3t-of-auth", "proxy": "S3cr3t-of-proxy"}


def caller(name: str, roles: str, providers: str) -> str:
    digest = hashlib.sha256(TOKENS[name].encode()).hexdigest()
    return f'[callers.{name}]\nroles = [{roles}]\nproviders = {providers}\nbearer-sha256 = ["{digest}"]\n'


AUTH = caller("auth", '"auth-server"', '"*"')
PROXY = caller("proxy", '"sidecar"', '["github"]')


class Policy:
    """A file behind a symbolic link, as Kubernetes mounts it."""

    def __init__(self, folder, text):
        self.folder, self.path, self.number = folder, folder / "policy.toml", 0
        self.point_to(text)

    def point_to(self, text: str) -> None:
        self.number += 1
        (self.folder / f"version-{self.number}").write_text(text)
        link = self.folder / "new"
        link.symlink_to(f"version-{self.number}")
        os.replace(link, self.path)


@pytest.fixture
def policy(tmp_path):
    return Policy(tmp_path, AUTH + PROXY)


def metadata(name: str):
    return [("authorization", f"Bearer {TOKENS[name]}")]


def as_caller(broker, name: str, rpc: str):
    """Returns what calls an RPC with the token of a caller."""

    class Token(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            return continuation(details._replace(metadata=metadata(name)), request)

    client = Client(broker.address)
    client._stub = type(client._stub)(grpc.intercept_channel(client.channel, Token()))
    return getattr(client, rpc)


def test_callers_are_told_apart_and_others_refused(policy):
    with running("--backend", "memory", "--policy", str(policy.path)) as broker:
        assert refusal(broker.client.Get, **ROW).reason == "NO_CREDENTIALS"
        as_caller(broker, "auth", "Store")(**ROW, tokens={"access_token": "at"})
        assert as_caller(broker, "auth", "Get")(**ROW).entry.tokens.access_token == "at"
        assert refusal(as_caller(broker, "proxy", "Get"), **ROW).reason == "NOT_ALLOWED"
        # Probes have no credentials.
        assert broker.health() == "SERVING"
        assert not any("S3cr3t" in line for line in broker.log)


def test_a_policy_changes_under_load_and_no_call_fails(policy):
    with running("--backend", "memory", "--policy", str(policy.path)) as broker:
        as_caller(broker, "auth", "Store")(**ROW, tokens={"access_token": "at"})
        failures, stop = [], threading.Event()

        def calls():
            get = as_caller(broker, "auth", "Get")
            while not stop.is_set():
                try:
                    get(**ROW)
                except grpc.RpcError as error:
                    failures.append(error)

        threads = [threading.Thread(target=calls) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(3):
                policy.point_to(AUTH if number % 2 == 0 else AUTH + PROXY)
                broker.process.send_signal(signal.SIGHUP)
                reloads = lambda: sum("is in force" in line for line in broker.log)
                eventually("the policy is in force", lambda: reloads() == number + 1, within=20)
            # Without a signal, too.
            policy.point_to(AUTH + PROXY)
            eventually("the policy is in force", lambda: reloads() == 4, within=20)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]


def test_a_broken_file_changes_nothing_and_the_log_says_so(policy):
    with running("--backend", "memory", "--policy", str(policy.path)) as broker:
        as_caller(broker, "auth", "Store")(**ROW, tokens={"access_token": "at"})
        policy.point_to('[callers.auth]\nroles = ["S3cr3t"]\n')
        broker.process.send_signal(signal.SIGHUP)
        said = lambda: any("the one before stays in force" in line for line in broker.log)
        eventually("the log says so", said, within=20)
        assert as_caller(broker, "auth", "Get")(**ROW).entry.tokens.access_token == "at"
        told = lambda: any("line 2: callers.auth.roles" in line for line in broker.log)
        eventually("the log says what is wrong", told, within=20)
        assert not any("S3cr3t" in line for line in broker.log)


def test_a_start_with_a_broken_file_is_refused(policy):
    policy.point_to(AUTH.replace("roles", "role"))
    done = run("serve", "--policy", str(policy.path))
    assert done.returncode == 2
    assert "--policy: " in done.stderr and "did you mean roles?" in done.stderr, done.stderr
    assert "must be allowed something" in done.stderr, done.stderr


def test_check_lists_and_explains(policy):
    at = ["--policy", str(policy.path)]
    done = run("policy", "check", *at)
    assert (done.returncode, done.stdout) == (
        0,
        "auth: auth-server; providers: all\nproxy: sidecar; providers: github\n",
    ), done.stderr
    done = run("policy", "check", "proxy", *at)
    assert done.returncode == 0
    lines = {tuple(line.split()[:2]): line for line in done.stdout.splitlines()}
    assert "role sidecar" in lines[("yes", "AccessTokens/GetAccessToken")]
    assert "neither a role nor rpcs" in lines[("no", "TokenBroker/Get")]
    assert "a bearer token" in done.stdout
    assert hashlib.sha256(TOKENS["proxy"].encode()).hexdigest() not in done.stdout


def test_what_nobody_can_be_known_by_is_told(policy):
    sealed_off = '[callers.mesh]\nroles = ["sidecar"]\nproviders = "*"\nspiffe-ids = ["spiffe://prod.test/mesh"]\n'
    policy.point_to(AUTH + sealed_off)
    at = ["--policy", str(policy.path)]
    warned = "policy: callers.mesh.spiffe-ids: entry 1 can't be used here: the broker serves without TLS"
    done = run("--check-config", *at)
    assert done.returncode == 0 and f"warning: {warned}" in done.stderr, done.stderr
    done = run("policy", "check", *at)
    assert "mesh: sidecar; providers: all; no way to be known here\n" in done.stdout, done.stdout
    assert done.returncode == 0
    done = run("policy", "check", "mesh", *at)
    assert "no way to be known here" in done.stdout and "without TLS" in done.stdout, done.stdout
    assert done.returncode == 1
    with running("--backend", "memory", *at) as broker:
        eventually("the start warns", lambda: any(warned in line for line in broker.log), within=20)
        policy.point_to(AUTH + PROXY + sealed_off.replace("mesh", "other"))
        told = lambda: any("callers.other.spiffe-ids" in line for line in broker.log)
        eventually("a reload warns", told, within=20)


def test_check_fails_if_nobody_can_be_known(policy):
    policy.point_to('[callers.mesh]\nroles = ["sidecar"]\nproviders = "*"\nspiffe-ids = ["spiffe://prod.test/mesh"]\n')
    done = run("policy", "check", "--policy", str(policy.path))
    assert done.returncode == 1 and "mesh: sidecar" in done.stdout, done.stderr


def test_check_fails_for_what_is_not_there(policy):
    done = run("policy", "check", "prox", "--policy", str(policy.path))
    assert done.returncode == 2 and "did you mean proxy?" in done.stderr, done.stderr
    done = run("policy", "check")
    assert done.returncode == 2 and "policy: must be set" in done.stderr, done.stderr
    done = run("policy", "check", "--policy", "/nonexistent/policy.toml")
    assert done.returncode == 2 and "can't be read" in done.stderr, done.stderr
