"""A TCP proxy between a broker and Redis that can hold back what the broker sends."""

import socket
import threading


class HoldingProxy:
    """After `hold(marker)` nothing more reaches Redis. `reached` is set once the broker has sent the
    marker, which means that its call is in flight. `release()` lets everything through again.
    """

    def __init__(self, port: int):
        self._upstream = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._marker = b""
        self._open = threading.Event()
        self._open.set()
        self.reached = threading.Event()
        self._sockets = [self._listener]
        self._spawn(self._accept)

    @staticmethod
    def _spawn(work, *arguments) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def hold(self, marker: str) -> None:
        """Starts to hold back everything."""
        self._marker = marker.encode()
        self._open.clear()

    def release(self) -> None:
        """Lets through what was held back and everything that follows."""
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                broker, _ = self._listener.accept()
                redis = socket.create_connection(self._upstream)
            except OSError:
                return
            self._sockets += [broker, redis]
            self._spawn(self._copy, broker, redis, self._wait_while_held)
            self._spawn(self._copy, redis, broker, lambda data: None)

    def _wait_while_held(self, data: bytes) -> None:
        if not self._open.is_set() and self._marker in data:
            self.reached.set()
        self._open.wait()

    @staticmethod
    def _copy(source, target, before_sending) -> None:
        try:
            while data := source.recv(65536):
                before_sending(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # One side has closed. The other direction ends by itself.

    def close(self) -> None:
        """Ends all connections."""
        self.release()
        for each in self._sockets:
            each.close()
