"""Runs the sidecar between a real broker and a service. Each test says what a sidecar would do that nobody thought about."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

import sidecar
from sidecar import Issuer
from sidecar_world import BAD_JWT, LOGIN, SECRET, secret
from support.waiting import eventually


def test_the_service_gets_the_access_token_and_never_the_jwt(world, path):
    """Naive: it adds a header, and passes the JWT on, with which the service could ask for other tokens."""
    jwt, access, _ = world.login()
    answer = world.usual.request(jwt, "POST", path, b"body")
    assert (answer.status, answer.body.decode()) == (200, f"Bearer {access}")
    (request,) = world.arrived(path)
    assert (request.method, request.body) == ("POST", b"body")
    assert jwt not in str(request.headers)


def test_the_token_stands_where_it_is_configured_and_no_client_chooses_it(world, path):
    """Naive: it adds its header to the client's, or loses its own when `Connection` names it."""
    jwt, access, _ = world.login()
    with world.sidecar("-header", "X-Upstream-Token", "-scheme", "") as other:
        for headers in ({}, {"X-Upstream-Token": "mine"}, {"Connection": "X-Upstream-Token"}):
            assert other.request(jwt, path=path, headers=headers).status == 200
    assert [request.headers["x-upstream-token"] for request in world.arrived(path)] == [access] * 3
    assert all("authorization" not in request.headers for request in world.arrived(path))


def test_without_a_valid_jwt_nothing_is_asked_and_nothing_arrives(world, path):
    """Naive: it reads `tsid` without looking at the signature, the audience or the time."""
    jwt, _, _ = world.login()
    assert world.usual.request(jwt).status == 200
    session = secret("session")
    stranger = Issuer(world.folder)
    bad = {
        "signature": stranger.jwt(session),
        "audience": world.issuer.jwt(session, aud="https://other.example.com"),
        "expired": world.issuer.jwt(session, exp=time.time() - 60),
        "not yet": world.issuer.jwt(session, nbf=time.time() + 60),
        "issuer": world.issuer.jwt(session, iss="https://other.example.com"),
        "no session": world.issuer.jwt(session, tsid=None),
        "not signed": world.issuer.unsigned(session),
        "signed by the public key": world.issuer.signed_by_the_public_key(session),
        "changed": jwt[:-20] + ("A" if jwt[-20] != "A" else "B") + jwt[-19:],
        "opaque": secret("opaque"),
    }
    calls = world.asked()
    for name, token in bad.items():
        answer = world.usual.request(token, path=path)
        assert (answer.status, answer.headers.get("www-authenticate")) == (401, BAD_JWT), name
    # RFC 6750, section 3.1: who sent nothing isn't told that something is wrong with it.
    # A JWT in the URL is none: URLs are logged (RFC 9700, section 4.3.2).
    for where in (path, f"{path}&access_token={jwt}"):
        answer = world.usual.request(None, path=where)
        assert (answer.status, answer.headers.get("www-authenticate")) == (401, "Bearer")
    assert not [request for request in world.service.received if request.path.startswith(path)]
    assert 0 < calls == world.asked()


@pytest.mark.parametrize("case", ["ROW_NOT_FOUND", "NO_REFRESH_TOKEN", "REAUTH_REQUIRED", "NOT_REFRESHABLE"])
def test_the_user_is_told_to_log_in_again(world, path, case):
    """Naive: it answers 500 or 502, and the user sees an outage that no login ends."""
    jwt = {
        "ROW_NOT_FOUND": lambda: (world.issuer.jwt(secret("session")),),
        "NO_REFRESH_TOKEN": lambda: world.login(refresh="", lives=-5),
        "REAUTH_REQUIRED": lambda: world.login(refresh="dead", lives=-5),
        "NOT_REFRESHABLE": lambda: world.login(lives=-5, token_type="DPoP"),
    }[case]()[0]
    with world.sidecar() as told:
        answer = told.request(jwt, path=path)
        assert (answer.status, answer.headers.get("www-authenticate")) == (401, LOGIN)
        assert f"{case}\n" in told.stop()
    assert world.arrived(path) == []


