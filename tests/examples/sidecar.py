"""The sidecar of `examples/sidecar`, run as its page says, with what stands around it: a service, a provider, an auth server."""

import base64
import functools
import hmac
import http.client
import json
import re
import shlex
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import blocks
from client import EXAMPLES, run
from support.processes import clean_environment, kill, spawn

SIDECAR = EXAMPLES / "sidecar"
ISSUER, AUDIENCE = "https://auth.example.com", "https://service.example.com"


@dataclass
class Answer:
    """What arrived at a client, or what a server is to answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Request:
    """What arrived at a server."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Server:
    """An HTTP server that answers each request as `answer` says, and keeps what arrived."""

    def __init__(self, answer):
        self.received: list[Request] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                # All values of a header, because it matters which of them a service would take.
                headers = {name.lower(): ", ".join(self.headers.get_all(name)) for name in self.headers}
                request = Request(self.command, self.path, headers, self._body(headers))
                received.append(request)
                answered = answer(request)
                self.send_response(answered.status)
                for name, value in answered.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answered.body)))
                self.end_headers()
                # Who has hung up doesn't want it.
                with suppress(ConnectionError):
                    self.wfile.write(answered.body)

            do_GET = do_POST = handle_any

            def _body(self, headers) -> bytes:
                if headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An auth server's key, and the JWTs that it signs."""

    def __init__(self, folder: Path):
        self._folder, self._key, self.jwks = folder, folder / f"{uuid4()}.pem", folder / f"{uuid4()}.json"
        _openssl("genpkey", "-algorithm", "ed25519", "-out", self._key)
        self._public = _openssl("pkey", "-in", self._key, "-pubout", "-outform", "DER")[-32:]
        jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": _encoded(self._public)}
        self.jwks.write_text(json.dumps({"keys": [jwk]}))

    def jwt(self, session: str, **claims) -> str:
        """Returns a JWT of alice's login. Claims replace its own."""
        signed = _to_be_signed("EdDSA", session, **claims)
        text = self._folder / str(uuid4())
        text.write_text(signed)
        signature = _openssl("pkeyutl", "-sign", "-inkey", self._key, "-rawin", "-in", text)
        return f"{signed}.{_encoded(signature)}"

    def unsigned(self, session: str) -> str:
        """A JWT that says that it needs no signature (RFC 8725, section 2.1)."""
        return _to_be_signed("none", session) + "."

    def signed_by_the_public_key(self, session: str) -> str:
        """A JWT that anybody can make, for whom takes the public key for a shared secret."""
        signed = _to_be_signed("HS256", session)
        return f"{signed}.{_encoded(hmac.digest(self._public, signed.encode(), 'sha256'))}"


def _to_be_signed(algorithm: str, session: str, **claims) -> str:
    whole = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 300, "sub": "alice", "tsid": session} | claims
    return ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": algorithm, "kid": "k"}, whole))


def _openssl(*arguments) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout


class Sidecar:
    """A sidecar that runs."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self._log: list[str] = []
        self.address = self._line("sidecar on ")
        self._reader = threading.Thread(target=lambda: self._log.extend(process.stdout), daemon=True)
        self._reader.start()

    def _line(self, start: str) -> str:
        for line in self._process.stdout:
            if line.startswith("health on "):
                self.health = line.removeprefix("health on ").strip()
            if line.startswith(start):
                return line.removeprefix(start).strip()
            self._log.append(line)
        raise AssertionError(f"the sidecar ended: {self._log}")

    def request(self, token: str | None, method="GET", path="/", body=None, headers=None) -> Answer:
        """Sends a request with a JWT. A body that isn't bytes goes in chunks."""
        authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return ask(self.address, method, path, body, authorization | (headers or {}))

    def stop(self) -> str:
        """Ends it as a platform does, and returns all that it printed."""
        self._process.terminate()
        assert self._process.wait(timeout=15) == 0
        self._reader.join(timeout=10)
        return "".join(self._log)


def ask(address: str, method: str, path: str, body=None, headers=None) -> Answer:
    """Sends a request, and returns the answer, with the names of its headers in lower case."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@functools.cache
def built() -> str:
    """Builds the sidecar once, and tests its parts. Returns the command of its page that runs it."""
    build, command = (b.text for b in blocks.read(SIDECAR / "README.md") if b.tag in blocks.RUN)
    run(build + 'test -z "$(gofmt -l ./*.go)"\ngo vet .\ngo test .\n', SIDECAR, 280)
    return command


@contextmanager
def running(command: str, broker: str, service: str, jwks: Path, *options: str):
    """A sidecar that runs during a `with` block, by the command of its page."""
    places = {
        "127.0.0.1:8080": "127.0.0.1:0",
        "127.0.0.1:8081": "127.0.0.1:0",
        "http://127.0.0.1:9000": service,
        "127.0.0.1:50051": broker,
        "jwks.json": str(jwks),
    }
    for written, real in places.items():
        assert written in command
    command = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], command)
    process = spawn(
        ["bash", "-c", f"exec {command.strip()} {shlex.join(options)}"],
        cwd=SIDECAR,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Sidecar(process)
    finally:
        kill(process)
        process.stdout.close()
