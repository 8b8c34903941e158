"""A broker under valgrind, which counts the instructions that it executes."""

import json
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.paths import program
from support.processes import clean_environment, kill, spawn
from tokenbroker.v1 import access_tokens_pb2_grpc as access_grpc
from tokenbroker.v1 import token_broker_pb2_grpc as api_grpc

# Under valgrind everything takes 50 times as long. With one thread that serves, nothing depends on how many cores there
# are.
ARGUMENTS = ["--listen=127.0.0.1:0", "--log-format=json", "--workers=1"]
REDIS_ARGUMENTS = ["--backend=redis", "--redis-timeout=4s", "--redis-connect-timeout=4s"]
START_SECONDS = 60
CALL_SECONDS = 30


class Stubs(NamedTuple):
    """The services of one broker."""

    tokens: api_grpc.TokenBrokerStub
    access: access_grpc.AccessTokensStub


class CountedBroker:
    """A `token-broker serve` under callgrind."""

    def __init__(self, binary: Path, folder: Path, arguments: list[str]):
        self._profile = folder / "profile"
        self._dumps = 0
        valgrind = [program("valgrind"), "-q", "--tool=callgrind", "--separate-threads=yes"]
        valgrind.append(f"--callgrind-out-file={self._profile}")
        self._process = spawn(
            [*valgrind, str(binary), "serve", *ARGUMENTS, *arguments],
            env=clean_environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._address = self._wait_for_address()
        except BaseException:
            self.close()
            raise
        # The broker would wait for a reader of its log.
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def _wait_for_address(self) -> str:
        alarm = threading.Timer(START_SECONDS, self._process.kill)
        alarm.start()
        log = ""
        try:
            for line in self._process.stderr:
                log += line
                fields = json.loads(line)["fields"] if line.startswith("{") else {}
                if fields.get("message") == "serving":
                    return fields["address"]
        finally:
            alarm.cancel()
        raise AssertionError(f"the broker doesn't listen; its log:\n{log}")

    @contextmanager
    def connection(self):
        """Stubs over a connection of its own, once the broker serves."""
        # Without the option, the client sends pings that measure the bandwidth, whose number depends on the time.
        options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options) as channel:
            watched = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(), timeout=START_SECONDS
            )
            for answer in watched:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            watched.cancel()
            yield Stubs(api_grpc.TokenBrokerStub(channel), access_grpc.AccessTokensStub(channel))

    def begin(self) -> None:
        """Starts to count at 0."""
        self._command("zero")

    def end(self) -> int:
        """Returns how many instructions were executed since `begin`, by all threads but the first. The first one looks
        after Redis and answers probes: what it does depends on the time, and not on the number of calls.
        """
        self._command("dump")
        self._dumps += 1
        profiles = sorted(self._profile.parent.glob(f"{self._profile.name}.{self._dumps}-*"))
        assert len(profiles) > 1, f"callgrind wrote {profiles}"
        counted = [total(profile) for profile in profiles if not profile.name.endswith("-01")]
        for profile in profiles:
            profile.unlink()
        return sum(counted)

    def _command(self, command: str) -> None:
        # The command is picked up when the process next executes something, so that `ptrace` isn't needed.
        subprocess.run(
            [program("vgdb"), f"--pid={self._process.pid}", "--max-invoke-ms=0", command],
            check=True,
            timeout=CALL_SECONDS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Kills the process."""
        kill(self._process)
        self._process.stderr.close()


def total(profile: Path) -> int:
    """Returns the instructions in one of callgrind's files."""
    with profile.open() as lines:
        for line in lines:
            if line.startswith(("summary:", "totals:")):
                return int(line.split()[1])
    raise AssertionError(f"{profile} has no total")


@contextmanager
def counted(binary: Path, arguments: list[str]):
    """A broker that runs under callgrind during a `with` block."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        broker = CountedBroker(binary, Path(folder), arguments)
        try:
            yield broker
        finally:
            broker.close()
