"""WebSockets, events and bodies that go through the sidecar while they come into being, and what is sent a second time."""

import threading

import pytest

import wire
from wire import Service, values

# How long, in seconds, something may take to arrive that is on its way.
PATIENCE = 20
UPGRADE = (
    "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
)


@pytest.fixture
def serving():
    """Starts services, which end with the test."""
    started = []

    def serve(how) -> Service:
        started.append(Service(how))
        return started[-1]

    yield serve
    for service in started:
        service.close()


def refused(head: list[str], connection: wire.Wire) -> bool:
    """Refuses the first token of a login, and says whether it did."""
    if "fresh" in values(head, "Authorization")[0]:
        return False
    connection.send("HTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n")
    return True


def request(jwt: str, more: str = "", method: str = "GET") -> str:
    return f"{method} / HTTP/1.1\nHost: a\nAuthorization: Bearer {jwt}\n{more}\n"


@pytest.mark.parametrize("first", ["taken", "refused"])
def test_a_websocket_gets_the_token_and_both_sides_talk(world, serving, first):
    """Naive: it waits for the end of the answer. Or a refused handshake isn't repeated, and the page has no socket for an hour."""

    def echo(head, connection) -> bool:
        if refused(head, connection):
            return True
        assert values(head, "Upgrade") == ["websocket"]
        connection.send("HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: websocket\n\n")
        while data := connection.read(4):
            connection.send(data.upper())
        return False

    service = serving(echo)
    jwt, access, refresh = world.login(access="refused" if first == "refused" else "fresh")
    with world.sidecar("-service", service.url) as started, wire.client(started.address) as connection:
        connection.send(request(jwt, UPGRADE))
        assert connection.head()[0].split()[1] == "101"
        for said in (b"ping", b"pong"):
            connection.send(said)
            assert connection.read(4) == said.upper()
        connection.end()
        assert connection.rest() == b""
    tokens = [access, refresh.replace("refresh", "fresh")][: 1 + (first == "refused")]
    assert [values(head, "Authorization") for head in service.heads] == [[f"Bearer {token}"] for token in tokens]


def test_a_websocket_without_a_valid_jwt_never_arrives(world, serving):
    """Naive: it verifies requests, and lets upgrades through."""
    service = serving(lambda head, connection: False)
    with world.sidecar("-service", service.url) as started, wire.client(started.address) as connection:
        connection.send(request("opaque", UPGRADE))
        assert connection.head()[0].split()[1] == "401"
    assert service.heads == []


def test_an_event_arrives_before_the_answer_ends(world, serving):
    """Naive: it gathers the answer in a buffer."""
    arrived = threading.Event()

    def events(head, connection) -> bool:
        connection.send("HTTP/1.1 200 OK\nContent-Type: text/event-stream\nConnection: close\n\ndata: 1\n\n")
        assert arrived.wait(PATIENCE)
        connection.send("data: 2\n\n")
        return False

    jwt, _, _ = world.login()
    with world.sidecar("-service", serving(events).url) as started, wire.client(started.address) as connection:
        connection.send(request(jwt, "Connection: close\n"))
        assert "Content-Type: text/event-stream" in connection.head()
        assert b"data: 1" in b"".join(connection.read(1) for _ in range(len("b\r\ndata: 1\r\n")))
        arrived.set()
        assert b"data: 2" in connection.rest()


def test_a_body_without_a_length_arrives_while_it_is_sent(world, serving):
    """Naive: it reads the whole body before it asks for a token, and an upload fills its memory."""
    begun = threading.Event()

    def receive(head, connection) -> bool:
        chunks = []
        while size := int(connection.line(), 16):
            chunks.append(connection.read(size))
            connection.line()
            begun.set()
        connection.line()
        connection.send(f"HTTP/1.1 200 OK\nContent-Length: {len(b''.join(chunks))}\n\n{b''.join(chunks).decode()}")
        return True

    jwt, _, _ = world.login()
    with world.sidecar("-service", serving(receive).url) as started, wire.client(started.address) as connection:
        connection.send(request(jwt, "Transfer-Encoding: chunked\n", "POST") + "5\nfirst\n")
        assert begun.wait(PATIENCE)
        connection.send("6\nsecond\n0\n\n")
        assert connection.head()[0].split()[1] == "200"
        assert connection.read(11) == b"firstsecond"


@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 503)])
def test_a_body_is_sent_again_if_it_was_kept_and_only_then(world, serving, size, status):
    """Naive: it is off by one, or sends an empty body the second time."""
    bodies = []

    def receive(head, connection) -> bool:
        bodies.append(connection.read(int(values(head, "Content-Length")[0])))
        if not refused(head, connection):
            connection.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
        return True

    jwt, _, refresh = world.login(access="refused")
    with world.sidecar("-service", serving(receive).url, "-replay-bytes", "10") as started:
        body = b"x" * size
        # As curl does with a long body.
        answer = started.request(jwt, "POST", body=body, headers={"Expect": "100-continue"})
        assert answer.status == status and bodies == [body] * (2 if status == 200 else 1)
        assert world.redeemed.count(refresh) == 1
        assert started.request(jwt, "POST", body=body).status == 200


def test_a_body_that_ends_too_soon_never_arrives(world, serving):
    """Naive: it sends the half that it has, with a token."""
    service = serving(lambda head, connection: False)
    jwt, _, _ = world.login()
    with world.sidecar("-service", service.url) as started, wire.client(started.address) as connection:
        connection.send(request(jwt, "Content-Length: 100\n", "POST") + "half")
        connection.end()
        assert connection.head()[:1] in ([], ["HTTP/1.1 400 Bad Request"])
    assert service.heads == []


def test_a_request_whose_answer_is_lost_isnt_sent_again(world, serving):
    """Naive: it repeats whatever failed, and a payment is made twice."""

    def lose(head, connection) -> bool:
        connection.read(int((values(head, "Content-Length") or ["0"])[0]))
        if head[0].startswith("GET"):
            connection.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
        return head[0].startswith("GET")

    service = serving(lose)
    jwt, _, _ = world.login()
    with world.sidecar("-service", service.url) as started:
        # The connection is used already, so that it could have been closed before the request.
        assert started.request(jwt).status == 200
        assert started.request(jwt, "POST", body=b"pay").status == 502
    assert [head[0].split()[0] for head in service.heads] == ["GET", "POST"]