def test_an_expired_token_is_refreshed_before_the_service_sees_it(world):
    """Naive: it asks the store for the row, and sends what it finds."""
    jwt, _, refresh = world.login(lives=-5)
    assert world.usual.request(jwt).body.decode() == "Bearer " + refresh.replace("refresh", "fresh")


def test_a_token_that_is_no_bearer_token_is_not_sent_as_one(world, path):
    """Naive: `Authorization: Bearer` with a DPoP token."""
    jwt, _, _ = world.login(token_type="DPoP")
    assert world.usual.request(jwt, path=path).status == 502
    assert world.arrived(path) == []


def test_a_provider_that_asks_to_wait_is_a_503_that_says_how_long(world, path):
    """Naive: it answers 401, and an outage logs all users out. Or it waits until its deadline, and says nothing of when."""
    jwt, _, refresh = world.login("busy", lives=-5)
    with world.sidecar("-provider", "busy", "-broker-timeout", "60s") as busy:
        start = time.monotonic()
        answer = busy.request(jwt, path=path)
        assert time.monotonic() - start < 20
    assert answer.status == 503 and "www-authenticate" not in answer.headers
    # The broker adds up to a half to what the provider asked for, so that callers don't come back together.
    assert 30 <= int(answer.headers["retry-after"]) <= 60
    assert world.redeemed.count(refresh) == 1 and world.arrived(path) == []


def test_a_provider_that_asks_for_a_short_pause_costs_no_request(world):
    """Naive: its deadline is shorter than any pause, and it gives up at once."""
    jwt, _, refresh = world.login("brief", lives=-5)
    with world.sidecar("-provider", "brief") as brief:
        assert brief.request(jwt).status == 200
    assert world.redeemed.count(refresh) == 2


def test_a_slow_provider_costs_no_more_than_the_deadline(world):
    """Naive: no deadline, and every request of the service hangs with the provider."""
    jwt, _, _ = world.login("slow", lives=-5)
    with world.sidecar("-provider", "slow", "-broker-timeout", "500ms") as slow:
        start = time.monotonic()
        answer = slow.request(jwt)
        assert time.monotonic() - start < 8
    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1


