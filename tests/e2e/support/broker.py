"""Starts the real binary as an operator would."""

import json
import subprocess
import threading
from contextlib import contextmanager

from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.client import Client
from support.paths import broker_binary, program
from support.processes import clean_environment, kill, spawn

TOKEN_BROKER = "tokenbroker.v1.TokenBroker"
ACCESS_TOKENS = "tokenbroker.v1.AccessTokens"
IDENTITIES = "tokenbroker.v1.Identities"
PENDING_AUTHORIZATIONS = "tokenbroker.v1.PendingAuthorizations"
PROBE_EXIT_CODES = {0: "SERVING", 2: "UNREACHABLE", 3: "RPC_FAILED", 4: "NOT_SERVING"}


class Broker:
    """A `token-broker serve` on a port that the kernel chose, at the most verbose log level."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None):
        command = [broker_binary(), "serve", "--listen", "127.0.0.1:0"]
        command += ["--log-format", "json", "--log-level", "debug", *arguments]
        self.process = spawn(
            command,
            env=clean_environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._log_ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self.address = self._wait_for_address()
        except BaseException:
            self.close()
            raise
        self.client = Client(self.address)
        self._health = health_pb2_grpc.HealthStub(self.client.channel)

    def _read_log(self) -> None:
        for line in self.process.stderr:
            with self._news:
                self.log.append(line)
                self._news.notify_all()
        with self._news:
            self._log_ended = True
            self._news.notify_all()

    def _wait_for_address(self) -> str:
        with self._news:
            self._news.wait_for(lambda: self._address_in_log() or self._log_ended, timeout=30)
            address = self._address_in_log()
        assert address, f"no line says 'serving'; exit code {self.process.poll()}, log:\n{''.join(self.log)}"
        return address

    def _address_in_log(self) -> str | None:
        for line in self.log:
            fields = json.loads(line)["fields"]
            if fields.get("message") == "serving":
                return fields["address"]
        return None

    def health(self, service: str = "") -> str:
        """Returns the status that `grpc.health.v1.Health/Check` answers."""
        answer = self._health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def watch_health(self, service: str = ""):
        """Returns the stream of `grpc.health.v1.Health/Watch`, as the names of the statuses."""
        stream = self._health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=60)
        return (health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) for answer in stream)

    def await_health(self, status: str) -> None:
        """Waits until the overall health is `status`."""
        for reported in self.watch_health():
            if reported == status:
                return

    def probe(self, service: str = "") -> str:
        """Returns what `grpc_health_probe` reports."""
        command = [program("grpc_health_probe"), "-addr", self.address, "-service", service]
        # By default it waits for a second.
        command += ["-connect-timeout", "20s", "-rpc-timeout", "20s"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return PROBE_EXIT_CODES.get(done.returncode, done.stderr)

    def grpcurl(self, *arguments: str, data: dict | None = None) -> subprocess.CompletedProcess:
        """Runs `grpcurl -plaintext ADDRESS ...`, which learns the API by reflection."""
        options = ["-d", json.dumps(data)] if data is not None else []
        command = [program("grpcurl"), "-plaintext", *options, self.address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def is_running(self) -> bool:
        """Returns whether the process still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """Kills the process if it still runs, and closes its files and channels."""
        kill(self.process)
        self._reader.join(timeout=10)
        self.process.stderr.close()
        self.process.stdout.close()
        if hasattr(self, "client"):
            self.client.channel.close()


@contextmanager
def running(*arguments: str, env: dict[str, str] | None = None, await_serving: bool = True):
    """A broker that runs during a `with` block."""
    broker = Broker(*arguments, env=env)
    try:
        if await_serving:
            broker.await_health("SERVING")
        yield broker
    finally:
        broker.close()
