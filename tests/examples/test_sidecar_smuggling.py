"""What a client sends to the sidecar so that the service sees another token than the broker's. Each says what a naive sidecar does."""

import pytest

import wire
from sidecar_world import secret
from wire import Service, values

OK = "HTTP/1.1 200 OK\nContent-Length: 0\n\n"


def answer(head: list[str], connection: wire.Wire) -> bool:
    """Reads the body, and answers. The connection goes on."""
    if values(head, "Transfer-Encoding"):
        while size := int(connection.line(), 16):
            connection.read(size + 2)
        connection.head()
    connection.read(int((values(head, "Content-Length") or ["0"])[0]))
    connection.send(OK)
    return True


@pytest.fixture
def service():
    started = Service(answer)
    yield started
    started.close()


def status(address: str, request: str) -> int:
    """Sends a request as it stands, and returns the status of the answer."""
    with wire.client(address) as connection:
        connection.send(request)
        return int(connection.head()[0].split()[1])


@pytest.mark.parametrize("header", ["Authorization", "X-Upstream-Token"])
def test_the_service_sees_one_token_whatever_it_takes_for_the_same_header(world, service, header):
    """Naive: it removes the header by its exact name. A service that makes variables of headers, as CGI and WSGI do, takes `_` for `-`.

    Or `Connection` and `Trailer` name the header, and it is removed once more, or comes after the body.
    """
    jwt, access, _ = world.login()
    mine = "Bearer mine"
    sent = [
        "",
        f"Connection: {header}, close\n",
        f"Connection: Authorization\nConnection: {header}\n",
        f"Proxy-Authorization: {mine}\n",
    ]
    if header != "Authorization":
        other = header.replace("-", "_")
        sent += [
            f"{header}: {mine}\n{header.lower()}: {mine}\n",
            f"{other}: {mine}\n",
            f"{other.lower()}: {mine}\n{other.upper()}: {mine}\n",
            f"X-Upstream_Token: {mine}\nX_Upstream-Token: {mine}\n",
        ]
    # Nor does it choose for whom the service takes it.
    sent.append("Forwarded: for=mine\nX-Forwarded-For: mine\nX-Forwarded-Host: mine\nX_Forwarded_For: mine\n")
    with world.sidecar("-header", header, "-service", service.url) as started:
        for more in sent:
            request = f"GET / HTTP/1.1\nHost: a\n{more}Authorization: Bearer {jwt}\n\n"
            assert status(started.address, request) == 200
            head = service.heads[-1]
            assert values(head, header) == [f"Bearer {access}"]
            assert header == "Authorization" or not values(head, "Authorization")
            assert not values(head, "Proxy-Authorization")
            assert not any("mine" in line for line in head), head
        trailers = f"Transfer-Encoding: chunked\nTrailer: {header}\n\n1\nx\n0\n{header}: {mine}\n\n"
        request = f"POST / HTTP/1.1\nHost: a\nAuthorization: Bearer {jwt}\n{trailers}"
        assert status(started.address, request) == 200
        assert values(service.heads[-1], header) == [f"Bearer {access}"] and not values(service.heads[-1], "Trailer")
    assert len(service.heads) == len(sent) + 1


@pytest.mark.parametrize("kind", ["twice", "another first", "in one line", "folded", "space", "empty", "basic"])
def test_an_authorization_that_can_be_read_in_two_ways_is_none(world, service, kind):
    """Naive: it takes the first, and the service, or a proxy before it, took the last."""
    jwt, _, _ = world.login()
    stranger = world.issuer.jwt(secret("session"))
    head = {
        "twice": f"Authorization: Bearer {jwt}\nAuthorization: Bearer {jwt}\n",
        "another first": f"Authorization: Bearer {stranger}\nauthorization: Bearer {jwt}\n",
        "in one line": f"Authorization: Bearer {jwt}, Bearer {stranger}\n",
        "folded": f"Authorization: Bearer\n {jwt}, {stranger}\n",
        "space": f"Authorization : Bearer {jwt}\n",
        "empty": f"Authorization:\nX: Bearer {jwt}\n",
        "basic": f"Authorization: Basic {jwt}\n",
    }[kind]
    with world.sidecar("-service", service.url) as started:
        assert status(started.address, f"GET / HTTP/1.1\nHost: a\n{head}\n") == (400 if kind == "space" else 401)
    assert service.heads == []


def test_a_request_with_two_lengths_is_one_request(world, service):
    """Naive: it passes both on, and the service finds a second request in the body, to which it never gave a token (CL.TE, TE.CL)."""
    jwt, access, _ = world.login()
    hidden = f"POST /hidden HTTP/1.1\nHost: a\nAuthorization: Bearer {access}\nContent-Length: 0\n\n".replace(
        "\n", "\r\n"
    )
    with world.sidecar("-service", service.url) as started:
        for lengths, body in (
            (
                f"Content-Length: {len(hidden) + 5}\nTransfer-Encoding: chunked\n",
                "0\n\n" + hidden.replace("\r\n", "\n"),
            ),
            (f"Content-Length: 3\nContent-Length: {len(hidden)}\n", hidden.replace("\r\n", "\n")),
            ("Transfer-Encoding: chunked, identity\nContent-Length: 0\n", "0\n\n"),
            ("Transfer-Encoding:\x0bchunked\nContent-Length: 0\n", ""),
        ):
            with wire.client(started.address) as connection:
                connection.send(f"POST / HTTP/1.1\nHost: a\nAuthorization: Bearer {jwt}\n{lengths}\n{body}")
                assert connection.head()[0].split()[1] in ("200", "400", "501")
    assert [head[0] for head in service.heads if "hidden" in head[0]] == []
    for head in service.heads:
        assert len(values(head, "Content-Length")) + len(values(head, "Transfer-Encoding")) == 1


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "websocket, h2c", "websocket\nUpgrade: h2c"])
def test_no_client_gets_past_the_sidecar_by_an_upgrade(world, service, upgrade):
    """Naive: it passes any upgrade on. A service that takes HTTP/2 then gets requests without a JWT, and with a client's own headers."""
    jwt, access, _ = world.login()
    head = f"Connection: Upgrade, HTTP2-Settings\nUpgrade: {upgrade}\nHTTP2-Settings: AAMAAABkAAQAAP__\n"
    with world.sidecar("-service", service.url) as started:
        assert status(started.address, f"GET / HTTP/1.1\nHost: a\nAuthorization: Bearer {jwt}\n{head}\n") == 200
    (arrived,) = service.heads
    assert values(arrived, "Authorization") == [f"Bearer {access}"]
    assert not values(arrived, "Upgrade") and not values(arrived, "HTTP2-Settings") and not values(arrived, "Connection")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_no_client_has_the_service_show_the_token(world, service, method):
    """Naive: it passes TRACE on, and the answer is the request, with the token in it."""
    jwt, _, _ = world.login()
    with world.sidecar("-service", service.url) as started:
        where = "a:80" if method == "CONNECT" else "/"
        assert status(started.address, f"{method} {where} HTTP/1.1\nHost: a\nAuthorization: Bearer {jwt}\n\n") == 405
    assert service.heads == []