def test_a_broker_that_is_away_is_a_503_and_readiness_says_so(world, path):
    """Naive: it lets requests through without a token, or says 401. Or it says that it's dead, and is restarted for nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # It doesn't listen: connections are refused.
        with world.sidecar(broker=f"127.0.0.1:{taken.getsockname()[1]}") as lonely:
            answer = lonely.request(world.issuer.jwt(secret("session")), path=path)
            assert (answer.status, answer.headers.get("retry-after")) == (503, "1")
            assert sidecar.ask(lonely.health, "GET", "/readyz").status == 503
            assert sidecar.ask(lonely.health, "GET", "/livez").status == 200
    # The sidecar gives the broker a second.
    is_ready = lambda: sidecar.ask(world.usual.health, "GET", "/readyz").status == 200
    eventually("the usual sidecar is ready", is_ready, within=20)
    assert world.arrived(path) == []


def test_a_service_that_is_away_or_late_is_a_gateways_error(world, path):
    """Naive: it waits as long as the service does, or shows the client an error that names the service."""
    jwt, _, _ = world.login()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with world.sidecar("-service", f"http://127.0.0.1:{taken.getsockname()[1]}") as lonely:
            answer = lonely.request(jwt, path=path)
            assert (answer.status, answer.body) == (502, b"Bad Gateway\n")
    with world.sidecar("-service-timeout", "200ms") as impatient:
        answer = impatient.request(jwt, path=f"{path}late")
        assert (answer.status, answer.body) == (504, b"Gateway Timeout\n")


def test_a_token_that_the_service_refuses_is_refreshed_and_the_request_sent_again(world, path):
    """Naive: it passes the 401 on for an hour. Or it asks again without `rejected_version`, and gets the same token."""
    jwt, access, refresh = world.login(access="refused")
    answer = world.usual.request(jwt, "POST", path, b"the body")
    fresh = refresh.replace("refresh", "fresh")
    assert (answer.status, answer.body.decode()) == (200, f"Bearer {fresh}")
    sent = [(request.headers["authorization"], request.body) for request in world.arrived(path)]
    assert sent == [(f"Bearer {access}", b"the body"), (f"Bearer {fresh}", b"the body")]
    assert world.redeemed.count(refresh) == 1


def test_a_hundred_requests_that_are_refused_at_once_cause_one_refresh(world):
    """Naive: each refreshes by itself, and the provider takes the second redemption for theft."""
    jwt, _, refresh = world.login(access="refused")
    with ThreadPoolExecutor(25) as pool:
        statuses = list(pool.map(lambda _: world.usual.request(jwt).status, range(100)))
    assert statuses == [200] * 100
    assert world.redeemed.count(refresh) == 1


def test_a_service_that_refuses_every_token_gets_two_requests_and_then_one(world, path):
    """Naive: it refreshes and repeats without end."""
    jwt, _, refresh = world.login(access="refused", refresh="refused-refresh")
    for so_far in (2, 3):
        answer = world.usual.request(jwt, path=path)
        # The service's own answer.
        assert (answer.status, answer.headers.get("www-authenticate")) == (401, 'Bearer realm="service"')
        assert answer.body == b"refused" and len(world.arrived(path)) == so_far
    assert world.redeemed.count(refresh) == 1


def test_a_refused_token_whose_refresh_fails_for_good_is_a_login(world, path):
    """Naive: it passes the service's 401 on, which says nothing of a login."""
    jwt, _, _ = world.login(access="refused", refresh="dead")
    answer = world.usual.request(jwt, path=path)
    assert (answer.status, answer.headers.get("www-authenticate")) == (401, LOGIN)
    assert len(world.arrived(path)) == 1


@pytest.mark.parametrize("body", [b"x" * 70_000, [b"in ", b"chunks"]], ids=["long", "chunks"])
def test_a_body_that_was_not_kept_is_not_sent_again(world, path, body):
    """Naive: it keeps all bodies in memory. Or it sends the rest of a body, or none, with the new token."""
    jwt, _, refresh = world.login(access="refused")
    answer = world.usual.request(jwt, "POST", path, body)
    assert (answer.status, answer.headers.get("retry-after")) == (503, "1")
    again = world.usual.request(jwt, "POST", path, body)
    assert again.body.decode() == "Bearer " + refresh.replace("refresh", "fresh")
    assert [request.body for request in world.arrived(path)] == [b"".join([body] if type(body) is bytes else body)] * 2
    assert world.redeemed.count(refresh) == 1


def test_a_session_of_another_user_or_client_is_forbidden(world, path):
    """Naive: no binding, and a session that was mixed up hands out another user's token."""
    good, _, _ = world.login()
    with world.sidecar("-bind-client", "web", "-bind-user") as bound:
        assert bound.request(good).status == 200
        for fields in ({"user_id": "bob"}, {"client_id": "cli"}):
            jwt, _, _ = world.login(**fields)
            answer = bound.request(jwt, path=path)
            assert answer.status == 403 and "www-authenticate" not in answer.headers
        assert bound.stop().count("answered 403: PermissionDenied BINDING_MISMATCH") == 2
    assert world.arrived(path) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-broker", "broker.example.com:50051"], "-broker-ca"),
        (["-service", "http://service.example.com"], "-service"),
        (["-service", "https://service.example.com/base"], "-service"),
        (["-broker-cert", "x"], "-broker-key"),
        (["-audience", ""], "-audience"),
        (["-provider", ""], "-provider"),
        (["-jwks", "/dev/null"], "-jwks"),
        (["-header", "a b"], "-header"),
    ],
)
def test_what_would_send_tokens_in_plain_text_or_accept_any_jwt_is_refused_at_the_start(world, options, told):
    """Naive: it starts."""
    with pytest.raises(AssertionError, match=f"the sidecar ended: .*{told}"), world.sidecar(*options):
        pass
