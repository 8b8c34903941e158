"""A Redis for one test, which can be killed, paused and restarted."""

import signal
import socket
import subprocess
import tempfile

from support.paths import program
from support.processes import kill, spawn
from support.waiting import eventually

# Long enough for a machine whose processes stand still now and then, and not too long for `call-timeout`.
PATIENT = ("--redis-timeout", "5s", "--redis-connect-timeout", "5s")


class ReservedPort:
    """A port that nobody gets who asks for any port. Connections are refused while no server listens there."""

    def __init__(self):
        self._bound = socket.socket()
        # A server that is told to listen there may do so.
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bound.bind(("127.0.0.1", 0))
        self.number = self._bound.getsockname()[1]

    def close(self) -> None:
        """Gives the port up."""
        self._bound.close()


class Redis:
    """A Redis that keeps its port and its data over a restart. The data is in an append-only file."""

    def __init__(self, password: str = ""):
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._password = password
        self._process = None
        self._port = ReservedPort()
        self.port = self._port.number
        self.start()

    @property
    def url(self) -> str:
        """Returns the URL without the password, as for a command line."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def options(self) -> tuple[str, ...]:
        """Returns the options of a broker that uses it, and is patient."""
        return ("--backend", "redis", "--redis-url", self.url, *PATIENT)

    @property
    def url_with_password(self) -> str:
        """Returns the URL with the password, as for an environment variable."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Waits until the server answers."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": self._folder.name,
            "save": "",
            "appendonly": "yes",
            # What is answered has been written to the file, which outlives the process. Nobody waits for the disk, which
            # may be busy. (With `everysec` a write may be answered up to two seconds before it is in the file.)
            "appendfsync": "no",
            "requirepass": self._password,
        }
        command = [program("redis-server", "REDIS_SERVER")]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._process = spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually("redis answers", self._answers, within=60)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "redis-server exited at start"
        return self._cli("PING").stdout.strip() == "PONG"

    def _cli(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [program("redis-cli"), "-h", "127.0.0.1", "-p", str(self.port), *arguments]
        return subprocess.run(
            command, env={"REDISCLI_AUTH": self._password}, capture_output=True, text=True, timeout=60
        )

    def command(self, *arguments: str) -> str:
        """Sends one command, and returns the answer as `redis-cli` prints it."""
        done = self._cli(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def kill_clients(self, password: str) -> None:
        """Ends all connections of clients. `password` is the server's own by now."""
        self._password = password
        self.command("CLIENT", "KILL", "TYPE", "normal")

    def kill(self) -> None:
        """Kills the server. Its files stay."""
        kill(self._process)

    def pause(self) -> None:
        """Pauses the server. It accepts connections and keeps the open ones, but answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a pause."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stops the server for good."""
        self.kill()
        self._folder.cleanup()
        self._port.close()
