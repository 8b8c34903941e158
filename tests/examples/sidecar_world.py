"""A sidecar between a real broker and a service, with a provider and an auth server. Logs are searched for secrets."""

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs
from uuid import uuid4

import sidecar
from sidecar import Answer, Issuer, Request, Server

# Each secret begins so: no log may show it.
SECRET = "S3cr3t"
LOGIN = 'Bearer error="invalid_token", error_description="the user has to log in at the provider again"'
BAD_JWT = 'Bearer error="invalid_token", error_description="the token is not valid here"'
PROVIDERS = ["idp", "busy", "brief", "slow"]


def secret(what: str) -> str:
    return f"{SECRET}-{what}-{uuid4().hex}"


@dataclass
class World:
    """A broker with providers, a service, an auth server, and sidecars."""

    folder: Path
    command: str
    redeemed: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    end: threading.Event = field(default_factory=threading.Event)  # Ends answers that are late.

    def start(self, stack: ExitStack) -> None:
        from support.broker import running

        self.service, provider = Server(self._serve), Server(self._redeem)
        stack.callback(self.service.close)
        stack.callback(provider.close)
        stack.callback(self.end.set)
        config = "".join(
            f'[providers.{name}]\ntoken-endpoint = "{provider.url}/{name}"\nclient-id = "c"\n'
            'client-authentication = "none"\n'
            for name in PROVIDERS
        )
        (self.folder / "broker.toml").write_text(config)
        self.broker = stack.enter_context(running("--backend", "memory", "--config", str(self.folder / "broker.toml")))
        self.issuer = Issuer(self.folder)
        self.usual = stack.enter_context(self.sidecar())

    def _serve(self, request: Request) -> Answer:
        if request.path.endswith("late"):
            self.end.wait(20)
        token = request.headers.get("authorization", "")
        if token in self.refused or "refused" in token:
            return Answer(401, {"WWW-Authenticate": 'Bearer realm="service"'}, b"refused")
        return Answer(200, body=token.encode())

    def _redeem(self, request: Request) -> Answer:
        token = parse_qs(request.body.decode())["refresh_token"][0]
        self.redeemed.append(token)
        tries = self.redeemed.count(token)
        if request.path == "/busy":
            return Answer(429, {"Retry-After": "40"})
        if request.path == "/brief" and tries == 1:
            return Answer(429, {"Retry-After": "1"})
        if request.path == "/slow":
            self.end.wait(20)
        if "dead" in token:
            return Answer(400, {}, b'{"error":"invalid_grant"}')
        fresh = token.replace("refresh", "fresh")
        return Answer(200, {}, f'{{"access_token":"{fresh}","token_type":"Bearer","expires_in":3600}}'.encode())

    @contextmanager
    def sidecar(self, *options: str, broker: str | None = None):
        """A sidecar with further flags. When it ends, its log is searched for secrets."""
        place = broker or self.broker.address
        with sidecar.running(self.command, place, self.service.url, self.issuer.jwks, *options) as started:
            yield started
            log = started.stop()
            assert SECRET not in log and "eyJ" not in log, log

    def asked(self) -> int:
        """Returns how often the broker was asked for an access token."""
        from support.log_lines import count_calls

        return count_calls("GetAccessToken", self.broker.client, lambda: "".join(self.broker.log))

    def login(self, provider="idp", access="access", refresh="refresh", lives=3600, **fields) -> tuple[str, str, str]:
        """Stores tokens as after a login. Returns the JWT, the access token and the refresh token."""
        from google.protobuf.timestamp_pb2 import Timestamp
        from tokenbroker.v1.token_broker_pb2 import UpstreamTokens

        session, access = secret("session"), secret(access)
        refresh = secret(refresh) if refresh else ""
        fields = {"user_id": "alice", "client_id": "web"} | fields
        tokens = UpstreamTokens(
            access_token=access,
            refresh_token=refresh,
            expires_at=Timestamp(seconds=int(time.time()) + lives),
            **fields,
        )
        self.broker.client.Store(session_id=session, provider=provider, tokens=tokens)
        return self.issuer.jwt(session), access, refresh

    def arrived(self, path: str) -> list[Request]:
        """What arrived at the service under a path."""
        return [request for request in self.service.received if request.path == path]
