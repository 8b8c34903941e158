"""The sidecar's ways to a broker with TLS and a policy."""

import hashlib
import subprocess
from pathlib import Path

import grpc
import pytest

import sidecar
from sidecar import Answer, Issuer, Server

BEARER = "S3cr3t-of-the-sidecar"
POLICY = f"""
[callers.auth]
dns-names = ["auth.test"]
roles = ["auth-server"]
providers = "*"

[callers.sidecar]
dns-names = ["sidecar.test"]
bearer-sha256 = ["{hashlib.sha256(BEARER.encode()).hexdigest()}"]
roles = ["sidecar"]
providers = ["idp"]
client-id = "web"
require-client-binding = true
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    """Makes NAME.pem and its key."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
    openssl(folder, "req", "-x509", *new, "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
    (folder / f"{name}.key").chmod(0o600)


def certificate(folder: Path, name: str, alternative: str) -> None:
    """Makes NAME.pem and its key, signed by ca.pem."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
    names = ["-addext", f"subjectAltName={alternative}", "-addext", "basicConstraints=critical,CA:FALSE"]
    signed = ["-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2"]
    openssl(folder, "req", *new, *names, *signed, "-out", f"{name}.pem", "-subj", f"/CN={name}")
    (folder / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other"):
        authority(folder, name)
    certificate(folder, "broker", "DNS:localhost,IP:127.0.0.1")
    certificate(folder, "auth", "DNS:auth.test")
    certificate(folder, "sidecar", "DNS:sidecar.test")
    (folder / "policy.toml").write_text(POLICY)
    (folder / "bearer").write_text(BEARER + "\n")
    return folder


@pytest.fixture(scope="module")
def broker(folder):
    from support.broker import running

    files = {"tls-cert": "broker.pem", "tls-key": "broker.key", "client-ca": "ca.pem", "policy": "policy.toml"}
    options = [f"--{setting}={folder / file}" for setting, file in files.items()]
    options += ["--client-certificates=optional", "--backend=memory"]
    with running(*options, await_serving=False) as started:
        yield started.address


def store(broker: str, folder: Path, session: str) -> None:
    """Stores a row of the client `web`, as the auth server."""
    from tokenbroker.v1 import token_broker_pb2 as api
    from tokenbroker.v1.token_broker_pb2_grpc import TokenBrokerStub

    ca, key, chain = ((folder / name).read_bytes() for name in ("ca.pem", "auth.key", "auth.pem"))
    with grpc.secure_channel(broker, grpc.ssl_channel_credentials(ca, key, chain)) as channel:
        tokens = api.UpstreamTokens(access_token="S3cr3t-access", user_id="alice", client_id="web")
        request = api.StoreRequest(session_id=session, provider="idp", tokens=tokens)
        TokenBrokerStub(channel).Store(request, timeout=10, wait_for_ready=True)


@pytest.mark.parametrize(
    ("files", "options", "status"),
    [
        ({"-broker-ca": "ca.pem", "-broker-cert": "sidecar.pem", "-broker-key": "sidecar.key"}, ["-bind-client", "web"], 200),
        ({"-broker-ca": "ca.pem", "-broker-token-file": "bearer"}, ["-bind-client", "web"], 200),
        # Nobody: it is for an operator, and no login helps.
        ({"-broker-ca": "ca.pem"}, ["-bind-client", "web"], 502),
        # The policy wants a binding.
        ({"-broker-ca": "ca.pem", "-broker-token-file": "bearer"}, [], 502),
        # A broker that anybody could be gets neither a session nor a credential.
        ({"-broker-ca": "other.pem", "-broker-token-file": "bearer"}, ["-bind-client", "web"], 503),
    ],
    ids=["certificate", "bearer token", "nobody", "no binding", "another authority"],
)
def test_the_broker_and_the_sidecar_know_each_other(folder, broker, files, options, status):
    """Naive: it doesn't verify the broker, or tells users to log in when its own credentials are wrong."""
    store(broker, folder, "S3cr3t-session")
    issuer, service = Issuer(folder), Server(lambda request: Answer(200, {}, request.headers["authorization"].encode()))
    options = options + [part for flag, file in files.items() for part in (flag, str(folder / file))]
    try:
        with sidecar.running(sidecar.built(), broker, service.url, issuer.jwks, *options) as started:
            answer = started.request(issuer.jwt("S3cr3t-session"))
            assert answer.status == status
            assert (answer.body == b"Bearer S3cr3t-access") == (status == 200)
            assert "S3cr3t" not in started.stop()
    finally:
        service.close()
