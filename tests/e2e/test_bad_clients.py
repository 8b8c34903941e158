"""Whatever one client does, the others are served."""

import os
import socket
import time
from contextlib import suppress

from grpc import StatusCode

from support.client import assert_refused
from support.in_flight import ROW, call_in_flight


def connect(broker) -> socket.socket:
    host, port = broker.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def test_garbage_and_silence_on_the_port_disturb_nobody(broker, names):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    silent = [connect(broker) for _ in range(50)]
    for sent in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), preface + os.urandom(4096), preface[:10]):
        # The broker may hang up at any moment.
        with connect(broker) as garbage, suppress(OSError):
            garbage.sendall(sent)
            garbage.shutdown(socket.SHUT_WR)
            while garbage.recv(4096):
                pass
    row = {"session_id": names.session, "provider": "github"}
    broker.client.Store(**row, tokens={"access_token": "at"})
    assert broker.client.Get(**row).entry.tokens.access_token == "at"
    assert broker.probe() == "SERVING"
    for connection in silent:
        connection.close()


def test_a_call_too_many_is_refused_at_once_and_is_safe_to_repeat(redis):
    with call_in_flight(redis, "--max-calls", "1", "--redis-timeout", "20s") as (broker, proxy, call):
        start = time.monotonic()
        refused = assert_refused(
            broker.client.Get, StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", session_id="s", provider="p"
        )
        assert time.monotonic() - start < 0.5
        assert refused.retry_after is not None
        assert broker.probe("liveness") == "SERVING"
        proxy.release()
        assert call.result(timeout=5).entry.tokens.access_token == "at-1"
        assert broker.client.Get(**ROW).entry.tokens.access_token == "at-1"
