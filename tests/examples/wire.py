"""HTTP by its bytes: a client that sends what no library would, and a service that sees what arrives."""

import socket
import threading
from contextlib import contextmanager


class Wire:
    """A connection: lines of a head, and bytes."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._file = connection.makefile("rb")

    def head(self) -> list[str]:
        """Reads up to the empty line. Returns the lines before it, and none at the end of the connection."""
        lines = []
        while line := self.line():
            lines.append(line)
        return lines

    def line(self) -> str:
        return self._file.readline().decode().rstrip("\r\n")

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def rest(self) -> bytes:
        """Reads until the other side sends no more."""
        return self._file.read()

    def send(self, text: str | bytes) -> None:
        self._connection.sendall(text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode())

    def end(self) -> None:
        """Sends no more."""
        self._connection.shutdown(socket.SHUT_WR)


@contextmanager
def client(address: str):
    """A connection to a server."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield Wire(connection)


class Service:
    """Has `serve(head, wire)` answer each request, and keeps the heads."""

    def __init__(self, serve):
        self.heads: list[list[str]] = []
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(20)
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        with connection:
            wire = Wire(connection)
            while head := wire.head():
                self.heads.append(head)
                if not self._serve(head, wire):
                    return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def values(head: list[str], name: str) -> list[str]:
    """The values of a header, for a service that takes `_` for `-` in names, as those do that make variables of them (RFC 3875)."""
    fields = [line.partition(":") for line in head[1:]]
    return [value.strip() for field, _, value in fields if field.lower().replace("_", "-") == name.lower()]
